//! Page tokens: opaque to clients, versioned, and bound to the listing that gave them.
//!
//! A token of another bucket, prefix or delimiter, or one that was changed, is refused: continuing a different listing
//! from it would skip keys silently. It is no secret and no permission.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast_core::error::{Code, Error};

/// First byte of every token; another one is a newer node's, or garbage.
const FORMAT: u8 = 1;
/// Bytes of BLAKE3 that bind a token.
const BINDING_BYTES: usize = 8;
/// Longest token, in characters: a key of 1024 bytes, the binding and the format, in base64.
pub const PAGE_TOKEN_BYTES_MAX: usize = 1400;

const _: () =
    assert!((1 + BINDING_BYTES + holdfast_core::ids::KEY_BYTES_MAX).div_ceil(3) * 4 <= PAGE_TOKEN_BYTES_MAX);

/// The token from which the page after `after` starts.
pub fn encode_page_token(bucket: &str, prefix: &str, delimiter: &str, after: &str) -> String {
    let mut bytes = Vec::with_capacity(1 + BINDING_BYTES + after.len());
    bytes.push(FORMAT);
    bytes.extend_from_slice(&binding(bucket, prefix, delimiter, after));
    bytes.extend_from_slice(after.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where the page starts (exclusive). Errors with `Invalid` for anything but a token of this very listing.
pub fn decode_page_token(bucket: &str, prefix: &str, delimiter: &str, token: &str) -> Result<String, Error> {
    const REFUSED: Error = Error::new(
        Code::Invalid,
        "not a page token of this bucket, prefix and delimiter: pass one exactly as it was given, or none to start over",
    );
    if token.len() > PAGE_TOKEN_BYTES_MAX {
        return Err(REFUSED);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| REFUSED)?;
    let Some((&FORMAT, rest)) = bytes.split_first() else {
        return Err(REFUSED);
    };
    let (bound, after) = rest.split_at_checked(BINDING_BYTES).ok_or(REFUSED)?;
    let after = std::str::from_utf8(after).map_err(|_| REFUSED)?;
    if bound != binding(bucket, prefix, delimiter, after) {
        return Err(REFUSED);
    }
    Ok(after.to_owned())
}

fn binding(bucket: &str, prefix: &str, delimiter: &str, after: &str) -> [u8; BINDING_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for part in [bucket, prefix, delimiter, after] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut bound = [0; BINDING_BYTES];
    bound.copy_from_slice(&hasher.finalize().as_bytes()[..BINDING_BYTES]);
    bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bound_to_its_listing() {
        let token = encode_page_token("b", "p", "/", "p/ключ");
        assert_eq!(decode_page_token("b", "p", "/", &token).unwrap(), "p/ключ");
        assert!(decode_page_token("c", "p", "/", &token).is_err());
        assert!(decode_page_token("b", "", "p/", &token).is_err());
        assert!(decode_page_token("b", "p", "", &token).is_err());
        assert!(decode_page_token("b", "p", "/", &token[1..]).is_err());
        assert!(decode_page_token("b", "p", "/", &"A".repeat(5000)).is_err());
    }

    proptest! {
        #[test]
        fn round_trips(after in "\\PC{0,200}") {
            let token = encode_page_token("b", "p", "", &after);
            prop_assert_eq!(decode_page_token("b", "p", "", &token).unwrap(), after);
        }

        #[test]
        fn garbage_is_refused(token in "\\PC{0,64}") {
            prop_assert!(decode_page_token("b", "p", "", &token).is_err());
        }
    }
}
