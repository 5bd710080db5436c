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
    buffer: BytesMut,
    frame_bytes_max: usize,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream, frame_bytes_max: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), frame_bytes_max }
    }

    /// The next frame's body, or `None` at the end of the stream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            if let Some(frame) = self.take_buffered()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
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
            if let Some(frame) = self.take_buffered()? {
                return Ok(Some(frame));
            }
            let read = {
                let mut read = pin!(self.stream.read_chunk(READ_BYTES, true));
                poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await
            };
            match read {
                Poll::Ready(Ok(Some(chunk))) => self.buffer.extend_from_slice(&chunk.bytes),
                // The end of the stream or an error is found again by the next call that waits.
                Poll::Ready(_) | Poll::Pending => return Ok(None),
            }
        }
    }

    fn take_buffered(&mut self) -> Result<Option<Bytes>, TransportError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > self.frame_bytes_max {
            let limit = self.frame_bytes_max;
            return Err(TransportError::Protocol(format!(
                "frame of {length} bytes, limit {limit}"
            )));
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

fn lost(error: &ReadError) -> TransportError {
    match error {
        ReadError::ConnectionLost(cause) => crate::close::explain(cause),
        other => TransportError::Lost(other.to_string()),
    }
}
