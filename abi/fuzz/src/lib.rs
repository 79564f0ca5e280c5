//! What the fuzz targets share: archives as an attacker would send them, and a watch over file
//! descriptors.
//!
//! Seeds of archives would be worthless after the next change to `abi`, whose hash stands in every
//! header. So the targets make archives themselves, from this build's definitions, and damage them
//! as the input says.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use abi::catalogue::Catalogue;
use abi::envelope::{self, HEADER_BYTES};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use rkyv::util::AlignedVec;

/// Bytes that are changed in one archive, at most: with more of them hardly anything gets past the
/// validation.
const CHANGES_MAX: usize = 4;

/// Where the bytes of an archive come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The input, all of them.
    Input,
    /// This build's header, and the input behind it.
    InputBehindHeader,
    /// A good archive, damaged.
    Damaged,
    /// A good archive.
    Good,
}

impl Origin {
    /// One that the input chooses.
    pub fn choose(input: &mut Unstructured<'_>) -> Result<Self> {
        input.choose(&[Self::Input, Self::InputBehindHeader, Self::Damaged, Self::Good]).copied()
    }

    /// The archive. `good` makes a good one from the input's next bytes.
    pub fn archive<'a>(
        self,
        input: &mut Unstructured<'a>,
        good: impl FnOnce(&mut Unstructured<'a>) -> Result<AlignedVec>,
    ) -> Result<AlignedVec> {
        let mut bytes = AlignedVec::new();
        match self {
            Self::Input => {}
            Self::InputBehindHeader => bytes.extend_from_slice(&header()),
            Self::Damaged => {
                bytes = good(input)?;
                damage(&mut bytes, input)?;
                return Ok(bytes);
            }
            Self::Good => return good(input),
        }
        bytes.extend_from_slice(input.bytes(input.len())?);
        Ok(bytes)
    }
}

/// The header of this build, which stands in front of everything it packs.
fn header() -> [u8; HEADER_BYTES] {
    let packed = envelope::pack(&Catalogue::default()).expect("an empty catalogue can be packed");
    packed[..HEADER_BYTES].try_into().expect("every archive has a header")
}

/// Changes some bytes, and sometimes cuts the end off.
fn damage(bytes: &mut AlignedVec, input: &mut Unstructured<'_>) -> Result<()> {
    for _ in 0..input.int_in_range(0..=CHANGES_MAX)? {
        let at = input.choose_index(bytes.len())?;
        bytes[at] = input.arbitrary()?;
    }
    if input.ratio(1, 8)? {
        let length = input.choose_index(bytes.len())?;
        bytes.resize(length, 0);
    }
    Ok(())
}

/// Finds out whether file descriptors were lost between two moments.
///
/// The kernel gives out the lowest free number. While one fd more is open than before, or one
/// fewer, that number is another one; asking for it is much cheaper than listing `/proc/self/fd`,
/// so that it can be done for every single input, and a leak is blamed on the input that caused it.
pub struct FdWatch {
    lowest_free: RawFd,
}

impl FdWatch {
    /// Remembers what is open now.
    pub fn start() -> Self {
        Self { lowest_free: lowest_free() }
    }

    /// Panics unless the same is open as at the start.
    pub fn end(self) {
        let now = lowest_free();
        if now != self.lowest_free {
            let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
            panic!(
                "fds leaked: the lowest free one was {}, now it is {now}; {open} are open",
                self.lowest_free
            );
        }
    }
}

fn lowest_free() -> RawFd {
    let copy =
        std::io::stderr().as_fd().try_clone_to_owned().expect("there are file descriptors left");
    copy.as_raw_fd()
}
