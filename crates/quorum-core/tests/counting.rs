//! Corners of the counting that random event orders seldom reach: whose word is taken back, what arrives exactly at or
//! after the deadline, and what the receipt is told.

use std::time::{Duration, Instant};

use quorum_core::testing::epoch;
use quorum_core::{
    AckTracker, Busy, CLOCK_SKEW_WARN_DEFAULT, Hlc, Incarnation, Origin, PeerId, QuorumError,
    QuorumFailureReason, QuorumPolicy, Refusal, Reply, Standing, Verdict, Version, deadline_after,
};

const TIMEOUT: Duration = Duration::from_millis(500);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn peer(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}

fn version(millis: u64) -> Version {
    let origin = Origin { node: peer("n9"), incarnation: Incarnation::from_bytes([9; 8]) };
    Version { hlc: Hlc::from_millis(millis), origin }
}

/// A write at `local` that began at `start`, in a mesh of `n` whose other members are a, b, c and so on.
fn tracker(n: usize, w: usize, start: Instant) -> AckTracker {
    let policy = QuorumPolicy::new(n, w, TIMEOUT, CLOCK_SKEW_WARN_DEFAULT).expect("n > 0");
    let peers = ["a", "b", "c", "d", "e", "f"].into_iter().take(n - 1).map(peer);
    AckTracker::new(policy, peer("local"), peers, start).expect("different members")
}

/// The ack of a copy that is lost does not count, and nobody else's is touched by that.
#[test]
fn only_the_member_that_lost_its_data_takes_its_word_back() {
    let at = epoch() + ms(1);
    let mut kept = tracker(4, 3, epoch());
    kept.record_local(at);
    kept.record_peer_ack(&peer("a"), at);
    kept.record_busy(&peer("b"), Busy::Recovering, at);
    assert_eq!(kept.acked_peer_ids().collect::<Vec<_>>(), [&peer("a")]);
    kept.record_busy(&peer("a"), Busy::Overload, at);
    assert_eq!(kept.acked_peer_ids().count(), 1, "a final answer stands");
    kept.record_busy(&peer("a"), Busy::Recovering, at);
    assert_eq!(kept.acked_peer_ids().count(), 0);
    kept.record_peer_ack(&peer("a"), at + ms(1));
    kept.record_peer_ack(&peer("b"), at + ms(2));
    assert_eq!(kept.verdict(at + ms(2)), Verdict::Met { acks: 3 }, "they hold it again");
}

#[test]
fn a_copy_that_is_there_exactly_at_the_deadline_counts_and_a_later_one_does_not() {
    let (start, end) = (epoch() + ms(7), epoch() + ms(7) + TIMEOUT);
    let mut at_the_end = tracker(3, 2, start);
    at_the_end.record_local(end);
    at_the_end.record_peer_ack(&peer("a"), end);
    assert_eq!(at_the_end.deadline(), end);
    assert_eq!(at_the_end.verdict(end + ms(9)), Verdict::Met { acks: 2 });

    let mut too_late = tracker(3, 2, start);
    too_late.record_local(end + ms(1));
    too_late.record_peer_ack(&peer("a"), end);
    let reason = QuorumFailureReason::LocalPending;
    assert_eq!(too_late.verdict(end + ms(9)), Verdict::Missed { acks: 1, reason });
}

/// The wait was over before the disk failed: the caller was told so, and is not told something else later.
#[test]
fn a_local_failure_is_the_reason_only_if_it_came_in_time() {
    let end = epoch() + TIMEOUT;
    let failing = |at: Instant| {
        let mut failing = tracker(3, 2, epoch());
        failing.record_local_failure("disk full", at);
        failing.record_local(at);
        failing.finalise(end + ms(9))
    };
    let failed = QuorumError::LocalWriteFailed { detail: "disk full".into() };
    assert_eq!(failing(end), Err(failed), "the first word of the store stands");
    let reason = QuorumFailureReason::Unreachable;
    assert_eq!(failing(end + ms(1)), Err(QuorumError::QuorumNotMet { got: 0, needed: 2, reason }));
}

#[test]
fn every_kind_of_definitive_answer_ends_a_write_that_it_makes_hopeless() {
    let at = epoch() + ms(1);
    let superseded = || Reply::Superseded { version: version(5), is_same_write: false };
    let refused = || Reply::Refused { reason: Refusal::TooLarge };
    let busy = || Reply::Busy { reason: Busy::Overload };
    let cases = [
        (vec![Reply::Drift, Reply::Drift], QuorumFailureReason::IdDrift),
        (vec![Reply::Drift, refused()], QuorumFailureReason::Refused),
        (vec![refused(), refused()], QuorumFailureReason::Refused),
        (vec![superseded(), Reply::Drift], QuorumFailureReason::Superseded),
        (vec![superseded(), superseded()], QuorumFailureReason::Superseded),
    ];
    for (replies, reason) in cases {
        let mut hopeless = tracker(4, 3, epoch());
        hopeless.record_local(at);
        for (name, reply) in ["a", "b"].into_iter().zip(replies.clone()) {
            assert!(matches!(hopeless.verdict(at), Verdict::Pending { .. }), "{replies:?}");
            hopeless.record_reply(&peer(name), reply, at);
        }
        assert_eq!(hopeless.verdict(at), Verdict::Missed { acks: 1, reason }, "{replies:?}");
    }
    for replies in [[busy(), Reply::Drift], [busy(), busy()], [Reply::Stored, Reply::Drift]] {
        let mut open = tracker(4, 3, epoch());
        open.record_local(at);
        for (name, reply) in ["a", "b"].into_iter().zip(replies) {
            open.record_reply(&peer(name), reply, at);
        }
        assert!(matches!(open.verdict(at), Verdict::Pending { .. }));
    }
}

#[test]
fn a_newer_version_counts_where_the_write_was_stamped_above_all_others() {
    let at = epoch() + ms(1);
    let reply = |millis| Reply::Superseded { version: version(millis), is_same_write: millis == 7 };
    let answered = |mut tracker: AckTracker| {
        tracker.record_local(at);
        tracker.record_reply(&peer("a"), reply(7), at);
        tracker.record_reply(&peer("b"), reply(5), at);
        tracker
    };
    let mut first = answered(tracker(3, 2, epoch()));
    assert_eq!(first.superseded_by(), Some(&version(7)));
    assert!(first.is_executed_elsewhere());
    let reason = QuorumFailureReason::Superseded;
    assert_eq!(first.verdict(at), Verdict::Missed { acks: 1, reason });
    let mut second = answered(tracker(3, 2, epoch()).counting_superseded());
    assert_eq!(second.verdict(at), Verdict::Met { acks: 3 });
    let fresh = tracker(3, 2, epoch());
    assert!(fresh.superseded_by().is_none() && !fresh.is_executed_elsewhere());
}

#[test]
fn the_receipt_is_told_where_everybody_stands() {
    let (start, end) = (epoch() + ms(7), epoch() + ms(7) + TIMEOUT);
    let mut tracker = tracker(7, 5, start);
    tracker.record_local(start + ms(3));
    tracker.record_peer_ack(&peer("a"), end);
    tracker.record_peer_ack(&peer("b"), end + ms(1));
    tracker.record_id_drift(&peer("c"), start);
    tracker.record_refusal(&peer("d"), Refusal::Corrupt, start);
    tracker.record_busy(&peer("e"), Busy::Clock, start);
    let standings = tracker.standings();
    let told: Vec<(&str, &Standing)> =
        standings.iter().map(|member| (member.node.as_str(), &member.standing)).collect();
    let expected = [
        ("local", &Standing::Acked { after: ms(3) }),
        ("a", &Standing::Acked { after: TIMEOUT }),
        ("b", &Standing::Late { after: TIMEOUT + ms(1) }),
        ("c", &Standing::Drifted),
        ("d", &Standing::Refused { reason: Refusal::Corrupt }),
        ("e", &Standing::Busy { reason: Busy::Clock }),
        ("f", &Standing::Silent),
    ];
    assert_eq!(told, expected);
    assert_eq!(tracker.started(), start);
    assert_eq!((tracker.policy().n(), tracker.policy().w()), (7, 5));
    assert_eq!(tracker.acked_peer_ids().collect::<Vec<_>>(), [&peer("a")], "in time only");
    assert_eq!(tracker.id_drift_count(), 1);
}

#[test]
fn one_is_woken_at_the_deadline_until_the_verdict_is_given() {
    let (at, end) = (epoch() + ms(1), epoch() + ms(90));
    let mut tracker = tracker(3, 2, epoch()).until(end);
    assert_eq!(tracker.poll_timeout(), Some(end));
    assert_eq!(tracker.verdict(at), Verdict::Pending { until: end });
    tracker.record_local(at);
    tracker.record_peer_ack(&peer("b"), at);
    assert_eq!(tracker.poll_timeout(), Some(end), "nobody has asked yet");
    assert!(tracker.is_quorum_met(at));
    assert_eq!(tracker.poll_timeout(), None);
}

#[test]
fn a_deadline_is_as_far_away_as_was_asked_or_as_can_be_said() {
    let now = epoch();
    assert_eq!(deadline_after(now, ms(5)), now + ms(5));
    let years =
        deadline_after(now, Duration::MAX).duration_since(now).as_secs() / (365 * 24 * 3_600);
    assert_eq!(years, 100);
}
