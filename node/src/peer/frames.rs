//! The frames that arrive on a connection.

use std::io;

use futures_util::StreamExt as _;
use prost::Message;
use tokio::io::ReadHalf;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::FRAME_BYTES_MAX;
use crate::env::BoxIo;

/// The receiving half of a connection.
pub(super) struct Frames {
    frames: FramedRead<ReadHalf<BoxIo>, LengthDelimitedCodec>,
}

impl Frames {
    pub(super) fn new(io: ReadHalf<BoxIo>) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
        Self { frames: FramedRead::new(io, codec) }
    }

    /// The next one; `None` at the connection's end. Errors when it broke, or what came is no frame. Cancel safe.
    pub(super) async fn next<F: Message + Default>(&mut self) -> io::Result<Option<F>> {
        let Some(frame) = self.frames.next().await.transpose()? else { return Ok(None) };
        F::decode(frame.freeze()).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}
