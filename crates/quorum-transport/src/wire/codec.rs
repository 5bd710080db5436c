//! Bytes to messages and back, with a ceiling. The only file that names the codec crate.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::LENGTH_BYTES;

/// No message is larger, whatever a length says: a container that claims more is refused before it is allocated.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A frame that is no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("undecodable frame: {0}")]
    Undecodable(String),
    #[error("{0} bytes too many in a frame")]
    Trailing(usize),
    #[error("a message of {0} bytes is too large to send")]
    TooLarge(usize),
}

fn format() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MESSAGE_BYTES_MAX>()
}

/// A message with its length in front, ready to be sent.
pub(crate) fn encode_frame<M: Serialize>(message: &M) -> Result<Bytes, CodecError> {
    let mut frame = BytesMut::with_capacity(512).writer();
    frame.get_mut().put_bytes(0, LENGTH_BYTES);
    bincode::serde::encode_into_std_write(message, &mut frame, format())
        .map_err(|error| CodecError::Undecodable(error.to_string()))?;
    let mut frame = frame.into_inner();
    let length = frame.len() - LENGTH_BYTES;
    if length > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(length));
    }
    let prefix = u32::try_from(length).map_err(|_| CodecError::TooLarge(length))?;
    frame[..LENGTH_BYTES].copy_from_slice(&prefix.to_le_bytes());
    Ok(frame.freeze())
}

/// The message in the body of a frame, all of it.
pub(crate) fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, CodecError> {
    let (message, used) = bincode::serde::decode_from_slice(body, format())
        .map_err(|error| CodecError::Undecodable(error.to_string()))?;
    if used == body.len() { Ok(message) } else { Err(CodecError::Trailing(body.len() - used)) }
}
