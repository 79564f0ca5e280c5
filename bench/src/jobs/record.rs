//! When invocations began to run, as a function's log says that. Pure; holds no file descriptor.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

/// When each path was first run.
#[derive(Debug, Default)]
pub struct Began(HashMap<String, SystemTime>);

/// What counts of a line.
#[derive(Debug, Deserialize)]
struct Record {
    path: String,
    status: Option<u16>,
    started: String,
    #[serde(default)]
    queue_us: u64,
    #[serde(default)]
    instantiate_us: u64,
}

impl Began {
    /// Reads what `sockhop logs --json` prints. Other lines than records of invocations that went
    /// well are left out, which those of submissions (202) are, too.
    pub fn read(lines: &str) -> Self {
        let mut began = HashMap::new();
        for line in lines.lines() {
            let Ok(record) = serde_json::from_str::<Record>(line) else { continue };
            let Ok(started) = humantime::parse_rfc3339(&record.started) else { continue };
            if record.status == Some(200) {
                let until_it_runs = Duration::from_micros(record.queue_us + record.instantiate_us);
                began.entry(record.path).or_insert(started + until_it_runs);
            }
        }
        Self(began)
    }

    /// Returns when the code of the function was first run for a path.
    pub fn at(&self, path: &str) -> Option<SystemTime> {
        self.0.get(path).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_is_no_run() {
        let lines = concat!(
            "{\"kind\":\"invocation\",\"path\":\"/hello/1\",\"status\":202,\"started\":\"2026-12-01T15:27:35.5Z\"}\n",
            "{\"kind\":\"invocation\",\"path\":\"/hello/1\",\"status\":200,\"started\":\"2026-12-01T15:27:35.6Z\",\"queue_us\":100000,\"instantiate_us\":1}\n",
            "{\"kind\":\"stdout\",\"text\":\"x\"}\nno line\n",
        );
        let began = Began::read(lines);
        let at = humantime::parse_rfc3339("2026-12-01T15:27:35.700001Z").unwrap();
        assert_eq!(began.at("/hello/1"), Some(at));
        assert_eq!(began.at("/hello/2"), None);
    }
}
