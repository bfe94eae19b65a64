//! The wasm core of the browser client: it decides, encodes, hashes and verifies. TypeScript performs the I/O.
//!
//! tonic and prost stay out, for their size, and so do bodies: wasm memory never shrinks again, so they pass through one
//! fixed scratch for hashing and are sent and kept by JavaScript. No input makes this panic. What fails throws the JSON
//! text of an error; anything else that JavaScript catches is a trap. Times are milliseconds of a clock that never goes
//! back, as JavaScript numbers.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod calls;
mod fault;
mod fields;
mod json;
mod request;
mod response;
mod runtime;

#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod response_tests;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use holdfast_core::ids::{ObjectName, OpId};
use holdfast_core::record::BODY_BYTES_MAX;
use wasm_bindgen::prelude::*;

use crate::calls::Calls;
use crate::fault::{Fault, malformed};
use crate::request::{HEAD_BYTES_MAX, PutHead};

/// Bytes of the scratch: the longest message whose body must be verified.
const SCRATCH_BYTES: usize = BODY_BYTES_MAX + HEAD_BYTES_MAX;

/// An RPC of the service `Objects`, or `Cluster.Status`.
#[wasm_bindgen]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// `Objects.Put`
    Put,
    /// `Objects.Get`
    Get,
    /// `Objects.Head`
    Head,
    /// `Objects.Delete`
    Delete,
    /// `Objects.List`
    List,
    /// `Objects.Outcome`
    Outcome,
    /// `Objects.PutMany`
    PutMany,
    /// `Objects.GetMany`
    GetMany,
    /// `Cluster.Status`
    Status,
}

/// One client's core.
#[wasm_bindgen]
pub struct Core {
    calls: Calls,
    /// Never grows: its address stays.
    scratch: Box<[u8]>,
}

#[wasm_bindgen]
impl Core {
    /// For a client of the nodes at these addresses.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::needless_pass_by_value, reason = "what wasm-bindgen hands over")]
    pub fn new(endpoints: Vec<String>) -> Result<Self, String> {
        let calls = Calls::new(&endpoints).map_err(thrown)?;
        Ok(Self { calls, scratch: vec![0; SCRATCH_BYTES].into_boxed_slice() })
    }

    /// Where the scratch lies in the module's memory.
    #[wasm_bindgen(js_name = scratchAt)]
    pub fn scratch_at(&self) -> usize {
        self.scratch.as_ptr() as usize
    }

    /// Bytes of the scratch.
    #[wasm_bindgen(js_name = scratchBytes)]
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.len()
    }

    /// A new op id, 16 bytes, from 10 random ones, above `floor` (an op id, or empty).
    #[wasm_bindgen(js_name = opId)]
    pub fn op_id(&mut self, unix_ms: f64, random: &[u8], floor: &[u8]) -> Result<Vec<u8>, String> {
        let id = self.calls.op_id(unix_ms as u64, random, floor).map_err(thrown)?;
        Ok(id.to_bytes().to_vec())
    }

    /// Begins an operation: `{"call":…,"effects":[…]}`. An empty key: any node is as good as any other.
    #[allow(clippy::too_many_arguments, reason = "a flat list is what crosses to wasm with the least code")]
    pub fn begin(
        &mut self,
        bucket: &str,
        key: &str,
        mutation: bool,
        body_bytes: f64,
        doubtful: bool,
        deadline: f64,
        now: f64,
        random: f64,
    ) -> Result<String, String> {
        let spec = calls::spec(bucket, key, mutation, body_bytes as u64, deadline as u64, doubtful);
        Ok(self.calls.begin(spec.map_err(thrown)?, now as u64, random as u64))
    }

    /// An attempt ended so. The effects.
    #[wasm_bindgen(js_name = onAnswer)]
    pub fn on_answer(&mut self, call: usize, attempt: u32, answer: &str, now: f64) -> String {
        self.calls.on_answer(call, attempt, answer, now as u64)
    }

    /// Bytes of an attempt moved: it is alive.
    #[wasm_bindgen(js_name = onProgress)]
    pub fn on_progress(&mut self, call: usize, attempt: u32, now: f64) {
        self.calls.on_progress(call, attempt, now as u64);
    }

    /// The time of the last `wake` came. The effects.
    #[wasm_bindgen(js_name = onTime)]
    pub fn on_time(&mut self, call: usize, now: f64) -> String {
        self.calls.on_time(call, now as u64)
    }

    /// The caller is through with an operation.
    pub fn end(&mut self, call: usize) {
        self.calls.end(call);
    }

    /// The node to ask for the topology now: `{"node":…,"url":…}`, or `null`. [`Self::on_refresh`] must follow.
    #[wasm_bindgen(js_name = refreshDue)]
    pub fn refresh_due(&mut self, now: f64, random: f64) -> String {
        self.calls.refresh_due(now as u64, random as u64)
    }

    /// The topology that `node` was asked for: the first `bytes` of the scratch; 0: none came.
    #[wasm_bindgen(js_name = onRefresh)]
    pub fn on_refresh(&mut self, node: usize, bytes: usize, now: f64) -> Result<(), String> {
        let message = self.scratch.get(..bytes).unwrap_or_default();
        let topology = if message.is_empty() { Ok(None) } else { response::topology(message).map(Some) };
        if let Ok(Some(_)) = &topology {
            self.calls.on_time_told(response::unix_ms(message));
        }
        let (topology, fault) = match topology {
            Ok(topology) => (topology, None),
            Err(fault) => (None, Some(fault)),
        };
        self.calls.on_refresh(node, topology, now as u64).and(fault.map_or(Ok(()), Err)).map_err(thrown)
    }

    /// Whether a topology came yet.
    #[wasm_bindgen(js_name = knowsTopology)]
    pub fn knows_topology(&self) -> bool {
        self.calls.knows_topology()
    }

    /// The address of the node that orders an object's writes; empty: not known.
    #[wasm_bindgen(js_name = leaderUrl)]
    pub fn leader_url(&self, bucket: &str, key: &str) -> Result<String, String> {
        let name = ObjectName::new(bucket, key).map_err(|invalid| thrown(invalid.into()))?;
        Ok(self.calls.leader_url(name.partition()).into())
    }

    /// BLAKE3 of the first `bytes` of the scratch.
    pub fn hash(&self, bytes: usize) -> Result<Vec<u8>, String> {
        let body = self.scratch.get(..bytes).ok_or_else(|| thrown(malformed()))?;
        Ok(blake3::hash(body).as_bytes().to_vec())
    }

    /// The request of a put but for its body's bytes. With `item` as an element of PutMany. `condition`: empty, `absent`,
    /// `present` or a version. `retry`: an earlier attempt may still take effect. `url`: whom it is meant for. `attempt`: another
    /// number for each request of the operation.
    #[wasm_bindgen(js_name = putRequest)]
    #[allow(clippy::too_many_arguments, reason = "a flat list is what crosses to wasm with the least code")]
    pub fn put_request(
        &self,
        bucket: &str,
        key: &str,
        op: &[u8],
        condition: &str,
        retry: bool,
        url: &str,
        attempt: u32,
        content_type: &str,
        metadata: Vec<String>,
        hash: &[u8],
        body_bytes: usize,
        item: bool,
    ) -> Result<Vec<u8>, String> {
        let encode = || {
            let op = OpId::from_slice(op)?;
            let to_life = self.calls.life(url);
            let head = PutHead {
                bucket,
                key,
                op,
                condition,
                retry,
                to_life,
                attempt,
                content_type,
                metadata,
                hash,
                body_bytes,
            };
            let head = head.encode()?;
            Ok(if item { request::item(&head, body_bytes) } else { head })
        };
        encode().map_err(thrown)
    }

    /// The request of a get; with `item` as an element of GetMany.
    #[wasm_bindgen(js_name = getRequest)]
    pub fn get_request(
        &self,
        bucket: &str,
        key: &str,
        range: &str,
        if_none_match: &str,
        item: bool,
    ) -> Result<Vec<u8>, String> {
        let request = request::get(bucket, key, range, if_none_match).map_err(thrown)?;
        Ok(if item { request::item(&request, 0) } else { request })
    }

    /// The request of a head.
    #[wasm_bindgen(js_name = headRequest)]
    pub fn head_request(&self, bucket: &str, key: &str) -> Result<Vec<u8>, String> {
        request::head(bucket, key).map_err(thrown)
    }

    /// The request of a delete; `condition`, `retry`, `url` and `attempt` as of a put.
    #[wasm_bindgen(js_name = deleteRequest)]
    #[allow(clippy::too_many_arguments, reason = "a flat list is what crosses to wasm with the least code")]
    pub fn delete_request(
        &self,
        bucket: &str,
        key: &str,
        op: &[u8],
        condition: &str,
        retry: bool,
        url: &str,
        attempt: u32,
    ) -> Result<Vec<u8>, String> {
        let to_life = self.calls.life(url);
        let encode =
            || request::delete(bucket, key, OpId::from_slice(op)?, condition, retry, to_life, attempt);
        encode().map_err(thrown)
    }

    /// The request of one page of a listing.
    #[wasm_bindgen(js_name = listRequest)]
    pub fn list_request(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: &str,
        page_token: &str,
        page_size: u32,
    ) -> Result<Vec<u8>, String> {
        request::list(bucket, prefix, delimiter, page_token, page_size).map_err(thrown)
    }

    /// The question what became of a mutation.
    #[wasm_bindgen(js_name = outcomeRequest)]
    pub fn outcome_request(&self, bucket: &str, key: &str, op: &[u8]) -> Result<Vec<u8>, String> {
        let encode = || request::outcome(bucket, key, OpId::from_slice(op)?);
        encode().map_err(thrown)
    }

    /// Reads the answer to `method`: the first `bytes` of the scratch. `more`: the message goes on after them.
    pub fn read(&self, method: Method, bytes: usize, more: bool) -> Result<String, String> {
        let window = self.scratch.get(..bytes).ok_or_else(|| thrown(malformed()))?;
        let json = match method {
            Method::List => response::list(window, more),
            Method::PutMany => response::put_many(window, more),
            Method::GetMany => response::get_many(window, more),
            _ if more => Err(malformed()),
            Method::Put => response::put(window),
            Method::Get => response::get(window),
            Method::Head => response::head(window),
            Method::Delete => response::delete(window),
            Method::Outcome => response::outcome(window),
            Method::Status => response::status(window),
        };
        json.map_err(thrown)
    }

    /// The JSON text of the error in a status's details; empty when they hold none of Holdfast's.
    #[wasm_bindgen(js_name = statusError)]
    pub fn status_error(&self, details: &[u8]) -> String {
        fault::of_status(details).map(|fault| fault.0).unwrap_or_default()
    }
}

impl Core {
    /// The scratch, for hosts that are not JavaScript.
    pub fn scratch(&mut self) -> &mut [u8] {
        &mut self.scratch
    }
}

fn thrown(fault: Fault) -> String {
    fault.0
}
