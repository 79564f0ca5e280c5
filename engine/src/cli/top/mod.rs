//! `sockhop top`: the node's functions and workers as they change, once a second.
//!
//! [`figures`] makes rates of two samples, [`screen`] draws them; this is the loop around both, and
//! what keys do. Without a terminal one reading is printed. Owns the terminal's state, which is as
//! it was when this ends, however it ends.

mod figures;
mod screen;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use api::endpoints::GetTop;
use api::top::Sample;
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::figures::{Figures, Sort};
use self::screen::{Choice, Column, FUNCTION_COLUMNS, WORKER_COLUMNS};
use super::Target;
use super::client::Node;
use super::print::table;

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print one reading and end, as when the output is no terminal
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(top: Top) -> anyhow::Result<()> {
    let node = Node::new(&top.target)?;
    // The first sample is taken before the screen is: that there is no node is said where it can be
    // read.
    let first = sample(&node).await?;
    if top.once || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        tokio::time::sleep(INTERVAL).await;
        let mut figures = Figures::between(Some(&first), &sample(&node).await?);
        figures.sort(Sort::Rate);
        print(&figures);
        return Ok(());
    }
    let mut terminal = ratatui::try_init().context("the terminal cannot be used; try --once")?;
    let _restored = Restored;
    watch(&node, first, &mut terminal).await
}

/// The terminal is as it was when this is dropped; after a panic, ratatui's hook has seen to it.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn sample(node: &Node) -> anyhow::Result<Sample> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, node.call(GetTop::at())).await;
    answer.with_context(|| format!("the node has not answered in {ANSWER_TIMEOUT:?}"))??.read()
}

async fn watch(
    node: &Node,
    first: Sample,
    terminal: &mut ratatui::DefaultTerminal,
) -> anyhow::Result<()> {
    let mut figures = Figures::between(None, &first);
    let (mut before, mut next) = (first, Instant::now() + INTERVAL);
    let mut choice = Choice { sort: Sort::Rate, first: 0, trouble: None };
    loop {
        figures.sort(choice.sort);
        terminal.draw(|frame| screen::draw(frame, &figures, &choice, now_s()))?;
        if event::poll(next.saturating_duration_since(Instant::now()))? {
            // Anything else is a resize, most likely: drawn anew.
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && press(key, &mut choice, figures.functions.len()) == Then::Quit
            {
                return Ok(());
            }
            continue;
        }
        next = Instant::now() + INTERVAL;
        match sample(node).await {
            Ok(now) => {
                figures = Figures::between(Some(&before), &now);
                (before, choice.trouble) = (now, None);
            }
            Err(error) => choice.trouble = error.to_string().lines().next().map(str::to_owned),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    Quit,
}

/// What a key does.
fn press(key: KeyEvent, choice: &mut Choice, functions: usize) -> Then {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Then::Quit,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Then::Quit,
        KeyCode::Char('s') | KeyCode::Right => choice.sort = choice.sort.next(),
        KeyCode::Left => choice.sort = choice.sort.previous(),
        KeyCode::Down => choice.first = (choice.first + 1).min(functions.saturating_sub(1)),
        KeyCode::Up => choice.first = choice.first.saturating_sub(1),
        KeyCode::Home => choice.first = 0,
        _ => {}
    }
    Then::GoOn
}

fn print(figures: &Figures) {
    screen::summary(figures, now_s()).iter().for_each(|line| say!("{line}"));
    print_table(&WORKER_COLUMNS, &figures.workers);
    print_table(&FUNCTION_COLUMNS, &figures.functions);
}

fn print_table<T>(columns: &[Column<T>], rows: &[T]) {
    say!("");
    let titles: Vec<_> = columns.iter().map(|column| column.title).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| (column.text)(row)).collect()).collect();
    table(&titles, &rows);
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let mut choice = Choice { sort: Sort::Rate, first: 0, trouble: None };
        let mut press = |code, modifiers| press(KeyEvent::new(code, modifiers), &mut choice, 2);
        let plain = KeyModifiers::NONE;
        for quit in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(press(quit, plain), Then::Quit);
        }
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Then::Quit);
        assert_eq!(press(KeyCode::Char('c'), plain), Then::GoOn);
        for code in [
            KeyCode::Char('s'),
            KeyCode::Right,
            KeyCode::Left,
            KeyCode::Down,
            KeyCode::Down,
            KeyCode::Down,
        ] {
            press(code, plain);
        }
        assert_eq!((choice.sort, choice.first), (Sort::InFlight, 1));
    }
}
