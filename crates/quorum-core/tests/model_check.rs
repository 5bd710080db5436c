//! The write, catch-up and frontier-exchange protocol, exhaustively within stated bounds, on the core's own types.
//!
//! The model is a few members, writes to one key, one crash that loses what is not synced, and a network that loses,
//! duplicates and reorders whatever it is given: what was sent once may arrive at any time, any number of times, or never.
//! What is decided is decided by the real code: [`AckTracker`] says when a write is committed, [`Version`] which record
//! wins, [`Frontier`] what is covered, [`wants`] what is asked for.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use quorum_core::testing::epoch;
use quorum_core::{
    AckTracker, Dot, Epoch, Frontier, Hlc, Incarnation, Lineage, Origin, PeerId, QuorumPolicy,
    Reach, Verdict, Version, wants,
};
use stateright::{Checker, Model, Property};

/// A frontier as part of a state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Covers(Frontier);

impl Covers {
    fn dots(&self) -> impl Iterator<Item = (&Lineage, (u64, u64))> {
        self.0.iter().flat_map(|(of, set)| set.intervals().map(move |range| (of, range)))
    }
}

impl Hash for Covers {
    fn hash<H: Hasher>(&self, to: &mut H) {
        self.dots().for_each(|dot| dot.hash(to));
    }
}

impl PartialOrd for Covers {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Covers {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.dots().cmp(other.dots())
    }
}

/// What a member holds: the newest record of the one key, and what its frontier covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
struct Held {
    record: Option<Record>,
    covers: Covers,
}

/// A record: its version, and its dot.
type Record = (Version, Dot);

impl Held {
    /// Merges a record and what it stands for, as every store does.
    fn merge(&mut self, record: &Record, covers: &Covers) {
        self.record = self.record.take().max(Some(record.clone()));
        self.covers.0.insert(&record.1);
        self.covers.0.merge(&covers.0);
    }

    fn reaches(&self, version: &Version) -> bool {
        self.record.as_ref().is_some_and(|(held, _)| held >= version)
    }
}

/// An answer to a want, on its way: a record out of a log, and the dots that it stands for beside its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Items {
    to: usize,
    record: Record,
    covers: Covers,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Member {
    /// What a crash leaves.
    disk: Held,
    /// With what is not synced.
    memory: Held,
    starts: u64,
    issued: u64,
}

/// A write that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Write {
    record: Record,
    coordinator: usize,
    /// The start in which its coordinator counts acks.
    start: u64,
    acks: BTreeSet<usize>,
    is_committed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    members: Vec<Member>,
    writes: Vec<Write>,
    /// What was sent out of logs: once sent it may arrive at any time, again and again.
    sent: BTreeSet<Items>,
    crashes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    Write(usize),
    Sync(usize),
    /// The record of a write reaches a member from its coordinator. It was sent to everybody when it was written.
    Live(usize, usize),
    /// The word of a member that it durably holds a write reaches the coordinator. It is sent once that is true.
    Ack(usize, usize),
    /// A member hears what another one holds, wants what it lacks, and that is sent.
    Exchange {
        to: usize,
        from: usize,
    },
    CatchUp(Items),
    Crash(usize),
}

/// The bounds of one check.
struct Protocol {
    n: usize,
    writes: usize,
    crashes: usize,
    /// Answers out of logs that are ever sent, at most; each may arrive at any time, again and again.
    answers: usize,
}

fn peer(index: usize) -> PeerId {
    PeerId::new(format!("n{index}")).expect("a valid name")
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |one| {
        (0..n).filter(move |other| one != *other).map(move |other| (one, other))
    })
}

fn lineage(index: usize, start: u64) -> Lineage {
    let incarnation = Incarnation::from_bytes([1; 8]);
    Lineage { origin: Origin { node: peer(index), incarnation }, epoch: Epoch::new(start, 0) }
}

impl Protocol {
    /// Whether the real tracker calls the write committed after these acks.
    fn commits(&self, write: &Write, is_local_durable: bool) -> bool {
        let policy = QuorumPolicy::majority(self.n).expect("there are members");
        let others = (0..self.n).filter(|index| *index != write.coordinator).map(peer);
        let mut tracker = AckTracker::new(policy, peer(write.coordinator), others, epoch())
            .expect("the members are those of the policy");
        let now = epoch() + Duration::from_millis(1);
        if is_local_durable {
            tracker.record_local(now);
        }
        for from in &write.acks {
            tracker.record_peer_ack(&peer(*from), now);
        }
        matches!(tracker.verdict(now), Verdict::Met { .. })
    }

    fn judge(&self, state: &mut State) {
        for index in 0..state.writes.len() {
            let write = &state.writes[index];
            let coordinator = &state.members[write.coordinator];
            let counts = coordinator.starts == write.start;
            let is_local = coordinator.disk.covers.0.contains(&write.record.1);
            if counts && self.commits(write, is_local) {
                state.writes[index].is_committed = true;
            }
        }
    }

    /// What `member` wants of a peer that holds `theirs`, by the real plan.
    fn wanted(&self, state: &State, index: usize, of: usize, theirs: &Covers) -> Frontier {
        let member = &state.members[index];
        let current = lineage(index, member.starts);
        let holders = [(peer(of), theirs.0.clone())].into_iter().collect();
        let plan = wants(Reach {
            ours: &member.disk.covers.0,
            current: &current,
            holders: &holders,
            pushing: &[],
            expected: &[],
            slow: &BTreeSet::new(),
        });
        plan.into_values().next().unwrap_or_default()
    }

    fn sync(&self, state: &mut State, index: usize) {
        state.members[index].disk = state.members[index].memory.clone();
        self.judge(state);
    }

    /// What one member sends another that tells it what it wants. Only synced state is told and replayed, and the current
    /// record in the place of what it has overwritten.
    fn exchanged(&self, state: &State, to: usize, from: usize) -> Option<Items> {
        let theirs = &state.members[from].disk;
        let dots = self.wanted(state, to, from, &theirs.covers);
        let covers = Covers(theirs.covers.0.common(&dots));
        let record = theirs.record.clone().filter(|_| !covers.0.is_empty())?;
        Some(Items { to, record, covers })
    }

    /// Everything arrives, everybody syncs, until nothing changes any more.
    fn healed(&self, state: &State) -> Vec<Held> {
        let mut state = state.clone();
        loop {
            let before = state.members.clone();
            (0..self.n).for_each(|index| self.sync(&mut state, index));
            for (to, from) in pairs(self.n) {
                if let Some(Items { record, covers, .. }) = self.exchanged(&state, to, from) {
                    state.members[to].memory.merge(&record, &covers);
                }
            }
            if state.members == before {
                return state.members.into_iter().map(|member| member.disk).collect();
            }
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let nothing = Held::default();
        let member = Member { disk: nothing.clone(), memory: nothing, starts: 1, issued: 0 };
        let (members, writes) = (vec![member; self.n], Vec::new());
        vec![State { members, writes, sent: BTreeSet::new(), crashes: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.writes.len() < self.writes {
            // The others are alike by symmetry: every further write comes from another member or the same.
            let last = state.writes.len().min(self.n - 1);
            actions.extend((0..=last).map(Action::Write));
        }
        let unsynced = |index: &usize| state.members[*index].disk != state.members[*index].memory;
        actions.extend((0..self.n).filter(unsynced).map(Action::Sync));
        for (index, write) in state.writes.iter().enumerate() {
            for other in (0..self.n).filter(|other| *other != write.coordinator) {
                actions.push(Action::Live(index, other));
                let is_held = state.members[other].disk.covers.0.contains(&write.record.1);
                // Of a verdict that was given, and of a start that is over, no ack changes anything.
                let counts = state.members[write.coordinator].starts == write.start;
                if is_held && counts && !write.is_committed {
                    actions.push(Action::Ack(index, other));
                }
            }
        }
        if state.sent.len() < self.answers {
            actions.extend(pairs(self.n).map(|(to, from)| Action::Exchange { to, from }));
        }
        actions.extend(state.sent.iter().cloned().map(Action::CatchUp));
        if state.crashes < self.crashes {
            actions.extend((0..self.n).filter(unsynced).map(Action::Crash));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Write(index) => {
                let member = &mut next.members[index];
                member.issued += 1;
                let lineage = lineage(index, member.starts);
                // Above everything seen here, as a hybrid logical clock stamps; members do not share a clock.
                let seen = member.memory.record.as_ref().map_or(0, |(seen, _)| seen.hlc.as_u64());
                let hlc = Hlc::from_u64(seen.max(member.issued + 10 * member.starts) + 1);
                let version = Version { hlc, origin: lineage.origin.clone() };
                let record = (version, Dot { lineage, seq: member.issued });
                let start = member.starts;
                member.memory.merge(&record, &Covers::default());
                let (acks, is_committed) = (BTreeSet::new(), false);
                next.writes.push(Write { record, coordinator: index, start, acks, is_committed });
            }
            Action::Sync(index) => self.sync(&mut next, index),
            Action::Live(index, to) => {
                let record = next.writes[index].record.clone();
                next.members[to].memory.merge(&record, &Covers::default());
            }
            Action::Ack(index, from) => {
                next.writes[index].acks.insert(from);
                self.judge(&mut next);
            }
            Action::Exchange { to, from } => next.sent.extend(self.exchanged(state, to, from)),
            Action::CatchUp(Items { to, record, covers }) => {
                next.members[to].memory.merge(&record, &covers);
            }
            Action::Crash(index) => {
                let member = &mut next.members[index];
                member.memory = member.disk.clone();
                (member.starts, member.issued) = (member.starts + 1, 0);
                next.crashes += 1;
            }
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("frontiers never claim what is not held", |_, state: &State| {
                state.writes.iter().all(|write| {
                    let (version, dot) = &write.record;
                    state.members.iter().all(|member| {
                        !member.disk.covers.0.contains(dot) || member.disk.reaches(version)
                    })
                })
            }),
            Property::always("a committed write is on W disks", |model: &Self, state: &State| {
                let committed = state.writes.iter().filter(|write| write.is_committed);
                committed.into_iter().all(|write| {
                    let holds = |member: &&Member| member.disk.reaches(&write.record.0);
                    state.members.iter().filter(holds).count() > model.n / 2
                })
            }),
            Property::always("all converge, and lose nothing", |model: &Self, state: &State| {
                let held = model.healed(state);
                let is_kept = |write: &Write| held[0].reaches(&write.record.0);
                held.windows(2).all(|two| two[0] == two[1])
                    && state.writes.iter().filter(|write| write.is_committed).all(is_kept)
            }),
            Property::sometimes("a write is committed", |_, state: &State| {
                state.writes.iter().any(|write| write.is_committed)
            }),
            Property::sometimes("an unsynced write is lost", |model: &Self, state: &State| {
                let held = model.healed(state);
                state.writes.iter().any(|write| !held[0].reaches(&write.record.0))
            }),
        ]
    }
}

/// Visits every state within the bounds, and says how many there are.
#[expect(clippy::print_stdout, reason = "the size of what was checked is part of the result")]
fn check(model: Protocol) {
    let Protocol { n, writes, crashes, answers } = model;
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!(
        "{n} members, {writes} writes, {crashes} crashes, {answers} answers: {} states, {} of them different",
        checker.state_count(),
        checker.unique_state_count()
    );
    checker.assert_properties();
}

#[test]
fn three_members_two_writes_one_crash() {
    check(Protocol { n: 3, writes: 2, crashes: 1, answers: 1 });
}

#[test]
fn four_members_one_write_one_crash() {
    check(Protocol { n: 4, writes: 1, crashes: 1, answers: 4 });
}
