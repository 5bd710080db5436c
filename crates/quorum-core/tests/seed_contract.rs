//! The contract of the sketch that this crate grew out of, restated: what was kept, and each defect that was mended.

use std::time::{Duration, Instant};

use quorum_core::testing::epoch;
use quorum_core::{
    ACK_TIMEOUT_DEFAULT, AckTracker, Busy, CLOCK_SKEW_WARN_DEFAULT, PeerId, QuorumError,
    QuorumFailureReason, QuorumPolicy, Refusal, Standing, Verdict,
};

const TIMEOUT: Duration = Duration::from_millis(500);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn peer(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}

fn policy(n: usize, w: usize) -> QuorumPolicy {
    QuorumPolicy::new(n, w, TIMEOUT, CLOCK_SKEW_WARN_DEFAULT).expect("n > 0")
}

/// A write at `local` in a mesh of `n` whose other members are a, b, c and so on.
fn tracker(n: usize, w: usize) -> AckTracker {
    let peers = ["a", "b", "c", "d", "e", "f"].into_iter().take(n - 1).map(peer);
    AckTracker::new(policy(n, w), peer("local"), peers, epoch()).expect("different members")
}

fn missed(acks: usize, reason: QuorumFailureReason) -> Verdict {
    Verdict::Missed { acks, reason }
}

fn not_met(got: usize, needed: usize, reason: QuorumFailureReason) -> QuorumError {
    QuorumError::QuorumNotMet { got, needed, reason }
}

mod kept {
    use super::*;

    #[test]
    fn the_verbs_and_a_commit_as_the_sketch_had_it() {
        let (start, mut tracker) = (epoch(), tracker(5, 3));
        tracker.record_local(start + ms(1));
        tracker.record_peer_ack(&peer("a"), start + ms(10));
        assert!(!tracker.is_quorum_met(start + ms(10)));
        let in_flight = not_met(2, 3, QuorumFailureReason::InFlight);
        assert_eq!(tracker.finalise(start + ms(10)), Err(in_flight));
        tracker.record_id_drift(&peer("c"), start + ms(15));
        tracker.record_peer_ack(&peer("b"), start + ms(20));
        assert!(tracker.is_quorum_met(start + ms(20)));
        assert_eq!(tracker.finalise(start + ms(20)), Ok(3));
        assert_eq!(tracker.id_drift_count(), 1);
        assert_eq!(tracker.acked_peer_ids().collect::<Vec<_>>(), [&peer("a"), &peer("b")]);
    }

    #[test]
    fn the_reasons_and_their_spelling() {
        let spelled = [
            (QuorumFailureReason::IdDrift, "id_drift"),
            (QuorumFailureReason::Unreachable, "unreachable"),
            (QuorumFailureReason::Timeout, "timeout"),
            (QuorumFailureReason::InFlight, "in_flight"),
            (QuorumFailureReason::Refused, "refused"),
            (QuorumFailureReason::Superseded, "superseded"),
            (QuorumFailureReason::LocalPending, "local_pending"),
            (QuorumFailureReason::LocalFailed, "local_failed"),
        ];
        assert_eq!(spelled.len(), QuorumFailureReason::ALL.len());
        for (reason, text) in spelled {
            assert_eq!((reason.as_str(), reason.to_string()), (text, text.to_owned()));
            assert_eq!(serde_json::to_string(&reason).expect("a text"), format!("\"{text}\""));
        }
    }

    #[test]
    fn a_majority_by_default_two_seconds_thirty_seconds() {
        let policy = QuorumPolicy::majority(5).expect("n > 0");
        assert_eq!((policy.n(), policy.w()), (5, 3));
        assert_eq!(policy.ack_timeout(), Duration::from_secs(2));
        assert_eq!(policy.clock_skew_warn(), Duration::from_secs(30));
        assert_eq!(ACK_TIMEOUT_DEFAULT, policy.ack_timeout());
        let read: QuorumPolicy = serde_json::from_str(r#"{"n": 5}"#).expect("a sound rule");
        assert_eq!(read, policy);
    }

    #[test]
    fn w_is_clamped_by_new_and_only_there() {
        assert_eq!((policy(3, 0).w(), policy(3, 9).w()), (1, 3));
        for w in [0, 4] {
            let refused = policy(3, 2).with_w(w);
            assert!(matches!(refused, Err(QuorumError::InvalidPolicy { .. })), "w = {w}");
            let read = serde_json::from_str::<QuorumPolicy>(&format!(r#"{{"n": 3, "w": {w}}}"#));
            assert!(read.is_err(), "w = {w}");
        }
    }

    #[test]
    fn the_local_copy_alone_is_a_quorum_of_one() {
        let mut tracker = tracker(1, 1);
        assert!(!tracker.is_quorum_met(epoch()));
        tracker.record_local(epoch());
        assert_eq!(tracker.finalise(epoch()), Ok(1));
    }
}

mod mended {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half() {
        let majorities: Vec<usize> =
            (1..=7).map(|n| QuorumPolicy::majority(n).expect("n > 0").w()).collect();
        assert_eq!(majorities, [1, 2, 2, 3, 3, 4, 4]);
        assert!((1..=7).all(|n| QuorumPolicy::majority(n).expect("n > 0").writes_overlap()));
    }

    #[test]
    fn no_unsound_rule_can_be_read_or_built() {
        assert!(matches!(QuorumPolicy::majority(0), Err(QuorumError::InvalidPolicy { .. })));
        for bad in [
            r#"{"n": 0}"#,
            r#"{"n": 3, "w": 4}"#,
            r#"{"n": 3, "w": 0}"#,
            r#"{"n": 3, "w": -1}"#,
            r#"{"w": 1}"#,
            r#"{"n": 3, "ack_timeout": 2}"#,
            r#"{"n": 3, "ack_timeout_ms": 2000}"#,
            r#"{"n": 3, "quorum": 2}"#,
        ] {
            assert!(serde_json::from_str::<QuorumPolicy>(bad).is_err(), "{bad}");
        }
        let text = r#"{"n":3,"w":2,"ack_timeout":"1s 500ms","clock_skew_warn":"30s"}"#;
        let policy: QuorumPolicy = serde_json::from_str(text).expect("a sound rule");
        assert_eq!((policy.w(), policy.ack_timeout()), (2, ms(1_500)));
        assert_eq!(serde_json::to_string(&policy).expect("plain data"), text);
    }

    /// The two readers of the sketch disagreed after the deadline. Here both are views of one verdict.
    #[test]
    fn one_verdict_and_it_stays() {
        let (start, end) = (epoch(), epoch() + TIMEOUT);
        let mut met = tracker(3, 2);
        met.record_local(start);
        met.record_peer_ack(&peer("a"), start + ms(10));
        for now in [end + ms(1), start, end, end + TIMEOUT] {
            assert!(met.is_quorum_met(now));
            assert_eq!(met.finalise(now), Ok(2));
        }
        let mut missed_once = tracker(3, 2);
        missed_once.record_local(start);
        assert_eq!(missed_once.verdict(end), missed(1, QuorumFailureReason::Unreachable));
        // Not even an ack that claims to have arrived in time reopens a verdict that was given.
        missed_once.record_peer_ack(&peer("a"), end);
        missed_once.record_peer_ack(&peer("b"), end + ms(1));
        assert!(!missed_once.is_quorum_met(start));
        let told = not_met(1, 2, QuorumFailureReason::Unreachable);
        assert_eq!(missed_once.finalise(end + TIMEOUT), Err(told));
    }

    #[test]
    fn an_ack_counts_by_its_arrival_not_by_the_time_of_the_question() {
        let (start, end) = (epoch(), epoch() + TIMEOUT);
        let mut tracker = tracker(3, 2);
        tracker.record_local(start);
        tracker.record_peer_ack(&peer("a"), end - ms(1));
        assert_eq!(tracker.verdict(end + TIMEOUT), Verdict::Met { acks: 2 });
    }

    #[test]
    fn an_ack_after_the_deadline_cannot_rescue_a_write() {
        let (start, late) = (epoch(), epoch() + TIMEOUT + ms(1));
        let mut tracker = tracker(5, 3);
        tracker.record_local(start);
        tracker.record_peer_ack(&peer("a"), start + ms(10));
        tracker.record_peer_ack(&peer("b"), late);
        assert_eq!(tracker.verdict(late), missed(2, QuorumFailureReason::Timeout));
        assert_eq!(tracker.acked_peer_ids().collect::<Vec<_>>(), [&peer("a")]);
        assert_eq!(tracker.standings()[2].standing, Standing::Late { after: TIMEOUT + ms(1) });
    }

    #[test]
    fn the_deadline_itself_is_the_end_and_acks_at_it_count() {
        let end = epoch() + TIMEOUT;
        let mut silent = tracker(3, 2);
        silent.record_local(epoch());
        assert_eq!(silent.verdict(end - Duration::from_nanos(1)), Verdict::Pending { until: end });
        assert_eq!(silent.poll_timeout(), Some(end));
        assert_eq!(silent.verdict(end), missed(1, QuorumFailureReason::Unreachable));
        assert_eq!(silent.poll_timeout(), None);

        let mut last_moment = tracker(3, 2);
        last_moment.record_local(end);
        last_moment.record_peer_ack(&peer("a"), end);
        assert_eq!(last_moment.verdict(end), Verdict::Met { acks: 2 });
    }

    #[test]
    fn drifts_that_make_the_quorum_impossible_are_the_reason() {
        let mut tracker = tracker(3, 2);
        tracker.record_local(epoch());
        tracker.record_id_drift(&peer("a"), epoch() + ms(1));
        assert!(matches!(tracker.verdict(epoch() + ms(1)), Verdict::Pending { .. }));
        tracker.record_id_drift(&peer("b"), epoch() + ms(2));
        assert_eq!(tracker.verdict(epoch() + ms(2)), missed(1, QuorumFailureReason::IdDrift));
    }

    #[test]
    fn the_first_final_answer_of_a_peer_stands() {
        let at = epoch() + ms(1);
        let mut tracker = tracker(4, 2);
        tracker.record_id_drift(&peer("a"), at);
        tracker.record_peer_ack(&peer("a"), at);
        tracker.record_id_drift(&peer("a"), at);
        tracker.record_peer_ack(&peer("b"), at);
        tracker.record_id_drift(&peer("b"), at);
        tracker.record_refusal(&peer("c"), Refusal::Policy, at);
        tracker.record_peer_ack(&peer("c"), at);
        assert_eq!(tracker.id_drift_count(), 1);
        assert_eq!(tracker.acked_peer_ids().collect::<Vec<_>>(), [&peer("b")]);
    }

    #[test]
    fn only_members_count_each_once_and_the_local_one_not_as_a_peer() {
        let at = epoch() + ms(1);
        let mut tracker = tracker(5, 3);
        tracker.record_local(at);
        for name in ["a", "a", "local", "stranger", "Local", "a"] {
            tracker.record_peer_ack(&peer(name), at);
        }
        tracker.record_id_drift(&peer("stranger"), at);
        assert!(!tracker.is_quorum_met(at));
        assert_eq!(tracker.acked_peer_ids().count(), 1);
        assert_eq!(tracker.id_drift_count(), 0);
        assert_eq!(tracker.standings().len(), 5);
    }

    #[test]
    fn a_member_list_that_contradicts_the_rule_is_refused() {
        let build = |peers: &[&str]| {
            let peers = peers.iter().map(|name| peer(name));
            AckTracker::new(policy(3, 2), peer("local"), peers, epoch()).err()
        };
        for bad in [&["a"][..], &["a", "a"], &["a", "local"], &["a", "b", "c"]] {
            assert!(matches!(build(bad), Some(QuorumError::InvalidMembers { .. })), "{bad:?}");
        }
        assert_eq!(build(&["a", "b"]), None);
    }

    #[test]
    fn the_wait_ends_early_both_ways() {
        let at = epoch() + ms(1);
        let mut met = tracker(3, 2);
        met.record_local(at);
        met.record_peer_ack(&peer("a"), at);
        assert_eq!(met.verdict(at), Verdict::Met { acks: 2 });

        let mut hopeless = tracker(3, 2);
        hopeless.record_local(at);
        hopeless.record_refusal(&peer("a"), Refusal::TooLarge, at);
        hopeless.record_id_drift(&peer("b"), at);
        assert_eq!(hopeless.verdict(at), missed(1, QuorumFailureReason::Refused));

        // Busy is no refusal: it may yet become an ack.
        let mut hopeful = tracker(3, 3);
        hopeful.record_local(at);
        hopeful.record_peer_ack(&peer("a"), at);
        hopeful.record_busy(&peer("b"), Busy::Clock, at);
        assert!(matches!(hopeful.verdict(at), Verdict::Pending { .. }));
        hopeful.record_peer_ack(&peer("b"), at + ms(1));
        assert_eq!(hopeful.verdict(at + ms(1)), Verdict::Met { acks: 3 });
    }

    #[test]
    fn a_local_copy_that_is_pending_has_not_failed() {
        let (at, end) = (epoch() + ms(1), epoch() + TIMEOUT);
        let mut pending = tracker(3, 2);
        pending.record_peer_ack(&peer("a"), at);
        pending.record_peer_ack(&peer("b"), at);
        assert!(matches!(pending.verdict(at), Verdict::Pending { .. }));
        let told = not_met(2, 2, QuorumFailureReason::LocalPending);
        assert_eq!(pending.finalise(end), Err(told));

        let mut failed = tracker(3, 2);
        failed.record_peer_ack(&peer("a"), at);
        failed.record_local_failure("disk full", at);
        let told = QuorumError::LocalWriteFailed { detail: "disk full".into() };
        assert_eq!(failed.finalise(at), Err(told));
    }

    #[test]
    fn an_endless_timeout_does_not_overflow() {
        let endless = policy(3, 2).with_ack_timeout(Duration::MAX);
        let peers = ["a", "b"].map(peer);
        let tracker = AckTracker::new(endless, peer("local"), peers, epoch());
        let mut tracker = tracker.expect("different members");
        let a_year_on: Instant = epoch() + Duration::from_secs(365 * 24 * 3_600);
        assert!(matches!(tracker.verdict(a_year_on), Verdict::Pending { .. }));
    }

    /// A peer that was heard in time stays heard, whatever it says later.
    #[test]
    fn a_peer_that_answered_in_time_is_not_called_unreachable() {
        let (at, late) = (epoch() + ms(1), epoch() + TIMEOUT + ms(1));
        let mut tracker = tracker(3, 2);
        tracker.record_local(at);
        tracker.record_busy(&peer("a"), Busy::Overload, at);
        tracker.record_busy(&peer("a"), Busy::Overload, late);
        assert_eq!(tracker.verdict(late), missed(1, QuorumFailureReason::Timeout));
    }
}
