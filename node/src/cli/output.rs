//! What commands print, in one piece: nothing is printed before everything is known.

use std::io::{self, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use holdfast::ObjectInfo;
use serde_json::{Value, json};

use super::failure::Failure;

/// Prints to standard output. Whoever reads may stop early (`| head`): that is no failure.
pub(super) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::file("write to", "standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Prints a value on one line.
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print(format!("{value}\n").as_bytes())
}

/// An object's head for scripts.
pub(super) fn info_json(info: &ObjectInfo) -> Value {
    json!({
        "key": info.key,
        "version": info.version.to_text(),
        "size": info.size,
        "content_type": info.content_type,
        "metadata": info.metadata,
        "blake3": info.hash_hex(),
        "modified_unix_ms": info.modified_unix_ms,
    })
}

/// `2026-11-22T15:20:26Z`.
pub(super) fn time_text(unix_ms: u64) -> String {
    // The last second that it can write: the year 9999.
    let ms = unix_ms.min(253_402_300_799_000);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// For a shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:,=@".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_run_can_be_pasted() {
        assert_eq!(quoted("b/k.txt"), "b/k.txt");
        assert_eq!(quoted("b/a b's"), r"'b/a b'\''s'");
        assert_eq!(quoted("b/文"), "'b/文'");
    }

    #[test]
    fn times_are_bounded() {
        assert_eq!(time_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(time_text(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
