//! How commands print what one version has otherwise than another. Pure; owns no fds.

use api::deploys::{OptionChange, VersionBefore};
use api::functions::VersionDetails;
use bytesize::ByteSize;

/// Options that differ, a line each.
pub(super) fn lines(changed: &[OptionChange]) -> Vec<String> {
    let line =
        |OptionChange { option, from, to }: &OptionChange| format!("  {option}: {from} -> {to}");
    changed.iter().map(line).collect()
}

/// How a version's file differs from that of the version before it.
pub(super) fn artefact_line(before: &VersionBefore, now: &VersionDetails) -> String {
    let size = |bytes| ByteSize(bytes).display().iec().to_string();
    match before.artefact == now.artefact {
        true => format!("artefact: as in v{}", before.number),
        false => {
            format!("artefact: {} -> {}", size(before.artefact_bytes), size(now.artefact_bytes))
        }
    }
}
