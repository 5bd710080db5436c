//! What a link remembers of its peer is bounded, whatever the peer says.

use std::time::Duration;

use quorum_core::testing::epoch;
use quorum_core::{
    Epoch, Frontier, Incarnation, Lineage, Link, LinkConfig, Origin, PeerId, PeerReply, ReplyTo,
    Reported, SeqSet,
};

const FRAME_BYTES_MAX: usize = 2_000;

#[derive(Debug, Clone)]
struct Nobody;

impl ReplyTo for Nobody {
    fn reply(&self, _reply: PeerReply) {}

    fn is_closed(&self) -> bool {
        true
    }
}

fn link() -> Link<(), Nobody> {
    let config = LinkConfig {
        live_queue_bytes_max: 1 << 20,
        frame_bytes_max: FRAME_BYTES_MAX,
        retry_min: Duration::from_millis(1),
        retry_max: Duration::from_secs(1),
        retries_max: 10,
    };
    Link::new(PeerId::new("peer").expect("a name"), config)
}

fn lineage(node: &str) -> Lineage {
    let node = PeerId::new(node).expect("a name");
    let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
    Lineage { origin, epoch: Epoch::new(1, 0) }
}

/// One number of a lineage, with a gap before and after it.
fn every_other(at: u64) -> Frontier {
    let mut one = Frontier::new();
    one.insert_range(&lineage("third"), 2 * at, 2 * at);
    one
}

#[test]
fn a_peer_that_announces_ever_more_gaps_is_hung_up_on() {
    let mut link = link();
    let now = epoch();
    let _ = link.connected(now, lineage("peer"), Frontier::new());
    // Twelve bytes for the lineage, two for each interval.
    let bound = (FRAME_BYTES_MAX as u64 - 12) / 2;
    for at in 1..=bound {
        assert_eq!(
            link.reported(Some(&every_other(at))),
            Reported::News,
            "{at} intervals fit into a frame"
        );
    }
    assert!(!link.is_stale());
    assert_eq!(link.reported(Some(&every_other(bound + 1))), Reported::TooMuch);
    assert!(link.is_stale());
    // It says nothing more on this connection, and begins anew on the next.
    assert_eq!(link.reported(Some(&every_other(bound + 2))), Reported::Nothing);
    let _ = link.connected(now, lineage("peer"), every_other(1));
    assert!(!link.is_stale());
    assert_eq!(link.reported(Some(&every_other(2))), Reported::News);
}

#[test]
fn numbers_without_gaps_take_no_room() {
    let mut link = link();
    let _ = link.connected(epoch(), lineage("peer"), Frontier::new());
    for seq in 1..=FRAME_BYTES_MAX as u64 {
        let mut one = Frontier::new();
        one.insert_range(&lineage("third"), seq, seq);
        assert_eq!(link.reported(Some(&one)), Reported::News);
    }
    assert!(!link.is_stale());
}

#[test]
fn lineages_of_which_nothing_is_held_take_room_too() {
    let mut link = link();
    let _ = link.connected(epoch(), lineage("peer"), Frontier::new());
    let lineages = FRAME_BYTES_MAX / 12;
    let mut named = (0..=lineages).map(|number| {
        let nothing = (lineage(&format!("third-{number}")), SeqSet::new());
        link.reported(Some(&std::iter::once(nothing).collect()))
    });
    assert_eq!(named.by_ref().take_while(|said| *said == Reported::News).count(), lineages);
    assert!(link.is_stale());
}
