//! The constraints of a route's parameters, such as `int` in `{id:int}`, by the rules of ASP.NET
//! Core for its constraints of the same names. Pure; owns no fds.

use super::TemplateError;

/// A condition that a parameter's value must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Constraint {
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
    /// A GUID, in one of the forms N, D, B and P.
    Guid,
    /// Latin letters.
    Alpha,
    /// `true` or `false`.
    Bool,
    /// Anything.
    Required,
    /// So many UTF-16 code units, from and to.
    Length(usize, usize),
    /// A number of 64 bits, from and to.
    Range(i64, i64),
}

impl Constraint {
    /// Reads the constraint `name` with what stands behind it in parentheses.
    pub(super) fn parse(name: &str, arguments: Option<&str>) -> Result<Self, TemplateError> {
        let wrong = || TemplateError::ConstraintArguments {
            constraint: match arguments {
                Some(arguments) => format!("{name}({arguments})"),
                None => name.to_owned(),
            },
        };
        let list: Vec<&str> =
            arguments.map_or(Vec::new(), |list| list.split(',').map(str::trim).collect());
        let length = |text: &str| text.parse::<usize>().map_err(|_| wrong());
        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
        let constraint = match (name.to_ascii_lowercase().as_str(), list.as_slice()) {
            ("int", []) => Self::Int,
            ("long", []) => Self::Long,
            ("guid", []) => Self::Guid,
            ("alpha", []) => Self::Alpha,
            ("bool", []) => Self::Bool,
            ("required", []) => Self::Required,
            ("length", [exactly]) => Self::Length(length(exactly)?, length(exactly)?),
            ("length", [from, to]) => Self::Length(length(from)?, length(to)?),
            ("minlength", [from]) => Self::Length(length(from)?, usize::MAX),
            ("maxlength", [to]) => Self::Length(0, length(to)?),
            ("min", [from]) => Self::Range(number(from)?, i64::MAX),
            ("max", [to]) => Self::Range(i64::MIN, number(to)?),
            ("range", [from, to]) => Self::Range(number(from)?, number(to)?),
            (
                "int" | "long" | "guid" | "alpha" | "bool" | "required" | "length" | "minlength"
                | "maxlength" | "min" | "max" | "range",
                _,
            ) => return Err(wrong()),
            ("regex", _) => return Err(TemplateError::Regex),
            _ => return Err(TemplateError::Constraint { constraint: name.to_owned() }),
        };
        match constraint {
            Self::Length(from, to) if from > to => Err(wrong()),
            Self::Range(from, to) if from > to => Err(wrong()),
            constraint => Ok(constraint),
        }
    }

    /// Returns whether `value` meets it.
    pub(super) fn allows(&self, value: &str) -> bool {
        match self {
            Self::Int => value.trim_ascii().parse::<i32>().is_ok(),
            Self::Long => value.trim_ascii().parse::<i64>().is_ok(),
            Self::Guid => is_guid(value.trim_ascii()),
            Self::Alpha => value.bytes().all(|byte| byte.is_ascii_alphabetic()),
            Self::Bool => {
                let value = value.trim_ascii();
                value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
            }
            Self::Required => !value.is_empty(),
            Self::Length(from, to) => (*from..=*to).contains(&value.encode_utf16().count()),
            Self::Range(from, to) => {
                value.trim_ascii().parse().is_ok_and(|number| (*from..=*to).contains(&number))
            }
        }
    }
}

/// Returns whether `text` is 32 hexadecimal digits, or 8, 4, 4, 4 and 12 of them between hyphens,
/// and those perhaps in braces or parentheses.
fn is_guid(text: &str) -> bool {
    let bare = |open, close| text.strip_prefix(open).and_then(|text| text.strip_suffix(close));
    let (text, is_enclosed) = match bare('{', '}').or_else(|| bare('(', ')')) {
        Some(text) => (text, true),
        None => (text, false),
    };
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() == 32 {
        return !is_enclosed && is_hex(text);
    }
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| is_hex(group))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn constraint(text: &str) -> Result<Constraint, TemplateError> {
        match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            Some((name, arguments)) => Constraint::parse(name, Some(arguments)),
            None => Constraint::parse(text, None),
        }
    }

    #[test]
    fn values_are_allowed_and_refused() {
        const GUID: &str = "cd2c1638-1638-72d5-1638-deadbeef1638";
        for (text, allowed, refused) in [
            ("int", vec!["7", "-7", "+7", "2147483647"], vec!["", "x", "1.0", "2147483648"]),
            ("LONG", vec!["2147483648", "-1"], vec!["9223372036854775808", "1e3"]),
            (
                "guid",
                vec![
                    GUID,
                    &GUID.to_uppercase(),
                    "{cd2c1638-1638-72d5-1638-deadbeef1638}",
                    "(cd2c1638-1638-72d5-1638-deadbeef1638)",
                    "cd2c1638163872d51638deadbeef1638",
                ],
                vec![
                    "",
                    "cd2c1638",
                    "{cd2c1638-1638-72d5-1638-deadbeef1638)",
                    "{cd2c1638163872d51638deadbeef1638}",
                    "gd2c1638-1638-72d5-1638-deadbeef1638",
                ],
            ),
            ("alpha", vec!["abcXYZ"], vec!["a1", "é", "a b"]),
            ("bool", vec!["true", "FALSE"], vec!["1", "yes", ""]),
            ("length(2)", vec!["ab", "éé", "😀"], vec!["a", "abc"]),
            ("length(1, 2)", vec!["a", "ab"], vec!["", "abc"]),
            ("minlength(2)", vec!["ab", "abc"], vec!["a"]),
            ("maxlength(2)", vec!["", "ab"], vec!["abc"]),
            ("min(3)", vec!["3", "4"], vec!["2", "x"]),
            ("max(3)", vec!["3", "-4"], vec!["4", "x"]),
            ("range(3,5)", vec!["3", "5"], vec!["2", "6"]),
            ("required", vec!["x"], vec![""]),
        ] {
            let constraint = constraint(text).unwrap();
            for value in allowed {
                assert!(constraint.allows(value), "{text}: {value:?}");
            }
            for value in refused {
                assert!(!constraint.allows(value), "{text}: {value:?}");
            }
        }
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_refused() {
        assert_eq!(constraint("regex(a+)"), Err(TemplateError::Regex));
        let unknown = constraint("datetime").unwrap_err();
        assert!(matches!(unknown, TemplateError::Constraint { .. }));
        for text in
            ["int(1)", "length", "length(x)", "length(3,2)", "range(1)", "min()", "min(1,2)"]
        {
            let error = constraint(text).unwrap_err();
            assert!(matches!(error, TemplateError::ConstraintArguments { .. }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_of_their_size_are_allowed(number in any::<i64>()) {
            prop_assert!(Constraint::Long.allows(&number.to_string()));
            let fits = i32::try_from(number).is_ok();
            prop_assert_eq!(Constraint::Int.allows(&number.to_string()), fits);
        }

        #[test]
        fn any_value_is_survived(value in ".{0,40}", name in "[a-z]{0,9}", list in ".{0,9}") {
            if let Ok(constraint) = Constraint::parse(&name, Some(&list)) {
                let _ = constraint.allows(&value);
            }
            let _ = is_guid(&value);
        }
    }
}
