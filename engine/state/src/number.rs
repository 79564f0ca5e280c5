//! Numbers in decimal digits, which values are that are incremented. Pure; owns no fds.

use abi::state::Delta;

/// Returns the sum of the number in `value` and `delta`.
///
/// # Errors
/// What keeps it from being one.
pub(crate) fn add(value: &[u8], delta: Delta) -> Result<Delta, &'static str> {
    let text = str::from_utf8(value).ok();
    let number: i128 = text
        .and_then(|text| text.parse().ok())
        .ok_or("the value is not a number in decimal digits")?;
    let sum = match delta {
        Delta::Unsigned(delta) => {
            let sum = number.checked_add(delta.into());
            sum.and_then(|sum| u64::try_from(sum).ok()).map(Delta::Unsigned)
        }
        Delta::Signed(delta) => {
            let sum = number.checked_add(delta.into());
            sum.and_then(|sum| i64::try_from(sum).ok()).map(Delta::Signed)
        }
    };
    sum.ok_or("the number would become larger or smaller than 64 bits hold")
}

/// Returns a number as it stands in a value.
pub(crate) fn digits(number: Delta) -> String {
    match number {
        Delta::Unsigned(number) => number.to_string(),
        Delta::Signed(number) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_added_within_their_range() {
        let (unsigned, signed) = (Delta::Unsigned, Delta::Signed);
        assert_eq!(add(b"0", unsigned(3)), Ok(unsigned(3)));
        assert_eq!(add(b"-1", unsigned(3)), Ok(unsigned(2)));
        assert_eq!(add(b"5", signed(-7)), Ok(signed(-2)));
        assert_eq!(add(b"18446744073709551614", unsigned(1)), Ok(unsigned(u64::MAX)));
        for (value, delta) in [
            (&b"18446744073709551615"[..], unsigned(1)),
            (b"-5", unsigned(1)),
            (b"9223372036854775807", signed(1)),
            (b"", signed(1)),
            (b"1 ", signed(1)),
            (b"\xff", signed(1)),
            (b"1e3", signed(1)),
            (&[b'9'; 100], signed(1)),
        ] {
            assert!(add(value, delta).is_err(), "{value:?}");
        }
    }
}
