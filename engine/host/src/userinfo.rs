//! Credentials in URLs, which messages do not repeat. Pure; owns no fds.

use std::borrow::Cow;

/// Stands for what is not shown.
const HIDDEN: &str = "***";

/// Returns `text` without the user and password of any URL in it (RFC 3986 3.2.1). What is no URL
/// may be one with a mistake, so all that stands between a scheme and the last `@` of a word goes.
pub fn hide(text: &str) -> Cow<'_, str> {
    by_words(text, |word| {
        let begin = word.find("://")? + "://".len();
        Some((begin, word.rfind('@').filter(|at| *at >= begin)?))
    })
}

/// The same for what was given where an address may be, also without its scheme. Addresses of e-mail
/// and names like `shop@live` stay; those of interfaces, `wasi:http@0.2.0`, would not.
pub fn hide_in_value(value: &str) -> Cow<'_, str> {
    by_words(value, |word| {
        let end = word.rfind('@')?;
        let begin = match word.find("://") {
            Some(at) => at + "://".len(),
            // `--flag=user:password@host`
            None => word.find('=').map_or(0, |at| at + 1),
        };
        let userinfo = word.get(begin..end)?;
        (word.contains("://") || userinfo.contains(':')).then_some((begin, end))
    })
}

/// Hides of each word what `userinfo` finds in it, from where to where.
fn by_words(text: &str, userinfo: impl Fn(&str) -> Option<(usize, usize)>) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let is_between = |byte: char| byte.is_whitespace() || matches!(byte, '"' | '\'' | '`' | ',');
    let shown = text.split_inclusive(is_between).map(|word| match userinfo(word) {
        Some((begin, end)) => Cow::Owned(format!("{}{HIDDEN}{}", &word[..begin], &word[end..])),
        None => Cow::Borrowed(word),
    });
    Cow::Owned(shown.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_hidden_and_nothing_else() {
        for (text, shown) in [
            ("nothing to hide", "nothing to hide"),
            ("https://me:secret@host:x/", "https://***@host:x/"),
            ("'https://secret@host' and more", "'https://***@host' and more"),
            ("nats://a:b@one:1,nats://c:d@two:2", "nats://***@one:1,nats://***@two:2"),
            ("https://me:se/cr@et@host", "https://***@host"),
            ("--nats=nats://me:secret@host", "--nats=nats://***@host"),
            ("me@here://host", "me@here://host"),
            ("me@example.com", "me@example.com"),
            ("shop@live", "shop@live"),
        ] {
            assert_eq!(hide(text), shown);
            assert_eq!(hide_in_value(text), shown);
        }
        for (text, shown) in
            [("me:secret@host:4222", "***@host:4222"), ("--nats=me:secret@host", "--nats=***@host")]
        {
            assert_eq!(hide_in_value(text), shown);
        }
        let interfaces = "wasi:http/incoming-handler@0.2 or wasi:keyvalue@0.2.0-draft";
        assert_eq!(hide(interfaces), interfaces);
    }
}
