//! TCP, by tokio.

use std::io;

use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};

use crate::env::{BoxIo, Listener, Net};

/// The machine's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealNet;

impl Net for RealNet {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxIo)
        })
    }

    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(RealListener(listener)) as Box<dyn Listener>)
        })
    }
}

struct RealListener(TcpListener);

impl Listener for RealListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, String)>> {
        Box::pin(async move {
            let (stream, peer) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as BoxIo, peer.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.0.local_addr()?.to_string())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn two_ends_talk() {
        let mut listener = RealNet.listen("127.0.0.1:0".to_owned()).await.unwrap();
        let address = listener.local_address().unwrap();
        let (dialled, accepted) = tokio::join!(RealNet.connect(address), listener.accept());
        let (mut here, (mut there, _)) = (dialled.unwrap(), accepted.unwrap());
        here.write_all(b"ping").await.unwrap();
        let mut read = [0; 4];
        there.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping");
    }
}
