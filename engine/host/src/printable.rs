//! Text of guests and peers in a terminal: what could move the cursor, colour, hide or turn around
//! what others say is escaped. Pure; owns no fds.

/// Returns a text of one line: a line's end in it is escaped too, so that nobody forges a second.
#[must_use]
pub fn line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        push(&mut shown, c);
        shown
    })
}

/// Returns a text of several lines, which end with LF or CRLF.
#[must_use]
pub fn lines(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '\n' => shown.push('\n'),
            '\r' if rest.peek() == Some(&'\n') => {}
            c => push(&mut shown, c),
        }
    }
    shown
}

/// Returns JSON as it is, but for what its encoder may leave in strings and a terminal obeys.
#[must_use]
pub fn json(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        match is_obeyed(c) && !c.is_ascii_whitespace() {
            // All of them are in the basic plane.
            true => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => shown.push(c),
        }
        shown
    })
}

fn push(shown: &mut String, c: char) {
    match is_obeyed(c) && c != '\t' {
        true => shown.extend(c.escape_default()),
        false => shown.push(c),
    }
}

/// Control characters, those for the direction of text, and other ends of lines.
fn is_obeyed(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2066}'..='\u{2069}');
    c.is_control() || directs || matches!(c, '\u{2028}'..='\u{202e}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(line("\x1b[2Jä\t\u{9b}m\r\n"), "\\u{1b}[2Jä\t\\u{9b}m\\r\\n");
        assert_eq!(line("a\u{202e}b\u{2066}"), "a\\u{202e}b\\u{2066}");
        assert_eq!(lines("one\r\ntwo\n\rx\x07"), "one\ntwo\n\\rx\\u{7}");
    }

    #[test]
    fn json_stays_the_same_value() {
        let encoded = "{\n\t\"a\\n\": \"\u{7f}\u{9b}ä\u{202e}\"\n}";
        assert_eq!(json(encoded), "{\n\t\"a\\n\": \"\\u007f\\u009bä\\u202e\"\n}");
    }
}
