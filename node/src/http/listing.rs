//! `GET /o/{bucket}`: a page of a listing as JSON.

use bytes::Bytes;
use holdfast_core::error::{Code, Error};
use holdfast_core::ids::BucketName;
use http::{Response, StatusCode};
use serde_json::json;
use tokio::time::Instant;
use tonic::body::Body;

use super::read::hex;
use super::reply;
use crate::service::{DEADLINE_DEFAULT, Operations, encode_page_token, list_query};

/// Answers with `{"objects": […], "prefixes": […], "next_page_token": …}`. The query holds `prefix`, `delimiter`,
/// `page_token` and `page_size`, as in `Objects.List`.
pub(super) async fn list<O: Operations>(
    operations: &O,
    bucket: &BucketName,
    query: Option<&str>,
) -> Result<Response<Body>, Error> {
    let (mut prefix, mut delimiter, mut page_token) = (String::new(), String::new(), String::new());
    let mut page_size = 0;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "prefix" => prefix = value.into_owned(),
            "delimiter" => delimiter = value.into_owned(),
            "page_token" => page_token = value.into_owned(),
            "page_size" => {
                page_size =
                    value.parse().map_err(|_| Error::new(Code::Invalid, "page_size is not a number"))?;
            }
            _ => {
                let message = "a listing takes prefix, delimiter, page_token and page_size only";
                return Err(Error::new(Code::Invalid, message));
            }
        }
    }
    let query = list_query(bucket.as_str(), &prefix, &delimiter, &page_token, page_size)?;
    let page = operations.list(query, Instant::now() + DEADLINE_DEFAULT).await?;
    let objects: Vec<_> = page
        .objects
        .iter()
        .map(|(key, version, object)| {
            json!({
                "key": key.as_str(),
                "version": version.to_text(),
                "size": object.size,
                "content_type": object.content_type,
                "metadata": object.metadata,
                "hash": hex(&object.hash),
                "modified_unix_ms": object.modified_unix_ms,
            })
        })
        .collect();
    let next = page.next_after.map(|after| encode_page_token(bucket.as_str(), &prefix, &delimiter, &after));
    let json = json!({ "objects": objects, "prefixes": page.prefixes, "next_page_token": next });
    Ok(reply::with_body(StatusCode::OK, "application/json", Bytes::from(json.to_string())))
}
