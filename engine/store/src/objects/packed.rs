//! Bytes compressed with zstd, as frames that say how long they are. Owns no fds.

/// For logs it costs a hundredth of what the invocations cost.
const LEVEL: i32 = 3;

/// Compresses.
///
/// # Errors
/// When there is no memory for it.
pub fn pack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, LEVEL)
}

/// Decompresses what says that it is no longer than `bytes_max`; none when it is, or damaged.
pub fn unpack(packed: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let bytes = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= bytes_max)?;
    zstd::bulk::decompress(packed, bytes).ok()
}
