//! The running engine's side of a take-over: what follows from each message of the new one, and
//! when the running one has waited enough. Pure: state, event and time in, state and action out.
//! Owns no fds.
//!
//! ```text
//! Greeted ─ hello ─▶ Finishing ─ finished ─▶ Offered ─ ready ─▶ Given
//!    └────────────────────┴──────────────────────┴─▶ Over: this engine goes on
//! ```

use std::time::{Duration, Instant};

use super::message::{Message, PROTOCOL};

/// How long the new engine may send nothing.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How far the take-over has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// A process has connected.
    Greeted { since: Instant },
    /// No change of what is deployed begins any more. One that is under way ends first.
    Finishing,
    /// The new engine has everything, and starts. `heard_at` is when it sent its last message.
    Offered { heard_at: Instant },
    /// The new engine serves.
    Given,
    /// The take-over has failed.
    Over,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The new engine has sent a message.
    Message(Message),
    /// The new engine has sent what is no message.
    Malformed(String),
    /// The new engine has closed its end.
    Gone,
    /// No change of what is deployed is under way any more.
    Finished,
    /// The deadline has come.
    Timeout,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Let no change of what is deployed begin, and report when none is under way.
    Finish,
    /// Send the listening sockets and the lock.
    Offer,
    /// Send that the node is the new engine's. If that cannot be sent, the take-over has failed.
    Commit,
    /// Tell the new engine the reason, if it is still there, and go on.
    GoOn {
        reason: String,
    },
}

impl State {
    /// Returns when [`Event::Timeout`] is to come if nothing else happens. Returns `None` if it is
    /// not.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Greeted { since } => Some(since + SILENCE_MAX),
            Self::Offered { heard_at } => Some(heard_at + SILENCE_MAX),
            // A change of what is deployed has time limits of its own.
            Self::Finishing | Self::Given | Self::Over => None,
        }
    }

    /// Returns what follows from `event`.
    pub(super) fn step(self, event: Event, now: Instant) -> (Self, Action) {
        let over = |reason: String| (Self::Over, Action::GoOn { reason });
        match (self, event) {
            (Self::Given | Self::Over, _) => (self, Action::Nothing),
            (Self::Greeted { .. }, Event::Message(Message::Hello { protocol: PROTOCOL, .. })) => {
                (Self::Finishing, Action::Finish)
            }
            (Self::Greeted { .. }, Event::Message(Message::Hello { protocol, build })) => {
                over(format!(
                    "the new engine (build {build}) takes over by protocol {protocol}, the running one by {PROTOCOL}; stop it and start the new one"
                ))
            }
            (Self::Finishing, Event::Finished) => (Self::Offered { heard_at: now }, Action::Offer),
            (Self::Offered { .. }, Event::Message(Message::Working)) => {
                (Self::Offered { heard_at: now }, Action::Nothing)
            }
            (Self::Offered { .. }, Event::Message(Message::Ready)) => (Self::Given, Action::Commit),
            (_, Event::Timeout) => match self.deadline() {
                Some(deadline) if now >= deadline => {
                    over(format!("the new engine has said nothing for {SILENCE_MAX:?}"))
                }
                _ => (self, Action::Nothing),
            },
            (_, Event::Message(Message::Refused { reason })) => {
                over(format!("the new engine gave up: {reason}"))
            }
            (_, Event::Gone) => over("the new engine has gone before it was ready".to_owned()),
            (_, Event::Malformed(what)) => {
                over(format!("the new engine broke the protocol: {what}"))
            }
            (_, Event::Message(message)) => over(format!(
                "the new engine broke the protocol: {message:?} is not what comes next"
            )),
            (_, Event::Finished) => (self, Action::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::any_message;
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Event {
        Event::Message(Message::Hello { protocol: PROTOCOL, build: "b".into() })
    }

    #[test]
    fn the_way_through() {
        let start = Instant::now();
        let later = start + SILENCE_MAX - Duration::from_millis(1);
        let (state, action) = State::Greeted { since: start }.step(hello(), start);
        assert_eq!((state, action), (State::Finishing, Action::Finish));
        // A deploy under way takes as long as it takes.
        assert_eq!(
            state.step(Event::Timeout, start + SILENCE_MAX * 9),
            (State::Finishing, Action::Nothing)
        );
        let (state, action) = state.step(Event::Finished, start);
        assert_eq!(action, Action::Offer);
        let (state, action) = state.step(Event::Message(Message::Working), later);
        assert_eq!(action, Action::Nothing);
        let (state, action) = state.step(Event::Timeout, later + Duration::from_millis(2));
        assert_eq!((state, action), (State::Offered { heard_at: later }, Action::Nothing));
        assert_eq!(
            state.step(Event::Message(Message::Ready), later),
            (State::Given, Action::Commit)
        );
    }

    #[test]
    fn silence_ends_it() {
        let start = Instant::now();
        for state in [State::Greeted { since: start }, State::Offered { heard_at: start }] {
            assert_eq!(state.deadline(), Some(start + SILENCE_MAX));
            let (state, action) = state.step(Event::Timeout, start + SILENCE_MAX);
            assert!(matches!((state, action), (State::Over, Action::GoOn { .. })));
        }
    }

    #[test]
    fn another_protocol_is_told_so() {
        let now = Instant::now();
        let other = Event::Message(Message::Hello { protocol: PROTOCOL + 1, build: "x".into() });
        let (state, action) = State::Greeted { since: now }.step(other, now);
        assert_eq!(state, State::Over);
        assert!(matches!(action, Action::GoOn { reason } if reason.contains("protocol 2")));
    }

    proptest! {
        /// Whatever is said in whatever order: it is given only to one that said hello, was offered
        /// everything and was ready then; and what is over stays so.
        #[test]
        fn nothing_is_given_out_of_turn(events in proptest::collection::vec(any_event(), 0..12)) {
            let now = Instant::now();
            let (mut state, mut offered) = (State::Greeted { since: now }, false);
            for event in events {
                let before = state;
                let (next, action) = state.step(event.clone(), now);
                state = next;
                offered |= action == Action::Offer;
                prop_assert!(before != State::Over || (next == State::Over && action == Action::Nothing));
                if action == Action::Commit {
                    prop_assert!(offered && event == Event::Message(Message::Ready));
                }
                let odd = matches!(event, Event::Malformed(_) | Event::Gone);
                prop_assert!(!odd || matches!(next, State::Over | State::Given));
            }
        }
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => any_message().prop_map(Event::Message),
            2 => Just(hello()),
            2 => Just(Event::Message(Message::Ready)),
            1 => Just(Event::Malformed("x".into())),
            1 => Just(Event::Gone),
            3 => Just(Event::Finished),
            1 => Just(Event::Timeout),
        ]
    }
}
