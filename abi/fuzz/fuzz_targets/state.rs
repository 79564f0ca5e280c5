//! The state socket: any packet, with an fd or without, received through a real channel as a question
//! and as an answer.
//!
//! It is refused, or it keeps to its limits, has the fd it needs and survives being sent again; and
//! no fd is leaked.
#![no_main]

use std::fmt::Debug;
use std::os::fd::{AsFd as _, OwnedFd};

use abi::channel::{Channel, Incoming, Message, Outgoing, ReceiveBuffer, ReceiveError};
use abi::envelope;
use abi::job::{Progress, Refused, State};
use abi::state::{
    Answer, Answered, Delta, Entry, Failure, Operation, Position, Query, Question, Response,
};
use fuzz::{FdWatch, Origin};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static ENDS: (Channel, Channel) = Channel::pair().expect("there are sockets left");
}

fuzz_target!(|bytes: &[u8]| {
    // An error is an input too short to say what is to happen.
    let _ = run(&mut Unstructured::new(bytes));
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let packet = Origin::choose(input)?.archive(input, |input| {
        let packed = if input.arbitrary()? {
            envelope::pack(&question(input)?)
        } else {
            envelope::pack(&answered(input)?)
        };
        Ok(packed.expect("a message can be packed"))
    })?;
    let with_fd = input.arbitrary()?;
    if packet.len() <= abi::limits::MESSAGE_BYTES_MAX {
        deliver::<Question>(&packet, with_fd);
        deliver::<Answered>(&packet, with_fd);
    }
    Ok(())
}

fn deliver<M: Message + Incoming + Outgoing + PartialEq + Debug>(packet: &[u8], with_fd: bool) {
    ENDS.with(|(peer, honest)| {
        let watch = FdWatch::start();
        let mut buffer = ReceiveBuffer::default();
        let fd = with_fd.then(|| peer.as_fd());
        peer.send_packet(packet, fd).expect("the queue is empty");
        match honest.receive::<M>(&mut buffer) {
            Ok(received) => {
                assert_eq!(received.message.check(), Ok(()));
                assert_eq!(received.message.fd_count(), usize::from(received.fd.is_some()));
                let fd = received.fd.as_ref().map(OwnedFd::as_fd);
                peer.send(&received.message, fd).expect("what was received can be sent");
                let again = honest.receive::<M>(&mut buffer).expect("and received");
                assert_eq!(again.message, received.message);
            }
            Err(ReceiveError::Malformed(_)) => {}
            // An empty packet looks the same as a closed socket.
            Err(ReceiveError::Gone) if packet.is_empty() && !with_fd => {}
            Err(error) => panic!("the packet was lost: {error}"),
        }
        watch.end();
    });
}

fn question(input: &mut Unstructured<'_>) -> Result<Question> {
    let operation = match input.int_in_range(0..=8)? {
        0 => Operation::Get { key: input.arbitrary()? },
        1 => Operation::Exists { key: input.arbitrary()? },
        2 => Operation::List { from: Position::After(input.arbitrary()?) },
        3 => Operation::List { from: Position::Skip(input.arbitrary()?) },
        4 => Operation::GetMany { keys: input.arbitrary()? },
        5 => Operation::Set { key: input.arbitrary()?, value: input.arbitrary()? },
        6 => Operation::Increment { key: input.arbitrary()?, delta: delta(input)? },
        7 => Operation::SetMany { entries: input.arbitrary()? },
        _ => Operation::Swap {
            key: input.arbitrary()?,
            revision: input.arbitrary()?,
            value: input.arbitrary()?,
        },
    };
    let query = match input.int_in_range(0..=3)? {
        0 => Query::Submit,
        1 => Query::Progress { job: input.arbitrary()? },
        _ => Query::State { bucket: input.arbitrary()?, operation },
    };
    let function = if input.arbitrary()? { "shop".to_owned() } else { input.arbitrary()? };
    Ok(Question { id: input.arbitrary()?, function, query })
}

fn answered(input: &mut Unstructured<'_>) -> Result<Answered> {
    let answer = match input.int_in_range(0..=6)? {
        0 => Answer::Entry(Some(Entry { revision: input.arbitrary()?, value: input.arbitrary()? })),
        1 => Answer::Keys { keys: input.arbitrary()?, more: input.arbitrary()? },
        2 => Answer::Entries(input.arbitrary()?),
        3 => Answer::Number(delta(input)?),
        4 => Answer::Swapped(input.arbitrary()?),
        5 => Answer::Failed(Failure::Full(input.arbitrary()?)),
        _ => Answer::Done,
    };
    let response = match input.int_in_range(0..=5)? {
        0 => Response::Submitted(Ok(input.arbitrary()?)),
        1 => Response::Submitted(Err(Refused::Full(input.arbitrary()?))),
        2 => Response::Progress(Ok(progress(input)?)),
        3 => Response::Progress(Err(input.arbitrary()?)),
        _ => Response::State(answer),
    };
    Ok(Answered { id: input.arbitrary()?, response })
}

fn progress(input: &mut Unstructured<'_>) -> Result<Option<Progress>> {
    let states = [State::Queued, State::Running, State::Done, State::Dead];
    let (state, attempts) = (*input.choose(&states)?, input.arbitrary()?);
    let progress = Progress { state, attempts, status: input.arbitrary()? };
    Ok(input.arbitrary::<bool>()?.then_some(progress))
}

fn delta(input: &mut Unstructured<'_>) -> Result<Delta> {
    Ok(if input.arbitrary()? {
        Delta::Unsigned(input.arbitrary()?)
    } else {
        Delta::Signed(input.arbitrary()?)
    })
}
