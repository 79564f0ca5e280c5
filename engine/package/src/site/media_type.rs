//! Media types by files' names. Pure; owns no fds.

/// Returns the value of Content-Type for a file at `path`.
pub(super) fn of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    // What a site is opened as by an app has no extension (`apple-app-site-association`).
    let guess = mime_guess::from_path(name).first_raw();
    let essence = match guess {
        _ if name == "apple-app-site-association" => "application/json",
        _ if name.ends_with(".webmanifest") => "application/manifest+json",
        // Its only name since RFC 9239.
        Some("application/javascript") => "text/javascript",
        Some(essence) => essence,
        None => "application/octet-stream",
    };
    // The Web's text is UTF-8, and a browser that is not told so guesses.
    match essence.starts_with("text/") {
        true => format!("{essence}; charset=utf-8"),
        false => essence.to_owned(),
    }
}

/// Returns whether a file of this type becomes smaller by compression, as a rule.
pub(super) fn is_compressible(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default();
    let of_others = [
        "application/json",
        "application/xml",
        "application/wasm",
        "application/vnd.ms-fontobject",
        "font/ttf",
        "font/otf",
        "image/bmp",
        "image/x-icon",
        "image/vnd.microsoft.icon",
    ];
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || of_others.contains(&essence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_from_names() {
        for (path, media_type) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("s.css", "text/css; charset=utf-8"),
            ("robots.txt", "text/plain; charset=utf-8"),
            ("data.json", "application/json"),
            ("x.svg", "image/svg+xml"),
            ("x.wasm", "application/wasm"),
            ("x.woff2", "font/woff2"),
            ("x.PNG", "image/png"),
            ("site.webmanifest", "application/manifest+json"),
            (".well-known/apple-app-site-association", "application/json"),
            ("a.b/none", "application/octet-stream"),
            ("x.unheard-of", "application/octet-stream"),
        ] {
            assert_eq!(of(path), media_type, "{path}");
        }
    }

    #[test]
    fn what_is_compressed_already_is_left_so() {
        for path in ["a.html", "a.js", "a.json", "a.svg", "a.wasm", "a.ttf", "a.ico"] {
            assert!(is_compressible(&of(path)), "{path}");
        }
        for path in ["a.png", "a.woff2", "a.mp4", "a.zip", "a.gz", "a"] {
            assert!(!is_compressible(&of(path)), "{path}");
        }
    }
}
