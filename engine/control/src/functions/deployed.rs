//! What a deploy has made, and what it took over of the version before. Pure; owns no fds.

use std::sync::Arc;

use abi::function::{FileKind, Kind};
use abi::message::Digest;
use api::deploys::{DeployedVersion, VersionBefore};
use api::options::{Options, OptionsError};

use super::Progress;
use crate::answers;
use compile::inspect::{InspectError, inspect};
use host::files::Temporary;
use store::inherit::changes;
use store::manifest::Manifest;

/// A received file that compiles, and whom its deploy tells how far it is.
pub(super) struct File<'a> {
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) received: &'a Temporary,
    pub(super) progress: &'a Progress,
}

/// A version that was made.
#[derive(Debug)]
pub struct Deployed {
    pub version: Arc<Manifest>,
    /// What was active, if anything was.
    pub(super) before: Option<Arc<Manifest>>,
    /// Whether some of its options are those of `before` because nothing else was asked for.
    pub(super) options_kept: bool,
}

impl Deployed {
    /// Returns what is answered to whoever has deployed it.
    pub fn describe(&self) -> DeployedVersion {
        let before = self.before.as_deref();
        DeployedVersion {
            version: answers::version(&self.version),
            before: before.map(|before| VersionBefore {
                version: before.version.clone(),
                number: before.number,
            }),
            options_kept: self.options_kept,
            changed: before.map(|before| changes(before, &self.version)).unwrap_or_default(),
        }
    }
}

/// What a file is. One that can be both stays what the version before it is, unless the options
/// have it otherwise.
pub(super) fn kind_of(
    bytes: &[u8],
    options: &Options,
    before: Option<&Manifest>,
) -> Result<Kind, InspectError> {
    let command = before.is_some_and(|before| before.kind == Kind::Command);
    match options.kind {
        None if command && !options.fresh_options => {
            inspect(bytes, Some(FileKind::Command)).or_else(|_| inspect(bytes, None))
        }
        wanted => inspect(bytes, wanted),
    }
}

/// `options`, over those of the version before, and whether anything is taken over from it.
pub(super) fn inherited(
    options: Options,
    before: Option<&Manifest>,
    kind: Kind,
) -> Result<(Options, bool), OptionsError> {
    let before = before
        .filter(|_| !options.fresh_options)
        .map(|before| before.options(kind))
        .unwrap_or_default();
    let kept = before.without(&options.unset)?;
    let any = kept != Options::default();
    let options = options.over(kept);
    options.check(kind)?;
    Ok((options, any))
}
