//! A program with `main`, as a component (`cmd`, for wasm32-wasip2) and as a core module (`cmd-p1`,
//! for wasm32-wasip1).
//!
//! It takes steps, one after the other: from its arguments if there are any; else the pairs of
//! `QUERY_STRING`; else the parts of `PATH_INFO`. Values are percent-encoded.
//!
//! | step         | what it does                                                                        |
//! |--------------|-------------------------------------------------------------------------------------|
//! | `cgi`        | prints the head of a CGI reply: `Status: 418 I'm a teapot`, `Content-Type`, `X-Cgi` |
//! | `env`        | prints its environment, a line `NAME=VALUE` each, sorted                            |
//! | `args`       | prints its arguments, a line each                                                   |
//! | `echo`       | copies stdin to stdout as it comes                                                  |
//! | `count`      | reads stdin and prints how many bytes there were                                    |
//! | `print=TEXT` | prints the text as it is; `eprint=TEXT` on stderr                                   |
//! | `big=N`      | writes N bytes, of which byte `i` is `i % 251`                                      |
//! | `sleep=MS`   | waits in a host call                                                                |
//! | `exit=N`     | writes `stdout before exit` and `stderr before exit`, exits with N                  |
//! | `abort`      | writes `stdout before abort`, panics                                                |
//! | `spin`       | computes for ever                                                                   |
//! | `work`       | computes for about a millisecond and prints two bytes, again and again, for ever     |
//!
//! The argument `--cgi` is the step `cgi`, before all others, and does not count as an argument.
//! Without any step it prints `Hello, world!`. The node must pass stdin and stdout on as they come,
//! and an exit with anything but 0 is a failure. The component can only say that it failed, not
//! how: WASI 0.2 makes a 1 of every other code.

use std::env;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::Duration;

/// Written at a time.
const PIECE: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let (flags, arguments): (Vec<_>, Vec<_>) =
        env::args().skip(1).partition(|argument| argument == "--cgi");
    if !flags.is_empty() {
        step("cgi", &[])?;
    }
    let steps = steps(&arguments);
    if steps.is_empty() {
        return step("print", b"Hello, world!");
    }
    query::pairs(&steps).try_for_each(|(name, value)| step(name, &value))
}

/// The steps, joined with `&`.
fn steps(arguments: &[String]) -> String {
    let variable = |name| env::var(name).unwrap_or_default();
    if !arguments.is_empty() {
        return arguments.join("&");
    }
    match variable("QUERY_STRING") {
        query if !query.is_empty() => query,
        _ => variable("PATH_INFO").trim_matches('/').replace('/', "&"),
    }
}

fn step(name: &str, value: &[u8]) -> io::Result<()> {
    let number = || String::from_utf8_lossy(value).parse::<u64>().expect("a number");
    let mut out = io::stdout().lock();
    match name {
        "cgi" => out.write_all(
            b"Status: 418 I'm a teapot\r\nContent-Type: text/x-cgi\r\nX-Cgi: yes\r\n\r\n",
        )?,
        "env" => {
            let mut lines: Vec<_> =
                env::vars().map(|(name, value)| format!("{name}={value}\n")).collect();
            lines.sort();
            out.write_all(lines.concat().as_bytes())?;
        }
        "args" => env::args().try_for_each(|argument| writeln!(out, "{argument}"))?,
        "echo" => echo(&mut out)?,
        "count" => writeln!(out, "{}", io::copy(&mut io::stdin().lock(), &mut io::sink())?)?,
        "print" => out.write_all(value)?,
        "eprint" => io::stderr().write_all(value)?,
        "big" => big(&mut out, number())?,
        "sleep" => {
            out.flush()?;
            std::thread::sleep(Duration::from_millis(number()));
        }
        "exit" => {
            writeln!(out, "stdout before exit")?;
            eprintln!("stderr before exit");
            out.flush()?;
            std::process::exit(i32::try_from(number()).expect("an exit code"));
        }
        "abort" => {
            writeln!(out, "stdout before abort")?;
            out.flush()?;
            panic!("asked to");
        }
        "spin" => {
            out.flush()?;
            let mut turns = 0_u64;
            loop {
                turns = black_box(turns.wrapping_add(1));
            }
        }
        "work" => loop {
            (0..1_000_000_u64).for_each(|turn| _ = black_box(turn));
            out.write_all(b"x\n")?;
        },
        _ => panic!("there is no step {name}"),
    }
    out.flush()
}

/// Flushes after each piece: stdout is line-buffered.
fn echo(out: &mut impl Write) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    loop {
        let piece = io::BufRead::fill_buf(&mut stdin)?;
        if piece.is_empty() {
            return Ok(());
        }
        out.write_all(piece)?;
        out.flush()?;
        let length = piece.len();
        io::BufRead::consume(&mut stdin, length);
    }
}

fn big(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    const PERIOD: usize = 251;
    let pattern: Vec<u8> = (0..=250).cycle().take(PIECE + PERIOD).collect();
    let (mut left, mut phase) = (bytes, 0);
    while left > 0 {
        let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        out.write_all(&pattern[phase..phase + length])?;
        left -= length as u64;
        phase = (phase + length) % PERIOD;
    }
    Ok(())
}
