//! The `Range` header.

use http::HeaderValue;

use crate::service::ByteSpan;

/// The one span that a `Range` header asks for. `None`: the whole object, which HTTP allows as the answer to several
/// spans and demands for a unit or a form that is not understood.
pub(super) fn parse_range(value: &HeaderValue) -> Option<ByteSpan> {
    let (unit, spans) = value.to_str().ok()?.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || spans.contains(',') {
        return None;
    }
    let (first, last) = spans.trim().split_once('-')?;
    match (first, last) {
        ("", suffix) => Some(ByteSpan::Suffix(number(suffix)?)),
        (first, "") => Some(ByteSpan::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteSpan::From(first, Some(last)))
        }
    }
}

/// Digits only; more than fit count as "very far".
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let parse = |text: &str| parse_range(&text.parse().unwrap());
        assert_eq!(parse("bytes=0-0"), Some(ByteSpan::From(0, Some(0))));
        assert_eq!(parse("bytes=5-"), Some(ByteSpan::From(5, None)));
        assert_eq!(parse("Bytes= 5-9"), Some(ByteSpan::From(5, Some(9))));
        assert_eq!(parse("bytes=-5"), Some(ByteSpan::Suffix(5)));
        assert_eq!(parse("bytes=99999999999999999999999-"), Some(ByteSpan::From(u64::MAX, None)));
        for whole in
            ["bytes=1-0", "bytes=-", "bytes=a-b", "bytes=0-1,2-3", "items=0-1", "bytes", "bytes=+1-2"]
        {
            assert_eq!(parse(whole), None, "{whole}");
        }
    }
}
