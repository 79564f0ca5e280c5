//! What a worker writes on stderr until it serves. It is passed on to the engine's own stderr, and
//! the end of it is kept, so that the report about a worker that dies at its start can quote it.
//! From then on the worker has the engine's stderr itself. Owns the pipe's reading end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;
use tokio::sync::watch;

/// How much of the output is kept.
const KEPT_BYTES_MAX: usize = 2048;
/// How long the pipe is waited for after the process has exited. Another process may have it open.
const END_TIMEOUT: Duration = Duration::from_millis(100);

/// The end of what one worker has written. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LastWords {
    text: Rc<RefCell<Vec<u8>>>,
    ended: watch::Receiver<bool>,
}

/// Begins to read `pipe`.
pub fn listen(pipe: Option<ChildStderr>) -> LastWords {
    let (end, ended) = watch::channel(false);
    let text = Rc::new(RefCell::new(Vec::new()));
    let words = LastWords { text: Rc::clone(&text), ended };
    if let Some(mut pipe) = pipe {
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
                host::log::pass_on(&buffer[..length]);
                keep(&mut text.borrow_mut(), &buffer[..length]);
            }
            let _ = end.send(true);
        });
    }
    words
}

impl LastWords {
    /// Resolves when no more is expected. Call it when the process has exited.
    pub async fn complete(mut self) {
        let _ = tokio::time::timeout(END_TIMEOUT, self.ended.wait_for(|ended| *ended)).await;
    }

    /// Returns the end of the output, from the beginning of a line on where that is possible.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.borrow()).trim().to_owned()
    }
}

/// Appends `more` to `text`, and drops whole lines from the front if that becomes too long.
fn keep(text: &mut Vec<u8>, more: &[u8]) {
    text.extend_from_slice(more);
    if text.len() > KEPT_BYTES_MAX {
        let surplus = text.len() - KEPT_BYTES_MAX;
        let line = text[surplus..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(surplus, |at| surplus + at + 1);
        text.drain(..line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let mut text = Vec::new();
        for line in 0..1000 {
            keep(&mut text, format!("line {line}\n").as_bytes());
        }
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.len() <= KEPT_BYTES_MAX
                && text.starts_with("line ")
                && text.ends_with("\nline 999\n"),
            "{text}"
        );
        let mut one = vec![b'x'; KEPT_BYTES_MAX];
        keep(&mut one, b"yy");
        assert_eq!(one.len(), KEPT_BYTES_MAX);
    }
}
