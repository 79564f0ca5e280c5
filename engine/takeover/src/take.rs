//! The new engine's side of a take-over: what follows from each message of the running one, and
//! when the new one has waited enough. Pure: state, event and time in, state and action out. Owns
//! no fds.
//!
//! ```text
//! Asking ─ listeners, lock ─▶ Starting ─ started ─▶ Claiming ─ yours ─▶ Serving ─ done ─▶ Over
//!    └───────────────────────────┴─────────────────────┴─▶ Failed: this engine ends
//! ```

use std::time::{Duration, Instant};

use host::listen::Spoken;

use super::message::Message;

/// How long the running engine may take to finish a deploy that is under way, which it may have to
/// compile and publish.
const FINISHING_MAX: Duration = Duration::from_secs(240);
/// How often this engine sends that it still starts.
pub(super) const WORKING_INTERVAL: Duration = Duration::from_secs(5);
/// How long the running engine may take to send `yours`: as long as it waits for a message itself.
/// Clients do not wait meanwhile, and this engine notices at once if the running one ends.
const CLAIM_TIMEOUT: Duration = super::give::SILENCE_MAX;
/// The most listening sockets that are taken. No node has as many.
const LISTENERS_MAX: usize = 4096;

/// How far the take-over has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for what the running engine gives. So many listening sockets have come.
    Asking { since: Instant, listeners: usize },
    /// It has everything, and starts. `reported_at` is when it last sent so.
    Starting { reported_at: Instant },
    /// It is ready.
    Claiming { since: Instant },
    /// It serves, and connections still come.
    Serving,
    /// The other engine has ended.
    Over,
    /// The running engine goes on.
    Failed,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The running engine has sent a message.
    Message(Message),
    /// The running engine has sent what is no message.
    Malformed(String),
    /// The running engine has closed its end.
    Gone,
    /// This engine is ready to serve.
    Started,
    /// The deadline has come.
    Timeout,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Keep the listening socket that came.
    KeepListener {
        spoken: Spoken,
        owns_file: bool,
    },
    /// Keep the lock that came, and start.
    Start,
    /// Send that this engine still starts.
    SendWorking,
    /// Send that this engine is ready.
    SendReady,
    /// Begin to accept connections.
    Begin,
    /// Serve the connection that came.
    Serve(Message),
    /// End the conversation. `error` is why connections may be lost, if they are.
    Finish {
        error: Option<String>,
    },
    /// End this engine, for this reason.
    Fail {
        reason: String,
    },
}

impl State {
    /// Returns when [`Event::Timeout`] is to come if nothing else happens. Returns `None` if it is
    /// not.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Asking { since, .. } => Some(since + FINISHING_MAX),
            Self::Starting { reported_at } => Some(reported_at + WORKING_INTERVAL),
            Self::Claiming { since } => Some(since + CLAIM_TIMEOUT),
            Self::Serving | Self::Over | Self::Failed => None,
        }
    }

    /// Returns what follows from `event`.
    pub(super) fn step(self, event: Event, now: Instant) -> (Self, Action) {
        let fail = |reason: String| (Self::Failed, Action::Fail { reason });
        let late = self.deadline().is_some_and(|deadline| now >= deadline);
        match (self, event) {
            (Self::Over | Self::Failed, _) => (self, Action::Nothing),
            (Self::Asking { listeners, .. }, Event::Message(Message::Listener { .. }))
                if listeners >= LISTENERS_MAX =>
            {
                fail(format!("it gives more than {LISTENERS_MAX} listening sockets"))
            }
            (
                Self::Asking { since, listeners },
                Event::Message(Message::Listener { spoken, owns_file }),
            ) => (
                Self::Asking { since, listeners: listeners + 1 },
                Action::KeepListener { spoken, owns_file },
            ),
            (Self::Asking { listeners: 0, .. }, Event::Message(Message::Lock)) => {
                fail("it gives no listening socket".to_owned())
            }
            (Self::Asking { .. }, Event::Message(Message::Lock)) => {
                (Self::Starting { reported_at: now }, Action::Start)
            }
            (Self::Starting { .. }, Event::Started) => {
                (Self::Claiming { since: now }, Action::SendReady)
            }
            (Self::Starting { .. }, Event::Timeout) if late => {
                (Self::Starting { reported_at: now }, Action::SendWorking)
            }
            (Self::Claiming { .. }, Event::Message(Message::Yours)) => {
                (Self::Serving, Action::Begin)
            }
            (Self::Serving, Event::Message(message @ Message::Connection { .. })) => {
                (self, Action::Serve(message))
            }
            (Self::Serving, Event::Message(Message::Done)) => {
                (Self::Over, Action::Finish { error: None })
            }
            // Whatever has happened to the other engine, this one serves.
            (Self::Serving, Event::Gone) => (
                Self::Over,
                Action::Finish {
                    error: Some("it ended before it had given all its connections".into()),
                },
            ),
            (Self::Serving, Event::Malformed(what)) => {
                (Self::Over, Action::Finish { error: Some(what) })
            }
            (Self::Serving, Event::Message(message)) => (
                Self::Over,
                Action::Finish { error: Some(format!("{message:?} is not what comes next")) },
            ),
            (_, Event::Timeout) if late => fail("it does not answer".to_owned()),
            (_, Event::Message(Message::Refused { reason })) => fail(reason),
            (_, Event::Gone) => fail("it has ended, or stops".to_owned()),
            (_, Event::Malformed(what)) => fail(format!("it broke the protocol: {what}")),
            (_, Event::Message(message)) => {
                fail(format!("it broke the protocol: {message:?} is not what comes next"))
            }
            (_, Event::Started | Event::Timeout) => (self, Action::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::any_message;
    use super::*;
    use abi::message::Awaits;
    use host::listen::Scheme;
    use proptest::prelude::*;

    #[test]
    fn the_way_through() {
        let now = Instant::now();
        let mut state = State::Asking { since: now, listeners: 0 };
        let connection = Message::Connection { awaits: Awaits::Next, origin: None, read: vec![1] };
        let listener = |spoken, owns_file| Event::Message(Message::Listener { spoken, owns_file });
        let keep = |spoken, owns_file| Action::KeepListener { spoken, owns_file };
        let other = Spoken { scheme: Scheme::Https, proxy_protocol: true };
        let steps = [
            (listener(Spoken::HTTP, true), keep(Spoken::HTTP, true)),
            (listener(other, false), keep(other, false)),
            (Event::Message(Message::Lock), Action::Start),
            (Event::Timeout, Action::Nothing),
            (Event::Started, Action::SendReady),
            (Event::Message(Message::Yours), Action::Begin),
            (Event::Message(connection.clone()), Action::Serve(connection)),
            (Event::Message(Message::Done), Action::Finish { error: None }),
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
        let state = State::Starting { reported_at: start };
        assert!(WORKING_INTERVAL * 3 < super::super::give::SILENCE_MAX);
        let (state, action) = state.step(Event::Timeout, start + WORKING_INTERVAL);
        assert_eq!(
            (state, action),
            (State::Starting { reported_at: start + WORKING_INTERVAL }, Action::SendWorking)
        );
        assert_eq!(state.step(Event::Timeout, start + WORKING_INTERVAL).1, Action::Nothing);
    }

    #[test]
    fn who_does_not_answer_or_refuses_is_given_up() {
        let start = Instant::now();
        for state in
            [State::Asking { since: start, listeners: 1 }, State::Claiming { since: start }]
        {
            let deadline = state.deadline().unwrap();
            assert!(matches!(state.step(Event::Timeout, deadline).1, Action::Fail { .. }));
            assert!(matches!(state.step(Event::Gone, start).1, Action::Fail { .. }));
            let refused = Event::Message(Message::Refused { reason: "busy".into() });
            assert_eq!(state.step(refused, start).1, Action::Fail { reason: "busy".into() });
        }
        let nothing_given = State::Asking { since: start, listeners: 0 };
        assert!(matches!(
            nothing_given.step(Event::Message(Message::Lock), start).1,
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
                    2 => any_message().prop_map(Event::Message),
                    3 => Just(Event::Message(Message::Listener {
                        spoken: Spoken::HTTP,
                        owns_file: false,
                    })),
                    3 => Just(Event::Message(Message::Lock)),
                    3 => Just(Event::Started),
                    3 => Just(Event::Message(Message::Yours)),
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
                    Action::KeepListener { .. } => kept += 1,
                    Action::Start => { prop_assert!(kept > 0); started = true }
                    Action::SendReady => { prop_assert!(started); ready = true }
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
