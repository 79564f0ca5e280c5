//! The text of a trap: the reason, and the guest's frames, one a line, with the names of the
//! source. Pure; owns no fds.
//!
//! Names are chosen by the guest and may be anything: the text of one is limited in length and in
//! time.

use std::fmt::Write as _;

use wasmtime::{FrameInfo, ThrownException, WasmBacktrace};

/// The longest name that is shown whole.
const NAME_BYTES_MAX: usize = 200;

/// Returns why a guest's call ended in an error.
pub(super) fn reason(error: &wasmtime::Error) -> String {
    if error.is::<ThrownException>() {
        return "it threw an exception that nothing caught".to_owned();
    }
    // One of the causes is the backtrace, which [`frames`] returns.
    let causes =
        error.chain().map(ToString::to_string).filter(|cause| !cause.contains("wasm backtrace:"));
    let reason = causes.collect::<Vec<_>>().join(": ").replace('\n', " ");
    reason.strip_prefix("wasm trap: ").map(str::to_owned).unwrap_or(reason)
}

/// Returns the frames of the trap, the innermost first.
pub(super) fn frames(error: &wasmtime::Error) -> Vec<String> {
    let frames =
        error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    frames.iter().enumerate().map(|(at, frame)| line(at, frame)).collect()
}

fn line(at: usize, frame: &FrameInfo) -> String {
    let name =
        frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), demangled);
    let module = frame.module().name().map(|name| format!(" in {}", cut(name))).unwrap_or_default();
    let offset = frame.module_offset().map(|offset| format!(" at {offset:#x}")).unwrap_or_default();
    format!("{at:>4}: {name}{module}{offset}")
}

fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

/// Returns a function's name as the source has it if the source is Rust or C++, and unchanged
/// otherwise.
fn demangled(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        let mut out = Limited(String::new());
        // An error only means that the name was cut. The alternate form leaves out the hash.
        let _ = write!(out, "{rust:#}");
        return out.0;
    }
    cpp(name).unwrap_or_else(|| cut(name).to_owned())
}

/// Text of at most [`NAME_BYTES_MAX`] bytes. A short mangled name may stand for a name of
/// exponential length: writing stops at the limit.
struct Limited(String);

impl std::fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let left = NAME_BYTES_MAX - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(left)]);
        if text.len() > left { Err(std::fmt::Error) } else { Ok(()) }
    }
}

/// Returns the qualified name at the beginning of a C++ name (Itanium ABI 5.1), without parameters
/// and template arguments. That much can be read in one pass, which a whole demangler does not
/// promise for a hostile name.
fn cpp(name: &str) -> Option<String> {
    let encoding = name.strip_prefix("_Z")?;
    let (mut rest, nested) =
        encoding.strip_prefix('N').map_or((encoding, false), |nested| (nested, true));
    rest = rest.trim_start_matches(['r', 'V', 'K', 'R', 'O']);
    let mut parts: Vec<&str> = Vec::new();
    let mut end = "";
    loop {
        if let Some(of_std) = rest.strip_prefix("St") {
            parts.push("std");
            rest = of_std;
        } else if rest.starts_with(|first: char| first.is_ascii_digit()) {
            let digits = rest.find(|next: char| !next.is_ascii_digit())?;
            let (part, behind) = rest[digits..].split_at_checked(rest[..digits].parse().ok()?)?;
            parts.push(if part.starts_with("_GLOBAL__N") { "(anonymous namespace)" } else { part });
            rest = behind;
        } else {
            match rest.as_bytes() {
                [b'C', b'1'..=b'3', ..] if nested => parts.push(parts.last()?),
                [b'D', b'0'..=b'2', ..] if nested => end = "::~",
                [b'I', ..] => end = "<>",
                [b'E', ..] if nested => {}
                _ if nested => end = "::...",
                _ => {}
            }
            break;
        }
        if !nested && parts.last() != Some(&"std") {
            break;
        }
    }
    let last = parts.last().copied().filter(|_| end == "::~").unwrap_or_default();
    let mut path = parts.join("::");
    (!path.is_empty()).then(|| {
        path.push_str(end);
        path.push_str(last);
        path.truncate(path.floor_char_boundary(NAME_BYTES_MAX));
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_as_the_source_has_them() {
        for (name, expected) in [
            ("_ZN4core9panicking9panic_fmt17h0123456789abcdefE", "core::panicking::panic_fmt"),
            (
                "_ZN5panic55_$LT$impl$u20$panic..Guest$u20$for$u20$panic..Panic$GT$6handle17h0123456789abcdefE",
                "panic::<impl panic::Guest for panic::Panic>::handle",
            ),
            ("_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function"),
            ("_ZN2js9Interpret8EvaluateEPvi", "js::Interpret::Evaluate"),
            ("_ZNK2js6ObjectC2EPv", "js::Object::Object"),
            ("_ZN2js6ObjectD0Ev", "js::Object::~Object"),
            ("_ZNSt6vectorIiE9push_backEi", "std::vector<>"),
            ("_ZN12_GLOBAL__N_14mainEv", "(anonymous namespace)::main"),
            ("_ZN2jsplERKS_", "js::..."),
            ("_Z5abortv", "abort"),
            ("_ZSt4sortv", "std::sort"),
            ("main.main", "main.main"),
            ("_start", "_start"),
            ("_Z", "_Z"),
            ("_ZN", "_ZN"),
            ("_ZN99x", "_ZN99x"),
        ] {
            assert_eq!(demangled(name), expected, "{name}");
        }
        assert_eq!(demangled(&"x".repeat(1000)).len(), NAME_BYTES_MAX);
    }

    #[test]
    fn an_exception_that_leaves_the_guest_is_said_in_plain_words() {
        let error = wasmtime::Error::from(ThrownException).context("a call");
        assert_eq!(reason(&error), "it threw an exception that nothing caught");
        let trap = wasmtime::Trap::UnreachableCodeReached.into();
        assert_eq!(reason(&trap), "wasm `unreachable` instruction executed");
    }

    proptest! {
        #[test]
        fn any_name_is_survived_and_bounded(
            any in ".{0,400}", mangled in "_(Z|ZN|R)[A-Za-z0-9_$.]{0,300}", wide in "_ZN[1-9][é1-9CDEIS]{0,40}",
        ) {
            for name in [any, mangled, wide] {
                prop_assert!(demangled(&name).len() <= NAME_BYTES_MAX + 5, "{name}");
            }
        }
    }
}
