//! Small files put together by hand, and what is said of them.

use proptest::prelude::*;

use super::*;

const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn why(bytes: &[u8]) -> String {
    inspect(bytes, None).unwrap_err().to_string()
}

fn outside_of(imports: &[&str], exports: &[&str]) -> Outside {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Outside { imports: owned(imports), exports: owned(exports), ..Outside::default() }
}

/// A section of fewer than 128 bytes.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id, u8::try_from(content.len()).unwrap()], content].concat()
}

/// A length before what it is of.
fn sized(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// A core module with a memory, which imports `import` from `module` and exports its own function
/// as `export`. An import is its name and what it is; the types are (0) a function of an i32 and
/// (1) one of nothing.
fn module(module: &str, (name, what): (&str, &[u8]), export: &str) -> Vec<u8> {
    let types = section(1, &[2, 0x60, 1, 0x7f, 0, 0x60, 0, 0]);
    let imports = section(2, &[&[1][..], &sized(module), &sized(name), what].concat());
    let functions = section(3, &[1, 1]);
    let memories = section(5, &[1, 0, 1]);
    let own = u8::from(what[0] == 0);
    let exports =
        section(7, &[&[2][..], &sized(export), &[0, own], &sized("memory"), &[2, 0]].concat());
    let code = section(10, &[1, 2, 0, 0x0b]);
    [EMPTY_MODULE, &types, &imports, &functions, &memories, &exports, &code].concat()
}

#[test]
fn what_is_no_component_is_told_so() {
    assert!(why(b"").contains("empty"));
    assert!(
        why(b"hello there, this is text")
            .contains("not WebAssembly (it begins with \"hello there, thi\"")
    );
    assert!(why(&EMPTY_COMPONENT[..6]).contains("damaged"));
    assert!(why(EMPTY_COMPONENT).contains("exports nothing"));
}

#[test]
fn core_modules_are_commands_of_preview_1() {
    const EXIT: (&str, &[u8]) = ("proc_exit", &[0, 0]);
    let command = module(preview1::MODULE, EXIT, "_start");
    assert_eq!(inspect(&command, None).unwrap(), Kind::Command);
    assert_eq!(inspect(&command, Some(FileKind::Command)).unwrap(), Kind::Command);
    let refused = inspect(&command, Some(FileKind::Http)).unwrap_err().to_string();
    assert!(refused.contains("kind http") && refused.contains("command"), "{refused}");
    assert!(why(EMPTY_MODULE).contains("_start"));
    assert!(why(&module(preview1::MODULE, EXIT, "_initialize")).contains("reactor"));
    assert!(why(&module("env", ("log", &[0, 0]), "_start")).contains("env.log"));
    assert!(why(&module("wasi_unstable", EXIT, "_start")).contains("wasi_unstable.proc_exit"));
    assert!(
        why(&module("wasi", ("thread-spawn", &[0, 0]), "_start")).contains("wasi.thread-spawn")
    );
    assert!(why(&module("env", ("memory", &[2, 3, 1, 1]), "_start")).contains("env.memory"));
    assert!(
        why(&module(preview1::MODULE, ("fd_fly", &[0, 0]), "_start"))
            .contains("wasi_snapshot_preview1.fd_fly")
    );
    assert!(
        why(&module(preview1::MODULE, ("proc_exit", &[3, 0x7f, 0]), "_start"))
            .contains("proc_exit")
    );
    let other_type = why(&module(preview1::MODULE, ("proc_exit", &[0, 1]), "_start"));
    assert!(
        other_type.contains("the type \">\"; in WASI preview 1 it has the type \"i>\""),
        "{other_type}"
    );
    let mut with_parameter = command.clone();
    let at = command.windows(4).position(|bytes| bytes == section(3, &[1, 1])).unwrap();
    with_parameter[at + 3] = 0;
    assert!(why(&with_parameter).contains("_start has the type \"i>\""));
    let at = command.windows(6).position(|bytes| bytes == b"memory").unwrap();
    let mut without_memory = command.clone();
    without_memory[at] = b'M';
    assert!(why(&without_memory).contains("no memory"));
    let shared = [EMPTY_MODULE, &section(5, &[1, 3, 1, 1])].concat();
    assert!(why(&shared).contains("threads"));
    // Within a component too.
    let within = [EMPTY_COMPONENT, &section(1, &shared)].concat();
    assert!(why(&within).contains("threads"));
}

#[test]
fn exports_decide_the_kind() {
    let kind = |exports: &[&str], wanted| component(&outside_of(&[], exports), wanted);
    let (http2, http3, run) =
        ("wasi:http/incoming-handler@0.2.3", "wasi:http/handler@0.3.0", "wasi:cli/run@0.2.12");
    assert_eq!(kind(&[http2], None).unwrap(), Kind::Http02);
    assert_eq!(kind(&["a:b/c", http3], None).unwrap(), Kind::Http03);
    assert_eq!(kind(&[http2, http3], None).unwrap(), Kind::Http03);
    assert_eq!(kind(&[run], None).unwrap(), Kind::Command);
    assert_eq!(kind(&[run, http2], None).unwrap(), Kind::Http02);
    assert_eq!(kind(&[run, http2], Some(FileKind::Http)).unwrap(), Kind::Http02);
    assert_eq!(kind(&[run, http2], Some(FileKind::Command)).unwrap(), Kind::Command);
    let why = |exports: &[&str], wanted| kind(exports, wanted).unwrap_err().to_string();
    assert!(why(&[http2], Some(FileKind::Command)).contains("kind command was asked for"));
    assert!(why(&[run], Some(FileKind::Http)).contains("kind command"));
    for other in [
        "wasi:cli/run@0.3.0",
        "wasi:http/incoming-handler@0.3.0",
        "wasi:http/handler@0.3.0-rc-2026-01-06",
    ] {
        assert!(why(&[other], None).contains(&format!("exports {other}; expected")), "{other}");
    }
    assert!(why(&["a:b/c@1.0.0", "d"], None).contains("exports a:b/c@1.0.0, d; expected"));
    assert!(why(&[&"x".repeat(1 << 20)], None).len() < 1000);
}

#[test]
fn imports_are_named_that_the_node_lacks() {
    let with =
        |import, export| component(&outside_of(&["wasi:io/poll@0.2.0", import], &[export]), None);
    assert!(with("wasi:config/store@0.2.0-rc.1", "wasi:http/handler@0.3.0").is_ok());
    assert!(with("wasi:clocks/types@0.3.0", "wasi:http/handler@0.3.0").is_ok());
    for import in [
        "wasi:clocks/types@0.3.0",
        "wasi:keyvalue/store@0.2.0-draft3",
        "wasi:nn/tensor@0.2.0",
        "env",
    ] {
        let refused = with(import, "wasi:cli/run@0.2.0").unwrap_err().to_string();
        assert!(refused.contains(&format!("{import:?}")), "{refused}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = inspect(&[EMPTY_COMPONENT, &tail].concat(), None);
        let _ = inspect(&[EMPTY_MODULE, &tail].concat(), None);
        let _ = inspect(&tail, Some(FileKind::Command));
    }
}
