//! What a listing is asked for.

use alloc::string::{String, ToString};

use super::position::Position;
use crate::error::Invalid;
use crate::ids::{BucketName, KEY_BYTES_MAX};

/// Most objects and common prefixes on one page (S3's limit). At most about 3.5 KiB each with the largest metadata
/// and key, so a page stays below the 4 MiB that gRPC clients take by default.
pub const LIST_LIMIT_MAX: usize = 1000;

/// One page of a listing, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    bucket: BucketName,
    prefix: String,
    /// Not empty.
    delimiter: Option<String>,
    after: Option<String>,
    /// `1..=LIST_LIMIT_MAX`.
    limit: usize,
}

impl Query {
    /// Checks what came from outside. `prefix` may be empty; an empty `delimiter` is the same as none; `after` is where
    /// the page before ended ([`Listing::next_after`](super::Listing::next_after)), or any text: keys up to it are left
    /// out. `limit` counts objects and common prefixes together.
    pub fn new(
        bucket: BucketName,
        prefix: &str,
        delimiter: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Self, Invalid> {
        if prefix.len() > KEY_BYTES_MAX {
            return Err(Invalid::new("the prefix is longer than 1024 bytes: no key can match it"));
        }
        if delimiter.is_some_and(|delimiter| delimiter.len() > KEY_BYTES_MAX) {
            return Err(Invalid::new("the delimiter is longer than 1024 bytes: no key can hold it"));
        }
        if after.is_some_and(|after| after.len() > KEY_BYTES_MAX) {
            return Err(Invalid::new("the listing's start is longer than 1024 bytes: pass a key"));
        }
        if !(1..=LIST_LIMIT_MAX).contains(&limit) {
            return Err(Invalid::new("a listing's page holds 1 to 1000 objects and prefixes"));
        }
        let owned = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(ToString::to_string);
        Ok(Self {
            bucket,
            prefix: prefix.to_string(),
            delimiter: owned(delimiter),
            after: owned(after),
            limit,
        })
    }

    /// The bucket.
    pub fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// What keys must start with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Keys up to it are left out.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Most objects and common prefixes together.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether keys are rolled up.
    pub(super) fn rolls_up(&self) -> bool {
        self.delimiter.is_some()
    }

    /// The common prefix that stands for `key`: up to and including the first delimiter after the prefix.
    pub(super) fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.as_deref()?;
        let rest = key.strip_prefix(self.prefix.as_str())?;
        let end = self.prefix.len() + rest.find(delimiter)? + delimiter.len();
        Some(&key[..end])
    }

    /// Where the page starts.
    pub(super) fn start(&self) -> Position {
        let first = Position::before(&self.prefix);
        let Some(after) = self.after.as_deref() else { return first };
        let after = match self.common_prefix(after) {
            // The page before ended with this common prefix: everything under it was told.
            Some(common) if common == after => Position::after_prefix(after),
            _ => Position::after(after),
        };
        after.max(first)
    }

    /// Where the keys with the prefix end.
    pub(super) fn end(&self) -> Position {
        Position::after_prefix(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn query(prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> Query {
        Query::new(BucketName::new("b").unwrap(), prefix, delimiter, after, 10).unwrap()
    }

    #[test]
    fn keys_roll_up_to_the_first_delimiter_after_the_prefix() {
        let query = query("a/", Some("/"), None);
        assert_eq!(query.common_prefix("a/b/c/d"), Some("a/b/"));
        assert_eq!(query.common_prefix("a//x"), Some("a//"));
        assert_eq!(query.common_prefix("a/b"), None);
        assert_eq!(query.common_prefix("a/"), None);
        assert_eq!(query.common_prefix("other/x"), None);
    }

    #[test]
    fn delimiters_may_be_longer_than_one_character() {
        let query = query("", Some("é--"), None);
        assert_eq!(query.common_prefix("xé-é--y"), Some("xé-é--"));
        assert_eq!(query.common_prefix("é--"), Some("é--"));
        assert_eq!(query.common_prefix("é-"), None);
    }

    #[test]
    fn an_empty_delimiter_or_start_is_none() {
        assert_eq!(query("a", Some(""), Some("")), query("a", None, None));
    }

    #[test]
    fn a_page_starts_after_a_key_or_after_all_of_a_common_prefix() {
        assert_eq!(query("p", None, None).start(), Position::before("p"));
        assert_eq!(query("p", None, Some("pq")).start(), Position::after("pq"));
        assert_eq!(query("p", None, Some("a")).start(), Position::before("p"));
        assert_eq!(query("", Some("/"), Some("a/")).start(), Position::after_prefix("a/"));
        assert_eq!(query("", Some("/"), Some("a/b")).start(), Position::after("a/b"));
        // The object "a/" itself, listed under the prefix "a/".
        assert_eq!(query("a/", Some("/"), Some("a/")).start(), Position::after("a/"));
    }

    #[test]
    fn queries_over_the_limits_are_refused() {
        let refused = |prefix: &str, delimiter: &str, after: &str, limit| {
            Query::new(BucketName::new("b").unwrap(), prefix, Some(delimiter), Some(after), limit)
                .unwrap_err()
                .to_string()
        };
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        let longest = &long[..KEY_BYTES_MAX];
        assert!(
            Query::new(BucketName::new("b").unwrap(), longest, Some(longest), Some(longest), 1000).is_ok()
        );
        assert!(refused(&long, "", "", 1).starts_with("the prefix is longer"));
        assert!(refused("", &long, "", 1).starts_with("the delimiter is longer"));
        assert!(refused("", "", &long, 1).starts_with("the listing's start is longer"));
        assert!(refused("", "", "", 0).starts_with("a listing's page holds"));
        assert!(refused("", "", "", 1001).starts_with("a listing's page holds"));
    }
}
