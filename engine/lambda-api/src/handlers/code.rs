//! A function's code in a request: the archive in base64, decoded on a thread that may take its
//! time. Owns no fds.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{expect_not_asked, invalid};
use crate::error::LambdaError;
use crate::failure::Failure;
use crate::function::Code;

/// A text that stays in the request's body, where it needs no unescaping.
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Where a request says that the code is. Only `ZipFile` is here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CodeShape<'a> {
    #[serde(borrow)]
    zip_file: Option<Text<'a>>,
    #[serde(rename = "S3Bucket")]
    s3_bucket: Value,
    #[serde(rename = "S3Key")]
    s3_key: Value,
    image_uri: Value,
}

impl CodeShape<'_> {
    /// Returns the archive.
    pub(super) fn decode(self, zip_bytes_max: usize) -> Result<Code, Failure> {
        expect_not_asked(&[
            ("Code in a bucket (S3Bucket, S3Key)", &self.s3_bucket),
            ("Code in a bucket (S3Bucket, S3Key)", &self.s3_key),
            ("Code in an image (ImageUri)", &self.image_uri),
        ])?;
        let Some(Text(text)) = self.zip_file else {
            return Err(invalid("there is no code; expected ZipFile, an archive in base64"));
        };
        let zip = STANDARD
            .decode(text.as_bytes())
            .map_err(|error| invalid(format!("ZipFile is not base64: {error}")))?;
        if zip.len() > zip_bytes_max {
            return Err(LambdaError::RequestTooLarge(format!(
                "the code is {} bytes large; this node takes {zip_bytes_max} at most",
                zip.len()
            ))
            .into());
        }
        Ok(Code { zip: Bytes::from(zip) })
    }
}

/// Reads a request with code on a thread for what takes long: a hundred megabytes take a tenth of
/// a second and more.
pub(super) async fn read_apart<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| {
        tracing::error!("a request with code was not read to its end: {error}");
        let message = "the request could not be read; the node's log says why";
        Err(LambdaError::Service(message.to_owned()).into())
    })
}
