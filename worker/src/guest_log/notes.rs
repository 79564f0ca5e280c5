//! The node's own lines in an invocation's log, each of them once.
//!
//! The guest causes them, as often as it likes: by requests that are denied, for example. The first
//! of several equal lines is written, the others are counted, and the sum is written at the end.
//! Pure; owns no fds.

/// The most lines whose repetitions are counted. Other lines are written each time.
const NOTES_MAX: usize = 16;

/// The notes of one invocation.
#[derive(Default)]
pub(super) struct Notes(Vec<Note>);

struct Note {
    text: String,
    repetitions: u64,
}

impl Notes {
    /// Returns whether `text` must be written: `true` at its first time. Later times are counted
    /// instead.
    pub(super) fn is_new(&mut self, text: &str) -> bool {
        if let Some(note) = self.0.iter_mut().find(|note| note.text == text) {
            note.repetitions += 1;
            return false;
        }
        if self.0.len() < NOTES_MAX {
            self.0.push(Note { text: text.to_owned(), repetitions: 0 });
        }
        true
    }

    /// Returns whether there are none, as in most invocations.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all notes, and returns a line for each that was repeated.
    pub(super) fn sums(&mut self) -> Vec<String> {
        let notes = std::mem::take(&mut self.0);
        let repeated = notes.into_iter().filter(|note| note.repetitions > 0);
        repeated
            .map(|Note { text, repetitions }| format!("[{repetitions} times more: {text}]"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_summed_up() {
        let mut notes = Notes::default();
        let new: Vec<bool> = ["a", "b", "a", "a"].iter().map(|text| notes.is_new(text)).collect();
        assert_eq!(new, [true, true, false, false]);
        assert_eq!(notes.sums(), ["[2 times more: a]"]);
        assert_eq!(notes.sums(), [""; 0]);
        assert!(notes.is_new("a"), "another invocation begins anew");
    }

    #[test]
    fn no_more_are_held_than_may_be() {
        let mut notes = Notes::default();
        for _ in 0..2 {
            for number in 0..2 * NOTES_MAX {
                let _ = notes.is_new(&number.to_string());
            }
        }
        assert_eq!((notes.0.len(), notes.sums().len()), (NOTES_MAX, NOTES_MAX));
        assert!(notes.0.is_empty());
    }
}
