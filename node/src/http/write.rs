//! `PUT` and `DELETE` of an object: what `curl -T` uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::condition::Condition;
use holdfast_core::error::{Code, Error, Invalid};
use holdfast_core::ids::{ObjectName, OpId};
use holdfast_core::record::{BODY_BYTES_MAX, CONTENT_TYPE_DEFAULT};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request};
use percent_encoding::percent_decode;
use tokio::time::Instant;
use tonic::body::Body;

use super::body::{Charge, Unread, read_whole};
use super::conditional::mutation_condition;
use super::read::{HASH, METADATA_PREFIX, hex};
use super::reply::{self, ascii};
use crate::service::{DEADLINE_DEFAULT, Operations, Put, Writer, body_too_large, new_object};

/// Names an operation, as 32 hex digits: the same for every retry of one change.
const OP_ID: HeaderName = HeaderName::from_static("x-holdfast-op-id");

/// Answers `PUT` of `name`.
pub(super) async fn put<O: Operations>(
    writer: &Writer<O>,
    name: ObjectName,
    parts: &request::Parts,
    body: Body,
    charge: &Arc<Charge>,
) -> Result<Response<Body>, Error> {
    let checked = check(&parts.headers, &name);
    let announced: Option<u64> =
        parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let too_large = announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64);
    if parts.headers.contains_key(EXPECT) && (checked.is_err() || too_large) {
        // The client waits for our word before it sends the body: this is the word.
        checked?;
        return Err(body_too_large());
    }
    let body = match read_whole(body, BODY_BYTES_MAX, charge).await {
        Ok(body) => body,
        Err(Unread::Broken(error)) => return Err(error),
        Err(Unread::TooLarge) => return Err(body_too_large()),
        Err(Unread::TooLargeToDrain) => {
            let mut response = reply::error(&body_too_large());
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        }
    };
    let Checked { op, condition, content_type, metadata, hash } = checked?;
    let object = new_object(content_type, metadata, body, hash.as_ref().map(<[u8; 32]>::as_slice))?;
    // One that names its operation does so to be able to try again.
    let put = Put { name, op, retry: op.is_some(), condition, object };
    let record = writer.put(put, Instant::now() + DEADLINE_DEFAULT).await?;
    // Whether there was an object before is known only where the condition says so.
    let created = condition == Condition::IfAbsent;
    let mut response = reply::empty(if created { StatusCode::CREATED } else { StatusCode::OK });
    response.headers_mut().insert(ETAG, ascii(format!("\"{}\"", record.version)));
    if let Some(object) = record.object() {
        response.headers_mut().insert(HASH, ascii(hex(&object.hash)));
    }
    Ok(response)
}

/// Answers `DELETE` of `name`.
pub(super) async fn delete<O: Operations>(
    writer: &Writer<O>,
    name: ObjectName,
    parts: &request::Parts,
) -> Result<Response<Body>, Error> {
    let condition = mutation_condition(&parts.headers)?;
    let op = op_id(&parts.headers)?;
    let deadline = Instant::now() + DEADLINE_DEFAULT;
    let deleted = writer.delete(name, op, condition, op.is_some(), deadline).await?;
    if deleted.found {
        Ok(reply::empty(StatusCode::NO_CONTENT))
    } else {
        let error = Error::new(Code::NotFound, "there is no such object: nothing was deleted");
        Err(error.with_tombstone(deleted.version))
    }
}

/// What a put's headers say.
struct Checked {
    op: Option<OpId>,
    condition: Condition,
    content_type: String,
    metadata: BTreeMap<String, String>,
    hash: Option<[u8; 32]>,
}

fn check(headers: &HeaderMap, name: &ObjectName) -> Result<Checked, Error> {
    let content_type = match headers.get(CONTENT_TYPE) {
        Some(value) => value
            .to_str()
            .map_err(|_| Invalid::new("the content type holds something other than visible ASCII"))?
            .to_owned(),
        // `curl -T` sends none, and a browser would not show a picture without.
        None => {
            mime_guess::from_path(name.key.as_str()).first_raw().unwrap_or(CONTENT_TYPE_DEFAULT).to_owned()
        }
    };
    Ok(Checked {
        op: op_id(headers)?,
        condition: mutation_condition(headers)?,
        content_type,
        metadata: metadata(headers)?,
        hash: expected_hash(headers)?,
    })
}

fn op_id(headers: &HeaderMap) -> Result<Option<OpId>, Error> {
    let Some(value) = headers.get(OP_ID) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| Invalid::new("x-holdfast-op-id must be 32 hex digits"))?;
    let op: OpId = text.parse()?;
    crate::service::op_id(&op.to_bytes())
}

fn metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Error> {
    let mut metadata = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(METADATA_PREFIX) else {
            continue;
        };
        let value = percent_decode(value.as_bytes())
            .decode_utf8()
            .map_err(|_| Invalid::new("a metadata value is not UTF-8 once percent-decoded"))?;
        if metadata.insert(name.to_owned(), value.into_owned()).is_some() {
            return Err(Invalid::new("a metadata name comes twice").into());
        }
    }
    Ok(metadata)
}

fn expected_hash(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Error> {
    let Some(value) = headers.get(HASH) else {
        return Ok(None);
    };
    let hash = value.to_str().ok().and_then(|text| blake3::Hash::from_hex(text).ok());
    match hash {
        Some(hash) => Ok(Some(*hash.as_bytes())),
        None => Err(Invalid::new("x-holdfast-hash must be the body's BLAKE3 as 64 hex digits").into()),
    }
}
