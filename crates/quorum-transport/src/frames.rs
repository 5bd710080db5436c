//! Frames out of a QUIC stream, with a bound on what is buffered.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use crate::error::TransportError;
use crate::wire::LENGTH_BYTES;

/// Largest piece taken from the stream at once.
const READ_BYTES: usize = 64 << 10;

/// Reads length-prefixed frames. Never holds more than one frame beyond what it has given out, plus one read.
pub(crate) struct FrameReader {
    stream: RecvStream,
    buffer: FrameBuffer,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream, frame_bytes_max: usize) -> Self {
        Self { stream, buffer: FrameBuffer::new(frame_bytes_max) }
    }

    /// The next frame's body, or `None` at the end of the stream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            if let Some(frame) = self.buffer.take()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => self.buffer.extend(&chunk.bytes),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => {
                    return Err(TransportError::Protocol("stream ends within a frame".into()));
                }
                Err(error) => return Err(lost(&error)),
            }
        }
    }

    /// A frame that is already here, without waiting for the network.
    pub(crate) async fn next_ready(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            if let Some(frame) = self.buffer.take()? {
                return Ok(Some(frame));
            }
            let read = {
                let mut read = pin!(self.stream.read_chunk(READ_BYTES, true));
                poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await
            };
            match read {
                Poll::Ready(Ok(Some(chunk))) => self.buffer.extend(&chunk.bytes),
                // The end of the stream or an error is found again by the next call that waits.
                Poll::Ready(_) | Poll::Pending => return Ok(None),
            }
        }
    }
}

/// What came in and is not given out yet.
pub(crate) struct FrameBuffer {
    bytes: BytesMut,
    frame_bytes_max: usize,
}

impl FrameBuffer {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self { bytes: BytesMut::new(), frame_bytes_max }
    }

    pub(crate) fn extend(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The body of the first frame, once all of it is here. One that is too long is refused by its length alone.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, TransportError> {
        let Some(prefix) = self.bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > self.frame_bytes_max {
            let limit = self.frame_bytes_max;
            return Err(TransportError::Protocol(format!(
                "frame of {length} bytes, limit {limit}"
            )));
        }
        if self.bytes.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.bytes.advance(LENGTH_BYTES);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }
}

fn lost(error: &ReadError) -> TransportError {
    match error {
        ReadError::ConnectionLost(cause) => crate::close::explain(cause),
        other => TransportError::Lost(other.to_string()),
    }
}
