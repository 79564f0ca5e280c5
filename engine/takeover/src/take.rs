//! The new engine's side of a take-over: what it does about what the running one says, and when it
//! has waited enough. Pure: state, event and time in, state and action out. Owns no fds.
//!
//! ```text
//! Asking ─ listeners, lock ─▶ Starting ─ started ─▶ Claiming ─ yours ─▶ Serving ─ done ─▶ Over
//!    └───────────────────────────┴─────────────────────┴─▶ Failed: this engine ends, the running one goes on
//! ```

use std::time::{Duration, Instant};

use super::message::Message;

/// How long the running engine may take to finish a deploy that is under way: compiling and
/// publishing it.
const FINISHING_MAX: Duration = Duration::from_secs(240);
/// How often it is told that this one still starts.
pub(super) const WORKING_INTERVAL: Duration = Duration::from_secs(5);
/// How long it may take to say yours: as long as it waits for a word of this one. Nobody is kept
/// waiting meanwhile, and that it has ended is heard at once.
const CLAIM_TIMEOUT: Duration = super::give::SILENCE_MAX;
/// More listening sockets than any node has.
const LISTENERS_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for what the running engine gives; so many listening sockets have come.
    Asking { since: Instant, listeners: usize },
    /// Has everything, and starts.
    Starting { told: Instant },
    /// Is ready.
    Claiming { since: Instant },
    /// Is the engine; connections still come.
    Serving,
    /// The other one has gone.
    Over,
    /// The running engine goes on.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Said(Message),
    /// What it sent is no message.
    Malformed(String),
    /// Its end is closed.
    Gone,
    /// This engine is ready to serve.
    Started,
    /// Time has passed.
    Late,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Keep the listening socket that came.
    KeepListener,
    /// Keep the lock that came, and start.
    Start,
    SayWorking,
    SayReady,
    /// Accept.
    Begin,
    /// Serve the connection that came.
    Serve(Message),
    /// No more will come. Says so if it ended otherwise than it should.
    Finish {
        odd: Option<String>,
    },
    /// End, for this reason.
    Fail {
        reason: String,
    },
}

impl State {
    /// When time alone changes something.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Asking { since, .. } => Some(since + FINISHING_MAX),
            Self::Starting { told } => Some(told + WORKING_INTERVAL),
            Self::Claiming { since } => Some(since + CLAIM_TIMEOUT),
            Self::Serving | Self::Over | Self::Failed => None,
        }
    }

    /// What comes next.
    pub(super) fn step(self, event: Event, now: Instant) -> (Self, Action) {
        let fail = |reason: String| (Self::Failed, Action::Fail { reason });
        let late = self.deadline().is_some_and(|deadline| now >= deadline);
        match (self, event) {
            (Self::Over | Self::Failed, _) => (self, Action::Nothing),
            (Self::Asking { listeners, .. }, Event::Said(Message::Listener))
                if listeners >= LISTENERS_MAX =>
            {
                fail(format!("it gives more than {LISTENERS_MAX} listening sockets"))
            }
            (Self::Asking { since, listeners }, Event::Said(Message::Listener)) => {
                (Self::Asking { since, listeners: listeners + 1 }, Action::KeepListener)
            }
            (Self::Asking { listeners: 0, .. }, Event::Said(Message::Lock)) => {
                fail("it gives no listening socket".to_owned())
            }
            (Self::Asking { .. }, Event::Said(Message::Lock)) => {
                (Self::Starting { told: now }, Action::Start)
            }
            (Self::Starting { .. }, Event::Started) => {
                (Self::Claiming { since: now }, Action::SayReady)
            }
            (Self::Starting { .. }, Event::Late) if late => {
                (Self::Starting { told: now }, Action::SayWorking)
            }
            (Self::Claiming { .. }, Event::Said(Message::Yours)) => (Self::Serving, Action::Begin),
            (Self::Serving, Event::Said(message @ Message::Connection { .. })) => {
                (self, Action::Serve(message))
            }
            (Self::Serving, Event::Said(Message::Done)) => {
                (Self::Over, Action::Finish { odd: None })
            }
            // Whatever has happened to the other one, this one is the engine.
            (Self::Serving, Event::Gone) => (
                Self::Over,
                Action::Finish {
                    odd: Some("it ended before it had given all its connections".into()),
                },
            ),
            (Self::Serving, Event::Malformed(what)) => {
                (Self::Over, Action::Finish { odd: Some(what) })
            }
            (Self::Serving, Event::Said(message)) => (
                Self::Over,
                Action::Finish { odd: Some(format!("{message:?} is not what comes next")) },
            ),
            (_, Event::Late) if late => fail("it does not answer".to_owned()),
            (_, Event::Said(Message::Refused { reason })) => fail(reason),
            (_, Event::Gone) => fail("it has ended, or stops".to_owned()),
            (_, Event::Malformed(what)) => fail(format!("it broke the protocol: {what}")),
            (_, Event::Said(message)) => {
                fail(format!("it broke the protocol: {message:?} is not what comes next"))
            }
            (_, Event::Started | Event::Late) => (self, Action::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::any_message;
    use super::*;
    use abi::message::Awaits;
    use proptest::prelude::*;

    #[test]
    fn the_way_through() {
        let now = Instant::now();
        let mut state = State::Asking { since: now, listeners: 0 };
        let connection = Message::Connection { awaits: Awaits::Next, read: vec![1] };
        let steps = [
            (Event::Said(Message::Listener), Action::KeepListener),
            (Event::Said(Message::Listener), Action::KeepListener),
            (Event::Said(Message::Lock), Action::Start),
            (Event::Late, Action::Nothing),
            (Event::Started, Action::SayReady),
            (Event::Said(Message::Yours), Action::Begin),
            (Event::Said(connection.clone()), Action::Serve(connection)),
            (Event::Said(Message::Done), Action::Finish { odd: None }),
            (Event::Gone, Action::Nothing),
        ];
        for (event, expected) in steps {
            let (next, action) = state.step(event, now);
            assert_eq!(action, expected);
            state = next;
        }
        assert_eq!(state, State::Over);
    }

    #[test]
    fn while_it_starts_it_says_so_in_time() {
        let start = Instant::now();
        let state = State::Starting { told: start };
        assert!(WORKING_INTERVAL * 3 < super::super::give::SILENCE_MAX);
        let (state, action) = state.step(Event::Late, start + WORKING_INTERVAL);
        assert_eq!(
            (state, action),
            (State::Starting { told: start + WORKING_INTERVAL }, Action::SayWorking)
        );
        assert_eq!(state.step(Event::Late, start + WORKING_INTERVAL).1, Action::Nothing);
    }

    #[test]
    fn who_does_not_answer_or_refuses_is_given_up() {
        let start = Instant::now();
        for state in
            [State::Asking { since: start, listeners: 1 }, State::Claiming { since: start }]
        {
            let deadline = state.deadline().unwrap();
            assert!(matches!(state.step(Event::Late, deadline).1, Action::Fail { .. }));
            assert!(matches!(state.step(Event::Gone, start).1, Action::Fail { .. }));
            let refused = Event::Said(Message::Refused { reason: "busy".into() });
            assert_eq!(state.step(refused, start).1, Action::Fail { reason: "busy".into() });
        }
        let nothing_given = State::Asking { since: start, listeners: 0 };
        assert!(matches!(
            nothing_given.step(Event::Said(Message::Lock), start).1,
            Action::Fail { .. }
        ));
    }

    proptest! {
        /// Whatever is said in whatever order: it begins only after it has sockets, the lock, and
        /// said that it was ready; and once it has begun it never fails.
        #[test]
        fn it_begins_in_its_turn_and_then_stays(
            events in proptest::collection::vec(
                prop_oneof![
                    2 => any_message().prop_map(Event::Said),
                    3 => Just(Event::Said(Message::Listener)),
                    3 => Just(Event::Said(Message::Lock)),
                    3 => Just(Event::Started),
                    3 => Just(Event::Said(Message::Yours)),
                    1 => Just(Event::Malformed("x".into())),
                    1 => Just(Event::Gone),
                ],
                0..12,
            ),
        ) {
            let now = Instant::now();
            let mut state = State::Asking { since: now, listeners: 0 };
            let (mut kept, mut started, mut ready, mut begun) = (0, false, false, false);
            for event in events {
                let (next, action) = state.step(event, now);
                match action {
                    Action::KeepListener => kept += 1,
                    Action::Start => { prop_assert!(kept > 0); started = true }
                    Action::SayReady => { prop_assert!(started); ready = true }
                    Action::Begin => { prop_assert!(ready); begun = true }
                    Action::Serve(_) => prop_assert!(begun),
                    Action::Fail { .. } => prop_assert!(!begun),
                    _ => {}
                }
                state = next;
            }
        }
    }
}
