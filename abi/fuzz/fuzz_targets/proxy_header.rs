//! Headers of the PROXY protocol: `abi::proxy_header::read` on any bytes.
//!
//! Besides not panicking: a header is the same whatever follows it, every shorter part of it is
//! incomplete, what is refused stays refused, and the limit holds.
#![no_main]

use abi::limits::PROXY_HEADER_BYTES_MAX;
use abi::proxy_header::{Read, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = read(bytes);
    match &found {
        Ok(Read::Whole { length, .. }) => {
            assert!((15..=PROXY_HEADER_BYTES_MAX).contains(length) && *length <= bytes.len());
            assert_eq!(read(&bytes[..*length]), found, "the header alone reads differently");
            for cut in [length / 4, length / 2, length - 1] {
                assert_eq!(read(&bytes[..cut]), Ok(Read::Partial), "the first {cut} bytes");
            }
        }
        Ok(Read::Partial) => {
            assert!(bytes.len() < PROXY_HEADER_BYTES_MAX);
            for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
                assert_eq!(read(&bytes[..cut]), Ok(Read::Partial), "the first {cut} bytes");
            }
        }
        Err(error) => {
            let more = [bytes, b"\r\nHost: a\r\n\r\n"].concat();
            assert_eq!(read(&more), Err(*error), "more bytes change what it is");
        }
    }
});
