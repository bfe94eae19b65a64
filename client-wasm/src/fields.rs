//! Walks the fields of an encoded message without decoding them.
//!
//! prost would copy every body into wasm memory, which never shrinks again. The walk only says where a field lies, and
//! works on a window of a message that is longer than the scratch.

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

/// A length-delimited field of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Field<'a> {
    /// Its number in the .proto file.
    pub(crate) number: u32,
    /// Where `value` begins in the bytes that were walked.
    pub(crate) at: usize,
    /// Its bytes.
    pub(crate) value: &'a [u8],
}

/// Why a walk stopped early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The field at this position goes on after the end of the bytes.
    Partial(usize),
    /// These are not the fields of a message.
    Malformed,
}

/// Calls `on_field` for each length-delimited field, in order; others are skipped. Numbers are for [`prost`] to decode.
pub(crate) fn walk<'a, E: From<Stop>>(
    message: &'a [u8],
    mut on_field: impl FnMut(Field<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    while at < message.len() {
        let (field, next) = field_at(message, at)?;
        if let Some(field) = field {
            on_field(field)?;
        }
        at = next;
    }
    Ok(())
}

/// The field that begins at `at` (`None` when it is not length-delimited), and where the next one begins.
fn field_at(message: &[u8], at: usize) -> Result<(Option<Field<'_>>, usize), Stop> {
    let mut rest = message.get(at..).ok_or(Stop::Malformed)?;
    // A number has at most 10 bytes, so one that fails on fewer is cut off, not wrong.
    let failed = |rest: &[u8]| if rest.len() < 10 { Stop::Partial(at) } else { Stop::Malformed };
    let (number, wire_type) = decode_key(&mut rest).map_err(|_| failed(&message[at..]))?;
    let skip = match wire_type {
        WireType::Varint => {
            let before = rest;
            decode_varint(&mut rest).map_err(|_| failed(before))?;
            0
        }
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => {
            let before = rest;
            let length = decode_varint(&mut rest).map_err(|_| failed(before))?;
            usize::try_from(length).map_err(|_| Stop::Malformed)?
        }
        WireType::StartGroup | WireType::EndGroup => return Err(Stop::Malformed),
    };
    let begin = message.len() - rest.remaining();
    let value = rest.get(..skip).ok_or(Stop::Partial(at))?;
    let field = (wire_type == WireType::LengthDelimited).then_some(Field { number, at: begin, value });
    Ok((field, begin + skip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::v1;
    use prost::Message as _;
    use proptest::prelude::*;

    fn fields(message: &[u8]) -> Result<Vec<(u32, usize, Vec<u8>)>, Stop> {
        let mut found = Vec::new();
        walk(message, |field| {
            found.push((field.number, field.at, field.value.to_vec()));
            Ok::<(), Stop>(())
        })?;
        Ok(found)
    }

    #[test]
    fn finds_the_body_behind_numbers_and_messages() {
        let message = v1::GetResponse {
            info: Some(v1::ObjectInfo { key: "k".into(), size: 3, ..Default::default() }),
            offset: 300,
            not_modified: true,
            body: "abc".into(),
        }
        .encode_to_vec();
        let found = fields(&message).unwrap();
        assert_eq!(found.iter().map(|field| field.0).collect::<Vec<_>>(), [1, 15]);
        let (_, at, body) = &found[1];
        assert_eq!(&message[*at..], body);
    }

    #[test]
    fn a_cut_message_says_where_the_cut_field_began() {
        let whole = v1::ListResponse { prefixes: vec!["a".into(), "bcd".into()], ..Default::default() };
        let bytes = whole.encode_to_vec();
        assert_eq!(fields(&bytes[..bytes.len() - 1]), Err(Stop::Partial(3)));
        assert_eq!(fields(&bytes[..4]), Err(Stop::Partial(3)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }
    }
}
