//! The running engine's side of a take-over: what it does about what the new one says, and when it
//! has waited enough. Pure: state, event and time in, state and action out. Owns no fds.
//!
//! ```text
//! Greeted ─ hello ─▶ Finishing ─ finished ─▶ Offered ─ ready ─▶ Given
//!    └────────────────────┴──────────────────────┴─▶ Over: this engine goes on as if nothing had happened
//! ```

use std::time::{Duration, Instant};

use super::message::{Message, PROTOCOL};

/// How long the new engine may say nothing.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Somebody has connected.
    Greeted { since: Instant },
    /// No change of what is deployed is begun any more; one may have to end.
    Finishing,
    /// The new engine has everything, and starts.
    Offered { heard: Instant },
    /// The new engine is the engine.
    Given,
    /// Nothing comes of it.
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Said(Message),
    /// What it sent is no message.
    Malformed(String),
    /// Its end is closed.
    Gone,
    /// No change of what is deployed is under way any more.
    Finished,
    /// Time has passed.
    Late,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Let no change of what is deployed begin, and say when none is under way.
    Finish,
    /// Send the listening sockets and the lock.
    Offer,
    /// Say that it is theirs; if even that cannot be sent, it is not.
    Commit,
    /// Tell it why not, if it is still there, and go on.
    GoOn {
        reason: String,
    },
}

impl State {
    /// When time alone changes something.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Greeted { since } => Some(since + SILENCE_MAX),
            Self::Offered { heard } => Some(heard + SILENCE_MAX),
            // How long a change may take has limits of its own.
            Self::Finishing | Self::Given | Self::Over => None,
        }
    }

    /// What comes next.
    pub(super) fn step(self, event: Event, now: Instant) -> (Self, Action) {
        let over = |reason: String| (Self::Over, Action::GoOn { reason });
        match (self, event) {
            (Self::Given | Self::Over, _) => (self, Action::Nothing),
            (Self::Greeted { .. }, Event::Said(Message::Hello { protocol: PROTOCOL, .. })) => {
                (Self::Finishing, Action::Finish)
            }
            (Self::Greeted { .. }, Event::Said(Message::Hello { protocol, build })) => {
                over(format!(
                    "the new engine (build {build}) takes over by protocol {protocol}, the running one by {PROTOCOL}; stop it and start the new one"
                ))
            }
            (Self::Finishing, Event::Finished) => (Self::Offered { heard: now }, Action::Offer),
            (Self::Offered { .. }, Event::Said(Message::Working)) => {
                (Self::Offered { heard: now }, Action::Nothing)
            }
            (Self::Offered { .. }, Event::Said(Message::Ready)) => (Self::Given, Action::Commit),
            (_, Event::Late) => match self.deadline() {
                Some(deadline) if now >= deadline => {
                    over(format!("the new engine has said nothing for {SILENCE_MAX:?}"))
                }
                _ => (self, Action::Nothing),
            },
            (_, Event::Said(Message::Refused { reason })) => {
                over(format!("the new engine gave up: {reason}"))
            }
            (_, Event::Gone) => over("the new engine has gone before it was ready".to_owned()),
            (_, Event::Malformed(what)) => {
                over(format!("the new engine broke the protocol: {what}"))
            }
            (_, Event::Said(message)) => over(format!(
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
        Event::Said(Message::Hello { protocol: PROTOCOL, build: "b".into() })
    }

    #[test]
    fn the_way_through() {
        let start = Instant::now();
        let later = start + SILENCE_MAX - Duration::from_millis(1);
        let (state, action) = State::Greeted { since: start }.step(hello(), start);
        assert_eq!((state, action), (State::Finishing, Action::Finish));
        // A deploy under way takes as long as it takes.
        assert_eq!(
            state.step(Event::Late, start + SILENCE_MAX * 9),
            (State::Finishing, Action::Nothing)
        );
        let (state, action) = state.step(Event::Finished, start);
        assert_eq!(action, Action::Offer);
        let (state, action) = state.step(Event::Said(Message::Working), later);
        assert_eq!(action, Action::Nothing);
        let (state, action) = state.step(Event::Late, later + Duration::from_millis(2));
        assert_eq!((state, action), (State::Offered { heard: later }, Action::Nothing));
        assert_eq!(state.step(Event::Said(Message::Ready), later), (State::Given, Action::Commit));
    }

    #[test]
    fn silence_ends_it() {
        let start = Instant::now();
        for state in [State::Greeted { since: start }, State::Offered { heard: start }] {
            assert_eq!(state.deadline(), Some(start + SILENCE_MAX));
            let (state, action) = state.step(Event::Late, start + SILENCE_MAX);
            assert!(matches!((state, action), (State::Over, Action::GoOn { .. })));
        }
    }

    #[test]
    fn another_protocol_is_told_so() {
        let now = Instant::now();
        let other = Event::Said(Message::Hello { protocol: PROTOCOL + 1, build: "x".into() });
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
                    prop_assert!(offered && event == Event::Said(Message::Ready));
                }
                let odd = matches!(event, Event::Malformed(_) | Event::Gone);
                prop_assert!(!odd || matches!(next, State::Over | State::Given));
            }
        }
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => any_message().prop_map(Event::Said),
            2 => Just(hello()),
            2 => Just(Event::Said(Message::Ready)),
            1 => Just(Event::Malformed("x".into())),
            1 => Just(Event::Gone),
            3 => Just(Event::Finished),
            1 => Just(Event::Late),
        ]
    }
}
