//! Protobuf messages, written and read field by field.
//!
//! By hand, and not with prost, for two reasons. prost copies every body into wasm memory, which never shrinks again;
//! this only says where a field lies, and works on a window of a message that is longer than the scratch. And prost with
//! what it brings was half of the module. The tests compare every message with what prost makes of it.

use alloc::vec::Vec;

/// A field that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Field<'a> {
    /// Its number in the .proto file.
    pub(crate) number: u32,
    /// Where `value`'s bytes begin in what was walked.
    pub(crate) at: usize,
    /// What it holds.
    pub(crate) value: Value<'a>,
}

/// What a field holds, as far as the wire tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    /// A varint: numbers, truth values, enums.
    Number(u64),
    /// Length-delimited: strings, bytes, messages.
    Bytes(&'a [u8]),
    /// Fixed width: in none of our messages.
    Fixed,
}

/// Why a walk stopped early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The field at this position goes on after the end of the bytes.
    Partial(usize),
    /// These are not the fields of a message.
    Malformed,
}

impl<'a> Field<'a> {
    /// Its number, if it is one.
    pub(crate) fn number(&self) -> Result<u64, Stop> {
        if let Value::Number(number) = self.value { Ok(number) } else { Err(Stop::Malformed) }
    }

    /// Its bytes, if it is length-delimited.
    pub(crate) fn bytes(&self) -> Result<&'a [u8], Stop> {
        if let Value::Bytes(bytes) = self.value { Ok(bytes) } else { Err(Stop::Malformed) }
    }

    /// Its text, if it is UTF-8.
    pub(crate) fn text(&self) -> Result<&'a str, Stop> {
        core::str::from_utf8(self.bytes()?).map_err(|_| Stop::Malformed)
    }
}

/// Calls `on_field` for each field, in order.
pub(crate) fn walk<'a, E: From<Stop>>(
    message: &'a [u8],
    mut on_field: impl FnMut(Field<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    while at < message.len() {
        let mut reader = Reader { message, at };
        let field = reader.field().map_err(|cut| if cut { Stop::Partial(at) } else { Stop::Malformed })?;
        on_field(field)?;
        at = reader.at;
    }
    Ok(())
}

/// Reads on from a position. Errors are `true` where the bytes end too early, `false` where they are wrong.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn field(&mut self) -> Result<Field<'a>, bool> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| false)?;
        if number == 0 {
            return Err(false);
        }
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| false)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(false),
        };
        let length = if let Value::Bytes(bytes) = value { bytes.len() } else { 0 };
        Ok(Field { number, at: self.at - length, value })
    }

    fn varint(&mut self) -> Result<u64, bool> {
        let mut number = 0_u64;
        for index in 0..10 {
            let byte = self.take(1)?.first().copied().unwrap_or(0);
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(false)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], bool> {
        let end = self.at.checked_add(length).ok_or(false)?;
        let bytes = self.message.get(self.at..end).ok_or(true)?;
        self.at = end;
        Ok(bytes)
    }
}

/// Writes the fields of a message. Those with their default value are left out, as proto3 has it.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A number.
    pub(crate) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
    }

    /// A string, or bytes.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.message(field, value);
        }
    }

    /// A message, or a member of a oneof: written though it be empty.
    pub(crate) fn message(&mut self, field: u32, value: &[u8]) {
        self.announce(field, value.len());
        self.bytes.extend_from_slice(value);
    }

    /// What stands before `length` bytes that follow.
    pub(crate) fn announce(&mut self, field: u32, length: usize) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(length as u64);
    }

    /// A number that is written though it be 0: a member of a oneof, or optional.
    pub(crate) fn present(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    /// The encoded message.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::v1;
    use proptest::prelude::*;
    use prost::Message as _;

    fn fields(message: &[u8]) -> Result<Vec<(u32, usize)>, Stop> {
        let mut found = Vec::new();
        walk(message, |field| {
            if let Value::Bytes(bytes) = field.value {
                assert_eq!(&message[field.at..field.at + bytes.len()], bytes);
            }
            found.push((field.number, field.at));
            Ok::<(), Stop>(())
        })?;
        Ok(found)
    }

    #[test]
    fn a_cut_message_says_where_the_cut_field_began() {
        let whole = v1::ListResponse { prefixes: vec!["a".into(), "bcd".into()], ..Default::default() };
        let bytes = whole.encode_to_vec();
        assert_eq!(fields(&bytes).unwrap(), [(2, 2), (2, 5)]);
        assert_eq!(fields(&bytes[..bytes.len() - 1]), Err(Stop::Partial(3)));
        assert_eq!(fields(&bytes[..4]), Err(Stop::Partial(3)));
        assert_eq!(fields(&[0x0f]), Err(Stop::Malformed));
        assert_eq!(fields(&[0xff; 11]), Err(Stop::Malformed));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }

        #[test]
        fn numbers_are_written_as_prost_writes_them(value: u64, field in 1_u32..3000) {
            let mut expected = Vec::new();
            if value != 0 {
                prost::encoding::uint64::encode(field, &value, &mut expected);
            }
            let mut writer = Writer::default();
            writer.number(field, value);
            let written = writer.finish();
            prop_assert_eq!(&written, &expected);
            walk(&written, |read| {
                assert_eq!((read.number, read.number()), (field, Ok(value)));
                Ok::<(), Stop>(())
            }).unwrap();
        }
    }
}
