//! A bare tonic server: the same service and messages as a node's, every answer ready in memory.

use std::net::SocketAddr;

use bytes::Bytes;
use clap::Args;
use holdfast_proto::v1::objects_server::{Objects, ObjectsServer};
use holdfast_proto::v1::{
    DeleteRequest, DeleteResponse, GetManyRequest, GetManyResponse, GetRequest, GetResponse, HeadRequest,
    HeadResponse, ListRequest, ListResponse, ObjectInfo, OutcomeRequest, OutcomeResponse, PutManyRequest,
    PutManyResponse, PutRequest, PutResponse,
};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::Failure;
use crate::plan::BODY_BYTES;

/// Where it listens.
#[derive(Args)]
pub(crate) struct EchoArguments {
    /// Address, on loopback
    #[arg(long)]
    listen: SocketAddr,
}

/// The bucket's name says which body is wanted.
pub(crate) fn bucket(body_bytes: usize) -> String {
    format!("bytes-{body_bytes}")
}

/// Serves until it is killed, on a runtime like a node's.
pub(crate) fn serve(arguments: &EchoArguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answers = BODY_BYTES.map(|size| (bucket(size), Bytes::from(vec![0x5a; size])));
    let service = ObjectsServer::new(Echo { answers });
    runtime.block_on(Server::builder().tcp_nodelay(true).add_service(service).serve(arguments.listen))?;
    Ok(())
}

struct Echo {
    answers: [(String, Bytes); BODY_BYTES.len()],
}

#[tonic::async_trait]
impl Objects for Echo {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let request = request.into_inner();
        let (_, body) = self
            .answers
            .iter()
            .find(|(bucket, _)| *bucket == request.bucket)
            .ok_or_else(|| Status::not_found("no such size"))?;
        let info = ObjectInfo {
            key: request.key,
            version: "0000000000000001-0000000000000001".to_owned(),
            size: body.len() as u64,
            content_type: "application/octet-stream".to_owned(),
            hash: Bytes::from_static(&[0; 32]),
            modified_unix_ms: 1,
            ..ObjectInfo::default()
        };
        Ok(Response::new(GetResponse {
            info: Some(info),
            not_modified: false,
            offset: 0,
            body: body.clone(),
        }))
    }

    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Err(only_get())
    }

    async fn head(&self, _: Request<HeadRequest>) -> Result<Response<HeadResponse>, Status> {
        Err(only_get())
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        Err(only_get())
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Err(only_get())
    }

    async fn outcome(&self, _: Request<OutcomeRequest>) -> Result<Response<OutcomeResponse>, Status> {
        Err(only_get())
    }

    async fn put_many(&self, _: Request<PutManyRequest>) -> Result<Response<PutManyResponse>, Status> {
        Err(only_get())
    }

    async fn get_many(&self, _: Request<GetManyRequest>) -> Result<Response<GetManyResponse>, Status> {
        Err(only_get())
    }
}

fn only_get() -> Status {
    Status::unimplemented("the echo server answers gets only")
}
