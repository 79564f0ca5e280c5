//! Tests of [`super`]: each rule, and that no order of requests breaks what must always hold.

use proptest::prelude::*;

use super::*;

fn id(text: &str) -> Id {
    text.into()
}

fn serial() -> State {
    State::new(NonZeroUsize::MIN)
}

fn concurrent(concurrency: usize) -> State {
    State::new(NonZeroUsize::new(concurrency).unwrap())
}

/// Takes a runtime to `Running` with the invocation `a`.
fn running(now: Instant) -> State {
    let mut state = serial();
    assert_eq!(state.next(now), Ok((Next::Wait, None)));
    assert!(state.begin(&id("a"), now));
    assert_eq!(state.deliver_to_waiting(now), Some(id("a")));
    state
}

#[test]
fn nothing_begins_before_the_first_next() {
    let now = Instant::now();
    let mut state = serial();
    assert!(!state.is_initialized());
    assert!(!state.begin(&id("a"), now));
    assert_eq!(state.next(now), Ok((Next::Wait, None)));
    assert!(state.is_initialized());
    assert!(state.begin(&id("a"), now));
    assert!(!state.begin(&id("b"), now));
}

#[test]
fn the_next_next_completes_an_invocation_and_ends_its_duration() {
    let now = Instant::now();
    let mut state = running(now);
    assert_eq!(state.post("a", PostKind::Response), Ok(()));
    assert_eq!(state.posted("a", now + Duration::from_millis(3)), Ok(None));
    assert!(!state.can_begin());
    let later = now + Duration::from_millis(5);
    let completed = Completed { id: id("a"), duration: Duration::from_millis(5) };
    assert_eq!(state.next(later), Ok((Next::Wait, Some(completed))));
    assert!(state.can_begin());
    assert_eq!(state.post("a", PostKind::Response), Err(Refused::UnknownId));
}

#[test]
fn next_while_running_repeats_the_event() {
    let now = Instant::now();
    let mut state = running(now);
    assert_eq!(state.next(now), Ok((Next::Repeat(id("a")), None)));
    assert_eq!(state.post("a", PostKind::Error), Ok(()));
}

#[test]
fn ids_are_looked_at_before_states() {
    let now = Instant::now();
    let mut state = running(now);
    assert_eq!(state.post("b", PostKind::Response), Err(Refused::UnknownId));
    state.post("a", PostKind::Response).unwrap();
    let to = "InvocationErrorResponse";
    let refused = Refused::Transition { from: "InvocationResponse", to };
    assert_eq!(state.post("a", PostKind::Error), Err(refused));
    let refused = Refused::Transition { from: "InvocationResponse", to: "Ready" };
    assert_eq!(state.next(now), Err(refused));
    state.posted("a", now).unwrap();
    let refused = Refused::Transition { from: "RuntimeResponseSentState", to };
    assert_eq!(state.post("a", PostKind::Error), Err(refused));
    assert_eq!(state.post("b", PostKind::Error), Err(Refused::UnknownId));
}

#[test]
fn an_init_error_is_final_and_comes_before_the_first_next() {
    let now = Instant::now();
    let mut state = serial();
    assert_eq!(state.init_error(), Ok(()));
    let from = "InitError";
    assert_eq!(state.init_error(), Err(Refused::Transition { from, to: "InitError" }));
    assert_eq!(state.next(now), Err(Refused::Transition { from, to: "Ready" }));
    let refused = Refused::Transition { from: "Running", to: "InitError" };
    assert_eq!(running(now).init_error(), Err(refused));
}

#[test]
fn an_event_whose_next_has_gone_waits_for_another() {
    let now = Instant::now();
    let mut state = serial();
    state.next(now).unwrap();
    assert!(state.begin(&id("a"), now));
    state.waiting_ended();
    assert_eq!(state.next(now), Ok((Next::Deliver(id("a")), None)));
}

#[test]
fn a_runtime_whose_next_has_gone_is_not_ready() {
    let mut state = serial();
    state.next(Instant::now()).unwrap();
    assert!(state.can_begin());
    assert!(!state.has_stopped_asking());
    state.waiting_ended();
    assert!(!state.can_begin());
    assert!(state.has_stopped_asking());
}

#[test]
fn only_a_runtime_with_nothing_to_do_can_have_stopped_asking() {
    let now = Instant::now();
    assert!(!serial().has_stopped_asking(), "it has not begun to");
    let mut state = running(now);
    assert!(!state.has_stopped_asking(), "it works");
    state.post("a", PostKind::Response).unwrap();
    state.posted("a", now).unwrap();
    assert!(!state.has_stopped_asking(), "it may have something to do after its response");
    state.next(now).unwrap();
    assert!(!state.has_stopped_asking());
    let mut several = concurrent(2);
    several.next(now).unwrap();
    several.waiting_ended();
    assert!(!several.has_stopped_asking(), "another of its tasks may be about to ask");
}

#[test]
fn an_invocation_that_was_given_up_is_unknown() {
    let now = Instant::now();
    let mut state = running(now);
    state.post("a", PostKind::Response).unwrap();
    assert!(state.remove("a", now).is_some());
    assert_eq!(state.posted("a", now), Err(Refused::UnknownId));
    assert!(!state.can_begin());
    state.next(now).unwrap();
    assert!(state.can_begin());
}

#[test]
fn several_invocations_are_told_apart_by_their_ids() {
    let now = Instant::now();
    let mut state = concurrent(2);
    for _ in 0..3 {
        assert_eq!(state.next(now), Ok((Next::Wait, None)));
    }
    assert!(state.begin(&id("a"), now));
    assert!(!state.begin(&id("a"), now));
    assert!(state.begin(&id("b"), now));
    assert!(!state.begin(&id("c"), now));
    assert_eq!(state.deliver_to_waiting(now), Some(id("a")));
    assert_eq!(state.deliver_to_waiting(now), Some(id("b")));
    assert_eq!(state.deliver_to_waiting(now), None);
    state.post("b", PostKind::Response).unwrap();
    assert_eq!(state.posted("b", now).unwrap().unwrap().id, id("b"));
    assert!(state.begin(&id("c"), now));
    assert_eq!(state.next(now), Ok((Next::Deliver(id("c")), None)));
    assert_eq!(state.post("b", PostKind::Response), Err(Refused::UnknownId));
    assert_eq!(state.post("a", PostKind::Error), Ok(()));
}

proptest! {
    /// Any order of what a runtime and a worker do keeps the number of invocations within the
    /// concurrency, and never delivers, answers or completes one twice.
    #[test]
    fn no_order_of_requests_breaks_an_invariant(
        concurrency in 1_usize..4,
        steps in proptest::collection::vec((0_u8..8, 0_u8..4), 0..80),
    ) {
        let now = Instant::now();
        let mut state = concurrent(concurrency);
        let (mut begun, mut delivered) = (0, std::collections::HashSet::new());
        let mut completed = std::collections::HashSet::new();
        for (step, which) in steps {
            let some = format!("{}", u32::from(which) + begun / 2);
            match step {
                0 | 1 => if let Ok((next, done)) = state.next(now) {
                    if let Next::Deliver(id) = next {
                        prop_assert!(delivered.insert(id));
                    }
                    if let Some(done) = done {
                        prop_assert!(completed.insert(done.id));
                    }
                },
                2 => if state.begin(&id(&begun.to_string()), now) {
                    begun += 1;
                },
                3 => if let Some(id) = state.deliver_to_waiting(now) {
                    prop_assert!(delivered.insert(id));
                },
                4 => if state.post(&some, PostKind::Response).is_ok() {
                    prop_assert!(delivered.contains(&id(&some)));
                    if let Ok(Some(done)) = state.posted(&some, now) {
                        prop_assert!(completed.insert(done.id));
                    }
                },
                5 => { let _ = state.init_error(); }
                6 => state.waiting_ended(),
                _ => if let Some(done) = state.remove(&some, now) {
                    prop_assert!(completed.insert(done.id));
                },
            }
            prop_assert!(state.entries.len() <= concurrency);
            prop_assert!(!state.can_begin() || state.is_initialized());
        }
    }
}
