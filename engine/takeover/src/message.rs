//! The messages between the two engines of a take-over, and their form in a packet.
//!
//! The engines may be of different builds, so the form depends on neither. A packet is a line of
//! JSON. For a connection, the bytes that were read from it follow. Fields that this build does not
//! know are ignored. Any other error of form ends the take-over. Pure; owns no fds.

use abi::limits::RETURNED_BYTES_MAX;
use std::net::SocketAddr;

use abi::message::Awaits;
use abi::origin::Origin;
use host::listen::{Scheme, Spoken};
use serde::{Deserialize, Serialize};

/// The version of the conversation. This build can have no other.
pub(super) const PROTOCOL: u32 = 1;
/// The most that the JSON of a packet may be.
const HEAD_BYTES_MAX: usize = 4 * 1024;
/// The most that a packet may be.
pub const PACKET_BYTES_MAX: usize = HEAD_BYTES_MAX + 1 + RETURNED_BYTES_MAX;

/// A message. "New" and "running" name the engine that sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// New: it wants to take over.
    Hello {
        /// The version of the conversation, [`PROTOCOL`].
        protocol: u32,
        /// The id of its build, for the log.
        build: String,
    },
    /// New: it is still starting.
    Working,
    /// New: its workers serve, its shards run; it can begin.
    Ready,
    /// Running: with a listening socket.
    Listener {
        /// What clients speak there.
        spoken: Spoken,
        /// Whether the node is to remove the socket's file.
        owns_file: bool,
    },
    /// Running: with the data folder's lock, after all listening sockets.
    Lock,
    /// Running: the node is the new engine's, which is to begin. There is no way back from here.
    Yours,
    /// Running: with a client's socket, and what was read from it.
    Connection {
        /// What its client is waited for.
        awaits: Awaits,
        /// Where it comes from, if the socket does not say it.
        origin: Option<Origin>,
        /// What was read and not used.
        read: Vec<u8>,
    },
    /// Running: that were all connections; it ends.
    Done,
    /// Either: it does not take part, or does not any more.
    Refused {
        /// Why, for the log and the terminal.
        reason: String,
    },
}

/// Why a packet is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedError {
    /// It is longer than any.
    #[error("a packet of {0} bytes is longer than {PACKET_BYTES_MAX}")]
    TooLong(usize),
    /// Its head cannot be read.
    #[error("a packet does not begin with JSON as expected: {0}")]
    Json(String),
    /// It has bytes behind its head that its kind does not have.
    #[error("a packet of {0} bytes carries more than its kind does")]
    Payload(usize),
    /// Its kind goes with another number of fds.
    #[error("{message} came with {fds} fds")]
    Fds {
        /// The kind.
        message: String,
        /// How many came.
        fds: usize,
    },
}

/// A packet's JSON.
#[derive(Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
enum Head {
    Hello {
        protocol: u32,
        build: String,
    },
    Working,
    Ready,
    Listener {
        /// There was none before there were Unix sockets, which older builds do not take.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        owns_file: bool,
    },
    /// Another name, so that a build that does not know of TLS ends the take-over: it would serve
    /// the port in clear. And so on: of PROXY headers, it would take them for requests.
    TlsListener,
    ProxyListener {
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        owns_file: bool,
    },
    TlsProxyListener,
    Lock,
    Yours,
    Connection {
        awaits: AwaitsHead,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<OriginHead>,
    },
    Done,
    Refused {
        reason: String,
    },
}

/// The JSON of [`Awaits`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AwaitsHead {
    First,
    Next,
    Streams,
}

/// The JSON of [`Origin`].
#[derive(Serialize, Deserialize)]
struct OriginHead {
    client: SocketAddr,
    local: SocketAddr,
    https: bool,
}

impl From<Origin> for OriginHead {
    fn from(Origin { client, local, https }: Origin) -> Self {
        Self { client, local, https }
    }
}

impl From<OriginHead> for Origin {
    fn from(OriginHead { client, local, https }: OriginHead) -> Self {
        Self { client, local, https }
    }
}

impl Message {
    /// Returns how many fds go with the message.
    pub fn fd_count(&self) -> usize {
        usize::from(matches!(self, Self::Listener { .. } | Self::Lock | Self::Connection { .. }))
    }

    /// Returns the packet. Texts that are too long for it are cut.
    pub fn pack(&self) -> Vec<u8> {
        let short = |text: &str| text.chars().take(HEAD_BYTES_MAX / 16).collect();
        let (head, read): (Head, &[u8]) = match self {
            Self::Hello { protocol, build } => {
                (Head::Hello { protocol: *protocol, build: short(build) }, &[])
            }
            Self::Working => (Head::Working, &[]),
            Self::Ready => (Head::Ready, &[]),
            Self::Listener { spoken, owns_file } => {
                let owns_file = *owns_file;
                let head = match (spoken.scheme, spoken.proxy_protocol) {
                    (Scheme::Http, false) => Head::Listener { owns_file },
                    (Scheme::Http, true) => Head::ProxyListener { owns_file },
                    (Scheme::Https, false) => Head::TlsListener,
                    (Scheme::Https, true) => Head::TlsProxyListener,
                };
                (head, &[])
            }
            Self::Lock => (Head::Lock, &[]),
            Self::Yours => (Head::Yours, &[]),
            Self::Connection { awaits, origin, read } => {
                let awaits = match awaits {
                    // The other engine may be of a build that does not know `Admin`. `First` is
                    // nearest.
                    Awaits::First | Awaits::Admin | Awaits::Event => AwaitsHead::First,
                    Awaits::Next => AwaitsHead::Next,
                    Awaits::Streams => AwaitsHead::Streams,
                };
                (Head::Connection { awaits, origin: origin.map(Into::into) }, read)
            }
            Self::Done => (Head::Done, &[]),
            Self::Refused { reason } => (Head::Refused { reason: short(reason) }, &[]),
        };
        // These types can always be written as JSON. An empty packet would mean the end of the
        // conversation, which is right if they could not.
        let mut packet = serde_json::to_vec(&head).unwrap_or_default();
        if !read.is_empty() {
            packet.push(b'\n');
            packet.extend_from_slice(read);
        }
        packet
    }

    /// Reads a packet that came with so many fds.
    ///
    /// # Errors
    /// Returns [`MalformedError`] if it is no message.
    pub fn unpack(packet: &[u8], fds: usize) -> Result<Self, MalformedError> {
        if packet.len() > PACKET_BYTES_MAX {
            return Err(MalformedError::TooLong(packet.len()));
        }
        let end = packet.iter().position(|byte| *byte == b'\n');
        let (head, read) =
            end.map_or((packet, &[][..]), |end| (&packet[..end], &packet[end + 1..]));
        if head.len() > HEAD_BYTES_MAX {
            return Err(MalformedError::TooLong(packet.len()));
        }
        let head = serde_json::from_slice(head)
            .map_err(|error| MalformedError::Json(error.to_string()))?;
        let message = match head {
            Head::Connection { .. } if read.len() > RETURNED_BYTES_MAX => {
                return Err(MalformedError::Payload(packet.len()));
            }
            Head::Connection { awaits, origin } => {
                let awaits = match awaits {
                    AwaitsHead::First => Awaits::First,
                    AwaitsHead::Next => Awaits::Next,
                    AwaitsHead::Streams => Awaits::Streams,
                };
                Self::Connection { awaits, origin: origin.map(Into::into), read: read.to_vec() }
            }
            _ if !read.is_empty() => return Err(MalformedError::Payload(packet.len())),
            Head::Hello { protocol, build } => Self::Hello { protocol, build },
            Head::Working => Self::Working,
            Head::Ready => Self::Ready,
            Head::Listener { owns_file } => listener(Scheme::Http, false, owns_file),
            Head::TlsListener => listener(Scheme::Https, false, false),
            Head::ProxyListener { owns_file } => listener(Scheme::Http, true, owns_file),
            Head::TlsProxyListener => listener(Scheme::Https, true, false),
            Head::Lock => Self::Lock,
            Head::Yours => Self::Yours,
            Head::Done => Self::Done,
            Head::Refused { reason } => Self::Refused { reason },
        };
        if message.fd_count() != fds {
            let message = format!("{message:?}").chars().take(40).collect();
            return Err(MalformedError::Fds { message, fds });
        }
        Ok(message)
    }
}

fn listener(scheme: Scheme, proxy_protocol: bool, owns_file: bool) -> Message {
    Message::Listener { spoken: Spoken { scheme, proxy_protocol }, owns_file }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_message() -> impl Strategy<Value = Message> {
        let awaits = prop_oneof![Just(Awaits::First), Just(Awaits::Next), Just(Awaits::Streams)];
        let read = proptest::collection::vec(any::<u8>(), 0..2000);
        let origin = (any::<SocketAddr>(), any::<SocketAddr>(), any::<bool>());
        let origin = origin.prop_map(|(client, local, https)| Origin { client, local, https });
        // JSON has no flow information and no scope of an IPv6 address.
        let plain = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
        let origin = origin.prop_map(move |origin| Origin {
            client: plain(origin.client),
            local: plain(origin.local),
            ..origin
        });
        let origin = proptest::option::of(origin);
        prop_oneof![
            (any::<u32>(), ".{0,80}")
                .prop_map(|(protocol, build)| Message::Hello { protocol, build }),
            Just(Message::Working),
            Just(Message::Ready),
            (any::<bool>(), any::<bool>()).prop_map(|(proxied, file)| listener(
                Scheme::Http,
                proxied,
                file
            )),
            any::<bool>().prop_map(|proxied| listener(Scheme::Https, proxied, false)),
            Just(Message::Lock),
            Just(Message::Yours),
            (awaits, origin, read).prop_map(|(awaits, origin, read)| Message::Connection {
                awaits,
                origin,
                read
            }),
            Just(Message::Done),
            ".{0,80}".prop_map(|reason| Message::Refused { reason }),
        ]
    }

    #[test]
    fn the_wire_is_what_other_builds_know() {
        let packet = |message: Message| String::from_utf8(message.pack()).unwrap();
        let hello = Message::Hello { protocol: 1, build: "b".into() };
        assert_eq!(packet(hello), r#"{"say":"hello","protocol":1,"build":"b"}"#);
        let (awaits, read) = (Awaits::Next, b"GET /\nx".to_vec());
        let connection = Message::Connection { awaits, origin: None, read: read.clone() };
        assert_eq!(packet(connection), "{\"say\":\"connection\",\"awaits\":\"next\"}\nGET /\nx");
        let listener = |scheme, proxied, file| packet(listener(scheme, proxied, file));
        assert_eq!(listener(Scheme::Http, false, false), r#"{"say":"listener"}"#);
        assert_eq!(listener(Scheme::Http, false, true), r#"{"say":"listener","owns_file":true}"#);
        assert_eq!(listener(Scheme::Https, false, false), r#"{"say":"tls-listener"}"#);
        assert_eq!(listener(Scheme::Http, true, false), r#"{"say":"proxy-listener"}"#);
        assert_eq!(listener(Scheme::Https, true, false), r#"{"say":"tls-proxy-listener"}"#);
        let (client, local) = ("192.0.2.7:40000".parse(), "[2001:db8::1]:443".parse());
        let origin = Origin { client: client.unwrap(), local: local.unwrap(), https: true };
        let connection = Message::Connection { awaits, origin: Some(origin), read };
        assert_eq!(
            packet(connection),
            "{\"say\":\"connection\",\"awaits\":\"next\",\"origin\":{\"client\":\"192.0.2.7:40000\",\
             \"local\":\"[2001:db8::1]:443\",\"https\":true}}\nGET /\nx"
        );
        let newer = br#"{"say":"hello","protocol":1,"build":"b","mood":"good"}"#;
        assert!(Message::unpack(newer, 0).is_ok(), "a field of a newer build is passed over");
    }

    #[test]
    fn what_is_out_of_form_is_refused() {
        let refused = |packet: &[u8], fds| Message::unpack(packet, fds).unwrap_err();
        assert!(matches!(refused(b"", 0), MalformedError::Json(_)));
        assert!(matches!(refused(br#"{"say":"sing"}"#, 0), MalformedError::Json(_)));
        assert!(matches!(
            refused(br#"{"say":"hello","protocol":-1,"build":""}"#, 0),
            MalformedError::Json(_)
        ));
        assert!(matches!(refused(br#"{"say":"lock"}"#, 0), MalformedError::Fds { fds: 0, .. }));
        assert!(matches!(refused(br#"{"say":"ready"}"#, 1), MalformedError::Fds { fds: 1, .. }));
        assert!(matches!(refused(b"{\"say\":\"ready\"}\nx", 0), MalformedError::Payload(_)));
        assert!(matches!(refused(&[b' '; HEAD_BYTES_MAX + 1], 0), MalformedError::TooLong(_)));
        let most = Message::Connection {
            awaits: Awaits::First,
            origin: None,
            read: vec![b'\n'; RETURNED_BYTES_MAX],
        };
        let mut packet = most.pack();
        assert_eq!(Message::unpack(&packet, 1), Ok(most));
        packet.push(b'x');
        assert!(matches!(refused(&packet, 1), MalformedError::Payload(_)));
        let long = Message::Refused { reason: "\u{1}".repeat(HEAD_BYTES_MAX) };
        assert!(Message::unpack(&long.pack(), 0).is_ok(), "a long sentence is cut, not refused");
    }

    proptest! {
        #[test]
        fn what_is_packed_reads_back(message in any_message()) {
            prop_assert_eq!(Message::unpack(&message.pack(), message.fd_count()), Ok(message));
        }

        #[test]
        fn any_packet_is_survived(packet in proptest::collection::vec(any::<u8>(), 0..6000), fds in 0usize..4) {
            let _ = Message::unpack(&packet, fds);
        }

        /// As fuzzing does: packets that are nearly right.
        #[test]
        fn damaged_packets_are_survived(
            message in any_message(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
            fds in 0usize..3,
        ) {
            let mut packet = message.pack();
            let at = at.index(packet.len());
            packet[at] = byte;
            packet.truncate(cut.index(packet.len()) + 1);
            if let Ok(read) = Message::unpack(&packet, fds) {
                prop_assert_eq!(read.fd_count(), fds);
            }
        }
    }
}
