//! The results as pictures: one SVG a measure, a panel a scenario, a bar a server. Opens each file
//! for the length of one write only.
//!
//! Bars begin at zero, and every panel has a scale of its own: a scenario's servers are to be
//! compared, not scenarios. The thin line on a bar goes from the least round to the largest.

use std::fmt::Write as _;
use std::path::Path;

use super::Error;
use super::results::Results;
use crate::compare::figure;
use crate::output;
use crate::series::{Better, Series};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 190.0;
/// Where the longest bar ends; its figure stands behind it.
const RIGHT: f64 = 720.0;
const ROW: f64 = 20.0;
const BAR: f64 = 13.0;
const PANEL_HEAD: f64 = 34.0;
const HEAD: f64 = 56.0;
const FOOT: f64 = 34.0;
const OURS: &str = "#c2410c";
const PEERS: &str = "#64748b";
const FLOORS: &str = "#cbd5e1";

/// Writes all of them.
pub fn write(folder: &Path, results: &Results) -> Result<(), Error> {
    for (measure, unit) in results.measures() {
        let name = measure
            .to_lowercase()
            .replace(|character: char| !character.is_ascii_alphanumeric(), "-");
        let path = folder.join(format!("{name}.svg"));
        output::text(&path, &chart(results, measure, unit))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

fn chart(results: &Results, measure: &str, unit: &str) -> String {
    let panels: Vec<(&str, Vec<&Series>)> = results
        .scenarios
        .iter()
        .map(|about| (about.name, results.rows(about.name, measure)))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    let height: f64 = HEAD
        + FOOT
        + panels.iter().map(|(_, rows)| PANEL_HEAD + ROW * rows.len() as f64).sum::<f64>();
    let better = match panels.iter().flat_map(|(_, rows)| rows).next().map(|series| series.better) {
        Some(Better::Higher) => "more is better",
        _ => "less is better",
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(
        &mut svg,
        16.0,
        26.0,
        "start",
        "font-size=\"17\" font-weight=\"bold\" fill=\"#0f172a\"",
        &format!("{measure}, {unit}"),
    );
    let rounds = results.settings.rounds;
    text(
        &mut svg,
        16.0,
        44.0,
        "start",
        "fill=\"#475569\"",
        &format!("{better}; medians of {rounds} rounds, the line from least to most"),
    );
    let mut y = HEAD;
    for (name, rows) in panels {
        y += PANEL_HEAD;
        text(&mut svg, 16.0, y - 10.0, "start", "font-weight=\"bold\" fill=\"#0f172a\"", name);
        let most = rows.iter().map(|series| series.spread().max).fold(0.0, f64::max);
        for series in rows {
            row(&mut svg, y, series, if most > 0.0 { (RIGHT - LEFT) / most } else { 0.0 });
            y += ROW;
        }
    }
    let environment = &results.environment;
    let line = format!(
        "{}, kernel {}, {}, commit {}",
        environment.cpu, environment.kernel, environment.date, environment.commit
    );
    text(&mut svg, 16.0, height - 12.0, "start", "font-size=\"9\" fill=\"#64748b\"", &line);
    svg + "</svg>\n"
}

fn row(svg: &mut String, y: f64, series: &Series, scale: f64) {
    let spread = series.spread();
    // A server that gave memory back has less than none; its bar is empty and its figure says so.
    let length = (spread.median * scale).max(0.0);
    let color = match &*series.server {
        name if name.starts_with("sockhop") => OURS,
        "null" | "nginx" => FLOORS,
        _ => PEERS,
    };
    let middle = y + ROW / 2.0;
    text(svg, LEFT - 8.0, middle + 4.0, "end", "fill=\"#0f172a\"", &series.server);
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{color}\"/>",
        middle - BAR / 2.0
    );
    let (from, to) = (LEFT + (spread.min * scale).max(0.0), LEFT + (spread.max * scale).max(0.0));
    let _ = writeln!(
        svg,
        "<path d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v6M{to:.1} {:.1}v6\" stroke=\"#0f172a\" stroke-width=\"1\" fill=\"none\"/>",
        middle - 3.0,
        middle - 3.0
    );
    let bound = match (series.client_saturated, series.better) {
        (false, _) => "",
        (true, Better::Higher) => "≥ ",
        (true, Better::Lower) => "≤ ",
    };
    let failed = if series.failed > 0 { " (requests failed)" } else { "" };
    let label = format!("{bound}{}{failed}", figure(spread.median));
    text(
        svg,
        LEFT + length.max(to - LEFT) + 6.0,
        middle + 4.0,
        "start",
        "fill=\"#0f172a\"",
        &label,
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, style: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{text}</text>"
    );
}
