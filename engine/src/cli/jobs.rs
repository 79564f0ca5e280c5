//! `sockhop jobs`: lists asynchronous invocations, shows one, removes it and has it tried again. Owns
//! no fds.

use abi::invocation_id::InvocationId;
use api::endpoints::{CancelJob, GetJob, ListJobs, RetryJob};
use api::jobs::{Job, JobAttempt, JobState, JobsQuery};
use clap::{Args, Subcommand};
use host::printable;

use super::client::Node;
use super::print::{counted, print_json, table, when};
use super::{Show, Target};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List asynchronous invocations, the newest last
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one
    Show {
        /// As `invoke --async` prints it
        id: InvocationId,
        #[command(flatten)]
        show: Show,
    },
    /// Remove those that wait, or dead letters
    Cancel {
        /// As `jobs list` shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<InvocationId>,
        #[command(flatten)]
        target: Target,
    },
    /// Have those that wait, or dead letters, be tried now
    Retry(Retry),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this function
    #[arg(value_name = "FUNCTION")]
    function: Option<String>,
    /// Only those in this state
    #[arg(long, value_name = "STATE")]
    state: Option<JobState>,
    /// So many of the newest, at most 1000
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// As `jobs list` shows them
    #[arg(required_unless_present = "all", value_name = "ID")]
    ids: Vec<InvocationId>,
    /// All dead letters of this function
    #[arg(long, value_name = "FUNCTION", conflicts_with = "ids")]
    all: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(wanted) => list(wanted).await,
        Command::Show { id, show } => {
            let answer = Node::new(&show.target)?.call(GetJob::at(&id.to_string())).await?;
            match show.json {
                true => print_json(&answer.json),
                false => {
                    let lines = lines(&answer.read()?);
                    lines.iter().for_each(|line| say!("{}", printable::line(line)));
                }
            }
            Ok(())
        }
        Command::Cancel { ids, target } => {
            let node = Node::new(&target)?;
            for id in ids {
                node.call(CancelJob::at(&id.to_string())).await?;
                say!("removed {id}");
            }
            Ok(())
        }
        Command::Retry(wanted) => retry(wanted).await,
    }
}

async fn list(List { function, state, limit, show }: List) -> anyhow::Result<()> {
    let query = JobsQuery { function, state, limit: Some(limit) };
    let answer = Node::new(&show.target)?.call(ListJobs::at().with(&query)).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let jobs = answer.read()?;
    if jobs.is_empty() {
        say!("no asynchronous invocations; make one with: sockhop invoke NAME --async");
        return Ok(());
    }
    let row = |job: &Job| {
        let status = job.last.as_ref().map_or_else(|| "-".to_owned(), status);
        vec![
            job.id.clone(),
            called(job),
            state_name(job.state).to_owned(),
            when(job.enqueued_ms),
            job.attempts.to_string(),
            status,
            job.next_ms.map_or_else(|| "-".to_owned(), when),
        ]
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    table(&["ID", "FUNCTION", "STATE", "SUBMITTED", "ATTEMPTS", "LAST", "NEXT"], &rows);
    Ok(())
}

async fn retry(Retry { ids, all, target }: Retry) -> anyhow::Result<()> {
    let node = Node::new(&target)?;
    let Some(function) = all else {
        for id in ids {
            node.call(RetryJob::at(&id.to_string())).await?;
            say!("{id} is tried now");
        }
        return Ok(());
    };
    let mut tried = 0_usize;
    let query = JobsQuery { function: Some(function), state: Some(JobState::Dead), limit: None };
    loop {
        let dead = node.call(ListJobs::at().with(&query)).await?.read()?;
        if dead.is_empty() {
            break;
        }
        for job in dead {
            node.call(RetryJob::at(&job.id)).await?;
            tried += 1;
        }
    }
    say!("{} tried now", counted(tried, "dead letter"));
    Ok(())
}

fn called(job: &Job) -> String {
    let reference = job.reference.as_ref().map(|reference| format!("@{reference}"));
    let to = job.callback_to.as_ref().map(|url| format!(" -> {url}"));
    format!("{}{}{}", job.function, reference.unwrap_or_default(), to.unwrap_or_default())
}

fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Dead => "dead",
        JobState::Done => "done",
    }
}

fn status(last: &JobAttempt) -> String {
    last.status.map_or_else(|| "no reply".to_owned(), |status| status.to_string())
}

/// Returns what there is to say of one.
fn lines(job: &Job) -> Vec<String> {
    let mut lines = vec![
        format!("id         {}", job.id),
        format!("function   {}", called(job)),
        format!("state      {}", state_name(job.state)),
        format!("submitted  {}", when(job.enqueued_ms)),
        format!("attempts   {}", job.attempts),
    ];
    lines.extend(job.about.as_ref().map(|about| format!("about      {about}")));
    lines.extend(job.next_ms.map(|next| format!("next       {}", when(next))));
    lines.extend(job.ended_ms.map(|ended| format!("ended      {}", when(ended))));
    lines.extend(job.reason.as_ref().map(|reason| format!("reason     {reason}")));
    if let Some(last) = &job.last {
        let error = last.error.as_ref().map(|error| format!(": {error}"));
        let error = error.unwrap_or_default();
        lines.push(format!("last       {} at {}{error}", status(last), when(last.began_ms)));
        let log = last.invocation.as_ref();
        lines.extend(log.map(|id| format!("log        sockhop logs {id}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_in_lines() {
        let last = JobAttempt {
            began_ms: 1000,
            duration_ms: 5,
            status: Some(500),
            invocation: Some("i".to_owned()),
            error: Some("the reply is 500".to_owned()),
        };
        let job = Job {
            id: "j".to_owned(),
            function: "web".to_owned(),
            reference: Some("beta".to_owned()),
            callback_to: None,
            about: Some("other".to_owned()),
            state: JobState::Dead,
            enqueued_ms: 0,
            next_ms: None,
            ended_ms: Some(2000),
            attempts: 3,
            bytes: Some(7),
            reason: Some("enough".to_owned()),
            last: Some(last),
        };
        let lines = lines(&job).join("\n");
        for part in
            ["web@beta", "dead", "other", "enough", "500 at", "the reply is 500", "sockhop logs i"]
        {
            assert!(lines.contains(part), "{part}: {lines}");
        }
    }
}
