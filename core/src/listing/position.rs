//! Places between keys.

use alloc::vec::Vec;

/// A place in the byte order of keys: everything below it is done, the rest is not.
///
/// Any byte string can be one, not only keys: `after_prefix` has no text form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Position {
    /// Keys whose bytes are `>=` these are above.
    At(Vec<u8>),
    /// Above every key.
    End,
}

impl Position {
    /// Below every key that starts with `prefix`, above every smaller one.
    pub(super) fn before(prefix: &str) -> Self {
        Self::At(prefix.as_bytes().to_vec())
    }

    /// Directly above one key.
    pub(super) fn after(key: &str) -> Self {
        let mut bytes = key.as_bytes().to_vec();
        bytes.push(0);
        Self::At(bytes)
    }

    /// Above every key that starts with `prefix`, below every larger one.
    pub(super) fn after_prefix(prefix: &str) -> Self {
        let mut bytes = prefix.as_bytes().to_vec();
        match bytes.last_mut() {
            // UTF-8 has no byte 0xFF, so this never carries.
            Some(last) => *last += 1,
            None => return Self::End,
        }
        Self::At(bytes)
    }

    /// Whether `key` lies above.
    pub(super) fn is_below(&self, key: &str) -> bool {
        match self {
            Self::At(bytes) => bytes.as_slice() <= key.as_bytes(),
            Self::End => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use proptest::prelude::*;

    use super::Position;

    fn keys() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop_oneof![Just('a'), Just('b'), Just('/'), Just('\u{7f}'), Just('\u{10FFFF}')],
            0..4,
        )
        .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn positions_stand_where_they_say(key in keys(), other in keys()) {
            prop_assert_eq!(Position::before(&key).is_below(&other), other >= key);
            prop_assert_eq!(Position::after(&key).is_below(&other), other > key);
            prop_assert_eq!(
                Position::after_prefix(&key).is_below(&other),
                other > key && !other.starts_with(&key)
            );
            prop_assert!(!Position::End.is_below(&other));
            prop_assert!(Position::before(&key) < Position::after(&key));
            prop_assert!(Position::after(&key) < Position::after_prefix(&key));
            prop_assert!(Position::after_prefix(&key) <= Position::End);
        }
    }
}
