//! Conditions on a mutation: what must hold of the key's current object.

use crate::term::Version;

/// What must hold for a mutation to take effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// There is no object (HTTP's `If-None-Match: *`).
    IfAbsent,
    /// There is an object (HTTP's `If-Match: *`).
    IfPresent,
    /// The object has exactly this version (HTTP's `If-Match: "…"`).
    IfVersion(Version),
}

impl Condition {
    /// Whether it holds of a key whose object has version `current` (`None`: absent or deleted).
    pub fn holds(self, current: Option<Version>) -> bool {
        match self {
            Self::Always => true,
            Self::IfAbsent => current.is_none(),
            Self::IfPresent => current.is_some(),
            Self::IfVersion(version) => current == Some(version),
        }
    }
}
