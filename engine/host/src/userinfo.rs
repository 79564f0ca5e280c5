//! Credentials in URLs, which messages do not repeat. Pure; owns no fds.

use std::borrow::Cow;

/// Stands for what is not shown.
const HIDDEN: &str = "***";

/// Returns `text` without the user and password of any URL in it (RFC 3986 3.2.1), or of an address
/// without its scheme. What is no URL is looked at, too: it may be one with a mistake, so all that
/// stands before the last `@` of a word goes. Addresses of e-mail and names like `shop@live` stay.
pub fn hide(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let is_between = |byte: char| byte.is_whitespace() || matches!(byte, '"' | '\'' | '`' | ',');
    Cow::Owned(text.split_inclusive(is_between).map(hide_in_word).collect())
}

fn hide_in_word(word: &str) -> Cow<'_, str> {
    let begins = word.find("://").map(|at| at + "://".len());
    let (scheme, rest) = word.split_at(begins.unwrap_or(0));
    match rest.rsplit_once('@') {
        Some((userinfo, host)) if begins.is_some() || userinfo.contains(':') => {
            // `--flag=user:password@host`
            let flag = if begins.is_none() { userinfo.find('=').map_or(0, |at| at + 1) } else { 0 };
            Cow::Owned(format!("{scheme}{}{HIDDEN}@{host}", &userinfo[..flag]))
        }
        _ => Cow::Borrowed(word),
    }
}

#[cfg(test)]
mod tests {
    use super::hide;

    #[test]
    fn users_and_passwords_are_hidden_and_nothing_else() {
        for (text, shown) in [
            ("nothing to hide", "nothing to hide"),
            ("https://me:secret@host:x/", "https://***@host:x/"),
            ("'https://secret@host' and more", "'https://***@host' and more"),
            ("nats://a:b@one:1,nats://c:d@two:2", "nats://***@one:1,nats://***@two:2"),
            ("https://me:se/cr@et@host", "https://***@host"),
            ("me:secret@host:4222", "***@host:4222"),
            ("--nats=me:secret@host", "--nats=***@host"),
            ("--nats=nats://me:secret@host", "--nats=nats://***@host"),
            ("me@example.com", "me@example.com"),
            ("shop@live", "shop@live"),
        ] {
            assert_eq!(hide(text), shown);
        }
    }
}
