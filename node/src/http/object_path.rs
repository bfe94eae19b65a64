//! `/o/{bucket}/{key…}`, from the raw path: we decode it ourselves, so that nothing on the way changes a key.

use holdfast_core::error::{Error, Invalid};
use holdfast_core::ids::{BucketName, ObjectName};
use percent_encoding::percent_decode_str;

/// What a path names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// `/o/{bucket}` or `/o/{bucket}/`.
    Bucket(BucketName),
    /// `/o/{bucket}/{key…}`.
    Object(ObjectName),
}

impl Target {
    /// From a raw path that starts with `/o`.
    pub(super) fn parse(path: &str) -> Result<Self, Error> {
        let rest = path.strip_prefix("/o").unwrap_or_default().strip_prefix('/').unwrap_or_default();
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = decode(bucket)?;
        if key.is_empty() {
            return Ok(Self::Bucket(BucketName::new(&bucket)?));
        }
        Ok(Self::Object(ObjectName::new(&bucket, &decode(key)?)?))
    }
}

/// Percent-decodes. Errors where a `%` is not followed by two hex digits, or where the bytes are not UTF-8.
fn decode(text: &str) -> Result<String, Error> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        if !bytes.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit)) {
            return Err(
                Invalid::new("a '%' in the path is not followed by two hex digits: write it as %25").into()
            );
        }
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Invalid::new("the path is not UTF-8 once percent-decoded").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_refuses() {
        let key = |path: &str| match Target::parse(path) {
            Ok(Target::Object(name)) => name.key.as_str().to_owned(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(key("/o/b/k"), "k");
        assert_eq!(key("/o/b/a/b//c/"), "a/b//c/");
        assert_eq!(key("/o/b/a%2Fb"), "a/b");
        assert_eq!(key("/o/b//k"), "/k");
        assert_eq!(key("/o/b/100%25%20%23%3f%E6%97%A5+1"), "100% #?日+1");
        assert!(matches!(Target::parse("/o/b"), Ok(Target::Bucket(_))));
        assert!(matches!(Target::parse("/o/b/"), Ok(Target::Bucket(_))));
        for bad in [
            "/o",
            "/o/",
            "/o//k",
            "/o/B/k",
            "/o/b%2Fk",
            "/o/b/%2e%2e/k",
            "/o/b/../k",
            "/o/b/a%00",
            "/o/b/%ff",
            "/o/b/%",
            "/o/b/%2",
            "/o/b/%zz",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
