//! Comparing a path with a template. Pure; owns no fds.

use super::path::Path;
use super::template::{Parameter, Part, Presence, Template};

impl Template {
    /// Returns the parameters' values if `path` fits.
    pub(super) fn matches(&self, path: &Path<'_>) -> Option<Vec<(String, String)>> {
        let mut values = Vec::new();
        let mut takes_rest = false;
        for (position, segment) in self.segments.iter().enumerate() {
            if let [Part::Parameter(parameter)] = segment.as_slice() {
                let value = match &parameter.presence {
                    Presence::CatchAll(default) => {
                        takes_rest = true;
                        path.rest(position).or_else(|| default.clone())
                    }
                    presence => match (path.segment(position), presence) {
                        (Some(value), _) if value.is_empty() => return None,
                        (Some(value), _) => Some(value.into_owned()),
                        (None, Presence::Default(default)) => Some(default.clone()),
                        (None, Presence::Optional) => None,
                        (None, _) => return None,
                    },
                };
                if let Some(value) = value {
                    if !parameter.allows(&value) {
                        return None;
                    }
                    values.push((parameter.name.clone(), value));
                }
            } else {
                parts(segment, &path.segment(position)?, &mut values)?;
            }
        }
        (takes_rest || path.len() <= self.segments.len()).then_some(values)
    }
}

/// Adds the values of the parameters in a segment of text, or of text and parameters in turns, to
/// `values`. Returns `None` if `text` does not fit. As in ASP.NET Core each text is looked for from
/// the end, and no parameter is empty.
fn parts(segment: &[Part], text: &str, values: &mut Vec<(String, String)>) -> Option<()> {
    let first = values.len();
    let mut rest = text;
    let mut open: Option<&Parameter> = None;
    for (position, part) in segment.iter().enumerate().rev() {
        match part {
            Part::Parameter(parameter) => open = Some(parameter),
            Part::Text(literal) => {
                // At the beginning, and at the end, it must stand there and nowhere else.
                let at = match (position, open) {
                    (0, None) if rest.len() != literal.len() => return None,
                    (0, _) => 0,
                    (_, None) => rest.len().checked_sub(literal.len())?,
                    (_, Some(_)) => last_match(rest, literal)?,
                };
                let end = at.checked_add(literal.len())?;
                if !rest.get(at..end)?.eq_ignore_ascii_case(literal) {
                    return None;
                }
                if let Some(parameter) = open.take() {
                    push(parameter, rest.get(end..)?, values)?;
                }
                rest = rest.get(..at)?;
            }
        }
    }
    if let Some(parameter) = open {
        push(parameter, rest, values)?;
    } else if !rest.is_empty() {
        return None;
    }
    values.get_mut(first..)?.reverse();
    Some(())
}

/// Returns where `literal` stands last in `text`, with something behind it, regardless of case.
fn last_match(text: &str, literal: &str) -> Option<usize> {
    let end = text.len().checked_sub(literal.len())?;
    (0..end).rev().find(|at| {
        text.get(*at..at + literal.len()).is_some_and(|found| found.eq_ignore_ascii_case(literal))
    })
}

fn push(parameter: &Parameter, value: &str, values: &mut Vec<(String, String)>) -> Option<()> {
    if value.is_empty() || !parameter.allows(value) {
        return None;
    }
    values.push((parameter.name.clone(), value.to_owned()));
    Some(())
}
