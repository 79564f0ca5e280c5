//! What is typed at a terminal and not shown: secrets and tokens. Owns no fds.

use std::io::{self, Write as _};

use anyhow::Context as _;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Asks for a line, which is not shown, with its end.
pub(super) async fn line(question: &str, bytes_max: usize) -> anyhow::Result<Zeroizing<String>> {
    let hidden = Hidden::begin()
        .context("the terminal cannot be kept from showing what is typed; use a pipe")?;
    eprint!("{question}: ");
    let _ = io::stderr().flush();
    let line = tokio::task::spawn_blocking(move || {
        let mut line = Zeroizing::new(String::with_capacity(bytes_max));
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        line = line => line?.context("the terminal cannot be read")?,
        _ = tokio::signal::ctrl_c() => {
            drop(hidden);
            eprintln!();
            // As a shell tells it; the thread that reads would keep us.
            std::process::exit(130);
        }
    };
    drop(hidden);
    eprintln!();
    Ok(line)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> nix::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
