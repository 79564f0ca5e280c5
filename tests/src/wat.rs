//! Assembles guests that are written as text in `guests/wat`: a program, in a frame for the kind of
//! function that it becomes.

use std::path::Path;

use crate::guests::with_length;

/// Returns a command, a core module of WASI preview 1. Its reply is the number that the program
/// returns.
#[must_use]
pub fn command(program: &str) -> Vec<u8> {
    assembled("command", program)
}

/// Returns a handler of WASI 0.2. The status of its replies is the number that the program returns.
#[must_use]
pub fn handler_02(program: &str) -> Vec<u8> {
    assembled("handler-0.2", program)
}

/// Returns a handler of WASI 0.3. The status of its replies is the number that the program returns.
#[must_use]
pub fn handler_03(program: &str) -> Vec<u8> {
    assembled("handler-0.3", program)
}

/// Adds a core module to `component` that runs the program when an instance is made. The instance
/// fails unless the program returns 200.
#[must_use]
pub fn started_in(component: &[u8], program: &str) -> Vec<u8> {
    let module = assembled("start", program);
    let modules = u8::try_from(core_modules(component)).expect("a few modules");
    // A section of one core module, and one of an instance of it without imports.
    let instances = [1, 0, modules, 0];
    [component, &[1], &with_length(&module), &[2], &with_length(&instances)].concat()
}

/// Returns a module that is whole by itself.
#[must_use]
pub fn whole(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/wat/{name}.wat"));
    let text = std::fs::read_to_string(&path).expect("a guest of this name");
    wat::parse_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assembled(whole: &str, program: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/wat");
    let read = |name: &str| {
        let path = folder.join(format!("{name}.wat"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let whole_text = read(whole).replace(";; ERRORS", &read("errors"));
    let text = whole_text.replace(";; PROGRAM", &read(program));
    wat::parse_str(text).unwrap_or_else(|error| panic!("{program} as a {whole}: {error}"))
}

/// Returns the number of core modules in a component.
fn core_modules(component: &[u8]) -> usize {
    let (mut at, mut modules) = (8, 0);
    while at < component.len() {
        modules += usize::from(component[at] == 1);
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            at += 1;
            length |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + length;
    }
    modules
}
