//! A comparison as text: table, environment, commands, warnings. Holds no file descriptor.

use std::fmt;

use super::result::{Comparison, Measured, Spread};

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        writeln!(
            f,
            "\n{}{}, {} connections {}, closed loop, {} rounds of {} s after {} s; servers on core {}, client on core {}",
            settings.measure,
            settings.payload_bytes.map_or_else(String::new, |bytes| format!(" of {bytes} bytes, streamed both ways")),
            settings.connections,
            if settings.keep_alive { "kept alive" } else { "at a time, one per request" },
            settings.rounds,
            settings.seconds,
            settings.warmup_seconds,
            settings.server_core,
            settings.load_core
        )?;
        writeln!(f, "medians over the rounds; rate and ratio with their range\n")?;
        write!(
            f,
            "{:<30}{:>9}{:>19}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}",
            "server",
            if settings.payload_bytes.is_some() { "MB/s" } else { "req/s" },
            "min..max",
            "p50 µs",
            "p99 µs",
            "CPU µs",
            "reply B",
            "client",
            "errors"
        )?;
        for ours in self.ours() {
            write!(f, "  {:<20}", format!("{} is", ours.name))?;
        }
        writeln!(f)?;
        for server in &self.servers {
            line(f, server)?;
            for ours in self.ours() {
                let Spread { median, min, max } = server.times_as_fast(ours);
                let own = std::ptr::eq(ours, server);
                let ratio = if own { String::new() } else { format!("{median:.2}x ({min:.2}..{max:.2})") };
                write!(f, "  {ratio:<20}")?;
            }
            writeln!(f)?;
        }
        for missing in &self.missing {
            writeln!(f, "{:<30}missing: not found on PATH or where {} says", missing.name, missing.option)?;
        }
        writeln!(f, "\n{}", self.environment)?;
        for server in &self.servers {
            writeln!(f, "{}: {}", server.name, server.version)?;
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

fn line(f: &mut fmt::Formatter<'_>, server: &Measured) -> fmt::Result {
    let rate =
        server.spread(|round| round.report.payload_megabytes_per_second.unwrap_or(round.report.requests_per_second));
    write!(
        f,
        "{:<30}{:>9.0}{:>19}{:>9.0}{:>9.0}{:>9.1}{:>8.0}{:>6.0} %{:>8}",
        server.name,
        rate.median,
        format!("{:.0}..{:.0}", rate.min, rate.max),
        server.spread(|round| round.report.latency.p50_us).median,
        server.spread(|round| round.report.latency.p99_us).median,
        server.spread(|round| round.cpu_us_per_request).median,
        server.spread(|round| round.reply_bytes as f64).median,
        server.spread(|round| round.report.client_cpu_percent).median,
        server.errors(),
    )
}
