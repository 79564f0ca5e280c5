//! A program that reads `wasi:config/store`.
//!
//! The node must reply with a line `NAME=VALUE` for each of its arguments (`NAME?` where there is
//! no such value), then an empty line, then all that there is, sorted.

use self::bindings::wasi::config::store;

mod bindings {
    #![allow(missing_docs, reason = "generated")]

    wit_bindgen::generate!({
        // As https://github.com/WebAssembly/wasi-config has it; the node knows no other version.
        inline: "
            package wasi:config@0.2.0-rc.1;

            interface store {
                variant error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }

            world imports {
                import store;
            }
        ",
    });
}

fn main() {
    for name in std::env::args().skip(1) {
        match store::get(&name).expect("the node has it at hand") {
            Some(value) => println!("{name}={value}"),
            None => println!("{name}?"),
        }
    }
    println!();
    let mut all = store::get_all().expect("the node has it at hand");
    all.sort();
    all.iter().for_each(|(name, value)| println!("{name}={value}"));
}
