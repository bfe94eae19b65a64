//! Writes the answers that go to TypeScript as JSON text.
//!
//! One string is the cheapest thing that can cross the border to JavaScript, and the tests run without a browser.

use alloc::string::String;

/// One JSON object, being written.
pub(crate) struct JsonObject {
    text: String,
}

impl JsonObject {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { text: String::from("{") }
    }

    /// Adds a string.
    pub(crate) fn string(mut self, name: &str, value: &str) -> Self {
        self.add_string(name, value);
        self
    }

    /// Adds a string, in place.
    pub(crate) fn add_string(&mut self, name: &str, value: &str) {
        self.name(name);
        quote(&mut self.text, value);
    }

    /// Adds a number. JavaScript reads it exactly up to 2^53, which no size or time here reaches.
    pub(crate) fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        push_number(&mut self.text, value);
        self
    }

    /// Adds a truth value.
    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.json(name, if value { "true" } else { "false" })
    }

    /// Adds JSON text.
    pub(crate) fn json(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.text.push_str(value);
        self
    }

    /// Its text.
    pub(crate) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn name(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        quote(&mut self.text, name);
        self.text.push(':');
    }
}

/// A JSON array of JSON texts.
pub(crate) fn array(items: impl Iterator<Item = String>) -> String {
    let mut text = String::from("[");
    for item in items {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&item);
    }
    text.push(']');
    text
}

/// A JSON string.
pub(crate) fn string(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    quote(&mut text, value);
    text
}

/// Without core's formatting, which would be a tenth of the module.
fn push_number(text: &mut String, value: u64) {
    if value >= 10 {
        push_number(text, value / 10);
    }
    text.push(char::from(b'0' + (value % 10) as u8));
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        push_hex(&mut text, *byte);
    }
    text
}

fn push_hex(text: &mut String, byte: u8) {
    for nibble in [byte >> 4, byte & 15] {
        text.push(char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }));
    }
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            '\0'..='\x1f' => {
                text.push_str("\\u00");
                push_hex(text, character as u8);
            }
            _ => text.push(character),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_control_characters_are_escaped() {
        let text = JsonObject::new().string("a\"b", "\\ \n 漢").number("n", 7).flag("f", true).finish();
        assert_eq!(text, "{\"a\\\"b\":\"\\\\ \\u000a 漢\",\"n\":7,\"f\":true}");
    }

    #[test]
    fn arrays_and_hex() {
        assert_eq!(array([string("a"), string("b")].into_iter()), "[\"a\",\"b\"]");
        assert_eq!(array(core::iter::empty()), "[]");
        assert_eq!(hex(&[0x0f, 0xa0]), "0fa0");
    }
}
