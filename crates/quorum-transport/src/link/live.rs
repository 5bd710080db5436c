//! The live lanes: records go out as they are written, everything that waits in one piece. Large ones have a lane of their
//! own, so that small ones never wait behind them.

use quorum_core::FrameSize;

use crate::error::TransportError;
use crate::link::lane::Lane;
use crate::link::peer::Peer;

/// Frames written to the stream at once, in bytes.
const WRITE_BYTES: usize = 128 << 10;

/// Sends what is offered to `peer` and of this size, until the connection ends.
pub(crate) async fn run(
    mut lane: Lane,
    size: FrameSize,
    peer: &Peer,
) -> Result<(), TransportError> {
    loop {
        let (frames, sent) = peer.take_live(size, WRITE_BYTES);
        if frames.is_empty() {
            peer.live_ready[size as usize].notified().await;
        } else {
            lane.send(frames, sent).await?;
        }
    }
}
