//! Route templates of ASP.NET Core: `items/{id:int}/files/{*path}`. Pure; owns no fds.
//!
//! A segment is text, a parameter, or both in turns (`{name}.{extension}`). A parameter can have
//! constraints (`{id:int:min(1)}`), be optional (`{id?}`), have a default (`{id=1}`) or take the
//! rest of the path (`{*path}`, `{**path}`). `{{` and `}}` stand for braces. Text is compared
//! regardless of the case of ASCII letters.

use std::str::FromStr;

use super::constraint::Constraint;

/// The longest template that is read, in bytes.
const TEMPLATE_BYTES_MAX: usize = 4096;

/// Why a route cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has its sentence, and the fields stand in it")]
pub enum TemplateError {
    #[error("a template has at most {TEMPLATE_BYTES_MAX} bytes")]
    TooLong,
    #[error("two slashes stand in a row; leave one out")]
    EmptySegment,
    #[error("a brace is not closed, or not opened; write {{{{ or }}}} for a brace itself")]
    Brace,
    #[error("'?' cannot stand in a path; a query is no part of a route")]
    QuestionMark,
    #[error("{name:?} is no name of a parameter")]
    Name { name: String },
    #[error("the parameter {name} stands in it twice")]
    Duplicate { name: String },
    #[error("two parameters stand side by side, so nothing says where one ends; put text between")]
    Adjacent,
    #[error(
        "the parameter {name} takes the rest of the path, so it must be the last segment alone"
    )]
    CatchAllPlace { name: String },
    #[error(
        "the parameter {name} is optional, so it must be a segment alone, with only such parameters behind it"
    )]
    OptionalPlace { name: String },
    #[error("the parameter {name} is optional and has a default; one of the two is enough")]
    OptionalDefault { name: String },
    #[error("the default of the parameter {name} does not meet its own constraints")]
    Default { name: String },
    #[error("the constraint {constraint} has wrong arguments")]
    ConstraintArguments { constraint: String },
    #[error(
        "the constraint regex is not supported, as a slow expression would hold up all requests; use int, long, guid, alpha, bool, length, min, max or range, or check the value in the handler"
    )]
    Regex,
    #[error(
        "the constraint {constraint:?} is not known here; use int, long, guid, alpha, bool, length, minlength, maxlength, min, max, range or required, or check the value in the handler"
    )]
    Constraint { constraint: String },
}

/// A template that has been parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// None is empty. One of several parts has text and parameters in turns.
    pub(super) segments: Vec<Vec<Part>>,
}

/// A part of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Parameter(Parameter),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) constraints: Vec<Constraint>,
    pub(super) presence: Presence,
}

/// What if the path has nothing for a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Presence {
    /// The route is another one.
    Required,
    /// The parameter is left out.
    Optional,
    /// It has this value.
    Default(String),
    /// It takes the rest of the path, of which there can be none.
    CatchAll(Option<String>),
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        let text = text.strip_prefix("~/").or_else(|| text.strip_prefix('/')).unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let mut segments = vec![Vec::new()];
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let Some(segment) = segments.last_mut() else { break };
            if first == '/' {
                if segment.is_empty() {
                    return Err(TemplateError::EmptySegment);
                }
                segments.push(Vec::new());
                rest = &rest[1..];
            } else if first == '{' && !rest.starts_with("{{") {
                let (inside, behind) = braces(&rest[1..])?;
                if matches!(segment.last(), Some(Part::Parameter(_))) {
                    return Err(TemplateError::Adjacent);
                }
                segment.push(Part::Parameter(Parameter::parse(&inside)?));
                rest = behind;
            } else {
                let (literal, behind) = literal(rest)?;
                segment.push(Part::Text(literal));
                rest = behind;
            }
        }
        match segments.as_slice() {
            [only] if only.is_empty() => segments.clear(),
            [.., last] if last.is_empty() => return Err(TemplateError::EmptySegment),
            _ => {}
        }
        let template = Self { segments };
        template.check()?;
        Ok(template)
    }
}

/// Returns the text up to the next parameter or slash, and what stands behind it.
fn literal(text: &str) -> Result<(String, &str), TemplateError> {
    let mut literal = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '{' if rest.starts_with("{{") => 2,
            '}' if rest.starts_with("}}") => 2,
            '/' | '{' => break,
            '}' => return Err(TemplateError::Brace),
            '?' => return Err(TemplateError::QuestionMark),
            other => other.len_utf8(),
        };
        literal.push(first);
        rest = &rest[length..];
    }
    Ok((literal, rest))
}

/// Returns what stands before the closing brace, with double braces made single, and what stands
/// behind it.
fn braces(text: &str) -> Result<(String, &str), TemplateError> {
    let mut inside = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '{' if rest.starts_with("{{") => 2,
            '}' if rest.starts_with("}}") => 2,
            '{' => return Err(TemplateError::Brace),
            '}' => return Ok((inside, &rest[1..])),
            other => other.len_utf8(),
        };
        inside.push(first);
        rest = &rest[length..];
    }
    Err(TemplateError::Brace)
}

impl Parameter {
    /// Reads what stands between the braces.
    fn parse(text: &str) -> Result<Self, TemplateError> {
        let bare = text.trim_start_matches('*');
        let is_catch_all = match text.len() - bare.len() {
            0 => false,
            1 | 2 => true,
            _ => return Err(TemplateError::Name { name: text.to_owned() }),
        };
        let (bare, is_optional) = match bare.strip_suffix('?') {
            Some(bare) => (bare, true),
            None => (bare, false),
        };
        let end = bare.find([':', '=']).unwrap_or(bare.len());
        let (name, mut rest) = bare.split_at(end);
        let name = name.to_owned();
        if name.is_empty() || name.contains(['/', '{', '}', '?', '*']) {
            return Err(TemplateError::Name { name });
        }
        let mut constraints = Vec::new();
        while let Some(behind) = rest.strip_prefix(':') {
            let (constraint, behind) = constraint(behind)?;
            constraints.push(constraint);
            rest = behind;
        }
        let default = match rest.strip_prefix('=') {
            Some(default) => Some(default.to_owned()),
            None if rest.is_empty() => None,
            None => return Err(TemplateError::ConstraintArguments { constraint: bare.to_owned() }),
        };
        if let Some(default) = &default
            && !constraints.iter().all(|constraint| constraint.allows(default))
        {
            return Err(TemplateError::Default { name });
        }
        let presence = match (is_catch_all, is_optional, default) {
            (_, true, Some(_)) => return Err(TemplateError::OptionalDefault { name }),
            (true, true, None) => return Err(TemplateError::CatchAllPlace { name }),
            (true, false, default) => Presence::CatchAll(default),
            (false, true, None) => Presence::Optional,
            (false, false, Some(default)) => Presence::Default(default),
            (false, false, None) => Presence::Required,
        };
        Ok(Self { name, constraints, presence })
    }

    /// Returns whether `value` meets all constraints.
    pub(super) fn allows(&self, value: &str) -> bool {
        self.constraints.iter().all(|constraint| constraint.allows(value))
    }
}

/// Returns the constraint at the start of `text`, and what stands behind it.
fn constraint(text: &str) -> Result<(Constraint, &str), TemplateError> {
    let end = text.find([':', '=', '(']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(arguments) = rest.strip_prefix('(') else {
        return Ok((Constraint::parse(name, None)?, rest));
    };
    // An expression has parentheses of its own, and is refused whatever it is.
    if name.eq_ignore_ascii_case("regex") {
        return Err(TemplateError::Regex);
    }
    let (arguments, rest) = arguments
        .split_once(')')
        .ok_or_else(|| TemplateError::ConstraintArguments { constraint: text.to_owned() })?;
    Ok((Constraint::parse(name, Some(arguments))?, rest))
}

impl Template {
    /// Checks what concerns several parameters.
    fn check(&self) -> Result<(), TemplateError> {
        let mut names: Vec<String> = Vec::new();
        for (position, segment) in self.segments.iter().enumerate() {
            let is_last = position + 1 == self.segments.len();
            for part in segment {
                let Part::Parameter(parameter) = part else { continue };
                let name = parameter.name.clone();
                if names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                    return Err(TemplateError::Duplicate { name });
                }
                match &parameter.presence {
                    Presence::CatchAll(_) if !is_last || segment.len() > 1 => {
                        return Err(TemplateError::CatchAllPlace { name });
                    }
                    Presence::Optional | Presence::Default(_) if segment.len() > 1 => {
                        return Err(TemplateError::OptionalPlace { name });
                    }
                    Presence::Optional if !self.can_end_at(position + 1) => {
                        return Err(TemplateError::OptionalPlace { name });
                    }
                    _ => {}
                }
                names.push(name);
            }
        }
        Ok(())
    }

    /// Returns whether a path can end before the segment at `position`.
    fn can_end_at(&self, position: usize) -> bool {
        let rest = self.segments.get(position..).unwrap_or_default();
        rest.iter().all(|segment| match segment.as_slice() {
            [Part::Parameter(parameter)] => parameter.presence != Presence::Required,
            _ => false,
        })
    }

    /// Returns the order in which templates are tried: the smallest first. A digit for each
    /// segment: text 1, several parts or a parameter with constraints 2, a parameter 3, and one
    /// that takes the rest 5, or 4 with constraints. These are ASP.NET Core's.
    pub(super) fn precedence(&self) -> Vec<u8> {
        let digit = |segment: &Vec<Part>| match segment.as_slice() {
            [Part::Text(_)] => 1,
            [Part::Parameter(parameter)] => {
                let of_kind = match parameter.presence {
                    Presence::CatchAll(_) => 5,
                    _ => 3,
                };
                of_kind - u8::from(!parameter.constraints.is_empty())
            }
            _ => 2,
        };
        self.segments.iter().map(digit).collect()
    }

    /// Returns a text that is the same for templates that take the same paths but for the names of
    /// their parameters.
    pub(super) fn shape(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.to_ascii_lowercase(),
            Part::Parameter(Parameter { constraints, presence, .. }) => {
                format!("{{{constraints:?}{}}}", matches!(presence, Presence::CatchAll(_)))
            }
        };
        let segment = |segment: &Vec<Part>| segment.iter().map(part).collect::<String>();
        self.segments.iter().map(segment).collect::<Vec<_>>().join("/")
    }
}
