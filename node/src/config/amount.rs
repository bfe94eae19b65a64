//! Values of settings that need a form of their own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// Bytes: a number, or a number with a unit (`K`, `M`, `G`, `T` of 1000, `Ki`, `Mi`, `Gi`, `Ti` of 1024; a `B` may
/// follow).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteCount(pub u64);

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no number of bytes: write 500000000, 500M or 466Mi");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim();
        let factor: u64 = match unit.strip_suffix('B').unwrap_or(unit) {
            "" => 1,
            "K" | "k" => 1000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a text such as \"500G\"")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ByteCount, E> {
                u64::try_from(value).map(ByteCount).map_err(|_| E::custom("bytes cannot be negative"))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ByteCount, E> {
                Ok(ByteCount(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<ByteCount, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A text that never gets into logs or error messages.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself: for whoever must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts() {
        let parse = |text: &str| text.parse::<ByteCount>().map(|count| count.0);
        assert_eq!(parse("12"), Ok(12));
        assert_eq!(parse("500G"), Ok(500_000_000_000));
        assert_eq!(parse("2 GiB"), Ok(2 << 30));
        for bad in ["", "G", "-1", "1.5G", "1X", "99999999999T"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
