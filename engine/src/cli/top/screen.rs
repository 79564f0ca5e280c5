//! The screen of `sockhop top`: a few lines of the node, a table of workers, a table of functions.
//! Draws what it is given; owns no fds.

use std::time::Duration;

use api::jobs::JobsStatus;
use bytesize::ByteSize;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};

use super::super::print::counted;
use super::figures::{Figures, FunctionFigures, Sort, WorkerFigures};

/// What the user has chosen, and what went wrong.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) sort: Sort,
    /// The first function that is shown.
    pub(super) first: usize,
    /// Why there are no newer figures.
    pub(super) trouble: Option<String>,
}

/// One column of a table.
pub(super) struct Column<T> {
    pub(super) title: &'static str,
    width: u16,
    /// On a narrow screen, those with the highest go first.
    spare: u8,
    pub(super) text: fn(&T) -> String,
}

pub(super) const WORKER_COLUMNS: [Column<WorkerFigures>; 9] = [
    Column {
        title: "PID",
        width: 8,
        spare: 1,
        text: |worker| worker.pid.map_or("-".into(), |pid| pid.to_string()),
    },
    Column { title: "CORE", width: 4, spare: 3, text: |worker| worker.core.to_string() },
    Column { title: "POOL", width: 14, spare: 0, text: |worker| worker.pool.clone() },
    Column { title: "STATE", width: 10, spare: 0, text: |worker| worker.state.name().into() },
    Column { title: "RUN", width: 5, spare: 0, text: |worker| worker.in_flight.to_string() },
    Column { title: "CONNS", width: 6, spare: 1, text: |worker| worker.connections.to_string() },
    Column { title: "REQ/S", width: 8, spare: 0, text: |worker| rate(worker.requests_per_s) },
    Column { title: "RESTARTS", width: 8, spare: 2, text: |worker| worker.restarts.to_string() },
    Column { title: "MEMORY", width: 9, spare: 1, text: |worker| bytes(worker.memory_bytes) },
];

pub(super) const FUNCTION_COLUMNS: [Column<FunctionFigures>; 9] = [
    Column { title: "FUNCTION", width: 16, spare: 0, text: |function| function.name.clone() },
    Column { title: "REQ/S", width: 9, spare: 0, text: |function| rate(function.requests_per_s) },
    Column { title: "RUN", width: 6, spare: 1, text: |function| function.in_flight.to_string() },
    Column { title: "QUEUED", width: 6, spare: 2, text: |function| function.queued.to_string() },
    Column { title: "JOBS", width: 6, spare: 3, text: |function| waiting(function.jobs) },
    Column { title: "DEAD", width: 5, spare: 4, text: |function| function.jobs.dead.to_string() },
    Column { title: "ERR%", width: 6, spare: 0, text: |function| percent(function.errors_percent) },
    Column { title: "P50", width: 9, spare: 1, text: |function| time(function.p50) },
    Column { title: "P99", width: 9, spare: 0, text: |function| time(function.p99) },
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, figures: &Figures, choice: &Choice, now_s: u64) {
    let area = frame.area();
    // Half of what is left is enough for workers; functions get the rest.
    let lines: Vec<Line<'_>> = summary(figures, now_s).into_iter().map(Line::from).collect();
    let of_node = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let left = area.height.saturating_sub(of_node.saturating_add(4));
    let workers = u16::try_from(figures.workers.len()).unwrap_or(u16::MAX).min(left / 2);
    let rows = [of_node, workers.saturating_add(2)].map(Constraint::Length);
    let [node, worker_table, function_table, keys] =
        Layout::vertical([rows[0], rows[1], Constraint::Min(0), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(lines), node);
    table(frame, worker_table, &WORKER_COLUMNS, &busiest(&figures.workers));
    let first = choice.first.min(figures.functions.len().saturating_sub(1));
    let functions: Vec<_> = figures.functions.iter().skip(first).collect();
    table(frame, function_table, &FUNCTION_COLUMNS, &functions);
    let footer = match &choice.trouble {
        Some(trouble) => {
            Paragraph::new(trouble.as_str()).style(Style::new().add_modifier(Modifier::REVERSED))
        }
        None => Paragraph::new(format!(
            "q quit  s, left, right: by {}  up, down: scroll",
            choice.sort.name()
        ))
        .style(Style::new().add_modifier(Modifier::DIM)),
    };
    frame.render_widget(footer, keys);
}

/// The node in two lines, and a third if it has jobs.
pub(super) fn summary(figures: &Figures, now_s: u64) -> Vec<String> {
    let up =
        humantime::format_duration(Duration::from_secs(now_s.saturating_sub(figures.started_s)));
    let (pid, functions) = (figures.pid, counted(figures.functions_deployed, "function"));
    let draining = if figures.draining { "  STOPPING" } else { "" };
    let mut lines = vec![
        format!(
            "sockhop {pid}  up {up}  {functions}  memory {}{draining}",
            bytes(figures.memory_bytes)
        ),
        format!(
            "req/s {}  err/s {}  accepted/s {}  connections {}  running {}  queued {}",
            rate(figures.requests_per_s),
            rate(figures.errors_per_s),
            rate(figures.accepted_per_s),
            figures.connections,
            figures.in_flight,
            figures.queued,
        ),
    ];
    let JobsStatus { queued, running, dead } = figures.jobs;
    if figures.jobs != JobsStatus::default() {
        lines.push(format!("jobs: queued {queued}  running {running}  dead letters {dead}"));
    }
    lines
}

/// How many jobs there are that are to be done.
fn waiting(jobs: JobsStatus) -> String {
    (jobs.queued + jobs.running).to_string()
}

/// Workers as they are, or those with most to do first where not all can be seen.
fn busiest(workers: &[WorkerFigures]) -> Vec<&WorkerFigures> {
    let mut workers: Vec<_> = workers.iter().collect();
    workers.sort_by(|a, b| {
        b.requests_per_s.unwrap_or_default().total_cmp(&a.requests_per_s.unwrap_or_default())
    });
    workers
}

/// Draws as many rows and columns as there is room for.
fn table<T>(frame: &mut Frame<'_>, area: Rect, columns: &[Column<T>], rows: &[&T]) {
    let shown = fitting(columns, area.width);
    let cell = |at: usize, text: String| {
        // The first column of text is read from its left, numbers from their right.
        let text = Line::from(text);
        if shown[at].is_text() { text } else { text.alignment(Alignment::Right) }
    };
    let titles =
        Row::new(shown.iter().enumerate().map(|(at, column)| cell(at, column.title.into())));
    let visible = usize::from(area.height.saturating_sub(1));
    let body = rows.iter().take(visible).map(|row| {
        Row::new(shown.iter().enumerate().map(|(at, column)| cell(at, (column.text)(row))))
    });
    let widths = shown.iter().map(|column| match column.title {
        "FUNCTION" | "POOL" => Constraint::Min(column.width),
        _ => Constraint::Length(column.width),
    });
    let header = titles.style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(body, widths).header(header).column_spacing(1), area);
}

impl<T> Column<T> {
    fn is_text(&self) -> bool {
        matches!(self.title, "POOL" | "STATE" | "FUNCTION")
    }
}

/// The columns that fit: all, or without those that can be spared most.
fn fitting<T>(columns: &[Column<T>], width: u16) -> Vec<&Column<T>> {
    let mut shown: Vec<_> = columns.iter().collect();
    while shown.iter().map(|column| column.width + 1).sum::<u16>() > width.saturating_add(1)
        && shown.len() > 1
    {
        let most = shown.iter().map(|column| column.spare).max().unwrap_or_default();
        let last = shown.iter().rposition(|column| column.spare == most).unwrap_or_default();
        shown.remove(last);
    }
    shown
}

fn bytes(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".into(),
        Some(rate) if rate >= 1e6 => format!("{:.2}M", rate / 1e6),
        Some(rate) if rate >= 1e5 => format!("{:.0}k", rate / 1e3),
        Some(rate) if rate >= 100.0 || rate == 0.0 => format!("{rate:.0}"),
        Some(rate) => format!("{rate:.1}"),
    }
}

fn percent(percent: Option<f64>) -> String {
    percent.map_or("-".into(), |percent| format!("{percent:.1}"))
}

fn time(time: Option<Duration>) -> String {
    let Some(time) = time else { return "-".into() };
    match time.as_micros() {
        0..1_000 => format!("{} us", time.as_micros()),
        1_000..1_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::status::WorkerState;
    use proptest::prelude::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn figures() -> Figures {
        let worker = |core, rate| WorkerFigures {
            pid: Some(4321),
            core,
            pool: "shared".into(),
            state: WorkerState::Ready,
            in_flight: 2,
            connections: 30,
            requests_per_s: Some(rate),
            restarts: 1,
            memory_bytes: 26 << 20,
        };
        let function = |name: &str, rate| FunctionFigures {
            name: name.into(),
            requests_per_s: Some(rate),
            in_flight: 3,
            queued: 4,
            jobs: JobsStatus { queued: 5, running: 1, dead: 7 },
            errors_percent: Some(0.5),
            p50: Some(Duration::from_micros(87)),
            p99: Some(Duration::from_micros(12_345)),
        };
        Figures {
            pid: 1234,
            functions_deployed: 2,
            started_s: 100,
            requests_per_s: Some(31_000.4),
            workers: vec![worker(0, 1000.0), worker(1, 2000.0)],
            functions: vec![function("hello", 30_000.0), function("resize", 1.25)],
            ..Figures::default()
        }
    }

    fn drawn(width: u16, height: u16, figures: &Figures, choice: &Choice) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, figures, choice, 160)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content().chunks(usize::from(width.max(1)));
        lines
            .map(|line| {
                line.iter()
                    .map(ratatui::buffer::Cell::symbol)
                    .collect::<String>()
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }

    const CHOICE: Choice = Choice { sort: Sort::Rate, first: 0, trouble: None };

    #[test]
    fn a_small_terminal_shows_node_workers_and_functions() {
        let lines = drawn(80, 24, &figures(), &CHOICE);
        assert_eq!(lines[0], "sockhop 1234  up 1m  2 functions  memory 0 B");
        assert!(lines[1].starts_with("req/s 31000  err/s -"), "{}", lines[1]);
        assert_eq!(
            lines[2].split_whitespace().collect::<Vec<_>>(),
            ["PID", "CORE", "POOL", "STATE", "RUN", "CONNS", "REQ/S", "RESTARTS", "MEMORY"]
        );
        assert!(
            lines[3].contains("2000") && lines[4].contains("1000"),
            "the busiest first: {lines:#?}"
        );
        assert_eq!(
            lines[7].split_whitespace().collect::<Vec<_>>(),
            ["hello", "30000", "3", "4", "6", "7", "0.5", "87", "us", "12.3", "ms"]
        );
        assert!(lines[23].contains("by requests/s"), "{lines:#?}");
    }

    #[test]
    fn a_node_with_jobs_says_how_many() {
        let jobs = JobsStatus { queued: 3, running: 2, dead: 1 };
        let lines = drawn(80, 24, &Figures { jobs, ..figures() }, &CHOICE);
        assert_eq!(lines[2], "jobs: queued 3  running 2  dead letters 1");
        assert!(lines[3].contains("PID") && lines[23].contains("by requests/s"), "{lines:#?}");
    }

    #[test]
    fn a_narrow_one_keeps_what_matters() {
        let lines = drawn(40, 12, &figures(), &CHOICE);
        assert_eq!(
            lines[2].split_whitespace().collect::<Vec<_>>(),
            ["POOL", "STATE", "RUN", "REQ/S"]
        );
        assert!(
            lines.iter().any(|line| line.contains("hello") && line.contains("30000")),
            "{lines:#?}"
        );
    }

    #[test]
    fn one_scrolls_and_is_told_of_trouble() {
        let trouble = Some("no node answers".to_owned());
        let lines = drawn(80, 24, &figures(), &Choice { first: 1, trouble, ..CHOICE });
        assert!(!lines.iter().any(|line| line.contains("hello")), "{lines:#?}");
        assert!(lines[7].starts_with("resize"), "{lines:#?}");
        assert_eq!(lines[23], "no node answers");
    }

    #[test]
    fn figures_are_short() {
        let rates = [
            None,
            Some(0.0),
            Some(0.25),
            Some(99.96),
            Some(12_345.6),
            Some(123_456.0),
            Some(2.5e6),
        ]
        .map(rate);
        assert_eq!(rates, ["-", "0", "0.2", "100.0", "12346", "123k", "2.50M"]);
        assert_eq!(time(Some(Duration::from_millis(1500))), "1.50 s");
        assert_eq!((time(None), percent(None)), ("-".to_owned(), "-".to_owned()));
    }

    proptest! {
        /// Whatever the size of the terminal, drawing does not panic.
        #[test]
        fn any_size_is_drawn(width in 1u16..200, height in 1u16..60, first in 0usize..9) {
            drawn(width, height, &figures(), &Choice { first, ..CHOICE });
        }
    }
}
