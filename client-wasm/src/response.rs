//! Decodes answers to JSON, and verifies bodies. A body stays where it is: the JSON says where it lies.
//!
//! Long answers (listings, many results) are read window by window: `next` says where the next window must begin.

use holdfast_core::error::{Code, Error};
use holdfast_proto::v1;
use prost::Message;

use crate::fault::{Fault, malformed};
use crate::fields::{Field, Stop, walk};
use crate::json::{JsonObject, array, hex, string};

/// The number of the field `body` in GetResponse.
const BODY_FIELD: u32 = 15;

/// Reads PutResponse.
pub(crate) fn put(message: &[u8]) -> Result<String, Fault> {
    let info = decode::<v1::PutResponse>(message)?.info.ok_or_else(malformed)?;
    Ok(JsonObject::new().json("info", &info_json(&info)?).finish())
}

/// Reads GetResponse, and verifies a whole body. `bodyAt` is its offset in the message.
pub(crate) fn get(message: &[u8]) -> Result<String, Fault> {
    Ok(got(message, 0)?.finish())
}

/// Reads HeadResponse.
pub(crate) fn head(message: &[u8]) -> Result<String, Fault> {
    let head = decode::<v1::HeadResponse>(message)?;
    let info = head.info.ok_or_else(malformed)?;
    let replicas = array(head.replicas.iter().map(|node| string(node)));
    Ok(JsonObject::new().json("info", &info_json(&info)?).json("replicas", &replicas).finish())
}

/// Reads DeleteResponse.
pub(crate) fn delete(message: &[u8]) -> Result<String, Fault> {
    let deleted = decode::<v1::DeleteResponse>(message)?.deleted;
    Ok(JsonObject::new().flag("deleted", deleted).finish())
}

/// Reads OutcomeResponse.
pub(crate) fn outcome(message: &[u8]) -> Result<String, Fault> {
    use v1::outcome_response::Kind;
    let outcome = decode::<v1::OutcomeResponse>(message)?;
    let kind = match Kind::try_from(outcome.kind) {
        Ok(Kind::Committed) => "committed",
        Ok(Kind::Fenced) => "fenced",
        Ok(Kind::Unknown) => "unknown",
        Ok(Kind::Unspecified) | Err(_) => return Err(malformed()),
    };
    Ok(JsonObject::new().string("kind", kind).string("version", &outcome.version).finish())
}

/// Reads a window of ListResponse. `more` says that the message goes on after it.
pub(crate) fn list(window: &[u8], more: bool) -> Result<String, Fault> {
    let (mut objects, mut prefixes, mut token) = (Vec::new(), Vec::new(), String::new());
    let next = walk_window(window, more, |field| {
        match field.number {
            1 => objects.push(info_json(&decode(field.value)?)?),
            2 => prefixes.push(string(text(field.value)?)),
            3 => text(field.value)?.clone_into(&mut token),
            _ => {}
        }
        Ok(())
    })?;
    Ok(JsonObject::new()
        .json("objects", &array(objects.into_iter()))
        .json("prefixes", &array(prefixes.into_iter()))
        .string("token", &token)
        .number("next", next)
        .finish())
}

/// Reads a window of PutManyResponse.
pub(crate) fn put_many(window: &[u8], more: bool) -> Result<String, Fault> {
    many(window, more, |_, value| {
        Ok(JsonObject::new().json("info", &info_json(&decode(value)?)?))
    })
}

/// Reads a window of GetManyResponse; `bodyAt` counts from the start of the window.
pub(crate) fn get_many(window: &[u8], more: bool) -> Result<String, Fault> {
    many(window, more, |at, value| got(value, at))
}

/// Reads StatusResponse.
pub(crate) fn status(message: &[u8]) -> Result<String, Fault> {
    let status = decode::<v1::StatusResponse>(message)?;
    let partitions = status.partitions.unwrap_or_default();
    let partitions = JsonObject::new()
        .number("total", partitions.total.into())
        .number("whole", partitions.whole.into())
        .number("degraded", partitions.degraded.into())
        .number("unavailable", partitions.unavailable.into())
        .finish();
    Ok(JsonObject::new()
        .string("cluster", &status.cluster)
        .string("nodeId", &status.node_id)
        .string("softwareVersion", &status.software_version)
        .number("uptimeMs", status.uptime_ms)
        .number("layoutVersion", status.layout_version)
        .flag("registryConnected", status.registry_connected)
        .json("nodes", &array(status.nodes.iter().map(node_json)))
        .json("partitions", &partitions)
        .finish())
}

fn node_json(node: &v1::NodeStatus) -> String {
    JsonObject::new()
        .string("id", &node.node_id)
        .string("url", &node.client_url)
        .string("zone", &node.zone)
        .flag("registered", node.registered)
        .flag("reachable", node.reachable)
        .flag("member", node.member)
        .string("softwareVersion", &node.software_version)
        .number("replicaOf", node.replica_of.into())
        .number("leads", node.leads.into())
        .finish()
}

/// Results of PutMany and GetMany: field 1 of each is what `on_object` reads (given where it lies), field 2 an error.
fn many(
    window: &[u8],
    more: bool,
    on_object: impl Fn(usize, &[u8]) -> Result<JsonObject, Fault>,
) -> Result<String, Fault> {
    let mut results = Vec::new();
    let next = walk_window(window, more, |result| {
        if result.number != 1 {
            return Ok(());
        }
        let mut json = None;
        walk(result.value, |field| {
            match field.number {
                1 => {
                    json = Some(match on_object(result.at + field.at, field.value) {
                        Ok(object) => object.finish(),
                        Err(fault) => JsonObject::new().json("error", &fault.0).finish(),
                    });
                }
                2 => json = Some(JsonObject::new().json("error", &error_of(field.value)?.0).finish()),
                _ => {}
            }
            Ok::<(), Fault>(())
        })?;
        results.push(json.ok_or_else(malformed)?);
        Ok(())
    })?;
    Ok(JsonObject::new().json("results", &array(results.into_iter())).number("next", next).finish())
}

/// Walks the fields that lie wholly in the window; how many bytes those are. A single field must fit.
fn walk_window(
    window: &[u8],
    more: bool,
    mut on_field: impl FnMut(Field<'_>) -> Result<(), Fault>,
) -> Result<u64, Fault> {
    enum End {
        Stop(Stop),
        Fault(Fault),
    }
    impl From<Stop> for End {
        fn from(stop: Stop) -> Self {
            Self::Stop(stop)
        }
    }
    match walk(window, |field| on_field(field).map_err(End::Fault)) {
        Ok(()) => Ok(window.len() as u64),
        Err(End::Stop(Stop::Partial(at))) if more && at > 0 => Ok(at as u64),
        Err(End::Stop(_)) => Err(malformed()),
        Err(End::Fault(fault)) => Err(fault),
    }
}

/// A GetResponse that lies at `base`.
fn got(message: &[u8], base: usize) -> Result<JsonObject, Fault> {
    let mut info = None;
    let mut body: (usize, &[u8]) = (message.len(), &[]);
    walk(message, |field| {
        match field.number {
            1 => info = Some(decode::<v1::ObjectInfo>(field.value)?),
            BODY_FIELD => body = (field.at, field.value),
            _ => {}
        }
        Ok::<(), Fault>(())
    })?;
    // All but the body is small: what prost decodes here copies nothing large. The body is the last known field.
    let head = message.get(..body_tag_at(message, body)).ok_or_else(malformed)?;
    let head = decode::<v1::GetResponse>(head)?;
    let info = info.ok_or_else(malformed)?;
    let (at, body) = body;
    let length = body.len() as u64;
    if !head.not_modified {
        verify(&info, head.offset, body)?;
    }
    Ok(JsonObject::new()
        .json("info", &info_json(&info)?)
        .flag("notModified", head.not_modified)
        .number("offset", head.offset)
        .number("bodyAt", (base + at) as u64)
        .number("bodyBytes", length))
}

/// Where the body's tag begins: before its one tag byte (field 15, length-delimited) and its length.
fn body_tag_at(message: &[u8], (at, body): (usize, &[u8])) -> usize {
    if at == message.len() && body.is_empty() {
        return at;
    }
    at.saturating_sub(1 + prost::encoding::encoded_len_varint(body.len() as u64))
}

/// A whole body must have the object's hash. A part of one cannot be checked here before chunk hashes exist: the node
/// that answered has checked it.
fn verify(info: &v1::ObjectInfo, offset: u64, body: &[u8]) -> Result<(), Fault> {
    let length = body.len() as u64;
    if offset.checked_add(length).is_none_or(|end| end > info.size) {
        return Err(damaged());
    }
    let whole = offset == 0 && length == info.size;
    if whole && blake3::hash(body).as_bytes() != info.hash.as_ref() {
        return Err(damaged());
    }
    Ok(())
}

fn damaged() -> Fault {
    Error::new(Code::Integrity, "the body that arrived is not the object's: it was damaged on the way").into()
}

fn info_json(info: &v1::ObjectInfo) -> Result<String, Fault> {
    if info.hash.len() != 32 {
        return Err(malformed());
    }
    let metadata =
        info.metadata.iter().fold(JsonObject::new(), |json, (name, value)| json.string(name, value)).finish();
    Ok(JsonObject::new()
        .string("key", &info.key)
        .string("version", &info.version)
        .number("size", info.size)
        .string("contentType", &info.content_type)
        .json("metadata", &metadata)
        .string("hash", &hex(&info.hash))
        .number("modified", info.modified_unix_ms)
        .finish())
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Fault> {
    M::decode(bytes).map_err(|_| malformed())
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    core::str::from_utf8(bytes).map_err(|_| malformed())
}

/// An encoded ErrorDetail.
fn error_of(bytes: &[u8]) -> Result<Fault, Fault> {
    Ok(crate::status::error_of_detail(decode(bytes)?).into())
}
