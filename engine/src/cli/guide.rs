//! `sockhop guide`: the manual, whose pages are compiled into the binary. Owns no fds, but for the
//! pipe to a pager while a page is shown.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use clap::Args;
use termimad::MadSkin;

use super::{Misused, print};

/// A page of the manual: the name that it is asked for by, and its text as Markdown, whose first
/// line is `# TITLE: SUMMARY`.
type Page = (&'static str, &'static str);

const PAGES: [Page; 31] = [
    ("installing", include_str!("../../guide/installing.md")),
    ("projects", include_str!("../../guide/projects.md")),
    ("functions", include_str!("../../guide/functions.md")),
    ("languages", include_str!("../../guide/languages.md")),
    ("websocket", include_str!("../../guide/websocket.md")),
    ("native", include_str!("../../guide/native.md")),
    ("lambda", include_str!("../../guide/lambda.md")),
    ("static", include_str!("../../guide/static.md")),
    ("bundles", include_str!("../../guide/bundles.md")),
    ("deploying", include_str!("../../guide/deploying.md")),
    ("http", include_str!("../../guide/http.md")),
    ("domains", include_str!("../../guide/domains.md")),
    ("cron", include_str!("../../guide/cron.md")),
    ("jobs", include_str!("../../guide/jobs.md")),
    ("proxies", include_str!("../../guide/proxies.md")),
    ("https", include_str!("../../guide/https.md")),
    ("commands", include_str!("../../guide/commands.md")),
    ("remote", include_str!("../../guide/remote.md")),
    ("dashboard", include_str!("../../guide/dashboard.md")),
    ("settings", include_str!("../../guide/settings.md")),
    ("limits", include_str!("../../guide/limits.md")),
    ("errors", include_str!("../../guide/errors.md")),
    ("logs", include_str!("../../guide/logs.md")),
    ("metrics", include_str!("../../guide/metrics.md")),
    ("secrets", include_str!("../../guide/secrets.md")),
    ("state", include_str!("../../guide/state.md")),
    ("certificates", include_str!("../../guide/certificates.md")),
    ("storage", include_str!("../../guide/storage.md")),
    ("fleets", include_str!("../../guide/fleets.md")),
    ("upgrading", include_str!("../../guide/upgrading.md")),
    ("security", include_str!("../../guide/security.md")),
];

/// Lines longer than this are hard to read, however wide the terminal is.
const COLUMNS_MAX: u16 = 100;

#[derive(Debug, Args)]
pub(crate) struct Guide {
    /// The page to show; without it, the topics are listed
    topic: Option<String>,
    /// Show the lines that contain this text instead, of the topic or of all
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

pub(super) fn run(guide: &Guide) -> anyhow::Result<()> {
    let pages = match &guide.topic {
        Some(topic) => vec![find(topic).ok_or_else(|| Misused(unknown(topic)))?],
        None => PAGES.to_vec(),
    };
    match (&guide.search, &guide.topic) {
        (Some(wanted), _) => {
            let found = search(&pages, wanted);
            if found.is_empty() {
                anyhow::bail!("the guide has no {wanted:?}; `sockhop guide` lists its topics");
            }
            found.iter().for_each(|line| say!("{line}"));
        }
        (None, None) => list(),
        (None, Some(_)) => pages.iter().try_for_each(|(_, text)| show(text))?,
    }
    Ok(())
}

fn find(topic: &str) -> Option<Page> {
    PAGES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(topic))
}

/// Why there is no such page, with the topic that was probably meant.
fn unknown(topic: &str) -> String {
    let likeness = |name: &str| strsim::jaro_winkler(&topic.to_ascii_lowercase(), name);
    let nearest = PAGES.into_iter().map(|(name, _)| (likeness(name), name));
    match nearest.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((likeness, name)) if likeness > 0.75 => {
            format!("the guide has no topic {topic:?}; did you mean {name:?}?")
        }
        _ => format!(
            "the guide has no topic {topic:?}; `sockhop guide` lists them, `sockhop guide --search TEXT` searches"
        ),
    }
}

fn list() {
    for (name, text) in PAGES {
        say!("{name:<12} {}", summary(text));
    }
    say!("");
    say!("sockhop guide TOPIC shows one; sockhop guide --search TEXT searches all.");
}

/// What a page is about: what follows the colon in its title.
fn summary(text: &str) -> &str {
    let title = text.lines().next().unwrap_or_default();
    title.split_once(": ").map_or(title, |(_, summary)| summary)
}

/// The lines with `wanted` in them, in any case, each with its topic and the heading above it.
fn search(pages: &[Page], wanted: &str) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let mut found = Vec::new();
    for (name, text) in pages {
        let (mut heading, mut in_code) = ("", false);
        for line in text.lines() {
            in_code ^= line.starts_with("```");
            if let Some(title) = line.trim_start_matches('#').strip_prefix(' ')
                && line.starts_with('#')
                && !in_code
            {
                heading = title.split(": ").next().unwrap_or(title);
            }
            if line.to_lowercase().contains(&wanted) {
                found.push(format!("{name} ({heading}): {}", line.trim()));
            }
        }
    }
    found
}

/// Shows a page: rendered and in a pager at a terminal, as it is elsewhere.
fn show(text: &str) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        text.lines().for_each(|line| say!("{line}"));
        return Ok(());
    }
    let coloured = print::has_colours(&io::stdout());
    let skin = if coloured { MadSkin::default() } else { MadSkin::no_style() };
    let columns = termimad::terminal_size().0.min(COLUMNS_MAX);
    let rendered = skin.text(&joined(text), Some(usize::from(columns))).to_string();
    if page(&rendered)? {
        return Ok(());
    }
    super::print_bytes(rendered.as_bytes());
    Ok(())
}

/// The page with each paragraph and list item on one line: the renderer keeps line breaks, which
/// are for wider lines than the terminal's.
fn joined(text: &str) -> String {
    let (mut joined, mut in_code, mut in_paragraph) = (String::new(), false, false);
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        let is_prose = !in_code && !is_fence && !line.is_empty() && !line.starts_with(['#', '|']);
        if is_prose && in_paragraph && !line.starts_with("* ") {
            joined.truncate(joined.trim_end_matches('\n').len());
            joined.push(' ');
            joined.push_str(line.trim_start());
        } else {
            joined.push_str(line);
        }
        joined.push('\n');
        in_paragraph = is_prose;
        in_code ^= is_fence;
    }
    joined
}

/// Hands `text` to the pager that the user has chosen, or to less. Returns false when there is
/// none.
fn page(text: &str) -> io::Result<bool> {
    let pager = std::env::var("PAGER").unwrap_or_else(|_| "less".to_owned());
    if pager.trim().is_empty() {
        return Ok(false);
    }
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {pager}")]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Colours as they are, and no pager for what fits on the screen.
        command.env("LESS", "FRX");
    }
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A reader that has seen enough closes it.
        match stdin.write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    // The shell says 126 or 127 when it cannot run what was named.
    Ok(!matches!(child.wait()?.code(), Some(126 | 127)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_page_is_in_the_binary_and_has_a_title_with_a_summary() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guide");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let pages: BTreeSet<String> =
            PAGES.into_iter().map(|(name, _)| format!("{name}.md")).collect();
        assert_eq!(files, pages);
        for (name, text) in PAGES {
            let title = text.lines().next().unwrap();
            assert!(title.starts_with("# ") && title.contains(": "), "{name}: {title}");
        }
    }

    #[test]
    fn the_readme_lists_the_pages_as_they_are() {
        let readme = include_str!("../../../README.md");
        for (name, text) in PAGES {
            let line = format!("* [{name}](engine/guide/{name}.md): {}", summary(text));
            assert!(readme.lines().any(|other| other == line), "README.md has no line {line:?}");
        }
        assert!(readme.len() <= 10 * 1024, "README.md has {} bytes", readme.len());
    }

    #[test]
    fn what_is_referred_to_is_there() {
        for (name, text) in PAGES {
            for topic in text.split("sockhop guide ").skip(1) {
                let topic: String = topic.chars().take_while(char::is_ascii_lowercase).collect();
                assert!(topic.is_empty() || find(&topic).is_some(), "{name} refers to {topic:?}");
            }
        }
    }

    #[test]
    fn a_search_finds_lines_with_their_headings() {
        let page = ("p", "# Title: all of it\n\nsome Text\n\n## Below\n\n```sh\n# text\n```\n");
        assert_eq!(search(&[page], "TEXT"), ["p (Title): some Text", "p (Below): # text"]);
        assert!(search(&[page], "nothing").is_empty());
        assert!(!search(&PAGES, "--queue-timeout").is_empty());
    }

    #[test]
    fn paragraphs_and_items_are_one_line_each_and_the_rest_is_as_it_was() {
        let page =
            "# T\n\none\ntwo\n* item\n  more\n* other\n\n```sh\na\nb\n```\n\n| x |\n|---|\nend\n";
        let lines =
            "# T\n\none two\n* item more\n* other\n\n```sh\na\nb\n```\n\n| x |\n|---|\nend\n";
        assert_eq!(joined(page), lines);
    }

    #[test]
    fn a_topic_that_is_not_there_is_refused_with_the_nearest() {
        assert!(find("LIMITS").is_some());
        assert!(unknown("limit").contains("\"limits\""));
        assert!(unknown("qqqq").contains("--search"));
    }
}
