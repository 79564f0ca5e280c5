//! Which TCP ports are listened on, by `/proc/net/tcp` and `tcp6` (proc_pid_net(5)). Pure.

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

    proptest! {
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
