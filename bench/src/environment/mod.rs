//! The environment of a measurement: machine, kernel, builds, commit, date. A number without it is
//! hearsay. Opens files of /proc and /sys for the length of one read only.
//!
//! Nothing here fails: a fact that cannot be found out is reported as unknown, and the numbers
//! still stand.

mod build;
mod neighbours;

use std::fmt;
use std::fs;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde::Serialize;

pub use build::{Binary, Build};
pub use neighbours::{Moment, Neighbours};

/// Above this load, numbers vary.
const LOAD_AVERAGE_MAX: f64 = 0.5;
const UNKNOWN: &str = "unknown";
const VULNERABILITIES: &str = "/sys/devices/system/cpu/vulnerabilities";

/// The environment of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Environment {
    /// The CPU's own name.
    pub cpu: String,
    /// The number of cores that this process may use.
    pub cores: usize,
    /// Their numbers.
    pub allowed_cores: String,
    /// The machine's memory, in MiB.
    pub memory_mib: Option<u64>,
    /// The frequency governor of core 0, or `none` where the guest of a hypervisor sees no such
    /// thing.
    pub governor: String,
    /// The release of the kernel.
    pub kernel: String,
    /// The kernel's mitigations of the CPU's flaws, if there are any: each makes system calls
    /// slower.
    pub mitigations: Vec<String>,
    /// The harness itself.
    pub harness: Build,
    /// The commit that is checked out where the harness runs, and whether files differ from it.
    pub commit: String,
    /// The date, in UTC.
    pub date: String,
    /// The load over the last minute, before the measurement.
    pub load_average: Option<f64>,
    /// The other programs in the moment before the measurement, in cores.
    pub neighbours: Option<Neighbours>,
    /// The command line of the harness.
    pub command: String,
}

impl Environment {
    /// Records the environment. Call this before any load.
    pub fn look() -> Self {
        Self {
            cpu: read("/proc/cpuinfo")
                .and_then(|text| cpu_name(&text))
                .unwrap_or_else(|| UNKNOWN.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            allowed_cores: field("/proc/self/status", "Cpus_allowed_list")
                .unwrap_or_else(|| UNKNOWN.to_owned()),
            memory_mib: field("/proc/meminfo", "MemTotal").and_then(|text| megabytes(&text)),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .unwrap_or_else(|| "none".to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_else(|| UNKNOWN.to_owned()),
            mitigations: mitigations(),
            harness: Build::of_this(),
            commit: commit().unwrap_or_else(|| UNKNOWN.to_owned()),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            load_average: read("/proc/loadavg")
                .and_then(|text| text.split(' ').next()?.parse().ok()),
            neighbours: Neighbours::look(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }

    /// Returns the reasons to doubt numbers.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(load) = self.load_average.filter(|&load| load > LOAD_AVERAGE_MAX) {
            warnings.push(format!(
                "load average was {load} at the start: something else was running, so numbers are low and wander"
            ));
        }
        if let Some(neighbours) = self.neighbours.filter(Neighbours::are_felt) {
            warnings.push(format!(
                "other programs used {:.2} cores just before the start, and the hypervisor took {:.2}",
                neighbours.programs, neighbours.stolen
            ));
        }
        warnings.extend(self.harness.warning());
        if self.cores < 2 {
            warnings.push(
                "fewer than two cores: server and client share one, and each slows the other"
                    .to_owned(),
            );
        }
        if !matches!(&*self.governor, "none" | "performance") {
            warnings.push(format!(
                "governor is `{}`: the clock changes with load; `performance` is steadier",
                self.governor
            ));
        }
        warnings
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory_mib.map_or_else(String::new, |memory| format!(", {memory} MiB"));
        writeln!(
            f,
            "cpu:      {} ({} cores: {}, governor {}{memory})",
            self.cpu, self.cores, self.allowed_cores, self.governor
        )?;
        writeln!(f, "kernel:   {}", self.kernel)?;
        writeln!(
            f,
            "flaws:    {}",
            if self.mitigations.is_empty() {
                "none mitigated".to_owned()
            } else {
                self.mitigations.join("; ")
            }
        )?;
        let flags = if self.harness.flags.is_empty() { "no flags" } else { self.harness.flags };
        writeln!(f, "harness:  {}, {flags}", self.harness.profile)?;
        writeln!(f, "commit:   {}", self.commit)?;
        writeln!(f, "date:     {}", self.date)?;
        writeln!(f, "command:  {}", self.command)
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Returns the value of a line `NAME: VALUE` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn megabytes(text: &str) -> Option<u64> {
    Some(text.split(' ').next()?.parse::<u64>().ok()? / 1024)
}

/// Returns the kernel's mitigation of each flaw of this CPU, by name; in order, so that two
/// machines can be compared.
fn mitigations() -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(VULNERABILITIES)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let state = read(path.to_str()?)?;
            (state != "Not affected")
                .then(|| format!("{}: {state}", path.file_name().unwrap_or_default().display()))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Returns the name of the CPU. x86 has a name in words; arm64 only has numbers, which still
/// distinguish two machines.
fn cpu_name(cpuinfo: &str) -> Option<String> {
    let value = |key: &str| {
        let line = cpuinfo
            .lines()
            .find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    value("model name").or_else(|| {
        Some(format!("arm implementer {} part {}", value("CPU implementer")?, value("CPU part")?))
    })
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let head = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain"]).is_none_or(|files| !files.is_empty());
    Some(if changed { format!("{head} with changes") } else { head })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_architectures_have_a_name() {
        assert_eq!(cpu_name("processor\t: 0\nmodel name\t: Fast One\n").unwrap(), "Fast One");
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n";
        assert_eq!(cpu_name(arm).unwrap(), "arm implementer 0x41 part 0xd40");
        assert_eq!(cpu_name("nothing"), None);
    }

    #[test]
    fn a_busy_machine_is_warned_of() {
        let mut environment = Environment::look();
        environment.load_average = Some(3.0);
        assert!(environment.warnings()[0].contains("load average was 3"));
    }
}
