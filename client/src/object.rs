//! An object's head, as every verb answers it.

use std::collections::BTreeMap;

use holdfast_core::error::Invalid;
use holdfast_core::term::Version;
use holdfast_proto::convert::hash_from_slice;
use holdfast_proto::v1;

/// What is known of an object besides its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectInfo {
    /// Its key within the bucket.
    pub key: String,
    /// Opaque; what [`Condition::IfVersion`](crate::Condition::IfVersion) compares; its text is the ETag.
    pub version: Version,
    /// Bytes of the body.
    pub size: u64,
    /// Media type.
    pub content_type: String,
    /// The user's own names and values.
    pub metadata: BTreeMap<String, String>,
    /// BLAKE3 of the body: what `b3sum` prints.
    pub hash: [u8; 32],
    /// When it was written, in Unix milliseconds, by a node's clock. For people, never for order.
    pub modified_unix_ms: u64,
}

impl ObjectInfo {
    /// The hash as 64 hex digits.
    pub fn hash_hex(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }

    pub(crate) fn from_wire(info: Option<v1::ObjectInfo>) -> Result<Self, Invalid> {
        let info = info.ok_or(Invalid::new("an answer without the object's head"))?;
        Ok(Self {
            key: info.key,
            version: info.version.parse()?,
            size: info.size,
            content_type: info.content_type,
            metadata: info.metadata,
            hash: hash_from_slice(&info.hash)?,
            modified_unix_ms: info.modified_unix_ms,
        })
    }
}
