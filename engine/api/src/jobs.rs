//! Asynchronous invocations: what is kept of each, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The header of a submission that has the method of the attempts. Absent for POST.
pub const METHOD_HEADER: &str = "sockhop-method";
/// The header of a submission that has the URL which is told what came of it. Absent for none.
pub const CALLBACK_HEADER: &str = "sockhop-callback";
/// A list has so many at most, and as many if nothing else is asked for.
pub const LIST_MAX: usize = 1000;

/// What was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// The id of the asynchronous invocation.
    pub id: String,
}

/// What an asynchronous invocation is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its attempt, the first or another one.
    Queued,
    /// An attempt is under way.
    Running,
    /// It is tried no more: a dead letter.
    Dead,
    /// It is done.
    Done,
}

/// Which ones are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobsQuery {
    /// Those of this function. Absent for those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Those in this state. Absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<JobState>,
    /// So many of the newest. Absent for 1000, which is the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// An asynchronous invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its id, which the function sees at each attempt.
    pub id: String,
    /// The function's name.
    pub function: String,
    /// The alias or the version that was asked for. Absent for what the bare name means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The URL to which it goes in place of the function, to tell what came of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_to: Option<String>,
    /// The id of the one of which this one tells what came. Absent if it is of a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What it is at.
    pub state: JobState,
    /// When it was submitted, in milliseconds since 1970.
    pub enqueued_ms: u64,
    /// It is not tried before, in milliseconds since 1970. Absent if it does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    /// Since when it is done or a dead letter, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// How many attempts have ended. Those that the node or the function had no room for count not.
    pub attempts: u32,
    /// How large its request is. Absent when that is not kept any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Why it is a dead letter. Absent if it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last attempt that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<JobAttempt>,
}

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobAttempt {
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// The status of the reply. Absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The id of the invocation, by which the log has it. Absent if the function was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
    /// Why it failed. Absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobsStatus {
    /// That wait.
    pub queued: usize,
    /// That run.
    pub running: usize,
    /// That are dead letters.
    pub dead: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_it_does_not_know() {
        let query = |json: serde_json::Value| serde_json::from_value::<JobsQuery>(json);
        let dead = query(serde_json::json!({ "state": "dead", "limit": 3 })).unwrap();
        assert_eq!((dead.state, dead.limit), (Some(JobState::Dead), Some(3)));
        assert!(query(serde_json::json!({ "state": "gone" })).is_err());
        assert!(query(serde_json::json!({ "status": "dead" })).is_err());
    }
}
