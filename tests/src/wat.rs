//! Guests written as text, `guests/wat`: a program, and what it is put into to be a function of
//! one kind or another.

use std::path::Path;

use crate::guests::sized;

/// A command, a core module of WASI preview 1, whose reply is the number that the program returns.
#[must_use]
pub fn command(program: &str) -> Vec<u8> {
    assembled("command", program)
}

/// A handler of WASI 0.2 whose replies have the number that the program returns as their status.
#[must_use]
pub fn handler_02(program: &str) -> Vec<u8> {
    assembled("handler-0.2", program)
}

/// The same for WASI 0.3.
#[must_use]
pub fn handler_03(program: &str) -> Vec<u8> {
    assembled("handler-0.3", program)
}

/// `component`, with one more core module in it, which runs the program when an instance is made:
/// nothing comes of one for which it does not return 200.
#[must_use]
pub fn started_in(component: &[u8], program: &str) -> Vec<u8> {
    let module = assembled("start", program);
    let modules = u8::try_from(core_modules(component)).expect("a few modules");
    // A section of one core module, and one of the instance that is made of it, without imports.
    let instances = [1, 0, modules, 0];
    [component, &[1], &sized(&module), &[2], &sized(&instances)].concat()
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

/// How many sections of a component are core modules.
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
