//! Bytes to messages and back, with a ceiling. The only file that names the codec crate.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::LENGTH_BYTES;

/// No message is larger.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A frame that is no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("undecodable frame: {0}")]
    Undecodable(String),
    #[error("{0} bytes too many in a frame")]
    Trailing(usize),
    #[error("a message of {0} bytes is too large")]
    TooLarge(usize),
}

/// A message with its length in front, ready to be sent.
pub(crate) fn encode_frame<M: Serialize>(message: &M) -> Result<Bytes, CodecError> {
    let mut frame = BytesMut::with_capacity(512).writer();
    frame.get_mut().put_bytes(0, LENGTH_BYTES);
    bincode::serde::encode_into_std_write(message, &mut frame, bincode::config::standard())
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
///
/// Bytes that claim more than a small multiple of the body are refused before they are allocated. A multiple, because a
/// number counts as eight bytes although it may take one. Lists of a message must be read by
/// [`wary_list`](quorum_core::wary_list), which does not believe what they claim.
pub(crate) fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, CodecError> {
    match body.len() {
        0..=0x200 => decode_within::<M, 0x1000>(body),
        0x201..=0x2000 => decode_within::<M, 0x1_0000>(body),
        0x2001..=0x2_0000 => decode_within::<M, 0x10_0000>(body),
        0x2_0001..=0x20_0000 => decode_within::<M, 0x100_0000>(body),
        0x20_0001..=MESSAGE_BYTES_MAX => decode_within::<M, { 2 * MESSAGE_BYTES_MAX }>(body),
        length => Err(CodecError::TooLarge(length)),
    }
}

fn decode_within<M: DeserializeOwned, const BYTES_MAX: usize>(
    body: &[u8],
) -> Result<M, CodecError> {
    let format = bincode::config::standard().with_limit::<BYTES_MAX>();
    let (message, used) = bincode::serde::decode_from_slice(body, format)
        .map_err(|error| CodecError::Undecodable(error.to_string()))?;
    if used == body.len() { Ok(message) } else { Err(CodecError::Trailing(body.len() - used)) }
}
