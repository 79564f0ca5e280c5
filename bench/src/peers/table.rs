//! The results as text: one table a measure, in Markdown, so that it can stand in a document as it
//! is. Holds no file descriptor.

use std::fmt;

use super::results::Results;
use crate::compare::figure;
use crate::series::Series;
use crate::stats;

const CONFIDENCE: f64 = 0.95;
/// What the names of those begin with whose ratio to the others stands beside them.
const OURS: &str = "sockhop";

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        writeln!(
            f,
            "\nmedians of {} rounds (least to most), windows of {} s after {} s; servers on core {}, client on {:?}{}; ≥ or ≤: the client was the bottleneck; \"is\": the ratio of the medians' rounds with its {:.0} % interval",
            settings.rounds,
            settings.seconds,
            settings.warmup_seconds,
            settings.server_core,
            settings.client_cores,
            if settings.spin { ", spinning" } else { "" },
            CONFIDENCE * 100.0
        )?;
        for (measure, unit) in self.measures() {
            writeln!(f, "\n### {measure}, {unit}\n")?;
            let ours = self
                .servers
                .iter()
                .map(|server| &*server.name)
                .filter(|name| name.starts_with(OURS));
            let ours: Vec<&str> = ours.collect();
            write!(f, "| scenario | server | {unit} |")?;
            ours.iter().try_for_each(|name| write!(f, " {name} is |"))?;
            writeln!(f, "\n|---|---|---|{}", "---|".repeat(ours.len()))?;
            for about in &self.scenarios {
                let rows = self.rows(about.name, measure);
                for series in &rows {
                    write!(f, "| {} | {} | {} |", about.name, series.server, value(series))?;
                    for name in &ours {
                        write!(
                            f,
                            " {} |",
                            ratio(series, rows.iter().find(|row| row.server == *name))
                        )?;
                    }
                    writeln!(f)?;
                }
            }
        }
        writeln!(f)?;
        for about in &self.scenarios {
            writeln!(f, "{}: {}", about.name, about.about)?;
            for barred in self.barred.iter().filter(|barred| barred.scenario == about.name) {
                writeln!(f, "    without {}: {}", barred.server, barred.why)?;
            }
        }
        for missing in &self.missing {
            writeln!(
                f,
                "missing: {missing} was not found; scripts/install-peers gets what registries have"
            )?;
        }
        writeln!(f, "\n{}", self.environment)?;
        for server in &self.servers {
            writeln!(f, "{}: {}", server.name, server.version)?;
            for binary in &server.binaries {
                let modified = binary.modified.as_deref().unwrap_or("unknown");
                writeln!(
                    f,
                    "    {}: {} bytes, written {modified}",
                    binary.path.display(),
                    binary.bytes.unwrap_or(0)
                )?;
            }
            for command in &server.commands {
                writeln!(f, "    {command}")?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// Returns the median of the rounds and their range.
pub fn value(series: &Series) -> String {
    let spread = series.spread();
    let bound = match (series.client_saturated, series.better) {
        (false, _) => "",
        (true, crate::series::Better::Higher) => "≥ ",
        (true, crate::series::Better::Lower) => "≤ ",
    };
    let failed =
        if series.failed > 0 { format!("; {} failed", series.failed) } else { String::new() };
    if series.rounds.len() < 2 {
        return format!("{bound}{}{failed}", figure(spread.median));
    }
    format!(
        "{bound}{} ({} to {}){failed}",
        figure(spread.median),
        figure(spread.min),
        figure(spread.max)
    )
}

/// How many times this server's figure ours is.
pub fn ratio(series: &Series, ours: Option<&&Series>) -> String {
    let Some(ours) = ours.filter(|ours| ours.server != series.server) else {
        return String::new();
    };
    if let Some(interval) = stats::paired(&series.rounds, &ours.rounds, CONFIDENCE) {
        return format!("{:.2} ({:.2} to {:.2})", interval.ratio, interval.low, interval.high);
    }
    // Too few rounds for an interval; and nothing is in proportion to nothing.
    let ratio = ours.spread().median / series.spread().median;
    if ratio.is_finite() { format!("{ratio:.2}") } else { String::new() }
}
