//! The body of a request, taken out of the bytes that arrive: with a length, chunked, or none; and
//! what a client sends once its connection has changed its protocol. Pure; owns no fds.

use abi::limits::UNREAD_BODY_BYTES_MAX;
use bytes::BytesMut;

use super::chunked::{Decoder, Malformed, Piece};
use crate::run::body::BodyError;

/// How much is read at a time of another protocol, whose messages are mostly short.
const CHANGED_READ_BYTES: u64 = 16 * 1024;

enum Stage {
    Done,
    Counted {
        left: u64,
    },
    Chunked(Box<Decoder>),
    /// The request asks to change the protocol, and is not answered yet.
    Asking,
    /// The protocol has changed: all bytes until the end of the stream.
    Changed,
    Failed(BodyError),
}

/// The state of `Expect: 100-continue` (RFC 9110 10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Continue {
    /// The client does not wait for it, or has received it.
    Settled,
    /// The client waits for it, and nobody has asked for the body.
    Expected,
    /// The client waits for it, and somebody has asked for the body.
    Requested,
}

pub(super) struct Incoming {
    stage: Stage,
    taken: u64,
    /// The most bytes that may be taken.
    limit: u64,
    pub(super) continues: Continue,
    /// Whether somebody may still read the body.
    pub(super) held: bool,
}

impl Default for Incoming {
    fn default() -> Self {
        Self {
            stage: Stage::Done,
            taken: 0,
            limit: u64::MAX,
            continues: Continue::Settled,
            held: false,
        }
    }
}

impl Incoming {
    /// Begins a request whose body has this framing.
    pub(super) fn begin(&mut self, framing: abi::head::Framing, continues: Continue) {
        use abi::head::Framing;
        let stage = match framing {
            Framing::None => Stage::Done,
            Framing::Length(left) => Stage::Counted { left },
            Framing::Chunked => Stage::Chunked(Box::default()),
        };
        *self = Self { stage, taken: 0, limit: u64::MAX, continues, held: false };
    }

    /// Begins a request that asks to change the protocol, and has no body (RFC 9110 7.8).
    pub(super) fn begin_upgrade(&mut self) {
        let (limit, continues) = (u64::MAX, Continue::Settled);
        *self = Self { stage: Stage::Asking, taken: 0, limit, continues, held: false };
    }

    /// Returns whether the request asks to change the protocol, and is not answered yet.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking)
    }

    /// Returns whether the protocol has changed.
    pub(super) fn has_changed(&self) -> bool {
        matches!(self.stage, Stage::Changed)
    }

    /// Answers a request that asks to change the protocol. If it does not change, another request
    /// may follow.
    pub(super) fn answer_upgrade(&mut self, changes: bool) {
        if self.is_asking() {
            self.stage = if changes { Stage::Changed } else { Stage::Done };
        }
    }

    /// Ends what is sent by a protocol that the connection has changed to.
    pub(super) fn end_changed(&mut self) {
        if self.has_changed() {
            self.stage = Stage::Done;
        }
    }

    /// Limits the body to `limit` bytes.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] if the body is already known to be longer.
    pub(super) fn limit(&mut self, limit: u64) -> Result<(), BodyError> {
        // What another protocol sends is no body.
        self.limit = if self.is_asking() { u64::MAX } else { limit };
        match self.stage {
            Stage::Counted { left } if left > limit => Err(BodyError::TooLarge { limit }),
            _ => Ok(()),
        }
    }

    /// Returns the number of bytes that have been taken.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken
    }

    /// Returns whether the whole body has been taken.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Returns whether the next request will be reached behind this body, as far as that can be
    /// known: at most [`UNREAD_BODY_BYTES_MAX`] bytes may have to be read for that. If nobody reads
    /// the body any more, takes what has arrived of it off `buffer`.
    pub(super) fn can_be_passed(&mut self, buffer: &mut BytesMut) -> bool {
        if !self.held {
            // The limit is the function's, and only concerns what the guest reads.
            self.limit = u64::MAX;
        }
        while !self.held && !self.is_done() && !buffer.is_empty() {
            match self.next(buffer) {
                Ok(Piece::More { .. }) | Err(_) => break,
                Ok(_) => {}
            }
        }
        match self.stage {
            Stage::Done => true,
            Stage::Counted { left } => self.held || left <= UNREAD_BODY_BYTES_MAX,
            // Only the client knows how much is still to come.
            Stage::Chunked(_) => self.held,
            Stage::Asking | Stage::Changed | Stage::Failed(_) => false,
        }
    }

    /// Returns the error that has ended the body, if any.
    pub(super) fn failure(&self) -> Option<BodyError> {
        if let Stage::Failed(error) = self.stage { Some(error) } else { None }
    }

    pub(super) fn fail(&mut self, error: BodyError) {
        self.stage = Stage::Failed(error);
    }

    /// Records that somebody asks for the body.
    pub(super) fn request_continue(&mut self) {
        if self.continues == Continue::Expected {
            self.continues = Continue::Requested;
        }
    }

    /// Takes the next piece of the body off the front of `buffer`.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, BodyError> {
        let piece = match &mut self.stage {
            Stage::Failed(error) => return Err(*error),
            Stage::Done => Piece::End,
            Stage::Asking => Piece::More { bytes: 0 },
            Stage::Changed if buffer.is_empty() => Piece::More { bytes: CHANGED_READ_BYTES },
            Stage::Changed => Piece::Data(buffer.split().freeze()),
            Stage::Counted { left } if buffer.is_empty() => Piece::More { bytes: *left },
            Stage::Counted { left } => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let data = buffer.split_to(buffer.len().min(most)).freeze();
                *left -= data.len() as u64;
                Piece::Data(data)
            }
            Stage::Chunked(decoder) => decoder.next(buffer).unwrap_or_else(|Malformed| {
                self.stage = Stage::Failed(BodyError::Malformed);
                Piece::End
            }),
        };
        match &piece {
            Piece::Data(data) => {
                self.taken = self.taken.saturating_add(data.len() as u64);
                self.continues = Continue::Settled;
                if self.taken > self.limit {
                    self.stage = Stage::Failed(BodyError::TooLarge { limit: self.limit });
                } else if matches!(self.stage, Stage::Counted { left: 0 }) {
                    self.stage = Stage::Done;
                }
            }
            Piece::End | Piece::Trailers(_) if !matches!(self.stage, Stage::Failed(_)) => {
                self.stage = Stage::Done
            }
            _ => {}
        }
        if let Stage::Failed(error) = self.stage { Err(error) } else { Ok(piece) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::head::Framing;

    fn read(incoming: &mut Incoming, bytes: &str) -> (String, Result<Piece, BodyError>, String) {
        let mut buffer = BytesMut::from(bytes);
        let mut data = String::new();
        loop {
            match incoming.next(&mut buffer) {
                Ok(Piece::Data(bytes)) => data.push_str(std::str::from_utf8(&bytes).unwrap()),
                other => return (data, other, String::from_utf8(buffer.to_vec()).unwrap()),
            }
        }
    }

    fn begun(framing: Framing) -> Incoming {
        let mut incoming = Incoming::default();
        incoming.begin(framing, Continue::Expected);
        incoming
    }

    #[test]
    fn a_counted_body_ends_after_its_bytes() {
        let mut incoming = begun(Framing::Length(5));
        incoming.limit(5).unwrap();
        assert_eq!(
            read(&mut incoming, "hel"),
            ("hel".into(), Ok(Piece::More { bytes: 2 }), String::new())
        );
        assert!(!incoming.is_done() && incoming.continues == Continue::Settled);
        assert_eq!(read(&mut incoming, "loGET /"), ("lo".into(), Ok(Piece::End), "GET /".into()));
        assert!(incoming.is_done());
        assert_eq!(begun(Framing::Length(6)).limit(5), Err(BodyError::TooLarge { limit: 5 }));
    }

    #[test]
    fn a_chunked_body_ends_with_its_trailers_and_is_held_to_its_limit() {
        let mut incoming = begun(Framing::Chunked);
        let (data, end, rest) =
            read(&mut incoming, "3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: u\r\n\r\nGET");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("t", "u".parse().unwrap());
        assert_eq!(
            (data.as_str(), end, rest.as_str()),
            ("abcde", Ok(Piece::Trailers(trailers)), "GET")
        );
        assert_eq!(read(&mut incoming, "GET").1, Ok(Piece::End));

        let mut incoming = begun(Framing::Chunked);
        incoming.limit(4).unwrap();
        let why = BodyError::TooLarge { limit: 4 };
        assert_eq!(read(&mut incoming, "3\r\nabc\r\n2\r\nde\r\n").1, Err(why));
        assert_eq!((read(&mut incoming, "").1, incoming.failure()), (Err(why), Some(why)));
        assert_eq!(read(&mut begun(Framing::Chunked), "x").1, Err(BodyError::Malformed));
    }

    #[test]
    fn what_follows_an_upgrade_is_all_there_is_unless_it_is_refused() {
        let mut incoming = Incoming::default();
        incoming.begin_upgrade();
        incoming.limit(1).unwrap();
        let nothing = (String::new(), Ok(Piece::More { bytes: 0 }), "abc".to_owned());
        assert_eq!(read(&mut incoming, "abc"), nothing, "it is not answered yet");
        incoming.answer_upgrade(true);
        let more = Ok(Piece::More { bytes: CHANGED_READ_BYTES });
        assert_eq!(read(&mut incoming, "abc"), ("abc".to_owned(), more, String::new()));
        assert!(!incoming.can_be_passed(&mut "GET".into()));
        incoming.end_changed();
        assert!(incoming.is_done());
        incoming.begin_upgrade();
        incoming.answer_upgrade(false);
        assert_eq!(read(&mut incoming, "GET"), (String::new(), Ok(Piece::End), "GET".to_owned()));
    }

    #[test]
    fn a_body_that_nobody_reads_is_passed_when_its_end_is_near() {
        let of = |framing, bytes: &str| {
            let (mut incoming, mut buffer) = (begun(framing), BytesMut::from(bytes));
            (incoming.can_be_passed(&mut buffer), buffer)
        };
        assert_eq!(of(Framing::None, "GET"), (true, "GET".into()));
        assert_eq!(of(Framing::Length(3), "abcGET"), (true, "GET".into()));
        assert_eq!(of(Framing::Length(UNREAD_BODY_BYTES_MAX), ""), (true, "".into()));
        assert_eq!(of(Framing::Length(UNREAD_BODY_BYTES_MAX + 3), "abc"), (true, "".into()));
        assert_eq!(of(Framing::Length(UNREAD_BODY_BYTES_MAX + 3), "ab"), (false, "".into()));
        assert_eq!(of(Framing::Chunked, "3\r\nabc\r\n0\r\n\r\nGET"), (true, "GET".into()));
        assert_eq!(of(Framing::Chunked, "3\r\nabc\r\n"), (false, "".into()));
        assert!(!of(Framing::Chunked, "x").0);
        // Who still reads it may read all of it.
        let mut incoming = begun(Framing::Length(u64::MAX));
        incoming.held = true;
        assert!(incoming.can_be_passed(&mut "abc".into()));
    }
}
