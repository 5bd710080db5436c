//! Random event orders: the tracker against a naive oracle, for every mesh of up to seven members and every W.
//!
//! The oracle is written from the rules of a quorum write, not from the tracker: it keeps the plain list of everything
//! that was recorded and works out each question from the beginning. A failure prints its seed and the smallest case;
//! `proptest-regressions/model.txt` replays the seeds that ever failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use quorum_core::testing::epoch;
use quorum_core::{
    AckTracker, Busy, Hlc, Incarnation, Origin, PeerId, QuorumError, QuorumFailureReason,
    QuorumPolicy, Refusal, Reply, Standing, Verdict, Version,
};

const MEMBERS_MAX: usize = 7;
/// Few distinct moments around the deadline, so that "exactly then" happens often.
const DEADLINE: u64 = 6;
const TIME_MAX: u64 = 12;

/// One line of a write's history, in the order in which it is recorded. `at` is when it happened.
#[derive(Debug, Clone)]
enum Event {
    LocalDurable {
        at: u64,
    },
    LocalFailed {
        at: u64,
    },
    /// From member `who`: 0 is the local one, those beyond the mesh are strangers.
    Reply {
        who: usize,
        reply: Reply,
        at: u64,
    },
    /// Somebody asks for the verdict.
    Asked {
        now: u64,
    },
}

fn member(index: usize) -> PeerId {
    PeerId::new(format!("n{index}")).expect("a valid name")
}

fn moment(at: u64) -> Instant {
    epoch() + Duration::from_secs(at)
}

fn version(millis: u64) -> Version {
    let origin = Origin { node: member(99), incarnation: Incarnation::from_bytes([9; 8]) };
    Version { hlc: Hlc::from_millis(millis), origin }
}

fn replies() -> impl Strategy<Value = Reply> {
    prop_oneof![
        5 => Just(Reply::Stored),
        2 => Just(Reply::Drift),
        2 => Just(Reply::Refused { reason: Refusal::Corrupt }),
        2 => (1_u64..5).prop_map(|millis| Reply::Superseded { version: version(millis), is_same_write: false }),
        2 => Just(Reply::Busy { reason: Busy::Overload }),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let at = || 0..=TIME_MAX;
    let event = prop_oneof![
        2 => at().prop_map(|at| Event::LocalDurable { at }),
        1 => at().prop_map(|at| Event::LocalFailed { at }),
        12 => (0..MEMBERS_MAX + 2, replies(), at())
            .prop_map(|(who, reply, at)| Event::Reply { who, reply, at }),
        3 => at().prop_map(|now| Event::Asked { now }),
    ];
    prop::collection::vec(event, 0..40)
}

/// What is being counted.
#[derive(Debug, Clone, Copy)]
struct Rule {
    n: usize,
    w: usize,
    superseded_counts: bool,
}

/// The history of a write and the rules, nothing else.
struct Oracle {
    rule: Rule,
    history: Vec<Event>,
    told: Option<Verdict>,
}

impl Oracle {
    /// The word of each peer that stands: its first final one.
    fn standing_words(&self) -> BTreeMap<usize, (Reply, u64)> {
        let mut words = BTreeMap::new();
        for event in &self.history {
            if let Event::Reply { who, reply, at } = event
                && (1..self.rule.n).contains(who)
                && !matches!(reply, Reply::Busy { .. })
            {
                words.entry(*who).or_insert_with(|| (reply.clone(), *at));
            }
        }
        words
    }

    /// Peers whose standing word came in time and is of one kind.
    fn peers(&self, kind: impl Fn(&Reply) -> bool) -> BTreeSet<usize> {
        let words = self.standing_words().into_iter();
        words
            .filter(|(_, (reply, at))| *at <= DEADLINE && kind(reply))
            .map(|(who, _)| who)
            .collect()
    }

    /// What became of the local copy first, and when.
    fn local(&self) -> Option<(bool, u64)> {
        self.history.iter().find_map(|event| match event {
            Event::LocalDurable { at } => Some((true, *at)),
            Event::LocalFailed { at } => Some((false, *at)),
            _ => None,
        })
    }

    fn somebody_answered(&self) -> bool {
        self.history.iter().any(|event| {
            matches!(event, Event::Reply { who, at, .. }
                if (1..self.rule.n).contains(who) && *at <= DEADLINE)
        })
    }

    fn ask(&mut self, now: u64) -> Verdict {
        if let Some(told) = self.told {
            return told;
        }
        let verdict = self.work_out(now);
        if !matches!(verdict, Verdict::Pending { .. }) {
            self.told = Some(verdict);
        }
        verdict
    }

    fn work_out(&self, now: u64) -> Verdict {
        use QuorumFailureReason as Why;
        let everyone: BTreeSet<usize> = (0..self.rule.n).collect();
        let w = self.rule.w;
        let superseded = self.peers(|reply| matches!(reply, Reply::Superseded { .. }));
        let mut copies = self.peers(|reply| *reply == Reply::Stored);
        if self.rule.superseded_counts {
            copies.extend(&superseded);
        }
        let local_in_time = self.local().filter(|(_, at)| *at <= DEADLINE);
        if matches!(local_in_time, Some((true, _))) {
            copies.insert(0);
        }
        let acks = copies.len();
        let missed = |reason| Verdict::Missed { acks, reason };

        // Committed: W copies, the local one among them.
        if acks >= w && copies.contains(&0) {
            return Verdict::Met { acks };
        }
        // No quorum without the coordinator.
        if matches!(local_in_time, Some((false, _))) {
            return missed(Why::LocalFailed);
        }
        // Impossible: too few members are left that have a copy or may yet have one.
        let mut hopeful: BTreeSet<usize> = everyone;
        for (lost, why) in [
            (self.peers(|reply| *reply == Reply::Drift), Why::IdDrift),
            (self.peers(|reply| matches!(reply, Reply::Refused { .. })), Why::Refused),
            (superseded.difference(&copies).copied().collect(), Why::Superseded),
        ] {
            hopeful = hopeful.difference(&lost).copied().collect();
            if hopeful.len() < w {
                return missed(why);
            }
        }
        if now < DEADLINE {
            return Verdict::Pending { until: moment(DEADLINE) };
        }
        copies.insert(0);
        if copies.len() >= w {
            missed(Why::LocalPending)
        } else if self.somebody_answered() {
            missed(Why::Timeout)
        } else {
            missed(Why::Unreachable)
        }
    }

    /// The label of where each member stands.
    fn labels(&self) -> Vec<String> {
        let timely = |at: u64| if at <= DEADLINE { "acked" } else { "late" };
        let local = match self.local() {
            Some((true, at)) => timely(at),
            Some((false, _)) => "failed",
            None => "silent",
        };
        let words = self.standing_words();
        let busy = |peer: usize| {
            self.history
                .iter()
                .any(|event| matches!(event, Event::Reply { who, .. } if *who == peer))
        };
        let peer = |peer: usize| match words.get(&peer) {
            Some((Reply::Stored, at)) => timely(*at),
            Some((Reply::Superseded { .. }, _)) => "superseded",
            Some((Reply::Drift, _)) => "drifted",
            Some(_) => "refused:corrupt",
            None if busy(peer) => "busy:overload",
            None => "silent",
        };
        std::iter::once(local).chain((1..self.rule.n).map(peer)).map(str::to_owned).collect()
    }
}

fn tracker(rule: Rule) -> AckTracker {
    let policy = QuorumPolicy::majority(rule.n)
        .and_then(|policy| policy.with_w(rule.w))
        .expect("w is within 1..=n")
        .with_ack_timeout(Duration::from_secs(DEADLINE));
    let tracker = AckTracker::new(policy, member(0), (1..rule.n).map(member), epoch())
        .expect("the members are different");
    if rule.superseded_counts { tracker.counting_superseded() } else { tracker }
}

/// Plays a history to both and compares everything that can be asked.
fn compare(rule: Rule, events: &[Event]) -> Result<(), TestCaseError> {
    let mut tracker = tracker(rule);
    let mut oracle = Oracle { rule, history: Vec::new(), told: None };
    // Whatever happened, somebody asks at the deadline at the latest.
    for event in events.iter().chain([&Event::Asked { now: DEADLINE }]) {
        oracle.history.push(event.clone());
        match event {
            Event::LocalDurable { at } => tracker.record_local(moment(*at)),
            Event::LocalFailed { at } => tracker.record_local_failure("full", moment(*at)),
            Event::Reply { who, reply, at } => {
                tracker.record_reply(&member(*who), reply.clone(), moment(*at));
            }
            Event::Asked { now } => {
                let expected = oracle.ask(*now);
                prop_assert_eq!(tracker.verdict(moment(*now)), expected, "{:?} at {}", rule, now);
                compare_views(rule, &mut tracker, &oracle, expected, *now)?;
            }
        }
    }
    Ok(())
}

/// The other readers say the same as the verdict.
fn compare_views(
    rule: Rule,
    tracker: &mut AckTracker,
    oracle: &Oracle,
    expected: Verdict,
    now: u64,
) -> Result<(), TestCaseError> {
    let now = moment(now);
    prop_assert_eq!(tracker.is_quorum_met(now), matches!(expected, Verdict::Met { .. }));
    let is_final = !matches!(expected, Verdict::Pending { .. });
    prop_assert_eq!(tracker.poll_timeout(), (!is_final).then_some(moment(DEADLINE)));
    match (tracker.finalise(now), expected) {
        (Ok(acks), Verdict::Met { acks: expected }) => prop_assert_eq!(acks, expected),
        (Err(QuorumError::LocalWriteFailed { detail }), Verdict::Missed { reason, .. }) => {
            prop_assert_eq!(detail, "full");
            prop_assert_eq!(reason, QuorumFailureReason::LocalFailed);
        }
        (
            Err(QuorumError::QuorumNotMet { got, needed, reason }),
            Verdict::Missed { acks, reason: expected },
        ) => prop_assert_eq!((got, needed, reason), (acks, rule.w, expected)),
        (Err(QuorumError::QuorumNotMet { needed, reason, .. }), Verdict::Pending { .. }) => {
            prop_assert_eq!((needed, reason), (rule.w, QuorumFailureReason::InFlight));
        }
        (result, verdict) => prop_assert!(false, "{result:?} does not fit {verdict:?}"),
    }
    let acked: Vec<PeerId> =
        oracle.peers(|reply| *reply == Reply::Stored).into_iter().map(member).collect();
    prop_assert_eq!(tracker.acked_peer_ids().cloned().collect::<Vec<_>>(), acked);
    let words = oracle.standing_words();
    let drifted = words.values().filter(|(reply, _)| *reply == Reply::Drift).count();
    prop_assert_eq!(tracker.id_drift_count(), drifted);
    let newer = words.values().filter_map(|(reply, _)| match reply {
        Reply::Superseded { version, .. } => Some(version),
        _ => None,
    });
    prop_assert_eq!(tracker.superseded_by(), newer.max());
    let standings = tracker.standings();
    prop_assert_eq!(standings[0].node.clone(), member(0));
    let labels: Vec<String> = standings.iter().map(|member| member.standing.label()).collect();
    prop_assert_eq!(labels, oracle.labels());
    let after = standings.iter().filter_map(|member| match member.standing {
        Standing::Acked { after } => Some(after),
        _ => None,
    });
    prop_assert!(after.max().is_none_or(|after| after <= Duration::from_secs(DEADLINE)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/model.txt",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_tracker_agrees_with_a_naive_oracle(events in events()) {
        for n in 1..=MEMBERS_MAX {
            for w in 1..=n {
                for superseded_counts in [false, true] {
                    compare(Rule { n, w, superseded_counts }, &events)?;
                }
            }
        }
    }
}

/// The random histories are worth nothing if they miss what they are meant to contain.
#[test]
fn random_histories_reach_every_verdict() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..512 {
        let history = events().new_tree(&mut runner).expect("a history").current();
        for n in 1..=MEMBERS_MAX {
            for w in 1..=n {
                let rule = Rule { n, w, superseded_counts: false };
                let mut oracle = Oracle { rule, history: history.clone(), told: None };
                seen.insert(match oracle.ask(DEADLINE) {
                    Verdict::Met { .. } => "met",
                    Verdict::Missed { reason, .. } => reason.as_str(),
                    Verdict::Pending { .. } => "pending",
                });
            }
        }
    }
    let mut expected: BTreeSet<&str> =
        QuorumFailureReason::ALL.iter().map(|reason| reason.as_str()).collect();
    // At the deadline nothing is in flight any more.
    expected.remove("in_flight");
    expected.insert("met");
    assert_eq!(seen, expected);
}
