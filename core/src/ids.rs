//! The names of things: nodes, operations, buckets, keys, partitions.
//!
//! Each is checked when it is made, so that the rest of the code never checks again. No randomness here: the edges
//! bring the bits.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::error::Invalid;

/// Longest bucket name, in bytes (S3's limit, so that names can be carried over).
pub const BUCKET_BYTES_MAX: usize = 63;
/// Shortest bucket name, in bytes.
pub const BUCKET_BYTES_MIN: usize = 1;
/// Longest key, in bytes of UTF-8 (S3's limit).
pub const KEY_BYTES_MAX: usize = 1024;

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u128);

        impl $name {
            /// Big-endian bytes, the form on the wire and on disk: their order is the order of the ids.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// From the wire. Errors when there are not exactly 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, Invalid> {
                let bytes: [u8; 16] = bytes
                    .try_into()
                    .map_err(|_| Invalid::new(concat!(stringify!($name), " must have 16 bytes")))?;
                Ok(Self(u128::from_be_bytes(bytes)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            /// From 32 hex digits.
            fn from_str(text: &str) -> Result<Self, Invalid> {
                if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(Invalid::new(concat!(stringify!($name), " must be 32 hex digits")));
                }
                u128::from_str_radix(text, 16)
                    .map(Self)
                    .map_err(|_| Invalid::new(concat!(stringify!($name), " must be 32 hex digits")))
            }
        }
    };
}

id128! {
    /// Names one node's disk: random, made at first start, kept in the data folder. An emptied disk is a new node.
    NodeId
}

id128! {
    /// Names one mutation for ever. A client makes it (UUIDv7) and keeps it across its retries. Time-ordered, which is
    /// what lets a key's history forget old ones safely: see [`crate::history::History`].
    OpId
}

impl OpId {
    /// A UUIDv7 from the clock (`unix_ms`) and 10 random bytes.
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0u8; 16];
        bytes[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Self(u128::from_be_bytes(bytes))
    }

    /// The clock part, in Unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0 >> 80).expect("128 bits shifted by 80 leave 48")
    }
}

/// A bucket's name: 1 to 63 of `a-z 0-9 - .`, starting and ending with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// Checks a name from outside.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        if name.is_empty() {
            return Err(Invalid::new("the bucket name is empty: give 1 to 63 of a-z, 0-9, '-' and '.'"));
        }
        if name.len() > BUCKET_BYTES_MAX {
            return Err(Invalid::new("the bucket name is longer than 63 bytes"));
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = name.as_bytes();
        if !bytes.iter().all(|&b| plain(b) || b == b'-' || b == b'.') {
            return Err(Invalid::new("a bucket name holds only a-z, 0-9, '-' and '.'"));
        }
        if !plain(bytes[0]) || !plain(bytes[bytes.len() - 1]) {
            return Err(Invalid::new("a bucket name starts and ends with a letter or a digit"));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object's key within its bucket: 1 to 1024 bytes of UTF-8 without control characters, and without `.` or `..`
/// as a path segment (URLs drop those on the way, so such an object could not be reached by its address).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// Checks a key from outside.
    pub fn new(key: &str) -> Result<Self, Invalid> {
        if key.is_empty() {
            return Err(Invalid::new("the key is empty: give 1 to 1024 bytes of UTF-8"));
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(Invalid::new("the key is longer than 1024 bytes"));
        }
        if key.chars().any(char::is_control) {
            return Err(Invalid::new("the key holds a control character, such as NUL or a line break"));
        }
        if key.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(Invalid::new(
                "'.' and '..' cannot be path segments of a key: URLs drop them on the way",
            ));
        }
        Ok(Self(key.into()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A bucket and a key: what a register is named by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectName {
    /// The bucket.
    pub bucket: BucketName,
    /// The key within it.
    pub key: ObjectKey,
}

impl ObjectName {
    /// Checks both parts.
    pub fn new(bucket: &str, key: &str) -> Result<Self, Invalid> {
        Ok(Self { bucket: BucketName::new(bucket)?, key: ObjectKey::new(key)? })
    }

    /// The partition it belongs to: top 10 bits of BLAKE3(bucket ‖ 0x00 ‖ key). Clients compute it too.
    pub fn partition(&self) -> Partition {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.bucket.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(self.key.as_str().as_bytes());
        Partition::of_hash(hasher.finalize())
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

/// Bits of the hash that choose the partition. Fixed when a cluster is made.
pub const PARTITION_BITS: u32 = 10;

/// One slice of the key space, `0..1024`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Partition(u16);

impl Partition {
    /// How many there are.
    pub const COUNT: u16 = 1 << PARTITION_BITS;

    /// Of a name in the form `bucket 0x00 key`: the same as [`ObjectName::partition`].
    pub fn of_name(bytes: &[u8]) -> Self {
        Self::of_hash(blake3::hash(bytes))
    }

    fn of_hash(hash: blake3::Hash) -> Self {
        let top = u16::from_be_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]);
        Self(top >> (16 - PARTITION_BITS))
    }

    /// Checks a number from outside.
    pub fn new(number: u32) -> Result<Self, Invalid> {
        match u16::try_from(number) {
            Ok(number) if number < Self::COUNT => Ok(Self(number)),
            _ => Err(Invalid::new("the partition must be below 1024")),
        }
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// Its number as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string())
    }
}

/// Checks a cluster's name: what a bucket name may be.
pub fn check_cluster_name(name: &str) -> Result<String, Invalid> {
    BucketName::new(name)
        .map(|name| name.as_str().to_string())
        .map_err(|_| Invalid::new("a cluster name holds 1 to 63 of a-z, 0-9, '-' and '.'"))
}
