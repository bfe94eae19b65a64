//! `bucket/key` and `bucket[/prefix]` as they are typed. Taken as they are: no percent-decoding, no globs.

use std::fmt;
use std::str::FromStr;

use holdfast_core::error::Invalid;
use holdfast_core::ids::{BucketName, ObjectName};

/// One object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target(ObjectName);

impl Target {
    pub(super) fn bucket(&self) -> &str {
        self.0.bucket.as_str()
    }

    pub(super) fn key(&self) -> &str {
        self.0.key.as_str()
    }

    /// What comes after the key's last slash; `None` when it ends with one.
    pub(super) fn file_name(&self) -> Option<&str> {
        self.key().rsplit('/').next().filter(|name| !name.is_empty())
    }
}

impl FromStr for Target {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (bucket, key) =
            text.split_once('/').ok_or(Invalid::new("give bucket/key, such as photos/2026/cat.jpg"))?;
        ObjectName::new(bucket, key).map(Self)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A bucket, and what keys must start with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Scope {
    pub(super) bucket: BucketName,
    pub(super) prefix: String,
}

impl FromStr for Scope {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { bucket: BucketName::new(bucket)?, prefix: prefix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_as_they_are_typed() {
        let target: Target = "b/a b/%41#?'\"文/x.txt".parse().unwrap();
        assert_eq!((target.bucket(), target.key()), ("b", "a b/%41#?'\"文/x.txt"));
        assert_eq!(target.file_name(), Some("x.txt"));
        assert_eq!("b/dir/".parse::<Target>().unwrap().file_name(), None);
        for bad in ["b", "b/", "/k", "B/k", "b/../k", "b/a\nb"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
        let scope: Scope = "b/p/q".parse().unwrap();
        assert_eq!((scope.bucket.as_str(), scope.prefix.as_str()), ("b", "p/q"));
        assert_eq!("b".parse::<Scope>().unwrap().prefix, "");
    }
}
