//! Imports run one way. Between the crates of the engine as their manifests say, between the
//! modules of each crate as their sources do: the worker's run edge → serve → run → what all stand
//! on, and nowhere is there a circle.
#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers of the worker, from the lowest to the highest; what is not named stands below all.
const LAYERS: [&str; 7] = ["run", "serve", "edge", "worker", "start", "standalone", "process"];

/// The workspace's crates that are linked with one another, from the lowest to the highest: none
/// depends on a later one.
const CRATES: [&str; 32] = [
    "sockhop-abi",
    "sockhop-sandbox",
    "sockhop-azure",
    "sockhop-lambda",
    "sockhop-egress",
    "sockhop-tls",
    "sockhop-schedule",
    "sockhop-api",
    "sockhop-lambda-api",
    "sockhop-wasm-config",
    "sockhop-host",
    "sockhop-settings",
    "sockhop-nats",
    "sockhop-store",
    "sockhop-secrets",
    "sockhop-certificates",
    "sockhop-acme",
    "sockhop-package",
    "sockhop-registry",
    "sockhop-bundle",
    "sockhop-compile",
    "sockhop-takeover",
    "sockhop-database",
    "sockhop-state",
    "sockhop-jobs",
    "sockhop-fleet",
    "sockhop-logs",
    "sockhop-dashboard",
    "sockhop-control",
    "sockhop-engine",
    "sockhop-worker",
    "sockhop-standalone",
];

/// A crate: the manifest's name and folder, and the names of those that it depends on.
#[derive(serde::Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(serde::Deserialize)]
struct Dependency {
    name: String,
}

/// Returns the workspace's crates, as cargo reads their manifests.
fn packages() -> Vec<Package> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the modules of the crate in `folder`, each with those of them that it names. Tests are
/// left out.
fn imports(folder: &Path) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let mut sources = Vec::new();
    collect(&folder.join("src"), &mut Vec::new(), &mut sources);
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|(module, _)| module.clone()).collect();
    sources.iter().map(|(module, text)| (module.clone(), named(module, text, &modules))).collect()
}

fn collect(folder: &Path, module: &mut Vec<String>, sources: &mut Vec<(Vec<String>, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            module.push(name);
            collect(&path, module, sources);
            module.pop();
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut own = module.clone();
        if !["mod", "main", "lib"].contains(&name.as_str()) {
            own.push(name);
        }
        sources.push((own, text));
    }
}

/// What `text`, the source of `module`, names of `modules`: paths from `crate` and `super`, in
/// whatever place of the code.
fn named(module: &[String], text: &str, modules: &BTreeSet<Vec<String>>) -> BTreeSet<Vec<String>> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = BTreeSet::new();
    for (keyword, base) in
        [("crate::", &[][..]), ("super::", &module[..module.len().saturating_sub(1)])]
    {
        let starts = code.match_indices(keyword).filter(|(at, _)| {
            let before = code[..*at].chars().next_back();
            !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
        });
        for (at, _) in starts {
            let mut base = base.to_vec();
            let mut rest = &code[at + keyword.len()..];
            while let Some(higher) = rest.strip_prefix("super::") {
                base.pop();
                rest = higher;
            }
            paths(&mut base, rest, &mut found);
        }
    }
    // A path ends in what a module has: the longest beginning of it that is a module is what is
    // named.
    found
        .into_iter()
        .filter_map(|path| {
            (0..=path.len())
                .rev()
                .map(|length| path[..length].to_vec())
                .find(|path| modules.contains(path))
        })
        .collect()
}

/// The paths at the front of `rest` below `base`: one, or those of a list in braces.
fn paths(base: &mut Vec<String>, rest: &str, found: &mut BTreeSet<Vec<String>>) {
    let depth = base.len();
    let mut rest = rest;
    loop {
        let end =
            rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
        if end > 0 {
            base.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        if let Some(list) = rest.strip_prefix("::{").or_else(|| rest.strip_prefix('{')) {
            for part in items(list) {
                paths(base, part.trim_start(), found);
            }
            break;
        }
        match rest.strip_prefix("::") {
            Some(further) => rest = further,
            None => {
                found.insert(base.clone());
                break;
            }
        }
    }
    base.truncate(depth);
}

/// The items of a list whose opening brace has been read.
fn items(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.into_iter().filter(|item| !item.trim().is_empty()).collect()
}

#[test]
fn no_crate_depends_on_a_higher_one() {
    let height = |name: &str| CRATES.iter().position(|known| *known == name);
    let packages = packages();
    for name in CRATES {
        assert!(packages.iter().any(|package| package.name == name), "{name} is not there");
    }
    let ours: BTreeSet<&str> = packages.iter().map(|package| &*package.name).collect();
    let mut upwards = Vec::new();
    for package in &packages {
        let Some(own) = height(&package.name) else { continue };
        for Dependency { name } in &package.dependencies {
            if ours.contains(&**name) && height(name).is_none_or(|other| other >= own) {
                upwards.push(format!("{} depends on {name}", package.name));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn the_fleet_knows_no_control_and_the_worker_no_engine() {
    let packages = packages();
    let depends = |from: &str, to: &str| {
        let package = packages.iter().find(|package| package.name == from).unwrap();
        package.dependencies.iter().any(|dependency| dependency.name == to)
    };
    assert!(depends("sockhop-control", "sockhop-fleet"), "dependencies are not read");
    assert!(!depends("sockhop-fleet", "sockhop-control"));
    let engine = root().join("engine");
    let of_engine = packages.iter().filter(|package| package.manifest_path.starts_with(&engine));
    let of_engine: Vec<&str> = of_engine.map(|package| &*package.name).collect();
    assert!(of_engine.len() > 10, "{of_engine:?}");
    for name in of_engine {
        assert!(!depends("sockhop-worker", name), "the worker depends on {name}");
    }
}

#[test]
fn edge_imports_serve_and_serve_imports_run_and_none_the_other_way() {
    let height = |module: &[String]| {
        let layer = module.first().map_or("process", String::as_str);
        LAYERS.iter().position(|known| *known == layer).map_or(0, |known| known + 1)
    };
    let imports = imports(&root().join("worker"));
    assert!(imports.keys().any(|module| height(module) == LAYERS.len()), "nothing was read");
    let upwards: Vec<String> = imports
        .iter()
        .flat_map(|(module, named)| named.iter().map(move |named| (module, named)))
        .filter(|(module, named)| height(module) < height(named))
        .map(|(module, named)| format!("{} imports {}", module.join("::"), named.join("::")))
        .collect();
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for package in packages() {
        if CRATES.contains(&&*package.name) {
            let imports = imports(package.manifest_path.parent().unwrap());
            assert!(!imports.is_empty(), "{} was not read", package.name);
            let found = circles_of(imports);
            circles.extend(found.into_iter().map(|circle| format!("{} {circle}", package.name)));
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

/// Returns the circles of the modules beside one another in a folder, and all below them.
fn circles_of(imports: BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Vec<String> {
    let mut siblings: BTreeMap<Vec<String>, BTreeSet<(String, String)>> = BTreeMap::new();
    for (module, named) in imports {
        for other in named {
            let common =
                module.iter().zip(&other).take_while(|(one, another)| one == another).count();
            if let (Some(from), Some(to)) = (module.get(common), other.get(common)) {
                siblings
                    .entry(module[..common].to_vec())
                    .or_default()
                    .insert((from.clone(), to.clone()));
            }
        }
    }
    let mut circles = Vec::new();
    for (folder, arrows) in &siblings {
        let names: BTreeSet<&String> = arrows.iter().flat_map(|(from, to)| [from, to]).collect();
        // What nobody imports, and then what nobody else does, is in no circle.
        let mut left = names;
        loop {
            let into =
                |name: &&String| arrows.iter().any(|(from, to)| to == *name && left.contains(from));
            let out =
                |name: &&String| arrows.iter().any(|(from, to)| from == *name && left.contains(to));
            let inner: BTreeSet<&String> =
                left.iter().copied().filter(|name| into(name) && out(name)).collect();
            if inner.len() == left.len() {
                break;
            }
            left = inner;
        }
        if !left.is_empty() {
            let arrows =
                arrows.iter().filter(|(from, to)| left.contains(from) && left.contains(to));
            let arrows: Vec<String> = arrows.map(|(from, to)| format!("{from} → {to}")).collect();
            circles.push(format!("in {}: {}", folder.join("::"), arrows.join(", ")));
        }
    }
    circles
}
