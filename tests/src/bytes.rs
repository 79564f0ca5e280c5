//! Bytes to send: bodies in which a lost, doubled or shifted byte shows, and noise from a seed.

use std::iter::from_fn;

/// Returns a body in which no two parts are equal, so that a comparison finds any shift.
pub fn body(length: usize, seed: u64) -> Vec<u8> {
    let mut noise = Noise::new(seed);
    let mut bytes: Vec<u8> =
        from_fn(|| Some(noise.next().to_le_bytes())).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// Panics if the bodies differ. The message has the first position that differs, not both bodies.
#[track_caller]
pub fn assert_same(got: &[u8], wanted: &[u8]) {
    if got == wanted {
        return;
    }
    let at = got.iter().zip(wanted).position(|(a, b)| a != b);
    panic!(
        "bodies differ: got {} bytes, wanted {}; first difference at {at:?}",
        got.len(),
        wanted.len()
    );
}

/// The generator SplitMix64: small, seedable, and good enough to send rubbish.
#[derive(Debug)]
pub struct Noise(u64);

impl Noise {
    /// Creates a generator. The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("smaller than a usize")
    }
}

/// Returns `body` in chunked coding, in chunks of `chunk` bytes.
pub fn chunked(body: &[u8], chunk: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / chunk * 8 + 16);
    for piece in body.chunks(chunk) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
