//! How the key-value bucket is made, and which ones will do. Pure; owns no fds.
//!
//! A key-value bucket is a stream with names as NATS' own tools expect them, so that `nats kv`
//! shows it. Nodes need more of it than those: atomic batches, and messages that pass.

use std::collections::HashMap;

use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};

/// The format of what is in the bucket. Raise it when an earlier build must not write to it any
/// more.
const FORMAT: u64 = 1;
/// Where the stream says it.
const FORMAT_KEY: &str = "sockhop-format";
/// How many servers of a cluster keep a copy: the fewest of which one may fail.
const CLUSTER_REPLICAS: usize = 3;

/// Returns the name of a bucket's stream.
pub(crate) fn stream_name(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// Returns what the subject of each key in a bucket begins with.
pub(crate) fn subject_prefix(bucket: &str) -> String {
    format!("$KV.{bucket}.")
}

/// Returns how a bucket is made.
pub(crate) fn config(bucket: &str, is_cluster: bool) -> Config {
    Config {
        name: stream_name(bucket),
        subjects: vec![format!("{}>", subject_prefix(bucket))],
        description: Some("what functions of sockhop keep".to_owned()),
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: if is_cluster { CLUSTER_REPLICAS } else { 1 },
        allow_rollup: true,
        // Any replica would answer, perhaps with what was before.
        allow_direct: false,
        allow_message_ttl: true,
        allow_atomic_publish: true,
        metadata: HashMap::from([(FORMAT_KEY.to_owned(), FORMAT.to_string())]),
        ..Config::default()
    }
}

/// Checks that nodes can use a bucket that is there.
///
/// # Errors
/// What is wrong with it, and what helps.
pub(crate) fn check(found: &Config) -> Result<(), String> {
    let format = found.metadata.get(FORMAT_KEY).map(|format| format.parse::<u64>());
    match format {
        Some(Ok(FORMAT)) => {}
        Some(Ok(format)) => {
            return Err(format!(
                "it is of format {format}, which a later build has written; this one knows {FORMAT}"
            ));
        }
        _ => return Err("it is not sockhop's; name another one by --nats-bucket".to_owned()),
    }
    let wrong = [
        (found.max_messages_per_subject != 1, "it keeps a history: set it to 1"),
        (found.allow_direct, "any replica may answer: switch allow_direct off"),
        (!found.allow_atomic_publish, "it has no atomic batches: switch allow_atomic on"),
        (!found.allow_message_ttl, "its messages do not pass: switch allow_msg_ttl on"),
        (found.deny_purge, "it cannot be purged: switch deny_purge off"),
        (found.discard != DiscardPolicy::New, "it drops what is old: set discard to new"),
        (!found.max_age.is_zero(), "what is in it passes: set max_age to 0"),
    ];
    match wrong.iter().find(|(is_so, _)| *is_so) {
        Some((_, why)) => Err((*why).to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_will_do_and_what_loses_something_will_not() {
        let made = config("sockhop", false);
        assert_eq!((check(&made), made.num_replicas), (Ok(()), 1));
        assert_eq!(config("sockhop", true).num_replicas, 3);
        let changed = |change: fn(&mut Config)| {
            let mut config = config("sockhop", true);
            change(&mut config);
            check(&config).unwrap_err()
        };
        for (change, part) in [
            ((|of| of.metadata.clear()) as fn(&mut Config), "--nats-bucket"),
            (|of| drop(of.metadata.insert(FORMAT_KEY.into(), "2".into())), "a later build"),
            (|of| of.allow_direct = true, "allow_direct"),
            (|of| of.allow_atomic_publish = false, "allow_atomic"),
            (|of| of.allow_message_ttl = false, "allow_msg_ttl"),
            (|of| of.max_messages_per_subject = 5, "history"),
            (|of| of.discard = DiscardPolicy::Old, "discard"),
            (|of| of.max_age = std::time::Duration::from_secs(1), "max_age"),
            (|of| of.deny_purge = true, "deny_purge"),
        ] {
            let said = changed(change);
            assert!(said.contains(part), "{said}");
        }
    }
}
