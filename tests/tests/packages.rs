//! Packages: each is installed as its users install it, and serves. The Debian package is installed
//! in a Debian that boots with systemd, and upgraded under load.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::client::request;
use harness::debian::Debian;
use harness::node::ready_line;
use harness::packages::{Build, PROGRAMS, repository, run};
use harness::{Connection, Node, Running, bundle, guests, needs, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);
const CLIENTS: usize = 20;

#[test]
fn the_same_build_makes_the_same_packages_whenever_it_is_packed() {
    let program = needs::program("true", "coreutils");
    let sums = [1_000_000_000, 1_100_000_000].map(|time| {
        let build = Build::of_program(&program);
        for name in PROGRAMS {
            let file = fs::File::open(build.folder().join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(time)).unwrap();
        }
        fs::read_to_string(build.packages(None).join("SHA256SUMS")).unwrap()
    });
    assert_eq!(sums[0], sums[1]);
    assert_eq!(sums[0].lines().count(), 7, "{}", sums[0]);
}

/// Installs a Debian package. Returns the pid of the node's engine, as systemd knows it.
fn install(debian: &Debian, package: &Path) -> String {
    fs::copy(package, debian.path("/tmp/sockhop.deb")).unwrap();
    debian.run(["dpkg", "--install", "/tmp/sockhop.deb"]).expect_code(0);
    engine(debian)
}

fn engine(debian: &Debian) -> String {
    debian.run(["systemctl", "show", "--property=MainPID", "--value", "sockhop"]).stdout
}

fn state(debian: &Debian) -> String {
    debian.run(["systemctl", "is-active", "sockhop"]).stdout.trim().to_owned()
}

fn deploy(debian: &Debian, file: &Path, name: &str, options: &[&str]) {
    let copy = format!("/tmp/{}", file.file_name().unwrap().to_str().unwrap());
    fs::copy(file, debian.path(&copy)).unwrap();
    let command = ["sockhop", "deploy", &copy, "--name", name];
    debian.run(command.iter().chain(options)).expect_code(0);
}

#[test]
fn a_debian_package_serves_is_upgraded_under_load_and_goes() {
    let builds = ["0.1.0", "0.1.1"].map(Build::of_version);
    let [old, new] = builds.each_ref().map(|build| build.package("debian", ".deb"));
    let debian = Debian::boot();
    let first = install(&debian, &old);
    assert_eq!(state(&debian), "active", "{}", debian.journal("sockhop"));
    let engine_of = format!("/proc/{}", first.trim());
    let user = debian.run(["stat", "--format=%U", &engine_of]).stdout;
    assert_eq!(user.trim(), "sockhop");
    deploy(&debian, &guests::path("hello"), "hello", &[]);
    // The unit takes nothing away that sandboxes need.
    let server = harness::native::path("server").join("server");
    deploy(&debian, &server, "native", &["--kind", "server"]);
    assert_eq!(debian.connect(8080).unwrap().get("/native/").status(), 200);
    let manual = debian.path("/usr/share/man/man1/sockhop-deploy.1.gz");
    assert!(manual.is_file() && debian.path("/usr/bin/sockhop").exists());

    // What an administrator has written stays.
    let settings = debian.path("/etc/sockhop/sockhop.toml");
    let written = fs::read_to_string(&settings).unwrap() + "log = \"warn\"\n";
    fs::write(&settings, &written).unwrap();
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let client = || {
        while !stop.load(SeqCst) {
            let mut connection = debian.connect(8080).map_err(|error| error.to_string())?;
            for _ in 0..10 {
                let sent = request("GET", "/hello/", &[], b"");
                connection.try_send(sent).map_err(|error| error.to_string())?;
                let reply = connection.try_reply().map_err(|cut| format!("{cut:?}"))?;
                if reply.status() != 200 {
                    return Err(format!("{:?} {}", reply.head, reply.text()));
                }
                served.fetch_add(1, SeqCst);
            }
        }
        Ok::<(), String>(())
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let _end = wait::StopOnDrop(&stop);
        let over = || clients.iter().any(thread::ScopedJoinHandle::is_finished);
        let more_served = || {
            let goal = served.load(SeqCst) + 200;
            wait::until("the load goes on", SOON, || {
                (over() || served.load(SeqCst) >= goal).then_some(())
            });
        };
        more_served();
        install(&debian, &new);
        wait::until("the new build has taken over", SOON, || {
            let upgraded = engine(&debian) != first && state(&debian) == "active";
            (over() || upgraded).then_some(())
        });
        more_served();
        stop.store(true, SeqCst);
        clients.into_iter().filter_map(|client| client.join().unwrap().err()).collect()
    });
    assert!(failures.is_empty(), "{failures:#?}: {}", debian.journal("sockhop"));
    assert_ne!(engine(&debian), first, "{}", debian.journal("sockhop"));
    assert_eq!(fs::read_to_string(&settings).unwrap(), written);

    debian.run(["dpkg", "--remove", "sockhop"]).expect_code(0);
    assert_eq!(state(&debian), "inactive", "{}", debian.journal("sockhop"));
    assert!(debian.connect(8080).is_err(), "something still listens");
    assert!(settings.is_file(), "until it is purged");
    debian.run(["dpkg", "--purge", "sockhop"]).expect_code(0);
    let left = debian.run(["find", "/", "-xdev", "-name", "*sockhop*", "-not", "-path", "/tmp/*"]);
    assert_eq!(left.stdout, "");
    let failed = debian.run(["systemctl", "list-units", "--failed", "--no-legend"]).stdout;
    assert_eq!(failed, "");
}

#[test]
fn lintian_finds_no_fault_in_the_debian_package() {
    let build = Build::of_version("0.1.0");
    let package = build.package("debian", ".deb");
    let mut lintian = Command::new(needs::program("lintian", "lintian"));
    // A library that needs no other is what a static program looks like to it.
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags"]);
    let found = run(lintian.arg("shared-library-lacks-prerequisites").arg(package));
    assert_eq!(found.code, Some(0), "{}", found.stdout);
}

/// Starts a node of the binaries in a folder, and calls a function.
fn expect_serves(folder: &Path) {
    let node = Node::build().binaries(folder).start();
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    node.stop();
}

#[test]
fn a_wheel_has_the_programs_beside_python() {
    let build = Build::of_version("0.1.0");
    let wheel = build.package("wheel", ".whl");
    let folder = TempDir::new().unwrap();
    let venv = folder.path().join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).expect_code(0);
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check"]);
    run(pip.arg(wheel)).expect_code(0);
    expect_serves(&venv.join("bin"));
    let mut pip = Command::new(venv.join("bin/python"));
    run(pip.args(["-m", "pip", "uninstall", "--quiet", "--yes", "sockhop"])).expect_code(0);
    assert!(!venv.join("bin/sockhop-worker").exists());
}

#[test]
fn npx_starts_what_npm_has_installed_for_this_platform() {
    let build = Build::of_version("0.1.0");
    let out = build.packages(Some("npm"));
    let folder = TempDir::new().unwrap();
    let platform = if cfg!(target_arch = "x86_64") { "x64" } else { "arm64" };
    let npm = |arguments: &[&str]| {
        let mut npm = Command::new("npm");
        npm.args(arguments).args(["--offline", "--no-audit", "--no-fund"]).current_dir(&folder);
        npm.env("npm_config_cache", folder.path().join("cache"));
        npm
    };
    fs::write(folder.path().join("package.json"), "{}").unwrap();
    let mut install = npm(&["install"]);
    for package in [format!("sockhop-linux-{platform}-0.1.0.tgz"), "sockhop-0.1.0.tgz".to_owned()] {
        install.arg(out.join(package));
    }
    run(&mut install).expect_code(0);
    let version = run(&mut npm(&["exec", "--", "sockhop", "--version"])).expect_code(0);
    assert!(version.stdout.starts_with("sockhop "), "{version:?}");
    // It passes on exit codes, and the signal that asks a node to end.
    run(&mut npm(&["exec", "--", "sockhop", "no-command"])).expect_code(2);
    let mut serve = Command::new("node");
    serve.arg(folder.path().join("node_modules/sockhop/sockhop.js"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
    let mut node = Running::spawn(&mut serve);
    let (_, addresses) = ready_line(&mut node);
    Connection::open(addresses[0]).get("/none/").expect_problem(404);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait_exit(SOON).code(), Some(0));
}

/// Makes umoci's description of a container one that runs on any host: in the network and the
/// cgroup of this test, with a volume as Kubernetes makes it, and the recipes' seccomp profile.
fn describe(container: &mut Value) {
    let profile = fs::read_to_string(repository("scripts/recipes/seccomp.json")).unwrap();
    let linux = container["linux"].as_object_mut().unwrap();
    linux.insert("seccomp".to_owned(), serde_json::from_str(&profile).unwrap());
    for key in ["resources", "cgroupsPath"] {
        linux.remove(key);
    }
    let own = |namespace: &Value| namespace["type"] != "network" && namespace["type"] != "cgroup";
    linux["namespaces"].as_array_mut().unwrap().retain(own);
    let mounts = container["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    let volume = mounts.iter_mut().find(|mount| mount["destination"] == "/var/lib/sockhop");
    volume.unwrap()["options"] = json!(["rw", "nosuid", "nodev", "mode=0777"]);
    let process = container["process"].as_object_mut().unwrap();
    process.insert("terminal".to_owned(), false.into());
    process.insert("capabilities".to_owned(), json!({}));
    let variables = process["env"].as_array_mut().unwrap();
    variables.retain(|variable| !variable.as_str().unwrap().starts_with("SOCKHOP_"));
    let own = ["SOCKHOP_DATA=/var/lib/sockhop/node", "SOCKHOP_LISTEN=127.0.0.1:0"];
    variables.extend(own.map(Value::from));
}

#[test]
fn an_image_runs_in_a_container_with_the_profile_of_the_recipes() {
    needs::root("run a container");
    let build = Build::of_version("0.1.0");
    let image = build.package("image", ".oci.tar");
    let folder = TempDir::new().unwrap();
    let root = bundle::unpacked(&image, "0.1.0", folder.path());
    let description = root.with_file_name("config.json");
    let mut container: Value = serde_json::from_slice(&fs::read(&description).unwrap()).unwrap();
    assert_eq!(container["process"]["args"], json!(["/usr/bin/sockhop", "serve"]));
    assert_eq!(container["process"]["user"]["uid"], 65532);
    describe(&mut container);
    fs::write(&description, container.to_string()).unwrap();

    let crun = needs::cached("SOCKHOP_TEST_CRUN", "crun", "usr/bin/crun");
    // It wants to see cgroups of one version.
    let script =
        "umount -lR /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
    command.args([script, "sh"]).arg(crun.join("usr/bin/crun")).arg("--root");
    command.arg(folder.path().join("run")).args(["--cgroup-manager=disabled", "run", "--bundle"]);
    command.arg(root.parent().unwrap()).arg("packages");
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    command.env("LD_LIBRARY_PATH", crun.join(libraries));
    let mut running = Running::spawn(&mut command);
    let (_, addresses) = ready_line(&mut running);
    let is_node = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim() == "sockhop")
    };
    let node = process::descendants(running.pid()).into_iter().find(is_node).unwrap();
    let status = fs::read_to_string(format!("/proc/{node}/status")).unwrap();
    assert!(status.contains("Seccomp:\t2"), "{status}");
    let data = format!("/proc/{node}/root/var/lib/sockhop/node");
    let hello = guests::path("hello");
    harness::node::run(["deploy", hello.to_str().unwrap(), "--data", &data]).expect_code(0);
    Connection::open(addresses[0]).get("/hello/").expect_hello();
    process::signal(node, Signal::SIGTERM);
    assert_eq!(running.wait_exit(SOON).code(), Some(0));
}

/// Serves the files of a folder. Returns its URL.
fn serve_files(folder: &Path) -> (Running, String) {
    let mut server = Command::new("python3");
    server.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]).current_dir(folder);
    let running = Running::spawn(&mut server);
    let url = wait::until("it listens", SOON, || {
        let said = running.stdout();
        Some(said.split_once('(')?.1.split_once(')')?.0.to_owned())
    });
    (running, url)
}

#[test]
fn the_install_script_takes_only_what_has_its_checksum() {
    let build = Build::of_version("0.1.0");
    let out = build.packages(Some("tarball"));
    let (_server, url) = serve_files(&out);
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("bin");
    let install = |more: &[&str]| {
        let mut script = Command::new("sh");
        script.arg(out.join("install.sh")).arg(&url).arg("--to").arg(&to).args(more);
        run(&mut script)
    };
    let sums = fs::read(out.join("SHA256SUMS")).unwrap();
    let sum = run(Command::new("sha256sum").arg(out.join("SHA256SUMS"))).stdout;
    let sum = sum.split_once(' ').unwrap().0;
    // While a node of the old files runs.
    let said = install(&["--sums", sum]).expect_code(0);
    assert!(said.stdout.starts_with("installed sockhop "), "{said:?}");
    let node = Node::build().binaries(&to).start();
    install(&[]).expect_code(0);
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    node.stop();

    fs::remove_dir_all(&to).unwrap();
    install(&["--sums", &sum.replace(|_| true, "0")]).expect_error(&["SHA256SUMS has another"]);
    let tarball = fs::read_dir(&out).unwrap().map(|file| file.unwrap().path());
    let tarball = tarball.into_iter().find(|path| path.extension().is_some_and(|it| it == "gz"));
    let tarball = tarball.unwrap();
    let mut bytes = fs::read(&tarball).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&tarball, bytes).unwrap();
    install(&[]).expect_error(&["another checksum", "nothing was installed"]);
    // Neither is a name taken that leads elsewhere.
    fs::write(out.join("SHA256SUMS"), String::from_utf8(sums).unwrap().replace("  ", "  ../"))
        .unwrap();
    install(&[]).expect_error(&["names no tarball"]);
    fs::remove_file(out.join("SHA256SUMS")).unwrap();
    symlink("/dev/null", out.join("SHA256SUMS")).unwrap();
    install(&[]).expect_error(&["names no tarball"]);
    assert!(!to.exists());
}
