//! The ack tracker: one write from its start to its receipt.

use std::hint::black_box;
use std::time::{Duration, Instant};

use quorum_core::testing::epoch;
use quorum_core::{AckTracker, MemberStanding, PeerId, QuorumPolicy, Reply, Verdict};

use super::records::member;
use crate::case::{Case, Repeat, each};

pub(crate) const CASES: &[Case] = &[
    Case::counted("tracker/write-of-3", 1_000, || write_of(3)),
    Case::counted("tracker/write-of-5", 1_000, || write_of(5)),
    Case::counted("tracker/write-of-50", 200, || write_of(50)),
];

/// Everything is recorded and asked as a writer does, up to the majority; then the receipt lists all members.
fn write_of(members: u64) -> Repeat {
    let policy = QuorumPolicy::majority(members as usize).expect("members");
    let (local, start) = (member(1), epoch());
    let peers: Vec<PeerId> = (2..=members).map(member).collect();
    each(move || write(black_box(&policy), &local, &peers, start))
}

fn write(
    policy: &QuorumPolicy,
    local: &PeerId,
    peers: &[PeerId],
    start: Instant,
) -> Vec<MemberStanding> {
    let tracker = AckTracker::new(policy.clone(), local.clone(), peers.iter().cloned(), start);
    let mut tracker = tracker.expect("as many members as the policy says");
    let at = start + Duration::from_millis(1);
    tracker.record_local(at);
    for peer in peers {
        if let Verdict::Met { .. } = tracker.verdict(at) {
            break;
        }
        tracker.record_reply(peer, black_box(Reply::Stored), at);
    }
    assert!(tracker.finalise(at).is_ok(), "a majority has answered");
    tracker.standings()
}
