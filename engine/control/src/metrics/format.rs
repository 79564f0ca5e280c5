//! The two text formats of metrics: OpenMetrics 1.0, for scrapers that ask for it, and Prometheus'
//! own, 0.0.4, which every scraper knows. Pure; owns no fds.

use std::fmt::Write as _;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>
    Text,
}

impl Format {
    /// Returns the format to answer with, by the values of `Accept` (RFC 9110 12.5.1).
    ///
    /// OpenMetrics has to be named: a client that accepts anything, or says nothing, gets what
    /// everybody can read.
    pub fn accepted<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let (mut open_metrics, mut text) = (0.0_f32, None::<f32>);
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let name = parts.next().unwrap_or_default();
            let (mut weight, mut version) = (1.0, None);
            for parameter in parts {
                match parameter.split_once('=') {
                    Some(("q", value)) => weight = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value.trim_matches('"').to_owned()),
                    _ => {}
                }
            }
            match (name.as_str(), version.as_deref()) {
                ("application/openmetrics-text", None | Some("1.0.0")) => {
                    open_metrics = open_metrics.max(weight)
                }
                ("text/plain", None | Some("0.0.4")) => {
                    text = Some(text.unwrap_or_default().max(weight))
                }
                _ => {}
            }
        }
        if open_metrics > 0.0 && text.is_none_or(|text| open_metrics >= text) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Returns a text in OpenMetrics as a text in this format.
    pub fn write(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => text(&open_metrics),
        }
    }
}

/// Returns the same in Prometheus' own format. A family is described there by the name that its
/// samples have, and there are no types but counter, gauge, histogram and summary, no units and no
/// end.
fn text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let Some(described) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        match described.split_once(' ') {
            // The name depends on the type, which comes next.
            Some(("HELP", named)) => help = named.split_once(' '),
            Some(("TYPE", named)) => {
                let Some((name, kind)) = named.split_once(' ') else { continue };
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    kind => ("", kind),
                };
                // Writing to a String cannot fail.
                if let Some((_, help)) = help.take() {
                    let _ = writeln!(out, "# HELP {name}{suffix} {help}");
                }
                let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_name_it() {
        let of = |values: &[&str]| Format::accepted(values.iter().copied());
        // Prometheus 2.42 and 3.
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let newer = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,\
                     text/plain;version=0.0.4;q=0.2,/;q=0.1";
        for accept in [
            &[prometheus][..],
            &[newer],
            &["application/openmetrics-text"],
            &["Application/OpenMetrics-Text; version=\"1.0.0\"; charset=utf-8"],
            &["text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"],
            &["*/*", "application/openmetrics-text;q=0.1"],
        ] {
            assert_eq!(of(accept), Format::OpenMetrics, "{accept:?}");
        }
        for accept in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/plain;version=0.0.4"],
            &["text/plain, application/openmetrics-text;q=0.5"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=much"],
            &["application/openmetrics-text; version=9.0.0, */*"],
            &["application/openmetrics-text;version=0.0.1"],
            &[
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            ],
        ] {
            assert_eq!(of(accept), Format::Text, "{accept:?}");
        }
    }

    #[test]
    fn families_are_described_by_the_names_of_their_samples() {
        let open_metrics = "# HELP f_build The build.\n# TYPE f_build info\nf_build_info{version=\"1\"} 1\n\
                            # HELP f_hops Hops.\n# TYPE f_hops counter\nf_hops_total{of=\"# EOF\"} 2\n\
                            # HELP f_wait_seconds Waits.\n# TYPE f_wait_seconds histogram\n# UNIT f_wait_seconds seconds\n\
                            f_wait_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let expected = "# HELP f_build_info The build.\n# TYPE f_build_info gauge\nf_build_info{version=\"1\"} 1\n\
                        # HELP f_hops_total Hops.\n# TYPE f_hops_total counter\nf_hops_total{of=\"# EOF\"} 2\n\
                        # HELP f_wait_seconds Waits.\n# TYPE f_wait_seconds histogram\n\
                        f_wait_seconds_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(Format::Text.write(open_metrics.to_owned()), expected);
        assert_eq!(Format::OpenMetrics.write(open_metrics.to_owned()), open_metrics);
    }
}
