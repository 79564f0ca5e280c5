//! What the rounds found: every value of every round, and what makes them doubtful. Holds no file
//! descriptor.

use std::fmt::Display;

use serde::Serialize;

use super::Settings;
use super::visit::{CPU, Visit};
use crate::environment::{Binary, Environment, Neighbours};
use crate::report::Report;
use crate::series::Series;
use crate::server::PLAIN;

/// Everything.
#[derive(Debug, Serialize)]
pub struct Results {
    /// Where and when.
    pub environment: Environment,
    /// How.
    pub settings: Settings,
    /// Who.
    pub servers: Vec<Measured>,
    /// The names of those that were not found.
    pub missing: Vec<&'static str>,
    /// What was asked, in order.
    pub scenarios: Vec<About>,
    /// The figures.
    pub series: Vec<Series>,
    /// Who did not take part, and why.
    pub barred: Vec<Barred>,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
    /// Every load of every round.
    pub loads: Vec<OneLoad>,
}

/// A server.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub name: String,
    /// What its binary says.
    pub version: String,
    pub binaries: Vec<Binary>,
    /// How it was first started; ports and scratch folders differ from round to round.
    pub commands: Vec<String>,
}

/// A scenario.
#[derive(Debug, Serialize)]
pub struct About {
    pub name: &'static str,
    pub about: &'static str,
}

/// One that did not take part.
#[derive(Debug, Serialize)]
pub struct Barred {
    pub scenario: String,
    pub server: String,
    pub why: String,
}

/// One load.
#[derive(Debug, Serialize)]
pub struct OneLoad {
    pub scenario: String,
    pub server: String,
    pub measure: &'static str,
    /// From 0.
    pub round: u32,
    /// Of the whole visit.
    pub neighbours: Neighbours,
    pub report: Report,
}

/// Returns what TLS costs a server that was measured without it, too, round by round.
fn costs_of_tls(series: &[Series]) -> Vec<Series> {
    let is_of = |cost: &Series, secure: &Series| {
        cost.scenario == secure.scenario
            && cost.measure == secure.measure
            && cost.server.strip_suffix(PLAIN) == Some(&secure.server)
    };
    let cost = |secure: &Series| {
        let plain = series.iter().find(|plain| is_of(plain, secure))?;
        let rounds = secure.rounds.iter().zip(&plain.rounds);
        Some(Series {
            measure: "CPU of TLS".to_owned(),
            client_saturated: false,
            failed: secure.failed + plain.failed,
            rounds: rounds.map(|(secure, plain)| secure - plain).collect(),
            ..secure.clone()
        })
    };
    series.iter().filter(|series| series.measure == CPU).filter_map(cost).collect()
}

impl Results {
    pub fn new(environment: Environment, settings: Settings, missing: Vec<&'static str>) -> Self {
        let warnings = environment.warnings();
        Self {
            environment,
            settings,
            servers: Vec::new(),
            missing,
            scenarios: Vec::new(),
            series: Vec::new(),
            barred: Vec::new(),
            warnings,
            loads: Vec::new(),
        }
    }

    /// A server takes part.
    pub fn server(&mut self, name: String, version: String, binaries: Vec<Binary>) {
        let warnings = binaries.iter().filter_map(Binary::warning);
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        self.servers.push(Measured { name, version, binaries, commands: Vec::new() });
    }

    /// A scenario begins.
    pub fn scenario(&mut self, name: &'static str, about: &'static str) {
        self.scenarios.push(About { name, about });
    }

    /// A server does not take part.
    pub fn bar(&mut self, scenario: &str, server: String, why: String) {
        self.barred.push(Barred { scenario: scenario.to_owned(), server, why });
    }

    /// A server fell out: what it had until then is no basis for anything.
    pub fn fail(&mut self, scenario: &str, server: &str, error: &impl Display) {
        self.series.retain(|series| !(series.scenario == scenario && series.server == server));
        self.warn(format!("{scenario}, {server}: given up: {error}"));
        self.bar(scenario, server.to_owned(), "failed".to_owned());
    }

    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// A visit's values join their series.
    pub fn add(&mut self, scenario: &str, server: &str, round: u32, visit: Visit) {
        let errors = visit.errors();
        let mut line = String::new();
        for value in &visit.values {
            line += &format!(
                " {} {} {},",
                value.measure,
                crate::compare::figure(value.value),
                value.unit
            );
            let found = self.series.iter_mut().find(|series| {
                series.scenario == scenario
                    && series.server == server
                    && series.measure == value.measure
            });
            match found {
                Some(series) => {
                    series.client_saturated |= value.client_saturated;
                    series.failed += value.failed;
                    series.rounds.push(value.value);
                }
                None => self.series.push(Series {
                    scenario: scenario.to_owned(),
                    server: server.to_owned(),
                    measure: value.measure.to_owned(),
                    unit: value.unit.to_owned(),
                    better: value.better,
                    client_saturated: value.client_saturated,
                    failed: value.failed,
                    rounds: vec![value.value],
                }),
            }
        }
        eprintln!("  round {}, {server}:{}", round + 1, line.trim_end_matches(','));
        if errors > 0 {
            let kinds: Vec<String> = visit
                .reports
                .iter()
                .flat_map(|(_, report)| report.errors.named())
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            self.warn(format!(
                "{scenario}, {server}, round {}: {errors} requests failed ({}); its figures are those of the rest",
                round + 1,
                if kinds.is_empty() { "in the warm-up".to_owned() } else { kinds.join(", ") }
            ));
        }
        for (measure, report) in visit.reports {
            self.loads.push(OneLoad {
                scenario: scenario.to_owned(),
                server: server.to_owned(),
                measure,
                round,
                neighbours: visit.neighbours,
                report,
            });
        }
        if let Some(measured) = self.servers.iter_mut().find(|measured| measured.name == server)
            && measured.commands.is_empty()
        {
            measured.commands = visit.commands;
        }
    }

    /// After the last round: what follows from two servers together, and what all of them make
    /// doubtful.
    pub fn finish(&mut self) {
        self.series.extend(costs_of_tls(&self.series));
        let mut warnings = Vec::new();
        let felt = self.loads.iter().filter(|load| load.neighbours.are_felt()).count();
        if felt > 0 {
            let most = self.loads.iter().map(|load| load.neighbours.programs).fold(0.0, f64::max);
            let stolen = self.loads.iter().map(|load| load.neighbours.stolen).fold(0.0, f64::max);
            warnings.push(format!(
                "in {felt} of {} loads other programs ran, on up to {most:.2} cores, or the hypervisor took up to {stolen:.2}",
                self.loads.len()
            ));
        }
        let robbed = self.loads.iter().filter(|load| load.report.client_was_robbed()).count();
        if robbed > 0 {
            warnings.push(format!(
                "in {robbed} of {} loads the client had to wait for its own core",
                self.loads.len()
            ));
        }
        for about in &self.scenarios {
            for server in &self.servers {
                let wandering: Vec<String> = self
                    .series
                    .iter()
                    .filter(|series| series.scenario == about.name && series.server == server.name)
                    .filter(|series| series.spread().is_high())
                    .map(|series| series.measure.clone())
                    .collect();
                if !wandering.is_empty() {
                    warnings.push(format!(
                        "{}, {}: high spread over the rounds of {}",
                        about.name,
                        server.name,
                        wandering.join(", ")
                    ));
                }
            }
        }
        self.warnings.extend(warnings);
    }

    /// The measures that were taken, in order of their first value, with their units.
    pub fn measures(&self) -> Vec<(&str, &str)> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        for series in &self.series {
            let measure = (&*series.measure, &*series.unit);
            if !found.contains(&measure) {
                found.push(measure);
            }
        }
        found
    }

    /// The figures of a measure in a scenario, in the servers' order.
    pub fn rows(&self, scenario: &str, measure: &str) -> Vec<&Series> {
        let of = |server: &Measured| {
            self.series.iter().find(|series| {
                series.scenario == scenario
                    && series.measure == measure
                    && series.server == server.name
            })
        };
        self.servers.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Better;

    #[test]
    fn what_tls_costs_is_the_difference_of_each_round() {
        let series = |server: &str, measure: &str, rounds: &[f64]| Series {
            scenario: "tls-hello".to_owned(),
            server: server.to_owned(),
            measure: measure.to_owned(),
            unit: "µs".to_owned(),
            better: Better::Lower,
            client_saturated: true,
            failed: 0,
            rounds: rounds.to_vec(),
        };
        let costs = costs_of_tls(&[
            series("sockhop", CPU, &[30.0, 33.0]),
            series("sockhop", "p50", &[9.0]),
            series("sockhop+plain", CPU, &[22.0, 24.0]),
            series("nginx", CPU, &[8.0]),
        ]);
        let [cost] = &costs[..] else { panic!("{costs:?}") };
        assert_eq!((&*cost.server, &cost.rounds[..]), ("sockhop", &[8.0, 9.0][..]));
    }
}
