//! A node of the next version, as nodes of today must bear it: whatever it says has a field that today's do not know.
//!
//! It runs today's code; what it sends is written anew on its way out: frames to peers, answers to clients, its
//! registration and the layouts that it writes. Tomorrow's versions may add fields everywhere but in what is hashed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BufMut as _, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use node::env::{BoxIo, Calls, Listener, Net};
use node::registry::RegistryStore;
use node::registry::store::{Entry, LeaseId, Listing, Revision, StoreError, Swap, Watch};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::Status;
use tonic::body::Body;

use crate::cluster_node::PEER_PORT;
use crate::fired::fire;
use crate::registry::SimRegistry;

/// Field 1000, a number: no message of today has it.
const FIELD: [u8; 3] = [0xc0, 0x3e, 0x01];
/// The same in JSON.
const JSON_FIELD: &str = "{\"of-the-next-version\":[1,{\"two\":3}],";
/// The name under which it is counted.
const KIND: &str = "next-version";
const LENGTH_BYTES: usize = 4;
const GRPC_HEADER_BYTES: usize = 1 + LENGTH_BYTES;

/// The network of such a node.
pub(crate) struct NextNet<N>(pub(crate) N);

fn is_peer(address: &str) -> bool {
    address.rsplit(':').next().and_then(|port| port.parse().ok()) == Some(PEER_PORT)
}

impl<N: Net> Net for NextNet<N> {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let peer = is_peer(&address);
        let connecting = self.0.connect(address);
        Box::pin(async move {
            let io = connecting.await?;
            Ok(if peer { Box::new(NextIo::new(io)) as BoxIo } else { io })
        })
    }

    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let peer = is_peer(&address);
        let listening = self.0.listen(address);
        Box::pin(async move {
            let listener = listening.await?;
            Ok(if peer { Box::new(NextListener(listener)) as Box<dyn Listener> } else { listener })
        })
    }

    fn offer(&self, address: &str, service: Calls) {
        let wrapped: Calls = Arc::new(move |request| {
            let answering = service(request);
            Box::pin(async move {
                let (parts, body) = answering.await.into_parts();
                http::Response::from_parts(parts, with_field(body).await)
            })
        });
        self.0.offer(address, wrapped);
    }
}

/// A gRPC answer, each message with one more field.
async fn with_field(body: Body) -> Body {
    let Ok(body) = body.collect().await else {
        let broken = Err(Status::internal("the answer broke off"));
        return Body::new(StreamBody::new(stream::iter([broken])));
    };
    let trailers = body.trailers().cloned();
    let mut rest = body.to_bytes();
    let mut data = BytesMut::with_capacity(rest.len() + FIELD.len());
    while rest.len() >= GRPC_HEADER_BYTES {
        let flags = rest.get_u8();
        let length = usize::try_from(rest.get_u32()).unwrap_or(usize::MAX).min(rest.len());
        let message = rest.split_to(length);
        // Others are grpc-web's trailers.
        let field: &[u8] = if flags == 0 { &FIELD } else { &[] };
        fire(KIND, u64::from(flags == 0));
        data.put_u8(flags);
        put_length(&mut data, message.len() + field.len());
        data.put_slice(&message);
        data.put_slice(field);
    }
    data.put_slice(&rest);
    let data = (!data.is_empty()).then(|| Ok::<_, Status>(Frame::data(data.freeze())));
    let trailers = trailers.map(|trailers| Ok(Frame::trailers(trailers)));
    Body::new(StreamBody::new(stream::iter(data.into_iter().chain(trailers))))
}

fn put_length(data: &mut BytesMut, length: usize) {
    data.put_u32(u32::try_from(length).expect("a message is far shorter"));
}

struct NextListener(Box<dyn Listener>);

impl Listener for NextListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, String)>> {
        Box::pin(async move {
            let (io, from) = self.0.accept().await?;
            Ok((Box::new(NextIo::new(io)) as BoxIo, from))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        self.0.local_address()
    }
}

/// A connection to a peer: each frame that is sent has one more field.
struct NextIo {
    io: BoxIo,
    /// Of the frame under way: its length, as far as it has come.
    head: Vec<u8>,
    /// And what of it is still to come.
    left: usize,
    /// What the connection has not taken yet.
    out: BytesMut,
}

impl NextIo {
    fn new(io: BoxIo) -> Self {
        Self { io, head: Vec::new(), left: 0, out: BytesMut::new() }
    }

    fn rewrite(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let takes = (LENGTH_BYTES - self.head.len()).min(bytes.len());
                self.head.extend_from_slice(&bytes[..takes]);
                bytes = &bytes[takes..];
                let Ok(length) = <[u8; LENGTH_BYTES]>::try_from(&self.head[..]) else { return };
                self.head.clear();
                self.left = usize::try_from(u32::from_be_bytes(length)).expect("32 bits fit");
                put_length(&mut self.out, self.left + FIELD.len());
            } else {
                let takes = self.left.min(bytes.len());
                self.out.put_slice(&bytes[..takes]);
                bytes = &bytes[takes..];
                self.left -= takes;
            }
            if self.left == 0 && self.head.is_empty() {
                self.out.put_slice(&FIELD);
                fire(KIND, 1);
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for NextIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for NextIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        this.rewrite(buf);
        // What is not taken at once goes with the next write or flush.
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// The registry as such a node uses it.
pub(crate) struct NextRegistry(pub(crate) SimRegistry);

fn json_with_field(value: &str) -> String {
    fire(KIND, u64::from(value.starts_with('{')));
    value.replacen('{', JSON_FIELD, usize::from(value.starts_with('{')))
}

#[async_trait]
impl RegistryStore for NextRegistry {
    fn describe(&self) -> String {
        self.0.describe()
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.0.list(prefix).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        // It knows its own field.
        let without = |entry: Entry| Entry { value: entry.value.replacen(JSON_FIELD, "{", 1), ..entry };
        Ok(self.0.get(key).await?.map(without))
    }

    async fn put(&self, key: &str, value: &str, lease: Option<LeaseId>) -> Result<Revision, StoreError> {
        self.0.put(key, &json_with_field(value), lease).await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Revision>,
        value: &str,
    ) -> Result<Swap, StoreError> {
        self.0.compare_and_swap(key, expected, &json_with_field(value)).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        self.0.watch(prefix, from).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.0.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.keep_alive(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.revoke_lease(lease).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn each_frame_gets_the_field_however_it_is_cut() {
        let frames: &[&[u8]] = &[b"", b"x", b"hello", &[7; 300]];
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for frame in frames {
            sent.put_u32(frame.len() as u32);
            sent.put_slice(frame);
            expected.put_u32((frame.len() + FIELD.len()) as u32);
            expected.put_slice(frame);
            expected.put_slice(&FIELD);
        }
        for cut in 1..9 {
            let (near, mut far) = tokio::io::duplex(1 << 16);
            let mut io = NextIo::new(Box::new(near));
            for part in sent.chunks(cut) {
                io.write_all(part).await.expect("there is room");
            }
            io.shutdown().await.expect("there is room");
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.expect("it ends");
            assert_eq!(got, expected, "cut into {cut}");
        }
    }

    #[tokio::test]
    async fn grpc_messages_get_it_and_trailers_do_not() {
        let mut data = BytesMut::new();
        for (flags, content) in [(0, &b"abc"[..]), (0x80, b"grpc-status: 0")] {
            data.put_u8(flags);
            data.put_u32(content.len() as u32);
            data.put_slice(content);
        }
        let body = Body::new(http_body_util::Full::new(data.freeze()));
        let got = with_field(body).await.collect().await.expect("it is whole").to_bytes();
        assert_eq!(&got[..], b"\0\0\0\0\x06abc\xc0\x3e\x01\x80\0\0\0\x0egrpc-status: 0");
    }
}
