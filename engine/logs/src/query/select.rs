//! Selects what belongs to an answer: a filter over records, and the page of those that pass it.
//! Pure; owns no fds.

use std::collections::BTreeMap;

use abi::spool::{Line, Record, Stream};
use api::logs::Entry;

use crate::entry::{self, Key};
use crate::index::Times;

/// Which records are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Empty for those of every function.
    pub functions: Vec<String>,
    /// With a status, only invocations are wanted, as lines have none.
    pub status: Option<Status>,
    /// With a stream or a text, only lines are wanted.
    pub stream: Option<Stream>,
    pub text: Option<Vec<u8>>,
    pub times: Times,
}

/// A status, or a class of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// This one.
    Is(u16),
    /// All with these hundreds.
    Class(u16),
    /// There was no reply.
    NoReply,
}

impl Status {
    /// Returns the hundreds of the status. Returns 0 for no reply.
    pub fn hundreds(self) -> u16 {
        match self {
            Self::Is(status) => status / 100,
            Self::Class(hundreds) => hundreds,
            Self::NoReply => 0,
        }
    }

    fn takes(self, status: u16) -> bool {
        match self {
            Self::Is(wanted) => status == wanted,
            Self::Class(_) | Self::NoReply => status / 100 == self.hundreds(),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Is(status) => write!(f, "{status}"),
            Self::Class(hundreds) => write!(f, "{hundreds}xx"),
            Self::NoReply => f.write_str("none"),
        }
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let class = text
            .strip_suffix("xx")
            .and_then(|class| class.parse().ok())
            .filter(|class| (1..=5).contains(class));
        let status = text.parse().ok().filter(|status| (100..=999).contains(status));
        match (text, class, status) {
            ("none", ..) => Ok(Self::NoReply),
            (_, Some(class), _) => Ok(Self::Class(class)),
            (_, _, Some(status)) => Ok(Self::Is(status)),
            _ => Err(format!(
                "{text:?} is no status; expected for example 500, 5xx, or none for those without a reply"
            )),
        }
    }
}

impl Filter {
    /// Returns whether a record is wanted.
    pub fn takes(&self, record: &Record<'_>) -> bool {
        let function = match record {
            Record::Line(line) => Some(line.function),
            Record::Invocation(invocation) => Some(invocation.function),
            Record::After(after) => Some(after.function),
            // Nobody knows of which function the missing records are.
            Record::Gap(_) => None,
        };
        let status = match (self.status, record) {
            (None, _) => true,
            (Some(status), Record::Invocation(invocation)) => status.takes(invocation.status),
            (Some(_), _) => false,
        };
        let line = match record {
            _ if self.stream.is_none() && self.text.is_none() => true,
            Record::Line(line) => self.takes_line(line),
            // It may be lines that are missing.
            Record::Gap(_) => true,
            Record::Invocation(_) | Record::After(_) => false,
        };
        let time_us = record.time_us();
        let Times { first_us, last_us } = self.times;
        status
            && line
            && (first_us..=last_us).contains(&time_us)
            && (self.functions.is_empty()
                || function.is_none_or(|function| self.functions.iter().any(|of| of == function)))
    }

    fn takes_line(&self, line: &Line<'_>) -> bool {
        let has = |text: &Vec<u8>| {
            text.is_empty() || line.text.windows(text.len()).any(|part| part == text.as_slice())
        };
        self.stream.is_none_or(|stream| line.stream == stream) && self.text.as_ref().is_none_or(has)
    }
}

/// Which records make the page if there are more than fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The oldest. The next page has those behind them.
    OldestFirst,
    /// The newest. There is no next page.
    Newest,
}

/// A page of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub order: Order,
    pub limit: usize,
    /// The page begins behind this one.
    pub after: Option<Key>,
}

impl Page {
    /// Returns a page for everything.
    pub fn all() -> Self {
        Self { order: Order::OldestFirst, limit: usize::MAX, after: None }
    }

    /// Returns the part of `times` that the page may have records of.
    pub fn within(&self, times: Times) -> Times {
        let first_us = self.after.map_or(0, |after| after.time_us).max(times.first_us);
        Times { first_us, ..times }
    }
}

/// The entries of a page that were found so far, in order.
#[derive(Debug)]
pub struct Selection {
    page: Page,
    bytes_max: usize,
    entries: BTreeMap<Key, Entry>,
    bytes: usize,
    /// Whether there was more than fits.
    more: bool,
}

impl Selection {
    /// Begins a page of at most `bytes_max`.
    pub fn new(page: Page, bytes_max: usize) -> Self {
        Self { page, bytes_max, entries: BTreeMap::new(), bytes: 0, more: false }
    }

    /// Returns whether nothing was found yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns whether a record of these times could have a place.
    pub fn can_use(&self, times: Times) -> bool {
        match (self.more, self.page.order) {
            (false, _) => true,
            (true, Order::OldestFirst) => {
                self.last().is_none_or(|last| times.first_us <= last.time_us)
            }
            (true, Order::Newest) => {
                self.first().is_none_or(|first| times.last_us >= first.time_us)
            }
        }
    }

    /// Returns whether an entry with this key would have a place.
    pub fn wants(&self, key: Key) -> bool {
        let behind = self.page.after.is_none_or(|after| key > after);
        let fits = match (self.more, self.page.order) {
            (false, _) => true,
            (true, Order::OldestFirst) => self.last().is_none_or(|last| key < last),
            (true, Order::Newest) => self.first().is_none_or(|first| key > first),
        };
        behind && fits
    }

    /// Adds an entry. Drops others if they do not fit any more.
    pub fn add(&mut self, key: Key, entry: Entry) {
        self.bytes += entry::bytes(&entry);
        if let Some(known) = self.entries.insert(key, entry) {
            // The same record was found twice.
            self.bytes -= entry::bytes(&known);
        }
        while self.entries.len() > self.page.limit
            || (self.bytes > self.bytes_max && self.entries.len() > 1)
        {
            let gone = match self.page.order {
                Order::OldestFirst => self.entries.pop_last(),
                Order::Newest => self.entries.pop_first(),
            };
            self.bytes -= gone.map_or(0, |(_, entry)| entry::bytes(&entry));
            self.more = true;
        }
    }

    fn first(&self) -> Option<Key> {
        self.entries.keys().next().copied()
    }

    fn last(&self) -> Option<Key> {
        self.entries.keys().next_back().copied()
    }

    /// Returns the entries, and the key behind which the next page begins, if there is one.
    pub fn into_entries(self) -> (Vec<Entry>, Option<Key>) {
        let next = self.last().filter(|_| self.more && self.page.order == Order::OldestFirst);
        (self.entries.into_values().collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn key(time_us: u64, at: u64) -> Key {
        Key { time_us, segment: Uuid::nil(), at }
    }

    fn entry(key: Key) -> Entry {
        Entry::Gap { time: key.time_us.to_string(), records: key.at, reason: String::new() }
    }

    fn select(keys: &[Key], page: Page, bytes_max: usize) -> (Vec<Entry>, Option<Key>) {
        let mut selection = Selection::new(page, bytes_max);
        for key in keys {
            let times = Times { first_us: key.time_us, last_us: key.time_us };
            if selection.can_use(times) && selection.wants(*key) {
                selection.add(*key, entry(*key));
            }
        }
        selection.into_entries()
    }

    #[test]
    fn statuses_are_one_a_class_or_none() {
        let takes = |text: &str, status| text.parse::<Status>().unwrap().takes(status);
        assert!(takes("500", 500) && !takes("500", 503) && takes("5xx", 503) && !takes("5xx", 404));
        assert!(takes("none", 0) && !takes("none", 200));
        for text in ["500", "5xx", "none"] {
            assert_eq!(text.parse::<Status>().unwrap().to_string(), text);
        }
        for other in ["", "50", "xx", "6xx", "five", "1000", "-1"] {
            assert!(other.parse::<Status>().is_err(), "{other}");
        }
    }

    #[test]
    fn lines_are_chosen_by_their_stream_and_their_text() {
        let id = abi::invocation_id::InvocationId::new();
        let takes = |filter: &Filter, stream, function, text: &str| {
            let text = text.as_bytes();
            filter.takes(&Record::Line(Line { id, time_us: 1, stream, function, text }))
        };
        let all = Filter {
            functions: Vec::new(),
            status: None,
            stream: None,
            text: None,
            times: Times { first_us: 0, last_us: u64::MAX },
        };
        let two = Filter { functions: vec!["a".into(), "b".into()], ..all.clone() };
        let of = |function| takes(&two, Stream::Stdout, function, "");
        assert_eq!(["a", "b", "c"].map(of), [true, true, false]);
        let errors = Filter { stream: Some(Stream::Stderr), text: Some(b"no".into()), ..all };
        assert!(takes(&errors, Stream::Stderr, "a", "it is not there"));
        assert!(!takes(&errors, Stream::Stderr, "a", "n"));
        assert!(!takes(&errors, Stream::Stdout, "a", "no"));
        let gap = abi::spool::Gap { time_us: 1, records: 1, reason: "r" };
        assert!(errors.takes(&Record::Gap(gap)));
        assert!(!Filter { status: Some(Status::NoReply), ..errors }.takes(&Record::Gap(gap)));
    }

    proptest! {
        /// Page after page everything comes once and in order, whatever the order in which it is
        /// found.
        #[test]
        fn pages_have_everything_once(found in proptest::collection::vec((0u64..20, 0u64..10), 0..60), limit in 1usize..20, bytes_max in 1usize..5000) {
            let keys: Vec<_> = found.iter().map(|(time, at)| key(*time, *at)).collect();
            let mut sorted = keys.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let (mut told, mut after) = (Vec::new(), None);
            loop {
                let (entries, next) = select(&keys, Page { order: Order::OldestFirst, limit, after }, bytes_max);
                prop_assert!(entries.len() <= limit);
                prop_assert!(next.is_none() || !entries.is_empty(), "no page without progress");
                told.extend(entries);
                after = next;
                if next.is_none() {
                    break;
                }
            }
            prop_assert_eq!(told, sorted.iter().copied().map(entry).collect::<Vec<_>>());
        }

        #[test]
        fn the_newest_are_the_last(found in proptest::collection::vec((0u64..20, 0u64..10), 0..60), limit in 1usize..20) {
            let keys: Vec<_> = found.iter().map(|(time, at)| key(*time, *at)).collect();
            let mut sorted = keys.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let (entries, next) = select(&keys, Page { order: Order::Newest, limit, after: None }, usize::MAX);
            prop_assert_eq!(next, None);
            let expected = &sorted[sorted.len().saturating_sub(limit)..];
            prop_assert_eq!(entries, expected.iter().copied().map(entry).collect::<Vec<_>>());
        }
    }
}
