//! What a peer is told, owed and believed while writers here wait for its word.

use futures_util::FutureExt;
use quorum_core::{
    Busy, Digest, Durability, Epoch, Hlc, Incarnation, Record, Recovery, Silent, WriteId,
};

use super::*;

const CALM: Duration = Duration::from_secs(60);

fn name(name: &str) -> PeerId {
    PeerId::new(name).expect("a name")
}

fn lineage(node: &str) -> Lineage {
    let origin = Origin { node: name(node), incarnation: Incarnation::from_bytes([1; 8]) };
    Lineage { origin, epoch: Epoch::new(1, 0) }
}

fn item(lineage: Lineage) -> Incoming {
    let dot = Dot { lineage, seq: 1 };
    let (write_id, payload) = (WriteId::from_bytes([7; 16]), Bytes::from_static(b"payload"));
    let record =
        Record::new(write_id, dot, Hlc::from_u64(1 << 20), Durability::Fsync, payload.clone());
    assert_eq!(record.digest, Digest::of(&payload));
    let record = Some(Arc::new(record));
    Incoming { record, ..Incoming::default() }
}

/// A peer that is up and recovering, to which this node brings a record of a third member and waits for its word; the
/// peer has stored it, and that does not count yet.
fn brought_to_a_recovering_peer(
    now: Instant,
) -> (Peer, Dot, Frontier, mpsc::Receiver<(PeerReply, u64)>) {
    let member = Member { name: name("peer"), address: "127.0.0.1:1".into() };
    let (config, beat) = (TransportConfig::default(), Beat::new(now));
    let peer = Peer::new(member, &config, beat, Arc::new(Silent), Arc::default());
    peer.connected(now, lineage("peer"), Frontier::new());
    let recovering = Announcement { recovery: Recovery::Recovering, ..Announcement::default() };
    peer.announced(recovering);
    let item = item(lineage("third"));
    let dot = item.record.as_ref().expect("it has one").dot.clone();
    let (replies, heard) = mpsc::channel(4);
    let frame = Bytes::from_static(b"frame");
    peer.offer(Some(&frame), &item, &dot, now, ReplySender(replies));
    let (_, sent) = peer.take_live(FrameSize::Small, usize::MAX);
    assert!(peer.answered(&sent[0], &Reply::Stored, true, now));
    let mut held = Frontier::new();
    held.insert(&dot);
    (peer, dot, held, heard)
}

/// The write-back of a read, or a retry of a write that another member took: nobody but this node waits for the peer's
/// word on it, so nobody else would bring it again. The log may have forgotten it, so it is not asked. While the peer
/// recovers, one word on it is enough.
#[test]
fn what_another_member_wrote_is_brought_again_while_somebody_here_waits_for_the_word() {
    let now = Instant::now();
    let (peer, dot, held, mut heard) = brought_to_a_recovering_peer(now);
    let (told, _) = heard.try_recv().expect("told at once that it does not count");
    assert_eq!(told.reply, Reply::Busy { reason: Busy::Recovering });
    peer.reported(Some(&held));
    assert!(peer.owed(&lineage("us").origin, &held, now + CALM).is_empty());
    assert!(peer.take_live(FrameSize::Small, usize::MAX).1.is_empty());
    // The live lane has heard of the first sending.
    assert!(peer.live_ready[0].notified().now_or_never().is_some());
    peer.announced(Announcement { recovery: Recovery::Complete, ..Announcement::default() });
    assert!(peer.live_ready[0].notified().now_or_never().is_some());
    let (_, again) = peer.take_live(FrameSize::Small, usize::MAX);
    let [again] = again.as_slice() else { panic!("{again:?} are sent again") };
    assert_eq!(again.item.record.as_ref().map(|record| &record.dot), Some(&dot));
    let owed = peer.owed(&lineage("us").origin, &held, now + CALM);
    assert!(owed.is_empty(), "{owed:?}");
    // Not once more before it is answered.
    peer.reported(Some(&held));
    assert!(peer.take_live(FrameSize::Small, usize::MAX).1.is_empty());
}

#[test]
fn what_nobody_waits_for_any_more_is_held_by_whoever_says_so() {
    let now = Instant::now();
    let (peer, dot, held, heard) = brought_to_a_recovering_peer(now);
    drop(heard);
    peer.reported(Some(&held));
    assert!(peer.status().frontier.is_some_and(|known| known.contains(&dot)));
    assert!(peer.take_live(FrameSize::Small, usize::MAX).1.is_empty());
    assert!(peer.owed(&lineage("us").origin, &held, now + CALM).is_empty());
}

/// Whoever waits for the connection to be of no more use must be told.
#[tokio::test]
async fn a_connection_on_which_too_much_was_announced_is_made_anew() {
    let now = Instant::now();
    let member = Member { name: name("peer"), address: "127.0.0.1:1".into() };
    let config = TransportConfig { frame_bytes_max: 1_000, ..TransportConfig::default() };
    let peer = Peer::new(member, &config, Beat::new(now), Arc::new(Silent), Arc::default());
    peer.connected(now, lineage("peer"), Frontier::new());
    for at in 1..1_000 {
        let mut one = Frontier::new();
        one.insert_range(&lineage("third"), 2 * at, 2 * at);
        peer.reported(Some(&one));
        if peer.is_stale() {
            return peer.look_at_connection.notified().await;
        }
    }
    panic!("it remembers more than a frame can say");
}
