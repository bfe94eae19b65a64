//! gRPC over HTTP/2.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_core::error::{Code, Error};
use holdfast_core::ids::OpId;
use holdfast_proto::v1;
use holdfast_proto::v1::cluster_client::ClusterClient;
use holdfast_proto::v1::objects_client::ObjectsClient;
use prost::Message as _;
use tonic::Status;

use crate::bed::Bed;
use crate::memory::{ERROR_PREFIX, LIFE, STALE_FLOOR_MS, STALE_KEY, errors};

/// `google.rpc.Status`, as far as needed.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<AnyDetail>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AnyDetail {
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

pub(crate) fn error_of(details: &[u8]) -> Error {
    let rpc = RpcStatus::decode(details).unwrap();
    v1::ErrorDetail::decode(rpc.details[0].value.clone()).unwrap().try_into().unwrap()
}

fn code_of(status: &Status) -> Code {
    error_of(status.details()).code
}

fn put(key: &str, body: &'static [u8]) -> v1::PutRequest {
    v1::PutRequest {
        bucket: "b".to_owned(),
        key: key.to_owned(),
        body: Bytes::from_static(body),
        ..v1::PutRequest::default()
    }
}

fn get(key: &str) -> v1::GetRequest {
    v1::GetRequest { bucket: "b".to_owned(), key: key.to_owned(), ..v1::GetRequest::default() }
}

#[tokio::test]
async fn put_get_head_delete_list() {
    let bed = Bed::start().await;
    let mut objects = ObjectsClient::new(bed.channel().await);
    let metadata = BTreeMap::from([("colour".to_owned(), "röt".to_owned())]);
    let request = v1::PutRequest { metadata: metadata.clone(), ..put("a/b", b"0123456789") };
    let info = objects.put(request).await.unwrap().into_inner().info.unwrap();
    assert_eq!((info.key.as_str(), info.size, &info.metadata), ("a/b", 10, &metadata));
    assert_eq!(info.hash, blake3::hash(b"0123456789").as_bytes()[..]);

    let whole = objects.get(get("a/b")).await.unwrap().into_inner();
    assert_eq!((whole.body.as_ref(), whole.info.as_ref()), (&b"0123456789"[..], Some(&info)));
    let range = v1::ByteRange { start: Some(v1::byte_range::Start::Suffix(3)), last: None };
    let part = objects.get(v1::GetRequest { range: Some(range), ..get("a/b") }).await.unwrap().into_inner();
    assert_eq!((part.offset, part.body.as_ref()), (7, &b"789"[..]));
    let same = v1::GetRequest { if_none_match: info.version.clone(), ..get("a/b") };
    let same = objects.get(same).await.unwrap().into_inner();
    assert!(same.not_modified && same.body.is_empty());

    let head = v1::HeadRequest { bucket: "b".to_owned(), key: "a/b".to_owned() };
    let head = objects.head(head).await.unwrap().into_inner();
    assert_eq!((head.info, head.replicas.len()), (Some(info), 2));

    objects.put(put("a/c", b"")).await.unwrap();
    let list = v1::ListRequest { bucket: "b".to_owned(), page_size: 1, ..v1::ListRequest::default() };
    let first = objects.list(list.clone()).await.unwrap().into_inner();
    assert_eq!((first.objects.len(), first.next_page_token.is_empty()), (1, false));
    let next = v1::ListRequest { page_token: first.next_page_token.clone(), ..list.clone() };
    let second = objects.list(next).await.unwrap().into_inner();
    assert_eq!((second.objects[0].key.as_str(), second.next_page_token.as_str()), ("a/c", ""));
    let other = v1::ListRequest { page_token: first.next_page_token, prefix: "x".to_owned(), ..list };
    assert_eq!(code_of(&objects.list(other).await.unwrap_err()), Code::Invalid);

    let delete = v1::DeleteRequest { bucket: "b".to_owned(), key: "a/b".to_owned(), ..Default::default() };
    assert!(objects.delete(delete.clone()).await.unwrap().into_inner().deleted);
    assert!(!objects.delete(delete).await.unwrap().into_inner().deleted);
    assert_eq!(code_of(&objects.get(get("a/b")).await.unwrap_err()), Code::NotFound);
}

#[tokio::test]
async fn every_error_has_its_status_and_details() {
    let bed = Bed::start().await;
    let mut objects = ObjectsClient::new(bed.channel().await);
    for (which, code) in errors().into_iter().enumerate() {
        let status = objects.get(get(&format!("{ERROR_PREFIX}{which}"))).await.unwrap_err();
        assert_eq!(status.code(), node::service::grpc_code(&code), "{code:?}");
        assert_eq!((code_of(&status), status.message()), (code, "as asked: é"));
        assert!(status.metadata().contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn bad_requests_change_nothing() {
    let bed = Bed::start().await;
    let mut objects = ObjectsClient::new(bed.channel().await);
    let over = v1::PutRequest { body: Bytes::from(vec![7; (1 << 20) + 1]), ..put("k", b"") };
    assert_eq!(code_of(&objects.put(over).await.unwrap_err()), Code::TooLarge(1 << 20));
    let far_over = v1::PutRequest { body: Bytes::from(vec![7; 5 << 20]), ..put("k", b"") };
    let status = objects.put(far_over).await.unwrap_err();
    assert!(matches!(code_of(&status), Code::TooLarge(_)), "{status:?}");
    let damaged = v1::PutRequest { hash: Bytes::from_static(&[1; 32]), ..put("k", b"x") };
    assert_eq!(code_of(&objects.put(damaged).await.unwrap_err()), Code::ChecksumMismatch);
    let unknown = v1::PutRequest {
        condition: Some(v1::Condition { kind: 99, version: String::new() }),
        ..put("k", b"x")
    };
    assert_eq!(code_of(&objects.put(unknown).await.unwrap_err()), Code::Invalid);
    let outcome = v1::OutcomeRequest { bucket: "b".to_owned(), key: "k".to_owned(), op_id: Bytes::new() };
    assert_eq!(code_of(&objects.outcome(outcome).await.unwrap_err()), Code::Invalid);

    assert_eq!(bed.memory.len(), 0);

    // The connection survived all of it, and a body of exactly the limit is fine.
    let exact = v1::PutRequest { body: Bytes::from(vec![7; 1 << 20]), ..put("k", b"") };
    objects.put(exact).await.unwrap();
}

#[tokio::test]
async fn a_client_without_op_ids_is_not_bothered_with_staleness() {
    let bed = Bed::start().await;
    let mut objects = ObjectsClient::new(bed.channel().await);
    objects.put(put(STALE_KEY, b"x")).await.unwrap();
    let own = OpId::from_parts(1_700_000_000_000, [1; 10]);
    let request = v1::PutRequest { op_id: Bytes::copy_from_slice(&own.to_bytes()), ..put(STALE_KEY, b"x") };
    assert!(matches!(code_of(&objects.put(request).await.unwrap_err()), Code::StaleOpId(_)));
}

#[tokio::test]
async fn a_copy_is_refused_without_a_word_about_the_first() {
    let bed = Bed::start().await;
    let mut objects = ObjectsClient::new(bed.channel().await);
    let own = OpId::from_parts(1_700_000_000_000, [1; 10]);
    let request = v1::PutRequest {
        op_id: Bytes::copy_from_slice(&own.to_bytes()),
        to_life: Some(LIFE),
        ..put(STALE_KEY, b"x")
    };
    let mut refusal =
        async |request: &v1::PutRequest| code_of(&objects.put(request.clone()).await.unwrap_err());
    assert!(matches!(refusal(&request).await, Code::StaleOpId(_)));
    assert_eq!(refusal(&request).await, Code::OutcomeUnknown);
    // Its client's next attempt is none of them, and what it says of the op id is no end for a client that retries.
    let again = v1::PutRequest { retry: true, attempt: 1, ..request.clone() };
    assert!(matches!(refusal(&again).await, Code::StaleOpId(_)));
    // Not carried out; and carried out, but its client takes it for the only one.
    for (attempt, to_life) in [(2, LIFE + 1), (3, 0)] {
        let other = v1::PutRequest { to_life: Some(to_life), attempt, ..request.clone() };
        assert_eq!(refusal(&other).await, Code::OutcomeUnknown);
    }

    let delete = v1::DeleteRequest {
        bucket: "b".to_owned(),
        key: STALE_KEY.to_owned(),
        op_id: request.op_id.clone(),
        to_life: Some(LIFE),
        attempt: 4,
        ..Default::default()
    };
    let mut deleted = async || code_of(&objects.delete(delete.clone()).await.unwrap_err());
    assert!(matches!(deleted().await, Code::StaleOpId(_)));
    assert_eq!(deleted().await, Code::OutcomeUnknown);

    use v1::put_many_response::result::Result as Stored;
    let puts = vec![v1::PutRequest { attempt: 5, ..request }];
    for expected in [Code::StaleOpId(OpId::from_parts(STALE_FLOOR_MS, [0xff; 10])), Code::OutcomeUnknown] {
        let many = v1::PutManyRequest { puts: puts.clone() };
        let mut results = objects.put_many(many).await.unwrap().into_inner().results;
        let Some(Stored::Error(error)) = results.remove(0).result else { panic!("it is refused") };
        assert_eq!(Error::try_from(error).unwrap().code, expected);
    }
}

#[tokio::test]
async fn many_at_once() {
    use v1::get_many_response::result::Result as Got;
    use v1::put_many_response::result::Result as Stored;
    let bed = Bed::start().await;
    let mut objects = ObjectsClient::new(bed.channel().await).max_decoding_message_size(32 << 20);
    let body = Bytes::from(vec![1; 1 << 20]);
    let mut puts: Vec<_> =
        (0..15).map(|n| v1::PutRequest { body: body.clone(), ..put(&format!("k{n}"), b"") }).collect();
    puts.push(put("", b"an empty key"));
    let results = objects.put_many(v1::PutManyRequest { puts }).await.unwrap().into_inner().results;
    assert_eq!(results.len(), 16);
    assert!(matches!(&results[14].result, Some(Stored::Info(info)) if info.key == "k14"));
    assert!(matches!(&results[15].result, Some(Stored::Error(error)) if error.code == "invalid"));

    let gets: Vec<_> = (0..20).map(|n| get(&format!("k{}", n % 15))).collect();
    let results = objects.get_many(v1::GetManyRequest { gets }).await.unwrap().into_inner().results;
    let whole = results.iter().filter(|r| matches!(&r.result, Some(Got::Object(_)))).count();
    assert_eq!((results.len(), whole), (20, 16), "16 MiB fit into one answer");

    let puts = vec![v1::PutRequest { body, ..put("k", b"") }; 17];
    let status = objects.put_many(v1::PutManyRequest { puts }).await.unwrap_err();
    assert_eq!(code_of(&status), Code::TooLarge(16 << 20));
    let gets = vec![get("k"); 1001];
    let status = objects.get_many(v1::GetManyRequest { gets }).await.unwrap_err();
    assert_eq!(code_of(&status), Code::Invalid);
}

#[tokio::test]
async fn the_cluster_service_answers() {
    let bed = Bed::start().await;
    let mut cluster = ClusterClient::new(bed.channel().await);
    assert_eq!(cluster.status(v1::StatusRequest {}).await.unwrap().into_inner().cluster, "memory");
    let status = cluster.topology(v1::TopologyRequest {}).await.unwrap_err();
    assert_eq!(code_of(&status), Code::Unavailable);
}
