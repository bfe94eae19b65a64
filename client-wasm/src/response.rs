//! Reads answers into JSON, and verifies bodies. A body stays where it is: the JSON says where it lies.
//!
//! Long answers (listings, many results) are read window by window: `next` says where the next window must begin.

use alloc::string::String;
use alloc::vec::Vec;

use holdfast_core::client::{Topology, TopologyNode};
use holdfast_core::error::{Code, Error};

use crate::fault::{self, Fault, malformed};
use crate::fields::{Field, Stop, walk};
use crate::json::{JsonObject, array, hex, string};

/// The number of the field `body` in GetResponse.
const BODY_FIELD: u32 = 15;

/// Reads PutResponse.
pub(crate) fn put(message: &[u8]) -> Result<String, Fault> {
    Ok(JsonObject::new().json("info", &Info::read_within(message)?.json()).finish())
}

/// Reads GetResponse, and verifies a whole body. `bodyAt` is its offset in the message.
pub(crate) fn get(message: &[u8]) -> Result<String, Fault> {
    Ok(got(message, 0)?.finish())
}

/// Reads HeadResponse.
pub(crate) fn head(message: &[u8]) -> Result<String, Fault> {
    let mut replicas = Vec::new();
    let info = Info::read_within(message)?;
    walk(message, |field| {
        if field.number == 2 {
            replicas.push(string(field.text()?));
        }
        Ok::<(), Stop>(())
    })?;
    let replicas = array(replicas.into_iter());
    Ok(JsonObject::new().json("info", &info.json()).json("replicas", &replicas).finish())
}

/// Reads DeleteResponse.
pub(crate) fn delete(message: &[u8]) -> Result<String, Fault> {
    let mut deleted = false;
    walk(message, |field| {
        if field.number == 1 {
            deleted = field.number()? != 0;
        }
        Ok::<(), Stop>(())
    })?;
    Ok(JsonObject::new().flag("deleted", deleted).finish())
}

/// Reads OutcomeResponse.
pub(crate) fn outcome(message: &[u8]) -> Result<String, Fault> {
    let (mut kind, mut version) = (0, "");
    walk(message, |field| {
        match field.number {
            1 => kind = field.number()?,
            2 => version = field.text()?,
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    let kind = match kind {
        1 => "committed",
        2 => "fenced",
        3 => "unknown",
        _ => return Err(malformed()),
    };
    Ok(JsonObject::new().string("kind", kind).string("version", version).finish())
}

/// Reads a window of ListResponse. `more` says that the message goes on after it.
pub(crate) fn list(window: &[u8], more: bool) -> Result<String, Fault> {
    let (mut objects, mut prefixes, mut token) = (Vec::new(), Vec::new(), "");
    let next = walk_window(window, more, |field| {
        match field.number {
            1 => objects.push(Info::read(field.bytes()?)?.json()),
            2 => prefixes.push(string(field.text()?)),
            3 => token = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(JsonObject::new()
        .json("objects", &array(objects.into_iter()))
        .json("prefixes", &array(prefixes.into_iter()))
        .string("token", token)
        .number("next", next)
        .finish())
}

/// Reads a window of PutManyResponse.
pub(crate) fn put_many(window: &[u8], more: bool) -> Result<String, Fault> {
    many(window, more, |_, value| Ok(JsonObject::new().json("info", &Info::read(value)?.json())))
}

/// Reads a window of GetManyResponse; `bodyAt` counts from the start of the window.
pub(crate) fn get_many(window: &[u8], more: bool) -> Result<String, Fault> {
    many(window, more, |at, value| got(value, at))
}

/// Reads StatusResponse.
pub(crate) fn status(message: &[u8]) -> Result<String, Fault> {
    let mut json = JsonObject::new();
    let mut nodes = Vec::new();
    let mut partitions = named_numbers(&[], &PARTITION_COUNTS)?.finish();
    let mut flags = [false];
    let mut texts = [""; 3];
    let mut numbers = [0; 2];
    walk(message, |field| {
        match field.number {
            1..=3 => texts[field.number as usize - 1] = field.text()?,
            4 | 5 => numbers[field.number as usize - 4] = field.number()?,
            6 => flags[0] = field.number()? != 0,
            7 => nodes.push(node(field.bytes()?)?),
            8 => partitions = named_numbers(field.bytes()?, &PARTITION_COUNTS)?.finish(),
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    for (name, text) in ["cluster", "nodeId", "softwareVersion"].into_iter().zip(texts) {
        json = json.string(name, text);
    }
    Ok(json
        .number("uptimeMs", numbers[0])
        .number("layoutVersion", numbers[1])
        .flag("registryConnected", flags[0])
        .json("nodes", &array(nodes.into_iter()))
        .json("partitions", &partitions)
        .finish())
}

/// Reads TopologyResponse, checked.
pub(crate) fn topology(message: &[u8]) -> Result<Topology, Fault> {
    let (mut cluster, mut numbers, mut placement) = ("", [0; 3], &[][..]);
    let mut nodes = Vec::new();
    walk(message, |field| {
        match field.number {
            1 => cluster = field.text()?,
            2..=4 => numbers[field.number as usize - 2] = field.number()?,
            5 => nodes.push(topology_node(field.bytes()?)?),
            6 => placement = field.bytes()?,
            _ => {}
        }
        Ok::<(), Fault>(())
    })?;
    let [version, replication, partitions] = numbers;
    let narrow = |number: u64| u32::try_from(number).map_err(|_| malformed());
    Ok(Topology::from_parts(
        cluster.into(),
        version,
        narrow(partitions)?,
        narrow(replication)?,
        nodes,
        placement,
    )?)
}

/// The node's time in TopologyResponse; 0: it is none, or does not say.
pub(crate) fn unix_ms(message: &[u8]) -> u64 {
    let mut unix_ms = 0;
    let walked = walk(message, |field| {
        if field.number == 7 {
            unix_ms = field.number()?;
        }
        Ok::<(), Stop>(())
    });
    walked.map_or(0, |()| unix_ms)
}

fn topology_node(message: &[u8]) -> Result<TopologyNode, Fault> {
    let (mut texts, mut live, mut life) = ([""; 3], false, 0);
    walk(message, |field| {
        match field.number {
            1..=3 => texts[field.number as usize - 1] = field.text()?,
            4 => live = field.number()? != 0,
            5 => life = field.number()?,
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    let [id, url, zone] = texts;
    Ok(TopologyNode { id: id.parse()?, url: url.into(), zone: zone.into(), live, life })
}

const PARTITION_COUNTS: [(u32, &str); 4] = [(1, "total"), (2, "whole"), (3, "degraded"), (4, "unavailable")];

/// A NodeStatus.
fn node(message: &[u8]) -> Result<String, Stop> {
    const TEXTS: [(u32, &str); 4] = [(1, "id"), (2, "url"), (3, "zone"), (7, "softwareVersion")];
    const NUMBERS: [(u32, &str); 6] =
        [(4, "registered"), (5, "reachable"), (6, "member"), (8, "replicaOf"), (9, "leads"), (10, "started")];
    let mut texts = [""; TEXTS.len()];
    walk(message, |field| {
        if let Some(at) = TEXTS.iter().position(|(number, _)| *number == field.number) {
            texts[at] = field.text()?;
        }
        Ok::<(), Stop>(())
    })?;
    let mut json = named_numbers(message, &NUMBERS)?;
    for ((_, name), text) in TEXTS.iter().zip(texts) {
        json = json.string(name, text);
    }
    Ok(json.finish())
}

/// Numbers (truth values as 0 and 1) of a message, by name.
fn named_numbers(message: &[u8], names: &[(u32, &str)]) -> Result<JsonObject, Stop> {
    let mut numbers = [0; 8];
    walk(message, |field| {
        let at = names.iter().position(|(number, _)| *number == field.number);
        if let Some(number) = at.and_then(|at| numbers.get_mut(at)) {
            *number = field.number()?;
        }
        Ok::<(), Stop>(())
    })?;
    Ok(names
        .iter()
        .zip(numbers)
        .fold(JsonObject::new(), |json, ((_, name), number)| json.number(name, number)))
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
        let error = |fault: Fault| JsonObject::new().json("error", &fault.0).finish();
        let mut json = None;
        walk(result.bytes()?, |field| {
            match field.number {
                1 => {
                    let object = on_object(result.at + field.at, field.bytes()?);
                    json = Some(object.map_or_else(error, JsonObject::finish));
                }
                2 => json = Some(error(fault::of_detail(field.bytes()?)?)),
                _ => {}
            }
            Ok::<(), Stop>(())
        })?;
        results.push(json.ok_or_else(malformed)?);
        Ok(())
    })?;
    Ok(JsonObject::new().json("results", &array(results.into_iter())).number("next", next).finish())
}

/// Walks the fields that lie wholly in the window; how many bytes those are. A single field must fit.
fn walk_window<'a>(
    window: &'a [u8],
    more: bool,
    mut on_field: impl FnMut(Field<'a>) -> Result<(), Fault>,
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
    let info = Info::read_within(message)?;
    let (mut not_modified, mut offset, mut body) = (false, 0, (message.len(), &[][..]));
    walk(message, |field| {
        match field.number {
            2 => not_modified = field.number()? != 0,
            3 => offset = field.number()?,
            BODY_FIELD => body = (field.at, field.bytes()?),
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    let (at, body) = body;
    if !not_modified {
        verify(&info, offset, body)?;
    }
    Ok(JsonObject::new()
        .json("info", &info.json())
        .flag("notModified", not_modified)
        .number("offset", offset)
        .number("bodyAt", (base + at) as u64)
        .number("bodyBytes", body.len() as u64))
}

/// A whole body must have the object's hash. A part of one cannot be checked here before chunk hashes exist: the node
/// that answered has checked it.
fn verify(info: &Info<'_>, offset: u64, body: &[u8]) -> Result<(), Fault> {
    let length = body.len() as u64;
    let inside = offset.checked_add(length).is_some_and(|end| end <= info.numbers.0);
    let whole = offset == 0 && length == info.numbers.0;
    if !inside || (whole && blake3::hash(body).as_bytes() != info.hash) {
        let message = "the body that arrived is not the object's: it was damaged on the way";
        return Err(Error::new(Code::Integrity, message).into());
    }
    Ok(())
}

/// An ObjectInfo.
struct Info<'a> {
    /// Key, version, content type.
    texts: (&'a str, &'a str, &'a str),
    /// Size, time of modification.
    numbers: (u64, u64),
    hash: &'a [u8],
    metadata: String,
}

impl<'a> Info<'a> {
    /// That of a message whose field 1 it is.
    fn read_within(message: &'a [u8]) -> Result<Self, Fault> {
        let mut info = None;
        walk(message, |field| {
            if field.number == 1 {
                info = Some(Self::read(field.bytes()?)?);
            }
            Ok::<(), Fault>(())
        })?;
        info.ok_or_else(malformed)
    }

    fn read(message: &'a [u8]) -> Result<Self, Fault> {
        let mut info = Self { texts: ("", "", ""), numbers: (0, 0), hash: &[], metadata: String::new() };
        let mut metadata = JsonObject::new();
        walk(message, |field| {
            match field.number {
                1 => info.texts.0 = field.text()?,
                2 => info.texts.1 = field.text()?,
                3 => info.numbers.0 = field.number()?,
                4 => info.texts.2 = field.text()?,
                5 => {
                    let (mut name, mut value) = ("", "");
                    walk(field.bytes()?, |entry| {
                        match entry.number {
                            1 => name = entry.text()?,
                            2 => value = entry.text()?,
                            _ => {}
                        }
                        Ok::<(), Stop>(())
                    })?;
                    metadata.add_string(name, value);
                }
                6 => info.hash = field.bytes()?,
                7 => info.numbers.1 = field.number()?,
                _ => {}
            }
            Ok::<(), Stop>(())
        })?;
        info.metadata = metadata.finish();
        if info.hash.len() == 32 { Ok(info) } else { Err(malformed()) }
    }

    fn json(&self) -> String {
        JsonObject::new()
            .string("key", self.texts.0)
            .string("version", self.texts.1)
            .number("size", self.numbers.0)
            .string("contentType", self.texts.2)
            .json("metadata", &self.metadata)
            .string("hash", &hex(self.hash))
            .number("modified", self.numbers.1)
            .finish()
    }
}
