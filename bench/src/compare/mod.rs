//! The `compare` command: finds differences beyond noise between two files of results, or between
//! two servers of one file.
//!
//! * Two servers of one file ran in the same rounds: their values are compared round by round, so a
//!   machine that was slow for a while affects both.
//! * Two files were made at different times, and their medians are compared. With `--relative-to`,
//!   each value is first divided by that of a server from the same round, so a machine that is
//!   slower today is no difference.
//!
//! Opens the files for the length of one read only.

mod verdict;

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::cli::CompareArguments;
use crate::series::{self, File, Series};
use crate::stats::{self, Interval};
use verdict::Verdict;

/// An error of the comparison.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error(transparent)]
    Series(#[from] series::Error),
    /// The files have no figure in common.
    #[error("there is no figure that both sides have; sides: {0}")]
    Nothing(String),
    /// There is only one file, and not two servers.
    #[error(
        "one file alone has two sides only as two servers: --servers BEFORE,AFTER; {0} were named"
    )]
    Sides(usize),
    /// The report cannot be written.
    #[error(transparent)]
    Output(#[from] crate::output::Error),
    /// A figure is worse, and the command line asks for an error then.
    #[error("{count} of {of} figures are worse beyond noise")]
    Regression {
        /// The number of figures that are worse.
        count: usize,
        /// The number of figures that were compared.
        of: usize,
    },
}

/// The result of a comparison.
#[derive(Debug, Serialize)]
struct Comparison {
    before: String,
    after: String,
    confidence: f64,
    tolerance_percent: f64,
    rows: Vec<Row>,
    warnings: Vec<String>,
}

/// A figure before and after.
#[derive(Debug, Serialize)]
struct Row {
    scenario: String,
    server: String,
    measure: String,
    unit: String,
    before: f64,
    after: f64,
    rounds: [usize; 2],
    /// The ratio of after to before. `None` if there were too few rounds.
    ratio: Option<Interval>,
    verdict: Verdict,
}

/// Runs the command.
pub fn command(arguments: &CompareArguments) -> Result<(), Error> {
    let comparison = compare(arguments)?;
    crate::output::show(&comparison);
    crate::output::write(arguments.json.as_deref(), &comparison)?;
    let count = comparison.rows.iter().filter(|row| row.verdict == Verdict::Worse).count();
    if arguments.fail_on_regression && count > 0 {
        return Err(Error::Regression { count, of: comparison.rows.len() });
    }
    Ok(())
}

fn compare(arguments: &CompareArguments) -> Result<Comparison, Error> {
    let before = File::read(&arguments.before)?;
    let after = arguments.after.as_deref().map(File::read).transpose()?;
    let mut warnings = Vec::new();
    let mut rows = Vec::new();
    let names = match (&after, &arguments.servers[..]) {
        // Two servers of one file.
        (None, [one, other]) => {
            for series in before.series.iter().filter(|series| series.server == *one) {
                let found = before
                    .series
                    .iter()
                    .find(|found| found.server == *other && found.is_like(series));
                if let Some(found) = found {
                    let ratio = stats::paired(&series.rounds, &found.rounds, arguments.confidence);
                    rows.push(Row::of(series, found, ratio, arguments));
                }
            }
            [one.clone(), other.clone()]
        }
        (None, servers) => return Err(Error::Sides(servers.len())),
        (Some(after), _) => {
            for (path, file) in
                [(Some(&arguments.before), &before), (arguments.after.as_ref(), after)]
            {
                let name = path.map_or_else(String::new, |path| path.display().to_string());
                warnings.extend(file.warnings.iter().map(|warning| format!("{name}: {warning}")));
            }
            warnings.extend(differences(&before, after));
            let sides = [&before, after].map(|file| side(file, arguments));
            for series in &sides[0] {
                let found = sides[1]
                    .iter()
                    .find(|found| found.server == series.server && found.is_like(series));
                if let Some(found) = found {
                    let ratio =
                        stats::unpaired(&series.rounds, &found.rounds, arguments.confidence);
                    rows.push(Row::of(series, found, ratio, arguments));
                }
            }
            let name = |path: &Path| path.display().to_string();
            [name(&arguments.before), arguments.after.as_deref().map_or_else(String::new, name)]
        }
    };
    let [before, after] = names;
    if rows.is_empty() {
        return Err(Error::Nothing(format!("{before}; {after}")));
    }
    let few = rows.iter().filter(|row| row.verdict == Verdict::TooFewRounds).count();
    if few > 0 {
        warnings.push(format!(
            "{few} figures have fewer than {} rounds on a side, and nothing is said of them",
            stats::ROUNDS_MIN
        ));
    }
    let (confidence, tolerance_percent) = (arguments.confidence, arguments.tolerance_percent);
    Ok(Comparison { before, after, confidence, tolerance_percent, rows, warnings })
}

/// Returns a file's figures for the requested servers, divided by another server's if that was
/// requested.
fn side(file: &File, arguments: &CompareArguments) -> Vec<Series> {
    let wanted = |series: &&Series| {
        arguments.servers.is_empty() || arguments.servers.contains(&series.server)
    };
    let Some(reference) = &arguments.relative_to else {
        return file.series.iter().filter(wanted).cloned().collect();
    };
    let relative = |series: &Series| {
        let found =
            file.series.iter().find(|found| found.server == *reference && found.is_like(series))?;
        let rounds = series.rounds.iter().zip(&found.rounds).map(|(value, by)| value / by);
        let unit = format!("of {reference}");
        Some(Series {
            rounds: rounds.filter(|value| value.is_finite()).collect(),
            unit,
            ..series.clone()
        })
    };
    file.series
        .iter()
        .filter(wanted)
        .filter(|series| series.server != *reference)
        .filter_map(relative)
        .collect()
}

/// Returns the differences between the conditions of two measurements.
fn differences(before: &File, after: &File) -> Vec<String> {
    let text = |file: &File, key: &str| match file.environment.get(key) {
        None => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    ["cpu", "cores", "kernel", "governor", "mitigations"]
        .iter()
        .filter(|key| text(before, key) != text(after, key))
        .map(|key| format!("the {key} differs: {} and {}", text(before, key), text(after, key)))
        .collect()
}

impl Row {
    fn of(
        before: &Series,
        after: &Series,
        ratio: Option<Interval>,
        arguments: &CompareArguments,
    ) -> Self {
        let server =
            if before.server == after.server { before.server.clone() } else { String::new() };
        Self {
            scenario: before.scenario.clone(),
            server,
            measure: before.measure.clone(),
            unit: before.unit.clone(),
            before: before.spread().median,
            after: after.spread().median,
            rounds: [before.rounds.len(), after.rounds.len()],
            verdict: Verdict::of(ratio, before.better, arguments.tolerance_percent),
            ratio,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "before: {}\nafter:  {}", self.before, self.after)?;
        writeln!(
            f,
            "ratio: after in parts of before, medians over the rounds, with the {} % interval of a bootstrap; a difference counts beyond {} %\n",
            self.confidence * 100.0,
            self.tolerance_percent
        )?;
        writeln!(
            f,
            "{:<16}{:<30}{:<24}{:>12}{:>12}  {:<26}verdict",
            "scenario", "server", "measure", "before", "after", "ratio"
        )?;
        for row in &self.rows {
            let ratio = row.ratio.map_or_else(String::new, |it| {
                format!("{:.3} ({:.3}..{:.3})", it.ratio, it.low, it.high)
            });
            writeln!(
                f,
                "{:<16}{:<30}{:<24}{:>12}{:>12}  {ratio:<26}{}",
                row.scenario,
                row.server,
                format!("{}, {}", row.measure, row.unit),
                figure(row.before),
                figure(row.after),
                row.verdict
            )?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// Formats a figure: a large one as a whole number, a small one with its significant digits.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

#[cfg(test)]
mod tests;
