//! `sockhop cron`: adds, lists, removes and runs the schedules that functions are rung by. Owns no
//! fds.

use std::time::{Duration, UNIX_EPOCH};

use abi::reference::{check_alias, split};
use api::cron::{CronOptions, CronRun, CronSource, ListedCron};
use api::endpoint::Endpoint;
use api::endpoints::{AddCron, ListCron, RemoveCron, RunCron, SetProjectCron};
use clap::{Args, Subcommand};
use schedule::{Missed, Overlap};

use super::client::Node as Client;
use super::print::{print_json, table, when};
use super::{Misused, Show, Target};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Have a function be rung by a schedule: a POST to it, whenever it is due
    Add(Box<Add>),
    /// List all schedules, when they are due next, and what came of the last run
    #[command(visible_alias = "ls")]
    List(Show),
    /// Remove a schedule
    #[command(visible_alias = "rm")]
    Remove {
        /// As `cron list` shows it
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Ring by a schedule now, and wait for the answer
    Run {
        /// As `cron list` shows it
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The function, or one of its aliases
    #[arg(value_name = "NAME[@ALIAS]", value_parser = called)]
    function: Called,
    /// Five fields (minute, hour, day, month, weekday), six with the second before them, @hourly,
    /// @daily, @weekly, @monthly, @yearly, or "@every 90s"
    schedule: String,
    /// The path to ring (default /)
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The time zone of the fields, as Europe/Berlin (default UTC)
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// What becomes of a tick while the run before it goes on: it is left out, waits, or runs beside
    /// it
    #[arg(long, default_value = "skip", value_name = "POLICY")]
    overlap: Overlap,
    /// What becomes of ticks that passed while no node rang: they are left out, or the last one runs
    /// late
    #[arg(long, default_value = "skip", value_name = "POLICY")]
    missed: Missed,
    /// Ring up to so much later: always as much, and each schedule otherwise
    #[arg(long, value_name = "TIME")]
    jitter: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// What a schedule is to ring.
#[derive(Debug, Clone)]
struct Called {
    function: String,
    alias: Option<String>,
}

/// Reads what a schedule is to ring. A version is none of it: versions are removed when they are old,
/// and an alias stays.
fn called(text: &str) -> Result<Called, String> {
    let (function, alias) = split(text);
    abi::name::check(function).map_err(|error| error.to_string())?;
    alias.map_or(Ok(()), check_alias).map_err(|error| {
        let hint = "a schedule rings a function or an alias of it";
        format!("{hint}: {error}; `sockhop alias set` gives a version an alias")
    })?;
    Ok(Called { function: function.to_owned(), alias: alias.map(str::to_owned) })
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(add) => {
            let Add { function: Called { function, alias }, schedule, path, .. } = *add;
            let Add { time_zone, overlap, missed, jitter, target, .. } = *add;
            let options = CronOptions { schedule, alias, path, time_zone, overlap, missed, jitter };
            options.check().map_err(|error| Misused(error.to_string()))?;
            let answer = Client::new(&target)?.send(AddCron::at(&function), &options).await?;
            added(&answer.read()?);
            Ok(())
        }
        Command::List(show) => list(&show).await,
        Command::Remove { id, target } => {
            Client::new(&target)?.call(RemoveCron::at(&checked(&id)?)).await?;
            say!("removed the schedule {id}");
            Ok(())
        }
        Command::Run { id, json, target } => {
            let answer = Client::new(&target)?.call(RunCron::at(&checked(&id)?)).await?;
            if json {
                print_json(&answer.json);
            }
            let run: CronRun = answer.read()?;
            if !json {
                say!("{}", outcome(&run));
            }
            anyhow::ensure!(run.error.is_none(), "the schedule {id} rang in vain");
            Ok(())
        }
    }
}

/// Returns an id that can stand in a path.
fn checked(id: &str) -> anyhow::Result<String> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let fits = !id.is_empty() && id.bytes().all(is_id);
    anyhow::ensure!(
        fits,
        "{id:?} is no id of a schedule; `sockhop cron list` shows those there are"
    );
    Ok(id.to_owned())
}

/// Has the schedules of a function be those of its project, and says what they are. A node of an
/// earlier build has none: that is as well, if the project has none either.
pub(super) async fn apply(
    node: &Client,
    name: &str,
    wanted: Vec<CronOptions>,
) -> anyhow::Result<Vec<ListedCron>> {
    let sent = node.send(SetProjectCron::at(name), &wanted).await;
    match sent.and_then(|answer| answer.read()) {
        Err(_) if wanted.is_empty() => Ok(Vec::new()),
        applied => applied,
    }
}

/// Returns the ids of the schedules that ring the function `name`, as far as the node tells.
pub(super) async fn of_function(node: &Client, name: &str) -> Vec<String> {
    let listed = node.call(ListCron::at()).await.and_then(|answer| answer.read());
    let of_it = listed.unwrap_or_default().into_iter().filter(|listed| listed.function == name);
    of_it.map(|listed| listed.id).collect()
}

/// Says what a schedule rings, and when for the first time.
pub(super) fn added(listed: &ListedCron) {
    let next = listed.next_ms.map(|next| format!(", next at {}", second(next)));
    say!("{} rings {}{}", listed.id, target(listed), next.unwrap_or_default());
}

fn target(listed: &ListedCron) -> String {
    let alias = listed.alias.as_ref().map(|alias| format!("@{alias}")).unwrap_or_default();
    format!("{}{alias}{}", listed.function, if listed.path == "/" { "" } else { &listed.path })
}

/// Returns a moment down to the second, in UTC.
fn second(at_ms: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at_ms)).to_string()
}

/// Returns what came of a run, in a line.
fn outcome(run: &CronRun) -> String {
    let took = humantime::format_duration(Duration::from_millis(run.duration_ms));
    let status = run.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let invocation = run.invocation.as_ref().map(|id| format!(", invocation {id}"));
    let error = run.error.as_ref().filter(|_| run.status.is_none_or(|status| status < 400));
    let error = error.map(|error| format!(": {error}")).unwrap_or_default();
    format!("{status} in {took}{}{error}", invocation.unwrap_or_default())
}

async fn list(show: &Show) -> anyhow::Result<()> {
    let answer = Client::new(&show.target)?.call(ListCron::at()).await?;
    if show.json {
        print_json(&answer.json);
        return Ok(());
    }
    let schedules: <ListCron as Endpoint>::Answer = answer.read()?;
    if schedules.is_empty() {
        say!("no schedules; add one with: sockhop cron add NAME \"0 3 * * *\"");
        return Ok(());
    }
    let row = |listed: &ListedCron| {
        let zone = listed.time_zone.as_ref().map(|zone| format!(" {zone}")).unwrap_or_default();
        let status = |run: &CronRun| {
            let status = run.status.map_or_else(|| "no answer".to_owned(), |it| it.to_string());
            format!("{status} at {}", second(run.began_ms))
        };
        let source = match listed.source {
            CronSource::Command => when(listed.added_ms),
            CronSource::Project => "sockhop.toml".to_owned(),
        };
        vec![
            listed.id.clone(),
            target(listed),
            format!("{}{zone}", listed.schedule),
            source,
            listed.next_ms.map_or_else(|| "-".to_owned(), second),
            listed.last.as_ref().map_or_else(|| "-".to_owned(), status),
        ]
    };
    let rows: Vec<_> = schedules.iter().map(row).collect();
    table(&["ID", "RINGS", "SCHEDULE", "ADDED", "NEXT", "LAST"], &rows);
    for ListedCron { id, error, last, .. } in &schedules {
        if let Some(error) = error {
            say!("{id} rings nothing: {error}");
        } else if let Some(run) = last.as_ref().filter(|run| run.error.is_some()) {
            say!("{id} rang in vain: {}", outcome(run));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_rings_a_function_or_an_alias_and_no_version() {
        let shown = |text| called(text).map(|it| (it.function, it.alias));
        assert_eq!(shown("web"), Ok(("web".to_owned(), None)));
        assert_eq!(shown("web@beta"), Ok(("web".to_owned(), Some("beta".to_owned()))));
        for (text, part) in [("web@v1", "alias set"), ("We", "character"), ("", "empty")] {
            assert!(shown(text).is_err_and(|error| error.contains(part)), "{text}");
        }
        assert!(checked("web-01234567").is_ok());
        for id in ["", "../x", "a/b", "a?b"] {
            assert!(checked(id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_run_is_told_in_a_line() {
        let run = |status, error: Option<&str>| CronRun {
            scheduled_ms: 1,
            began_ms: 2,
            duration_ms: 1500,
            status,
            invocation: Some("i".to_owned()),
            error: error.map(str::to_owned),
        };
        assert_eq!(outcome(&run(Some(200), None)), "200 in 1s 500ms, invocation i");
        assert_eq!(outcome(&run(Some(500), Some("x"))), "500 in 1s 500ms, invocation i");
        assert_eq!(outcome(&run(None, Some("x"))), "no answer in 1s 500ms, invocation i: x");
    }
}
