//! How long a request may take: gRPC's `grpc-timeout` header, bounded.

use std::time::Duration;

use holdfast_core::error::{Code, Error};
use http::HeaderMap;
use tokio::time::Instant;

/// What a request without a deadline of its own gets.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// No request may hold the node's attention longer.
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// The deadline that a request's headers ask for, at most [`DEADLINE_MAX`] from `now`.
///
/// Errors with `Invalid` for a malformed `grpc-timeout`, with `Timeout` for one of zero: nothing was done then.
pub fn deadline_of(headers: &HeaderMap, now: Instant) -> Result<Instant, Error> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(now + DEADLINE_DEFAULT);
    };
    let timeout = value
        .to_str()
        .ok()
        .and_then(parse_timeout)
        .ok_or(Error::new(Code::Invalid, "grpc-timeout is not 1 to 8 digits and one of H, M, S, m, u, n"))?;
    if timeout.is_zero() {
        return Err(Error::new(
            Code::Timeout,
            "the deadline had passed before anything was done: allow more time",
        ));
    }
    Ok(now + timeout.min(DEADLINE_MAX))
}

/// `{1 to 8 digits}{unit}`, as the gRPC protocol over HTTP/2 writes it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = &text[..unit_at];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(value * 3600),
        'M' => Duration::from_secs(value * 60),
        'S' => Duration::from_secs(value),
        'm' => Duration::from_millis(value),
        'u' => Duration::from_micros(value),
        'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Duration, Code> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        let now = Instant::now();
        deadline_of(&headers, now).map(|at| at - now).map_err(|error| error.code)
    }

    #[tokio::test]
    async fn parses_bounds_and_refuses() {
        assert_eq!(of("250m"), Ok(Duration::from_millis(250)));
        assert_eq!(of("99999999H"), Ok(DEADLINE_MAX));
        assert_eq!(of("0S"), Err(Code::Timeout));
        for bad in ["", "S", "1", "-1S", "123456789S", "1s", "1.5S", "é"] {
            assert_eq!(of(bad), Err(Code::Invalid), "{bad}");
        }
        let now = Instant::now();
        assert_eq!(deadline_of(&HeaderMap::new(), now), Ok(now + DEADLINE_DEFAULT));
    }
}
