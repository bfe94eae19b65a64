//! A node's registration as the registry holds it: JSON that a person can read.

use holdfast_core::error::Invalid;
use serde::{Deserialize, Serialize};

/// Longest registration, in bytes of JSON. A usual one has about 300.
pub const NODE_BYTES_MAX: usize = 4096;
/// Longest address or URL, in bytes (the longest DNS name has 253, then scheme, port and a short path).
const ADDRESS_BYTES_MAX: usize = 512;
/// Longest zone or software version, in bytes.
pub(super) const LABEL_BYTES_MAX: usize = 128;
/// The only format so far. A reader that meets a higher one says that newer software is needed.
const FORMAT: u32 = 1;

/// What a node says of itself while it lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeEntry {
    /// Base address for clients, such as `http://10.0.0.1:7070`.
    pub client_url: String,
    /// `host:port` for other nodes.
    pub peer_address: String,
    /// Replicas of one partition go to distinct zones where there are enough.
    pub zone: String,
    /// Bytes it offers, at least 1.
    pub capacity: u64,
    /// Of the `node` binary.
    pub software_version: String,
    /// When the process started, in Unix milliseconds. For people only.
    pub started_unix_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct NodeJson {
    format: u32,
    client: String,
    peer: String,
    zone: String,
    capacity: u64,
    software: String,
    started_unix_ms: u64,
}

impl NodeEntry {
    /// The JSON. Errors when a field breaks its limit.
    pub fn encode(&self) -> Result<String, Invalid> {
        self.check()?;
        let json = NodeJson {
            format: FORMAT,
            client: self.client_url.clone(),
            peer: self.peer_address.clone(),
            zone: self.zone.clone(),
            capacity: self.capacity,
            software: self.software_version.clone(),
            started_unix_ms: self.started_unix_ms,
        };
        Ok(serde_json::to_string(&json).expect("strings and numbers always encode"))
    }

    /// From the registry, checked. Fields that this version does not know are ignored.
    pub fn decode(json: &str) -> Result<Self, Invalid> {
        if json.len() > NODE_BYTES_MAX {
            return Err(Invalid::new("a node's registration is longer than 4096 bytes"));
        }
        super::layout_json::check_format(json, FORMAT, "a node's registration")?;
        let json: NodeJson = serde_json::from_str(json)
            .map_err(|error| Invalid::owned(format!("a node's registration cannot be read: {error}")))?;
        let entry = Self {
            client_url: json.client,
            peer_address: json.peer,
            zone: json.zone,
            capacity: json.capacity,
            software_version: json.software,
            started_unix_ms: json.started_unix_ms,
        };
        entry.check()?;
        Ok(entry)
    }

    fn check(&self) -> Result<(), Invalid> {
        for (what, text, most) in [
            ("client address", &self.client_url, ADDRESS_BYTES_MAX),
            ("peer address", &self.peer_address, ADDRESS_BYTES_MAX),
            ("software version", &self.software_version, LABEL_BYTES_MAX),
        ] {
            check_text(what, text, most)?;
            if text.is_empty() {
                return Err(Invalid::owned(format!("a node's {what} is empty")));
            }
        }
        check_text("zone", &self.zone, LABEL_BYTES_MAX)?;
        if self.capacity == 0 {
            return Err(Invalid::new("a node's capacity is 0 bytes: it must offer at least 1"));
        }
        Ok(())
    }
}

/// Bounded and without control characters, so that it is safe in logs and tables.
pub(super) fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<(), Invalid> {
    if text.len() > bytes_max {
        return Err(Invalid::owned(format!("a node's {what} is longer than {bytes_max} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::owned(format!("a node's {what} holds a control character")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> NodeEntry {
        NodeEntry {
            client_url: "http://10.0.0.1:7070".into(),
            peer_address: "10.0.0.1:7170".into(),
            zone: "a".into(),
            capacity: 1 << 40,
            software_version: "0.1.0".into(),
            started_unix_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn format_1_stays_readable() {
        let golden = r#"{"format":1,"client":"http://10.0.0.1:7070","peer":"10.0.0.1:7170","zone":"a","capacity":1099511627776,"software":"0.1.0","started_unix_ms":1700000000000}"#;
        assert_eq!(entry().encode().unwrap(), golden);
        assert_eq!(NodeEntry::decode(golden).unwrap(), entry());
    }

    #[test]
    fn unknown_fields_are_ignored_and_newer_formats_named() {
        let more = entry().encode().unwrap().replace("{\"format\"", "{\"colour\":\"red\",\"format\"");
        assert_eq!(NodeEntry::decode(&more).unwrap(), entry());
        let newer = more.replace("\"format\":1", "\"format\":2");
        assert!(NodeEntry::decode(&newer).unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn bad_registrations_are_refused() {
        for (from, to) in [
            ("\"capacity\":1099511627776", "\"capacity\":0"),
            ("10.0.0.1:7170", ""),
            ("\"zone\":\"a\"", "\"zone\":\"a\\n\""),
            ("\"zone\":\"a\",", ""),
            ("}", ""),
        ] {
            let bad = entry().encode().unwrap().replace(from, to);
            assert!(NodeEntry::decode(&bad).is_err(), "{bad}");
        }
        let long = NodeEntry { zone: "z".repeat(LABEL_BYTES_MAX + 1), ..entry() };
        assert!(long.encode().is_err());
    }
}
