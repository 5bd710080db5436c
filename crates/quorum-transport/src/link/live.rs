//! The live lanes: records go out as they are written, everything that waits in one piece. Large ones have a lane of their
//! own, so that small ones never wait behind them.

use crate::error::TransportError;
use crate::link::lane::Lane;
use crate::link::peer::Peer;

/// Frames written to the stream at once, in bytes.
const WRITE_BYTES: usize = 128 << 10;

/// A frame of this many bytes is a large one.
const LARGE_BYTES: usize = 64 << 10;

/// Which of the two a record goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Large,
}

impl Size {
    /// Of a frame.
    pub(crate) const fn of(frame_bytes: usize) -> Self {
        if frame_bytes < LARGE_BYTES { Self::Small } else { Self::Large }
    }
}

/// Sends what is offered to `peer` and of this size, until the connection ends.
pub(crate) async fn run(mut lane: Lane, size: Size, peer: &Peer) -> Result<(), TransportError> {
    loop {
        let (frames, sent) = peer.take_live(size, WRITE_BYTES);
        if frames.is_empty() {
            peer.live_ready[size as usize].notified().await;
        } else {
            lane.send(frames, sent).await?;
        }
    }
}
