//! What buckets of functions and their keys are called in NATS. Pure; owns no fds.
//!
//! | key in NATS | what it has |
//! |---|---|
//! | `state.f.NAME.k.HEX`, `state.s.NAME.k.HEX` | a value of the function's own bucket, of a shared one |
//! | `state.f.NAME.usage`, `state.s.NAME.usage` | how full it is |
//!
//! Functions' keys are any text, those of NATS are not: they stand there in hexadecimal digits, which
//! keep their order and their prefixes.

use crate::Bucket;

/// What all usages match.
pub(super) const USAGES: &str = "state.*.*.usage";

/// Returns what each key of a bucket begins with.
pub(super) fn root(bucket: &Bucket) -> String {
    match bucket {
        Bucket::Function(name) => format!("state.f.{name}."),
        Bucket::Shared(name) => format!("state.s.{name}."),
    }
}

/// Returns the key of a bucket's usage.
pub(super) fn usage(bucket: &Bucket) -> String {
    format!("{}usage", root(bucket))
}

/// Returns the key of an entry.
pub(super) fn entry(bucket: &Bucket, key: &str) -> String {
    format!("{}k.{}", root(bucket), hex::encode(key))
}

/// Returns the key whose entry in the bucket with this root is called `name`.
pub(super) fn key(root: &str, name: &str) -> Option<String> {
    let digits = name.strip_prefix(root)?.strip_prefix("k.")?;
    String::from_utf8(hex::decode(digits).ok()?).ok()
}

/// Returns the bucket whose usage is called `name`.
pub(super) fn bucket(name: &str) -> Option<Bucket> {
    let mut parts = name.strip_prefix("state.")?.strip_suffix(".usage")?.split('.');
    let (kind, name, None) = (parts.next()?, parts.next()?, parts.next()) else { return None };
    match kind {
        "f" => Some(Bucket::Function(name.to_owned())),
        "s" => Some(Bucket::Shared(name.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_and_prefixes_survive_and_what_is_written_is_read(a in ".{1,9}", b in ".{1,9}") {
            let own = Bucket::Function("shop".to_owned());
            let (of_a, of_b) = (entry(&own, &a), entry(&own, &b));
            prop_assert_eq!(of_a.cmp(&of_b), a.as_bytes().cmp(b.as_bytes()));
            let longer = entry(&own, &[&*a, &*b].concat());
            prop_assert!(longer.starts_with(&of_a));
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
            prop_assert!(of_a.bytes().all(allowed), "{}", of_a);
            prop_assert_eq!(key(&root(&own), &of_a), Some(a));
            prop_assert_eq!(key(&root(&Bucket::Shared("shop".to_owned())), &of_a), None);
        }
    }

    #[test]
    fn a_usage_says_whose_it_is() {
        for of in [Bucket::Function("a-1".to_owned()), Bucket::Shared("f".to_owned())] {
            assert_eq!(bucket(&usage(&of)), Some(of.clone()));
            assert_eq!(key(&root(&of), &usage(&of)), None);
        }
        for other in ["cron.turn", "state.f.usage", "state.x.a.usage", "state.f.a.b.usage", ""] {
            assert_eq!(bucket(other), None, "{other}");
        }
    }
}
