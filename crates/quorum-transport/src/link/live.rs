//! The live lane: records go out as they are written, everything that waits in one piece.

use crate::error::TransportError;
use crate::link::lane::Lane;
use crate::link::peer::Peer;

/// Frames written to the stream at once, in bytes.
const WRITE_BYTES: usize = 128 << 10;

/// Sends what is offered to `peer` until the connection ends.
pub(crate) async fn run(mut lane: Lane, peer: &Peer) -> Result<(), TransportError> {
    loop {
        let (frames, sent) = peer.take_live(WRITE_BYTES);
        if frames.is_empty() {
            peer.live_ready.notified().await;
        } else {
            lane.send(frames, sent).await?;
        }
    }
}
