//! Everything that was asked, said and promised in a run, and the checks of it.
//!
//! The checks know nothing of how writes are decided: they count durable copies, compare versions, and remember who said
//! what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::program::QuorumRead;
use crate::error::Busy;
use crate::frontier::Frontier;
use crate::id::{Digest, PeerId};
use crate::ports::{Clock, Incoming, PeerReply, Reply};
use crate::receipt::Receipt;
use crate::record::Record;
use crate::testing::ManualClock;
use crate::version::{Dot, Lineage, Origin, Version};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Which check found it.
    pub check: &'static str,
    /// What is wrong.
    pub detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "[{}] {}", self.check, self.detail)
    }
}

/// A write, as its client knows it.
#[derive(Debug, Clone)]
struct Submitted {
    key: usize,
    is_delete: bool,
    was_not_applied: bool,
}

/// A record that went out.
#[derive(Debug, Clone)]
struct Issued {
    version: Version,
    digest: Digest,
    key: usize,
    /// Who has said or shown that its disk holds the record. A dot for which nobody vouches any more may be void.
    vouching: BTreeSet<PeerId>,
}

/// The first final answer of each peer, and when it came.
type Answers = BTreeMap<PeerId, (Reply, Instant)>;

/// What a member must hold again before its word counts: what was committed when its disk was lost, in which life.
#[derive(Debug, Clone)]
struct Loss {
    life: Origin,
    committed: BTreeMap<usize, (Version, bool)>,
}

/// What a member has said to hold of one key: in a life that has not lost its disk since.
type Claimed = BTreeMap<usize, Version>;

#[derive(Debug, Default)]
struct State {
    submitted: BTreeMap<Digest, Submitted>,
    issued: BTreeMap<Lineage, BTreeMap<u64, Issued>>,
    /// What each version names: one write, unless its origin has lost the memory of having used it.
    versions: BTreeMap<Version, BTreeSet<Digest>>,
    last_of: BTreeMap<Origin, Version>,
    /// The first final answer of each peer to each record, and when it came, each time that the record was handed out.
    answers: BTreeMap<Dot, BTreeMap<u64, Answers>>,
    claimed: BTreeMap<PeerId, Claimed>,
    /// In which life each member, as each coordinator hears it, speaks now.
    speaking: BTreeMap<(PeerId, PeerId), Origin>,
    /// In which life a peer has given the copy of a record that counts.
    acked_in: BTreeMap<(Dot, PeerId), Origin>,
    /// The present life of each member, as of its start.
    lives: BTreeMap<PeerId, Origin>,
    losses: BTreeMap<PeerId, Loss>,
    frontiers: BTreeMap<PeerId, Frontier>,
    lineages: BTreeSet<Lineage>,
    /// The newest committed version of each key, and whether it deletes.
    committed: BTreeMap<usize, (Version, bool)>,
    /// The newest version that a quorum read must return: committed, or read before.
    floor: BTreeMap<usize, (Version, bool)>,
    /// The newest deletion of each key that went out.
    deleted: BTreeMap<usize, Version>,
    /// Members whose disk has lost something on purpose.
    excused: BTreeSet<usize>,
    /// A disk lies: until that is noticed, nobody can promise what a read quorum returns.
    forgoes_reads: bool,
    rounds: u64,
    counters: BTreeMap<&'static str, u64>,
    violations: Vec<Violation>,
}

/// The history of one run.
#[derive(Debug)]
pub(super) struct History {
    clock: ManualClock,
    state: Mutex<State>,
}

/// Violations kept of one run.
const VIOLATIONS_MAX: usize = 20;

impl History {
    pub(super) fn new(clock: ManualClock) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default() })
    }

    pub(super) fn violation(&self, check: &'static str, detail: String) {
        self.state.lock().violation(check, detail);
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.state.lock().violations.clone()
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.state.lock().violations.is_empty()
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.state.lock().counters.entry(what).or_default() += 1;
    }

    pub(super) fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().counters.clone()
    }

    // What clients do.

    pub(super) fn submitted(&self, digest: Digest, key: usize, is_delete: bool) {
        let mut state = self.state.lock();
        let was_not_applied = false;
        state.submitted.insert(digest, Submitted { key, is_delete, was_not_applied });
    }

    /// Every attempt at this write was answered "not applied".
    pub(super) fn not_applied(&self, digest: &Digest) {
        let mut state = self.state.lock();
        let went_out = state.versions.values().any(|issued| issued.contains(digest));
        if let Some(write) = state.submitted.get_mut(digest) {
            write.was_not_applied = true;
        }
        if went_out {
            state.violation("verdicts", "a write that was not applied has gone out".into());
        }
    }

    /// A write was called committed. `holds` says what a member durably holds of the key.
    pub(super) fn committed(
        &self,
        receipt: &Receipt,
        (w, n): (usize, usize),
        coordinator: &PeerId,
        deadline: Instant,
        holds: impl Fn(&PeerId, usize) -> QuorumRead,
    ) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(write) = state.submitted.get(&receipt.digest).cloned() else {
            return state.violation("phantoms", format!("{} was never asked for", receipt.dot));
        };
        if receipt.needed != w || receipt.got < w || w > n {
            let (got, needed) = (receipt.got, receipt.needed);
            state.violation("verdicts", format!("{got} of {needed} is no quorum of {w}"));
        }
        // Counted anew from what peers were heard to say by the deadline.
        let says = |(reply, at): &(Reply, Instant)| {
            *at <= deadline && matches!(reply, Reply::Stored | Reply::Superseded { .. })
        };
        let in_time = |answers: &Answers| answers.values().filter(|a| says(a)).count();
        let rounds = state.answers.get(&receipt.dot);
        let heard = rounds.and_then(|rounds| rounds.values().map(in_time).max()).unwrap_or(0);
        if heard + 1 < w {
            let dot = &receipt.dot;
            let detail = format!("{dot} was confirmed by {heard} peers in time, {w} copies asked");
            return state.violation("verdicts", detail);
        }
        // Whoever is said to have it has it, or something newer.
        let acked = receipt.acked().map(|(node, _)| node).chain([coordinator]);
        let lacking: Vec<String> = acked
            .filter(|member| !state.is_excused(member))
            .filter(|member| {
                !state.reaches(write.key, holds(member, write.key).as_ref(), &receipt.version)
            })
            .map(ToString::to_string)
            .collect();
        if !lacking.is_empty() {
            let detail = format!("{} is not durable at {}", receipt.dot, lacking.join(", "));
            state.violation("durability", detail);
        }
        state.vouch(coordinator, &receipt.dot);
        // Whoever is counted has everything again that it had a part in before.
        for (member, _) in receipt.acked() {
            if let Some(lacked) = state.lacks_of_before(&receipt.dot, member, &holds) {
                let detail = format!("{} counts {member}, which lacks {lacked}", receipt.dot);
                state.violation("recovery", detail);
            }
        }
        let newest = (receipt.version.clone(), write.is_delete);
        if 2 * w > n {
            // Every read quorum hears one of its members.
            raise(&mut state.floor, write.key, newest.clone());
        }
        raise(&mut state.committed, write.key, newest);
    }

    /// What a quorum read that begins now must not go back behind.
    pub(super) fn floor(&self, key: usize) -> Option<(Version, bool)> {
        self.state.lock().floor.get(&key).cloned()
    }

    /// A quorum read that began at a floor has found something.
    pub(super) fn read(&self, key: usize, floor: Option<(Version, bool)>, found: &QuorumRead) {
        let mut state = self.state.lock();
        let Some((version, digest)) = found else {
            // A deletion that was purged leaves nothing, whatever its verdict was.
            let is_gone = |(floor, _): &(Version, bool)| state.reaches(key, None, floor);
            if !floor.as_ref().is_none_or(is_gone) && !state.forgoes_reads {
                state.violation("reads", format!("a quorum read of key {key} found nothing"));
            }
            return;
        };
        state.check_known(key, version, digest);
        if state.forgoes_reads {
            return;
        }
        if let Some((floor, _)) = floor.filter(|(floor, _)| version < floor) {
            let detail = format!("a quorum read of key {key} found {version}, {floor} was there");
            state.violation("reads", detail);
        }
        let is_delete = state.submitted.get(digest).is_some_and(|write| write.is_delete);
        raise(&mut state.floor, key, (version.clone(), is_delete));
    }

    // What goes over the network.

    /// A record is handed to the network by its coordinator. Returns the number under which it is answered.
    pub(super) fn issued(&self, record: &Record) -> u64 {
        let mut state = self.state.lock();
        state.rounds += 1;
        let round = state.rounds;
        let is_new = state.enter(record);
        if !is_new {
            return round;
        }
        let (origin, version) = (&record.dot.lineage.origin, record.version());
        let last = state.last_of.insert(origin.clone(), version.clone());
        let is_excused = state.is_excused(&origin.node);
        if let Some(last) = last.filter(|last| *last >= version && !is_excused) {
            let detail = format!("{} has {version} after {last}", record.dot);
            state.violation("versions", detail);
        }
        round
    }

    /// An item is sent out of a log.
    pub(super) fn carried(&self, sender: &PeerId, item: &Incoming) {
        if let Some(record) = &item.record {
            let mut state = self.state.lock();
            state.enter(record);
            state.vouch(sender, &record.dot);
        }
    }

    /// A writer was told what a peer says of its record. The first final answer stands, until its peer loses its disk.
    pub(super) fn heard(&self, dot: &Dot, round: u64, said: &PeerReply) {
        let mut state = self.state.lock();
        let answers = state.answers.entry(dot.clone()).or_default().entry(round).or_default();
        match &said.reply {
            Reply::Busy { reason: Busy::Recovering } => {
                answers.remove(&said.peer);
            }
            Reply::Busy { .. } => {}
            reply => {
                answers.entry(said.peer.clone()).or_insert_with(|| (reply.clone(), said.at));
            }
        }
    }

    /// What a coordinator hears of a peer from now on, that peer says in this life.
    pub(super) fn speaks(&self, coordinator: &PeerId, life: &Origin) {
        let between = (coordinator.clone(), life.node.clone());
        self.state.lock().speaking.insert(between, life.clone());
    }

    /// A peer has said something of a record: what it claims to hold is held against it.
    pub(super) fn claimed(&self, coordinator: &PeerId, dot: &Dot, said: &PeerReply) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if said.reply == Reply::Stored {
            state.vouch(&said.peer, dot);
        }
        let issued = state.issued.get(&dot.lineage).and_then(|dots| dots.get(&dot.seq));
        let Some(issued) = issued else { return };
        let claims = match &said.reply {
            Reply::Stored => &issued.version,
            Reply::Superseded { version, .. } => version,
            _ => return,
        };
        if let Some(life) = state.speaking.get(&(coordinator.clone(), said.peer.clone())) {
            state.acked_in.insert((dot.clone(), said.peer.clone()), life.clone());
        }
        let claimed = state.claimed.entry(said.peer.clone()).or_default();
        match claimed.get_mut(&issued.key) {
            Some(newest) if *newest >= *claims => {}
            Some(newest) => *newest = claims.clone(),
            None => {
                claimed.insert(issued.key, claims.clone());
            }
        }
    }

    // What members hold.

    /// A member loses its disk, or part of it, on purpose: what it claimed is not held against it.
    pub(super) fn excuse(&self, index: usize, member: &PeerId) {
        let mut state = self.state.lock();
        state.excused.insert(index);
        if let Some(life) = state.lives.get(member).cloned() {
            let committed = state.committed.clone();
            state.losses.insert(member.clone(), Loss { life, committed });
        }
        state.claimed.remove(member);
        state.frontiers.remove(member);
        let issued = state.issued.values_mut().flat_map(BTreeMap::values_mut);
        issued.for_each(|issued| {
            issued.vouching.remove(member);
        });
    }

    /// A disk begins to lie.
    pub(super) fn forgo_reads(&self) {
        self.state.lock().forgoes_reads = true;
    }

    pub(super) fn forgoes_reads(&self) -> bool {
        self.state.lock().forgoes_reads
    }

    pub(super) fn rolled_back(&self, index: usize, member: &PeerId) {
        let mut state = self.state.lock();
        if !state.excused.contains(&index) {
            state.violation("rollback", format!("{member} lost nothing and was said to have"));
        }
    }

    /// A member has started: in a lineage that was never used, and holding all it claimed before.
    pub(super) fn started(
        &self,
        member: &PeerId,
        lineage: &Lineage,
        frontier: &Frontier,
        current: impl Fn(usize) -> QuorumRead,
    ) {
        {
            let mut state = self.state.lock();
            if !state.lineages.insert(lineage.clone()) || state.issued.contains_key(lineage) {
                state.violation("epochs", format!("{lineage} was used before"));
            }
            state.lives.insert(member.clone(), lineage.origin.clone());
            let is_excused = state.is_excused(member);
            let before = state.frontiers.get(member).filter(|_| !is_excused);
            if before.is_some_and(|before| !frontier.covers(before)) {
                state.violation("frontiers", format!("{member} holds less than it announced"));
            }
            let claimed = state.claimed.get(member).filter(|_| !is_excused);
            let claimed = claimed.cloned().unwrap_or_default();
            for (key, version) in claimed {
                if !state.reaches(key, current(key).as_ref(), &version) {
                    let detail = format!("{member} acknowledged {version} of key {key}, lost it");
                    state.violation("durability", detail);
                }
            }
        }
        self.looked_at(member, frontier, current);
    }

    /// A member has taken an item out of a peer's log: what it stands for is there, or something newer, or purged.
    pub(super) fn took(
        &self,
        member: &PeerId,
        item: &Incoming,
        current: impl Fn(usize) -> QuorumRead,
    ) {
        let mut state = self.state.lock();
        let covered = item.covers.iter().filter(|_| !item.void).filter_map(|(lineage, seqs)| {
            let dots = state.issued.get(lineage)?;
            let covered = dots.iter().filter(|(seq, _)| seqs.contains(**seq));
            covered.map(|(_, issued)| issued).find(|issued| {
                !issued.vouching.is_empty()
                    && !state.reaches(issued.key, current(issued.key).as_ref(), &issued.version)
            })
        });
        let lacked = covered.map(|issued| (issued.version.clone(), issued.key)).next();
        if let Some((version, key)) = lacked {
            let detail = format!("{member} took {version} of key {key} for held, holds less");
            state.violation("frontiers", detail);
        }
    }

    /// What a member's frontier covers is there, or something newer, or purged; and nothing is there that nobody wrote.
    pub(super) fn looked_at(
        &self,
        member: &PeerId,
        frontier: &Frontier,
        current: impl Fn(usize) -> QuorumRead,
    ) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut covered: BTreeMap<usize, &Version> = BTreeMap::new();
        for (lineage, held) in frontier.iter() {
            let Some(dots) = state.issued.get(lineage) else { continue };
            let within = dots.iter().filter(|(seq, _)| held.contains(**seq));
            for (_, issued) in within.filter(|(_, issued)| !issued.vouching.is_empty()) {
                let newest = covered.entry(issued.key).or_insert(&issued.version);
                *newest = (*newest).max(&issued.version);
            }
        }
        let lacking: Vec<String> = covered
            .into_iter()
            .filter(|(key, version)| !state.reaches(*key, current(*key).as_ref(), version))
            .map(|(key, version)| format!("{member} covers {version} of key {key}, holds less"))
            .collect();
        lacking.into_iter().for_each(|detail| state.violation("frontiers", detail));
        let keys: BTreeSet<usize> = state.submitted.values().map(|write| write.key).collect();
        for key in keys {
            if let Some((version, digest)) = current(key) {
                state.check_known(key, &version, &digest);
            }
        }
        state.frontiers.insert(member.clone(), frontier.clone());
    }

    /// At the end, every member holds the newest committed version of every key, or a newer one.
    pub(super) fn ended(&self, member: &PeerId, current: impl Fn(usize) -> QuorumRead) {
        let mut state = self.state.lock();
        let lost: Vec<String> = state
            .committed
            .iter()
            .filter(|(key, (version, _))| !state.reaches(**key, current(**key).as_ref(), version))
            .map(|(key, (version, _))| format!("{member} lacks committed {version} of key {key}"))
            .collect();
        lost.into_iter().for_each(|detail| state.violation("acknowledged", detail));
    }

    /// What a reader finds where that is held: a tombstone is as good as nothing.
    pub(super) fn as_read(&self, held: QuorumRead) -> QuorumRead {
        let state = self.state.lock();
        held.filter(|(_, digest)| !state.submitted.get(digest).is_some_and(|write| write.is_delete))
    }

    pub(super) fn elapsed(&self, since: Instant) -> Duration {
        self.clock.now().saturating_duration_since(since)
    }
}

impl State {
    fn violation(&mut self, check: &'static str, detail: String) {
        let violation = Violation { check, detail };
        if self.violations.len() < VIOLATIONS_MAX && !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    /// Whether what is held of a key is at least that version; nothing at all is, if the key may have been purged.
    fn reaches(&self, key: usize, held: Option<&(Version, Digest)>, version: &Version) -> bool {
        match held {
            Some((held, _)) => held >= version,
            None => self.deleted.get(&key).is_some_and(|deleted| deleted >= version),
        }
    }

    /// What a peer that has lost its disk lacks of what was committed then, if it gave its copy of this record in a later
    /// life. Nothing is said where disks lie: nobody knows then whose word is missing.
    fn lacks_of_before(
        &self,
        dot: &Dot,
        member: &PeerId,
        holds: impl Fn(&PeerId, usize) -> QuorumRead,
    ) -> Option<Version> {
        let loss = self.losses.get(member).filter(|_| !self.forgoes_reads)?;
        let life = self.acked_in.get(&(dot.clone(), member.clone()))?;
        let mut committed = loss.committed.iter().filter(|_| *life != loss.life);
        let lacked = committed.find(|(key, (version, _))| {
            !self.reaches(**key, holds(member, **key).as_ref(), version)
        });
        lacked.map(|(_, (version, _))| version.clone())
    }

    fn is_excused(&self, member: &PeerId) -> bool {
        // Members are named by their number, from 1.
        let number = member.as_str().trim_start_matches('n').parse::<usize>();
        number.is_ok_and(|number| self.excused.contains(&number.wrapping_sub(1)))
    }

    fn vouch(&mut self, member: &PeerId, dot: &Dot) {
        let issued = self.issued.get_mut(&dot.lineage).and_then(|dots| dots.get_mut(&dot.seq));
        if let Some(issued) = issued {
            issued.vouching.insert(member.clone());
        }
    }

    /// Enters a record by its dot and version. Tells whether it was new.
    fn enter(&mut self, record: &Record) -> bool {
        let (dot, version) = (&record.dot, record.version());
        let Some(write) = self.submitted.get(&record.digest) else {
            self.violation("phantoms", format!("nobody wrote {dot}"));
            return false;
        };
        let (key, was_not_applied, is_delete) = (write.key, write.was_not_applied, write.is_delete);
        if was_not_applied {
            self.violation("verdicts", format!("{dot} was not applied, and goes round"));
        }
        if is_delete {
            let deleted = self.deleted.entry(key).or_insert_with(|| version.clone());
            *deleted = deleted.clone().max(version.clone());
        }
        let is_excused = self.is_excused(&version.origin.node);
        let known = self.versions.entry(version.clone()).or_default();
        if known.insert(record.digest) && known.len() > 1 && !is_excused {
            self.violation("versions", format!("{version} names two writes"));
        }
        let dots = self.issued.entry(dot.lineage.clone()).or_default();
        let issued = Issued { version, digest: record.digest, key, vouching: BTreeSet::new() };
        match dots.get(&dot.seq) {
            None => {
                dots.insert(dot.seq, issued);
                true
            }
            Some(known) => {
                if (&known.version, &known.digest) != (&issued.version, &issued.digest) {
                    self.violation("dots", format!("{dot} names two writes"));
                }
                false
            }
        }
    }

    fn check_known(&mut self, key: usize, version: &Version, digest: &Digest) {
        match self.submitted.get(digest) {
            Some(write) if write.key == key => {
                if write.was_not_applied {
                    let detail = format!("{version} of key {key} was not applied, and is there");
                    self.violation("verdicts", detail);
                }
            }
            _ => {
                self.violation("phantoms", format!("key {key} holds what nobody wrote: {version}"));
            }
        }
        if self.versions.get(version).is_some_and(|known| !known.contains(digest)) {
            self.violation("versions", format!("{version} of key {key} has another content"));
        }
    }
}

fn raise(floors: &mut BTreeMap<usize, (Version, bool)>, key: usize, to: (Version, bool)) {
    let floor = floors.entry(key).or_insert_with(|| to.clone());
    if floor.0 < to.0 {
        *floor = to;
    }
}
