//! The wasm core of the browser client: it decides, encodes, hashes and verifies. TypeScript performs the I/O.
//!
//! tonic stays out (BROWSER: 70 KB gzip, no abort, no progress), and so do bodies: wasm memory never shrinks again, so
//! they pass through one fixed scratch for hashing and are sent and kept by JavaScript. Nothing here panics on any
//! input. What fails throws the JSON text of an error; anything else that JavaScript catches is a trap.

mod fault;
mod fields;
mod json;
mod request;
mod response;
mod status;

use holdfast_core::ids::OpId;
use holdfast_core::record::BODY_BYTES_MAX;
use wasm_bindgen::prelude::*;

use crate::fault::{Fault, malformed};
use crate::request::{HEAD_BYTES_MAX, PutHead};

/// Bytes of the scratch: the longest message whose body must be verified.
const SCRATCH_BYTES: usize = BODY_BYTES_MAX + HEAD_BYTES_MAX;

/// An RPC of the services `Objects` and `Cluster`.
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
#[derive(Debug)]
pub struct Core {
    /// Never grows: its address stays.
    scratch: Box<[u8]>,
}

impl Default for Core {
    fn default() -> Self {
        Self::new()
    }
}

#[wasm_bindgen]
impl Core {
    /// Allocates the scratch.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self { scratch: vec![0; SCRATCH_BYTES].into_boxed_slice() }
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

    /// The request of a put but for its body, the first `body_bytes` of the scratch, which are hashed.
    #[wasm_bindgen(js_name = putRequest)]
    #[allow(clippy::too_many_arguments, reason = "a flat list is what crosses to wasm with the least code")]
    pub fn put_request(
        &self,
        bucket: &str,
        key: &str,
        op: &[u8],
        condition: &str,
        content_type: &str,
        metadata: Vec<String>,
        body_bytes: usize,
        item: bool,
    ) -> Result<Vec<u8>, String> {
        let head = PutHead { bucket, key, condition, content_type, metadata };
        let encode = || {
            request::check_body(body_bytes)?;
            let body = self.scratch.get(..body_bytes).ok_or_else(malformed)?;
            let head = head.encode(OpId::from_slice(op)?, *blake3::hash(body).as_bytes(), body_bytes)?;
            Ok(if item { request::item(&head, body_bytes) } else { head })
        };
        encode().map_err(|fault: Fault| fault.0)
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
        let request = request::get(bucket, key, range, if_none_match).map_err(|fault| fault.0)?;
        Ok(if item { request::item(&request, 0) } else { request })
    }

    /// The request of a head.
    #[wasm_bindgen(js_name = headRequest)]
    pub fn head_request(&self, bucket: &str, key: &str) -> Result<Vec<u8>, String> {
        request::head(bucket, key).map_err(|fault| fault.0)
    }

    /// The request of a delete.
    #[wasm_bindgen(js_name = deleteRequest)]
    pub fn delete_request(&self, bucket: &str, key: &str, op: &[u8], condition: &str) -> Result<Vec<u8>, String> {
        let encode = || request::delete(bucket, key, OpId::from_slice(op)?, condition);
        encode().map_err(|fault| fault.0)
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
        request::list(bucket, prefix, delimiter, page_token, page_size).map_err(|fault| fault.0)
    }

    /// The question what became of a mutation.
    #[wasm_bindgen(js_name = outcomeRequest)]
    pub fn outcome_request(&self, bucket: &str, key: &str, op: &[u8]) -> Result<Vec<u8>, String> {
        let encode = || request::outcome(bucket, key, OpId::from_slice(op)?);
        encode().map_err(|fault| fault.0)
    }

    /// Reads the answer to `method`: the first `bytes` of the scratch. `more`: the message goes on after them.
    pub fn read(&self, method: Method, bytes: usize, more: bool) -> Result<String, String> {
        let window = self.scratch.get(..bytes).ok_or_else(|| malformed().0)?;
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
        json.map_err(|fault| fault.0)
    }

    /// The JSON text of the error in a status's details; empty when they hold none of Holdfast's.
    #[wasm_bindgen(js_name = statusError)]
    pub fn status_error(&self, details: &[u8]) -> String {
        status::error_of_status(details).map(|error| Fault::from(error).0).unwrap_or_default()
    }
}
