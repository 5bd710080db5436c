//! The bytes between two nodes: what a frame is, what it may hold, how large it may be.

pub(crate) mod codec;
#[cfg(test)]
mod golden;
pub(crate) mod message;

/// The protocol and its version, as negotiated by TLS (ALPN).
pub const PROTOCOL: &[u8] = b"quorum/1";

/// Bytes of the length that precedes every frame, little-endian.
pub(crate) const LENGTH_BYTES: usize = 4;
