//! Many operations in one round trip, for browsers, which cannot pipeline. Each is independent and has its own result.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt as _, stream};
use holdfast_core::error::{Code, Error};
use holdfast_proto::v1;
use tokio::time::Instant;

use super::{ObjectsService, Operations};

/// Most operations of one request.
pub const MANY_ENTRIES_MAX: usize = 1000;
/// Most bytes of all bodies of one request or answer together.
pub const MANY_BODY_BYTES_MAX: usize = 16 << 20;
/// Operations of one request that run at the same time: enough to fill a group commit, too few to starve others.
pub const MANY_CONCURRENT_MAX: usize = 64;

/// Puts each; results in the order of the request.
pub(super) async fn put_many<O: Operations>(
    service: &ObjectsService<O>,
    request: v1::PutManyRequest,
    deadline: Instant,
) -> Result<v1::PutManyResponse, Error> {
    use v1::put_many_response::{self as wire, result::Result as Kind};
    check_entries(request.puts.len())?;
    let bytes: usize = request.puts.iter().map(|put| put.body.len()).sum();
    if bytes > MANY_BODY_BYTES_MAX {
        return Err(Error::owned(
            Code::TooLarge(MANY_BODY_BYTES_MAX as u64),
            format!("the bodies are over {MANY_BODY_BYTES_MAX} bytes together: send fewer at once"),
        ));
    }
    // All of them now: some wait for their turn, and those of a copy of this request must not be taken for the first.
    let puts: Vec<_> = request.puts.into_iter().map(|put| (service.note_put(&put), put)).collect();
    let results = stream::iter(puts)
        .map(|(arrival, put)| async move {
            let kind = match service.put_one(put, arrival, deadline).await {
                Ok(info) => Kind::Info(info),
                Err(error) => Kind::Error((&error).into()),
            };
            wire::Result { result: Some(kind) }
        })
        .buffered(MANY_CONCURRENT_MAX)
        .collect()
        .await;
    Ok(v1::PutManyResponse { results })
}

/// Gets each; results in the order of the request. An object whose body would take the answer over
/// [`MANY_BODY_BYTES_MAX`] gets `too-large`: ask for it again in another request.
pub(super) async fn get_many<O: Operations>(
    service: &ObjectsService<O>,
    request: v1::GetManyRequest,
    deadline: Instant,
) -> Result<v1::GetManyResponse, Error> {
    use v1::get_many_response::{self as wire, result::Result as Kind};
    check_entries(request.gets.len())?;
    let room = AtomicUsize::new(MANY_BODY_BYTES_MAX);
    let room = &room;
    let results = stream::iter(request.gets)
        .map(|get| async move {
            let kind = match service.get_one(get, deadline).await.and_then(|object| fit(object, room)) {
                Ok(object) => Kind::Object(object),
                Err(error) => Kind::Error((&error).into()),
            };
            wire::Result { result: Some(kind) }
        })
        .buffered(MANY_CONCURRENT_MAX)
        .collect()
        .await;
    Ok(v1::GetManyResponse { results })
}

fn check_entries(entries: usize) -> Result<(), Error> {
    if entries > MANY_ENTRIES_MAX {
        return Err(Error::owned(
            Code::Invalid,
            format!("{entries} operations in one request: send at most {MANY_ENTRIES_MAX}"),
        ));
    }
    Ok(())
}

fn fit(object: v1::GetResponse, room: &AtomicUsize) -> Result<v1::GetResponse, Error> {
    let bytes = object.body.len();
    let taken = room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(bytes));
    if taken.is_err() {
        return Err(Error::owned(
            Code::TooLarge(MANY_BODY_BYTES_MAX as u64),
            format!(
                "the answer's bodies are over {MANY_BODY_BYTES_MAX} bytes together: get this one separately"
            ),
        ));
    }
    Ok(object)
}
