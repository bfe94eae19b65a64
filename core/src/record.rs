//! The value of one register: an object or a tombstone, with the history of its last operations.

use alloc::collections::BTreeMap;
use alloc::string::String;

use bytes::Bytes;

use crate::error::Invalid;
use crate::history::History;
use crate::term::Version;

/// Largest body of an object, in bytes, until uploads by parts exist: one chunk.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest content type, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Largest metadata, names and values together, in bytes (S3's limit).
pub const METADATA_BYTES_MAX: usize = 2048;
/// What an object without a content type has.
pub const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// A register's value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Record {
    /// The ballot at which this write was first decided; completing it again under a higher ballot keeps it.
    pub version: Version,
    /// What the key holds.
    pub state: State,
    /// The last operations on the key and their results.
    pub history: History,
}

/// What a key holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// An object.
    Object(Object),
    /// Nothing any more (or nothing yet, when an operation was fenced on an absent key).
    Tombstone {
        /// When it was deleted, by the clock of the node that led: for people only.
        deleted_unix_ms: u64,
    },
}

/// An object's head, and its body where that is kept in the record.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Object {
    /// Bytes of the body.
    pub size: u64,
    /// Media type, as given.
    pub content_type: String,
    /// The user's own names and values.
    pub metadata: BTreeMap<String, String>,
    /// BLAKE3 of the body.
    pub hash: [u8; 32],
    /// When the write was decided, by the clock of the node that led: for people only, never for order.
    pub modified_unix_ms: u64,
    /// The body; `None` in a copy that carries only the head.
    pub body: Option<Bytes>,
}

impl Record {
    /// The object's version; `None` for a tombstone. What conditions compare.
    pub fn object_version(&self) -> Option<Version> {
        self.object().map(|_| self.version)
    }

    /// The tombstone's version; `None` for an object.
    pub fn tombstone_version(&self) -> Option<Version> {
        matches!(self.state, State::Tombstone { .. }).then_some(self.version)
    }

    /// The object; `None` for a tombstone.
    pub fn object(&self) -> Option<&Object> {
        match &self.state {
            State::Object(object) => Some(object),
            State::Tombstone { .. } => None,
        }
    }

    /// The same record without its body.
    pub fn head(&self) -> Self {
        let mut head = self.clone();
        if let State::Object(object) = &mut head.state {
            object.body = None;
        }
        head
    }

    /// Whether everything that the record names is here: false for the head of an object with a body.
    pub fn is_whole(&self) -> bool {
        self.object().is_none_or(|object| object.body.is_some())
    }

    /// Bytes of the body that it carries.
    pub fn body_len(&self) -> usize {
        self.object().and_then(|object| object.body.as_ref()).map_or(0, Bytes::len)
    }
}

/// Checks the user's metadata: header-safe names, bounded, no control characters.
pub fn check_metadata<'a>(
    metadata: impl IntoIterator<Item = (&'a String, &'a String)> + Clone,
) -> Result<(), Invalid> {
    let total: usize = metadata.clone().into_iter().map(|(name, value)| name.len() + value.len()).sum();
    if total > METADATA_BYTES_MAX {
        return Err(Invalid::new("the metadata is over 2048 bytes: names and values together"));
    }
    for (name, value) in metadata {
        let plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_' || b == b'.';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(Invalid::new(
                "a metadata name holds only a-z, 0-9, '-', '_' and '.', and is not empty",
            ));
        }
        if value.chars().any(char::is_control) {
            return Err(Invalid::new("a metadata value holds a control character"));
        }
    }
    Ok(())
}

/// Checks a content type: bounded, visible ASCII.
pub fn check_content_type(content_type: &str) -> Result<(), Invalid> {
    if content_type.len() > CONTENT_TYPE_BYTES_MAX {
        return Err(Invalid::new("the content type is longer than 255 bytes"));
    }
    if !content_type.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(Invalid::new("the content type holds something other than visible ASCII"));
    }
    Ok(())
}
