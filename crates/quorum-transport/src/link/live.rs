//! The live lanes: records go out as they are written, everything that waits in one piece. Large ones have a lane of their
//! own, so that small ones never wait behind them.

use quorum_core::FrameSize;

use crate::error::TransportError;
use crate::link::lane::Lane;
use crate::link::peer::Peer;

/// Frames written to the stream at once, in bytes.
const WRITE_BYTES: usize = 128 << 10;

/// Records sent and not yet answered, at most, whatever they weigh.
const ITEMS_UNANSWERED: usize = 64 << 10;

/// Sends what is offered to `peer` and of this size, until the connection ends. At most `bytes_unanswered`, and a
/// piece more, are under way.
pub(crate) async fn run(
    mut lane: Lane,
    size: FrameSize,
    bytes_unanswered: usize,
    peer: &Peer,
) -> Result<(), TransportError> {
    loop {
        // Else a peer that reads and never answers would have everything kept. What waits meanwhile is bounded too.
        lane.until_unanswered_at_most(bytes_unanswered, ITEMS_UNANSWERED).await;
        let (frames, sent) = peer.take_live(size, WRITE_BYTES);
        if frames.is_empty() {
            peer.live_ready[size as usize].notified().await;
        } else {
            lane.send(frames, sent).await?;
        }
    }
}
