//! Which TCP ports are listened on: by `/proc/net/tcp` and `tcp6` (proc_pid_net(5)), and by the
//! kernel's answers about sockets (sock_diag(7)), of which `init/diag` gets them. Pure.
//!
//! The files have every connection of the host behind those that listen, and the kernel goes through
//! a table that is as large as the host's memory to fill them: 8 ms on one with 24 GiB. The answers
//! take 0.1 ms.

/// The state TCP_LISTEN as those files have it.
const LISTEN: &str = "0A";

/// Returns the ports of `text` that are listened on; of those of `uid` only, if it is given. Rows
/// that are none are left out.
pub(crate) fn ports(text: &str, uid: Option<u32>) -> Vec<u16> {
    let row = |line: &str| {
        // sl, local_address, rem_address, st, tx_queue:rx_queue, tr:tm->when, retrnsmt, uid
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let owner: u32 = fields.nth(3)?.parse().ok()?;
        let (_, port) = local.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == LISTEN && port != 0 && uid.is_none_or(|uid| uid == owner)).then_some(port)
    };
    let mut ports: Vec<u16> = text.lines().filter_map(row).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The head of a message (netlink(7)): its length, its type, flags, a number, a port.
const HEAD_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
/// What stands behind a request's head.
const REQUEST_BYTES: usize = 56;
/// The state TCP_LISTEN as a bit of a set of states.
const LISTENING: u32 = 1 << 10;
/// Where a row's port is, and whose the socket is.
const PORT_AT: usize = 4;
const UID_AT: usize = 64;

/// Returns the question which sockets of TCP listen, of an address family.
pub(crate) fn question(family: u8) -> [u8; HEAD_BYTES + REQUEST_BYTES] {
    let mut question = [0; HEAD_BYTES + REQUEST_BYTES];
    let length = u32::try_from(question.len()).unwrap_or(0);
    let tcp = u8::try_from(libc::IPPROTO_TCP).unwrap_or(6);
    let parts: [(usize, &[u8]); 6] = [
        (0, &length.to_ne_bytes()),
        (4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes()),
        (6, &NLM_F_REQUEST_DUMP.to_ne_bytes()),
        (HEAD_BYTES, &[family]),
        (HEAD_BYTES + 1, &[tcp]),
        (HEAD_BYTES + 4, &LISTENING.to_ne_bytes()),
    ];
    for (at, bytes) in parts {
        for (to, from) in question.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }
    question
}

/// Reads a part of the answer, and adds the ports of `uid` in it to `ports`. Returns whether it is
/// the last one. Returns `None` if it is no answer.
pub(crate) fn read_answer(mut part: &[u8], uid: u32, ports: &mut Vec<u16>) -> Option<bool> {
    let number = |bytes: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    while !part.is_empty() {
        let length = usize::try_from(number(part, 0)?).ok()?;
        let kind = u16::from_ne_bytes(part.get(4..6)?.try_into().ok()?);
        let row = part.get(HEAD_BYTES..length)?;
        match kind {
            NLMSG_DONE => return Some(true),
            NLMSG_ERROR => return None,
            SOCK_DIAG_BY_FAMILY => {
                let port = row.get(PORT_AT..PORT_AT + 2)?.try_into().ok()?;
                if number(row, UID_AT)? == uid {
                    ports.push(u16::from_be_bytes(port));
                }
            }
            _ => {}
        }
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   993        0 4242 1 0000000000000000 100 0 0 10 0
   1: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000   993        0 4243 1 0000000000000000 20 4 30 10 -1
   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 0 100 0 0 10 0
";

    #[test]
    fn listeners_are_named_and_connections_are_not() {
        assert_eq!(ports(TEXT, None), [80, 8080]);
        assert_eq!(ports(TEXT, Some(993)), [8080]);
    }

    /// Returns a message with a row.
    fn message(kind: u16, port: u16, uid: u32) -> Vec<u8> {
        let mut row = vec![0; 72];
        row[PORT_AT..PORT_AT + 2].copy_from_slice(&port.to_be_bytes());
        row[UID_AT..UID_AT + 4].copy_from_slice(&uid.to_ne_bytes());
        let length = u32::try_from(HEAD_BYTES + row.len()).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &row].concat()
    }

    #[test]
    fn the_ports_of_a_user_are_read_off_the_kernels_answer() {
        let rows = [message(20, 8080, 993), message(20, 80, 0)].concat();
        let mut ports = Vec::new();
        assert_eq!(read_answer(&rows, 993, &mut ports), Some(false));
        assert_eq!(ports, [8080]);
        assert_eq!(read_answer(&message(NLMSG_DONE, 0, 0), 993, &mut ports), Some(true));
        assert_eq!(read_answer(&message(NLMSG_ERROR, 0, 0), 993, &mut ports), None);
        assert_eq!(read_answer(&rows[..20], 993, &mut ports), None);
        assert_eq!(ports, [8080]);
    }

    proptest! {
        #[test]
        fn any_answer_is_read(bytes in proptest::collection::vec(0u8..32, 0..200)) {
            let _ = read_answer(&bytes, 0, &mut Vec::new());
        }

        #[test]
        fn any_text_is_read(text in "\\PC*") {
            let _ = ports(&text, None);
        }

        #[test]
        fn lines_with_junk_in_them_are_read(at in 0..TEXT.len(), junk in "\\PC{1,4}") {
            let mut text = TEXT.to_owned();
            text.insert_str(at, &junk);
            let _ = ports(&text, Some(993));
        }
    }
}
