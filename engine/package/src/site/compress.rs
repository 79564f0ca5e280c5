//! Compression of files at their deploy, so that no request waits for it. Pure; owns no fds.

use std::io::Write as _;

use abi::site::Coding;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::media_type::is_compressible;

/// Smaller files gain nothing: they are one packet as they are.
const BYTES_MIN: usize = 512;
/// Larger files are served as they are, unless their user has compressed them. A browser need not
/// have a window of more bytes than this (RFC 9659).
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// How much one site may have compressed here, which takes half a minute of processor time.
const SITE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The effort: of more, files become hardly smaller.
const ZSTANDARD_LEVEL: i32 = 17;
/// The least that compression must save, as a part of the whole.
const SAVED_PART: usize = 16;

/// Compresses the files of one site.
#[derive(Debug, Default)]
pub(super) struct Compressor {
    taken: usize,
}

/// The contents of a file that may be compressed, as far as they are read.
#[derive(Debug)]
pub(super) struct Whole(Vec<u8>);

impl Compressor {
    /// Begins with a file. Returns `None` if files of its type are not compressed.
    pub(super) fn begin(&self, media_type: &str) -> Option<Whole> {
        (is_compressible(media_type) && self.taken < SITE_BYTES_MAX).then(|| Whole(Vec::new()))
    }

    /// Returns a file in all codings that make it smaller.
    pub(super) fn compress(&mut self, Whole(whole): &Whole) -> Vec<(Coding, Vec<u8>)> {
        if whole.len() < BYTES_MIN {
            return Vec::new();
        }
        self.taken = self.taken.saturating_add(whole.len());
        let zstandard = zstd::bulk::compress(whole, ZSTANDARD_LEVEL).ok();
        let gzip = gzip(whole);
        let compressed = [(Coding::Zstandard, zstandard), (Coding::Gzip, gzip)];
        let longest = whole.len() - whole.len() / SAVED_PART;
        let small = |(coding, bytes): (Coding, Option<Vec<u8>>)| Some((coding, bytes?));
        compressed.into_iter().filter_map(small).filter(|(_, it)| it.len() <= longest).collect()
    }
}

impl Whole {
    /// Adds the next part. Returns `None` once there is too much.
    pub(super) fn with(mut self, piece: &[u8]) -> Option<Self> {
        self.0.extend_from_slice(piece);
        (self.0.len() <= BYTES_MAX).then_some(self)
    }
}

fn gzip(whole: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(whole).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn text_becomes_smaller_and_comes_back() {
        let text = "the same words, over and over. ".repeat(1000).into_bytes();
        let mut compressor = Compressor::default();
        let whole = compressor.begin("text/html").unwrap().with(&text).unwrap();
        let compressed = compressor.compress(&whole);
        let codings: Vec<_> = compressed.iter().map(|(coding, _)| *coding).collect();
        assert_eq!(codings, [Coding::Zstandard, Coding::Gzip]);
        assert_eq!(zstd::bulk::decompress(&compressed[0].1, text.len()).unwrap(), text);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&compressed[1].1[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn what_gains_nothing_stays_as_it_is() {
        let mut compressor = Compressor::default();
        assert!(compressor.begin("image/png").is_none());
        let begun = || Compressor::default().begin("text/plain").unwrap();
        assert!(compressor.compress(&begun().with(&[b'a'; 511]).unwrap()).is_empty());
        // Bytes without a pattern, by a generator of 1951.
        let mut state = 1_u64;
        let random: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(4096)
        .collect();
        assert!(compressor.compress(&begun().with(&random).unwrap()).is_empty());
        assert!(begun().with(&vec![0; BYTES_MAX + 1]).is_none());
        compressor.taken = SITE_BYTES_MAX;
        assert!(compressor.begin("text/html").is_none());
    }
}
