//! Percent-encoding undone, for `PATH_INFO`. Pure; owns no fds.

/// The text that `path` encodes, which must be one without NULs: what is none has U+FFFD there. `%`
/// without two digits is left as it is.
pub(super) fn decode(path: &str) -> String {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let pair = after.split_first_chunk().filter(|_| *first == b'%');
        let octet =
            pair.and_then(|([high, low], after)| Some((digit(*high)? << 4 | digit(*low)?, after)));
        let (byte, after) = octet.unwrap_or((*first, after));
        decoded.push(byte);
        rest = after;
    }
    // A C program's string would end at a NUL, and the path with it.
    String::from_utf8_lossy(&decoded).replace('\0', "\u{fffd}")
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::decode;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_undone_once() {
        for (path, decoded) in [
            ("/", "/"),
            ("/a%20b%2Fc", "/a b/c"),
            ("/%C3%a4", "/ä"),
            ("/%2541", "/%41"),
            ("/100%", "/100%"),
            ("/%4", "/%4"),
            ("/%zz%41", "/%zzA"),
            ("/a%00b", "/a\u{fffd}b"),
            ("/%ff", "/\u{fffd}"),
            ("/a+b", "/a+b"),
        ] {
            assert_eq!(decode(path), decoded, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(text in "[^\0]{0,40}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode(&encoded), text);
        }

        #[test]
        fn any_path_is_survived(path in ".{0,40}") {
            prop_assert!(!decode(&path).contains('\0'));
        }
    }
}
