//! One run of one seed: the members, the clients, what goes wrong, and the checks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clients;
use super::clock::MemberClock;
use super::dial::keep_link;
use super::faults::Faults;
use super::history::{History, Violation};
use super::member::Member;
use super::nemesis;
use super::network::Net;
use super::operations::Operations;
use super::peer::{Hostility, Peer, SimulatedPeers};
use super::program::{DiskMood, Program, QuorumRead, Seat, Subject};
use super::rng::SeededRandom;
use super::serve::accept;
use super::tasks::{Bell, Once, Tasks};
use super::trace::Trace;
use crate::frontier::Frontier;
use crate::id::PeerId;
use crate::policy::QuorumPolicy;
use crate::ports::{Clock, ReplicaStore, wall_millis};
use crate::testing::ManualClock;

/// How often every member is looked at while a run is on.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often chores are done, about.
const CHORES_EVERY: Duration = Duration::from_secs(2);
/// How soon whoever watches programs starts one again that has given up, about.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How late a member starts for the first time, at most.
const LATE_MAX: Duration = Duration::from_secs(40);
/// What the way between two members takes when all is well.
const LATENCY: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(3));

/// What came out of one run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// How many members it had.
    pub members: usize,
    /// How much time passed in it.
    pub virtual_time: Duration,
    /// How long after healing everything was alike everywhere; `None` if it never was.
    pub converged_after: Option<Duration>,
    /// How often things happened, by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// Every event in one number: equal for equal runs.
    pub trace: u64,
    /// How many events.
    pub events: u64,
    /// The promises that were broken.
    pub violations: Vec<Violation>,
}

/// One member over all its starts.
pub(super) struct Slot<P> {
    pub(super) name: PeerId,
    pub(super) clock: MemberClock,
    pub(super) starts: u64,
    /// The running start.
    pub(super) member: Option<Arc<Member<P>>>,
    /// The last program, running or not: what it has published is what is on its disk.
    pub(super) last: Option<(Seat, Arc<P>)>,
    pub(super) died: Arc<Once>,
    pub(super) disk_delay: (Duration, Duration),
    pub(super) disk_mood: DiskMood,
    /// The next write that it takes is its last.
    pub(super) is_trapped: bool,
}

/// A run in progress. Clones are the same one.
pub(super) struct Run<S: Subject> {
    pub(super) shared: Rc<Shared<S>>,
}

impl<S: Subject> Clone for Run<S> {
    fn clone(&self) -> Self {
        Self { shared: Rc::clone(&self.shared) }
    }
}

pub(super) struct Shared<S: Subject> {
    pub(super) subject: S,
    pub(super) faults: Faults,
    pub(super) clock: ManualClock,
    pub(super) random: SeededRandom,
    pub(super) tasks: Tasks,
    pub(super) net: Arc<Net>,
    pub(super) history: Arc<History>,
    pub(super) operations: Operations,
    pub(super) trace: Trace,
    pub(super) policy: QuorumPolicy,
    pub(super) keys: Arc<[String]>,
    pub(super) names: Arc<[PeerId]>,
    pub(super) slots: RefCell<Vec<Slot<S::Program>>>,
    /// Disks that may lose something in this run: as many as a write committed by a majority survives.
    pub(super) losses_max: usize,
    /// Clients go on and faults happen until then.
    pub(super) heal_at: Instant,
    hostility: Arc<Hostility>,
    incarnations: SeededRandom,
}

/// What a member covers, and what it holds of every key.
type Held = (Frontier, Vec<QuorumRead>);

impl<S: Subject> Run<S> {
    /// Runs one seed to its end.
    pub(super) fn of(subject: S, faults: Faults, seed: u64, prints: bool) -> Outcome {
        let run = Self::begin(subject, faults, seed, prints);
        run.mount();
        let shared = &run.shared;
        shared.tasks.run_until(shared.heal_at, || shared.history.is_broken());
        let converged_after = run.conclude();
        // Tasks hold the run, and the run holds the tasks.
        (0..shared.names.len()).for_each(|index| run.stop(index));
        let outcome = Outcome {
            seed,
            members: shared.names.len(),
            virtual_time: shared.history.elapsed(crate::testing::epoch()),
            converged_after,
            counters: shared.history.counters(),
            trace: shared.trace.hash(),
            events: shared.trace.events(),
            violations: shared.history.violations(),
        };
        shared.tasks.clear();
        outcome
    }

    fn begin(subject: S, faults: Faults, seed: u64, prints: bool) -> Self {
        let (clock, random) = (ManualClock::new(), SeededRandom::new(seed));
        let members = &faults.members;
        let n = members[usize::try_from(random.below(members.len() as u64)).unwrap_or(0)];
        let names: Arc<[PeerId]> = (1..=n)
            .map(|number| PeerId::new(format!("n{number}")).expect("a valid name"))
            .collect();
        let policy = QuorumPolicy::majority(n).expect("a mesh has members");
        let name = |key| if key % 3 == 2 { format!("strict {key}") } else { format!("key {key}") };
        let keys = (0..3 + random.below(10)).map(name).collect();
        let bears = faults.lost_disks && subject.bears_lost_disks() && random.happens(300);
        let losses_max = if bears { n / 2 } else { 0 };
        let heal_at = clock.now() + random.between(faults.span.0, faults.span.1);
        let per_mille =
            if faults.hostile_replies { [0, 0, 30][random.below(3) as usize] } else { 0 };
        let slots = names.iter().map(|name| Slot {
            name: name.clone(),
            clock: MemberClock::new(clock.clone(), 0),
            starts: 0,
            member: None,
            last: None,
            died: Arc::default(),
            disk_delay: (Duration::from_micros(100), Duration::from_millis(2)),
            disk_mood: DiskMood::Honest,
            is_trapped: false,
        });
        let slots = RefCell::new(slots.collect());
        let shared = Shared {
            tasks: Tasks::new(clock.clone()),
            net: Arc::new(Net::new(clock.clone(), random.branch(1), n, LATENCY)),
            history: History::new(clock.clone()),
            operations: Operations::default(),
            trace: Trace::new(clock.clone(), prints),
            hostility: Arc::new(Hostility { random: random.branch(2), per_mille }),
            incarnations: random.branch(3),
            subject,
            faults,
            clock,
            random,
            policy,
            keys,
            names,
            slots,
            losses_max,
            heal_at,
        };
        Self { shared: Rc::new(shared) }
    }

    fn mount(&self) {
        let shared = &self.shared;
        let late = shared.random.branch(6);
        for index in 0..shared.names.len() {
            if late.happens(80) {
                self.start_late(index, late.between(Duration::ZERO, LATE_MAX));
            } else {
                self.start(index);
            }
        }
        let count = 1 + shared.random.below(4);
        for client in 0..count {
            let random = shared.random.branch(100 + client);
            shared.tasks.spawn(None, clients::work(self.clone(), client, random));
        }
        shared.tasks.spawn(None, nemesis::work(self.clone(), shared.random.branch(4)));
        let run = self.clone();
        shared.tasks.spawn(None, async move {
            loop {
                run.shared.clock.sleep_until(run.shared.clock.now() + LOOK_EVERY).await;
                run.look();
            }
        });
        let (run, random) = (self.clone(), shared.random.branch(5));
        shared.tasks.spawn(None, async move {
            loop {
                let pause = random.between(RESTART_AFTER / 4, 2 * RESTART_AFTER);
                run.shared.clock.sleep_until(run.shared.clock.now() + pause).await;
                run.restart_failed();
            }
        });
    }

    /// Starts a member for the first time when others may have been at work for long.
    fn start_late(&self, index: usize, pause: Duration) {
        self.shared.history.count("late first starts");
        let run = self.clone();
        self.shared.tasks.spawn(None, async move {
            run.shared.clock.sleep_until(run.shared.clock.now() + pause).await;
            if run.shared.slots.borrow()[index].starts == 0 {
                run.start(index);
            }
        });
    }

    /// Whether a member runs and its acks count.
    pub(super) fn counts(&self, index: usize) -> bool {
        self.running(index).is_some_and(|member| {
            member.program.served().announcement(&member.name).recovery.counts()
        })
    }

    /// Starts the program of a member on what its disk holds.
    pub(super) fn start(&self, index: usize) {
        let shared = &self.shared;
        let (news, disk) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let peers: Arc<[Arc<Peer>]> = shared
            .names
            .iter()
            .enumerate()
            .filter(|(peer, _)| *peer != index)
            .map(|(peer, name)| Arc::new(Peer::new(name.clone(), peer, Arc::clone(&news))))
            .collect();
        let random = Arc::new(shared.incarnations.branch(index as u64));
        let mut slots = shared.slots.borrow_mut();
        let slot = &mut slots[index];
        slot.starts += 1;
        slot.died = Arc::default();
        let network = SimulatedPeers {
            local: slot.name.clone(),
            peers: Arc::clone(&peers),
            clock: Arc::new(slot.clock.clone()),
            history: Arc::clone(&shared.history),
            hostility: Arc::clone(&shared.hostility),
        };
        let seat = Seat {
            name: slot.name.clone(),
            index,
            peers: peers.iter().map(|peer| peer.name.clone()).collect(),
            policy: shared.policy.clone(),
            clock: slot.clock.clone(),
            random: Arc::clone(&random),
            network,
            disk: Arc::clone(&disk),
        };
        let program = Arc::new(shared.subject.start(&seat));
        slot.last = Some((seat, Arc::clone(&program)));
        let member = Arc::new(Member {
            index,
            name: slot.name.clone(),
            start: slot.starts,
            program: Arc::clone(&program),
            clock: slot.clock.clone(),
            random,
            net: Arc::clone(&shared.net),
            peers,
            serving: Default::default(),
            snapshot: Default::default(),
            news,
            disk,
            rolled_back: Bell::default(),
            history: Arc::clone(&shared.history),
            trace: shared.trace.clone(),
            keys: Arc::clone(&shared.keys),
        });
        slot.member = Some(Arc::clone(&member));
        let (served, start) = (program.served(), member.start);
        let lineage = served.lineage();
        shared.trace.event("start", (index as u64, start), || lineage.to_string());
        shared.history.count("starts");
        let frontier = served.frontier();
        let current = |key: usize| program.current(&shared.keys[key]);
        shared.history.started(&slot.name, &lineage, &frontier, current);
        drop(slots);
        self.run_tasks_of(&member);
    }

    fn run_tasks_of(&self, member: &Arc<Member<S::Program>>) {
        let (shared, owner) = (&self.shared, member.owner());
        let door = shared.net.open_door(member.index);
        let accepting = accept(Arc::clone(member), door, shared.tasks.clone());
        shared.tasks.spawn(owner, accepting);
        for peer in &*member.peers {
            shared.tasks.spawn(owner, keep_link(Arc::clone(member), Arc::clone(peer)));
        }
        shared.tasks.spawn(owner, Arc::clone(member).exchange());
        shared.tasks.spawn(owner, Arc::clone(member).chores(CHORES_EVERY));
        shared.tasks.spawn(owner, Arc::clone(member).watch_rollback());
        shared.tasks.spawn(owner, self.clone().drive_disk(Arc::clone(member)));
    }

    /// Plays the disk of a member: whatever waits is synced a little later.
    async fn drive_disk(self, member: Arc<Member<S::Program>>) {
        let random = self.shared.random.branch(1_000 + member.index as u64);
        loop {
            member.disk.heard().await;
            loop {
                let delay = self.shared.slots.borrow()[member.index].disk_delay;
                let now = self.shared.clock.now();
                self.shared.clock.sleep_until(now + random.between(delay.0, delay.1)).await;
                let mood = {
                    let mut slots = self.shared.slots.borrow_mut();
                    let mood = &mut slots[member.index].disk_mood;
                    // A failure happens once; a lie goes on.
                    match *mood {
                        DiskMood::Failing => std::mem::replace(mood, DiskMood::Honest),
                        other => other,
                    }
                };
                if mood == DiskMood::Failing {
                    self.shared.history.count("syncs failed");
                }
                let more = member.program.sync(mood);
                let numbers = (member.index as u64, u64::from(more));
                self.shared.trace.event("sync", numbers, || format!("{} {mood:?}", member.name));
                if !more {
                    break;
                }
            }
        }
    }

    /// Ends the program of a member where it stands.
    pub(super) fn stop(&self, index: usize) {
        let shared = &self.shared;
        let mut slots = shared.slots.borrow_mut();
        let slot = &mut slots[index];
        let Some(member) = slot.member.take() else { return };
        shared.net.close_door(index);
        slot.died.happen();
        drop(slots);
        shared.trace.event("stop", (index as u64, member.start), || &member.name);
        shared.tasks.kill((index, member.start));
    }

    pub(super) fn running(&self, index: usize) -> Option<Arc<Member<S::Program>>> {
        self.shared.slots.borrow()[index].member.clone()
    }

    /// What a member durably holds of a key, whether it runs or not.
    pub(super) fn held_by(&self, member: &PeerId, key: usize) -> QuorumRead {
        let shared = &self.shared;
        let index = shared.names.iter().position(|name| name == member)?;
        let slots = shared.slots.borrow();
        slots[index].last.as_ref()?.1.current(&shared.keys[key])
    }

    /// Looks at every member that runs: queues, frontiers, contents.
    fn look(&self) {
        let shared = &self.shared;
        for index in 0..shared.names.len() {
            let Some(member) = self.running(index) else { continue };
            self.look_at(&member);
        }
    }

    fn look_at(&self, member: &Member<S::Program>) {
        let shared = &self.shared;
        let mut queues = member.program.queues();
        queues.extend(member.peers.iter().flat_map(|peer| peer.queues()));
        for (held, bound) in queues {
            if held > bound {
                let detail = format!("{}: {held} in a queue of {bound}", member.name);
                shared.history.violation("queues", detail);
            }
        }
        let frontier = member.program.served().frontier();
        let current = |key: usize| member.program.current(&shared.keys[key]);
        shared.history.looked_at(&member.name, &frontier, current);
    }

    /// Heals everything, waits until all are alike, and looks at all of them. Tells how long that took.
    fn conclude(&self) -> Option<Duration> {
        let shared = &self.shared;
        if shared.history.is_broken() {
            return None;
        }
        shared.trace.event("heal", (0, 0), || "everything is well again");
        shared.net.heal(LATENCY);
        for index in 0..shared.names.len() {
            let mut slots = shared.slots.borrow_mut();
            let slot = &mut slots[index];
            slot.clock.correct();
            slot.disk_delay = (Duration::from_micros(100), Duration::from_millis(2));
            slot.disk_mood = DiskMood::Honest;
            shared.tasks.thaw(index);
            let is_down = slot.member.is_none();
            drop(slots);
            if is_down {
                self.start(index);
            }
        }
        let converged_after = self.converge();
        self.look();
        for index in 0..shared.names.len() {
            if let Some(member) = self.running(index) {
                let current = |key: usize| member.program.current(&shared.keys[key]);
                shared.history.ended(&member.name, current);
            }
        }
        if let Some(detail) = shared.operations.judge().filter(|_| !shared.history.forgoes_reads())
        {
            shared.history.violation("linearizability", detail);
        }
        converged_after
    }

    /// Waits until a reader finds the same at all members, and tells how long that took; then until they hold the same
    /// tombstones too.
    ///
    /// A tombstone goes when its stamp lies behind what every clock shows, as far as a member has heard: so one may purge it
    /// before another, and one that was stamped by a clock ahead of time stays until time has caught up.
    fn converge(&self) -> Option<Duration> {
        let shared = &self.shared;
        let (healed, wall) = (shared.clock.now(), wall_millis(&shared.clock));
        let (mut converged_after, mut limit) = (None, shared.faults.convergence_max);
        loop {
            let next = shared.clock.now() + Duration::from_millis(250);
            shared.tasks.run_until(next, || false);
            self.restart_failed();
            let (took, held) = (shared.history.elapsed(healed), self.held());
            if converged_after.is_none()
                && self.are_alike(&held, |held| shared.history.as_read(held))
            {
                converged_after = Some(took);
            }
            if converged_after.is_some() && self.are_alike(&held, |held| held) {
                return converged_after;
            }
            // A member that is just being started again is not judged.
            if converged_after.is_some() && held.len() == shared.names.len() {
                limit = shared.faults.convergence_max + self.tombstones_ahead(&held, wall);
            }
            if took >= limit {
                shared.history.violation("convergence", self.difference());
                return converged_after;
            }
        }
    }

    /// Starts programs again that take no more writes.
    pub(super) fn restart_failed(&self) {
        for index in 0..self.shared.names.len() {
            let has_failed = self.running(index).is_some_and(|member| !member.program.is_running());
            if has_failed {
                self.stop(index);
                self.start(index);
            }
        }
    }

    fn held(&self) -> Vec<Held> {
        let members = (0..self.shared.names.len()).filter_map(|index| self.running(index));
        let held = members.map(|member| {
            let contents = self.shared.keys.iter().map(|key| member.program.current(key));
            (member.program.served().frontier(), contents.collect())
        });
        held.collect()
    }

    /// Whether all members run, and their frontiers and all that they hold are the same, looked at in such a way.
    fn are_alike(&self, held: &[Held], look: impl Fn(QuorumRead) -> QuorumRead) -> bool {
        let mut held = held.to_vec();
        for contents in held.iter_mut().flat_map(|(_, contents)| contents) {
            *contents = look(contents.take());
        }
        held.len() == self.shared.names.len() && held.windows(2).all(|two| two[0] == two[1])
    }

    /// The keys of which not all members hold the same, with what each holds.
    fn differing<'a>(
        &'a self,
        held: &'a [Held],
    ) -> impl Iterator<Item = (&'a str, Vec<&'a QuorumRead>)> {
        let each = |at: usize| held.iter().map(move |(_, contents)| &contents[at]).collect();
        let keys = self.shared.keys.iter().enumerate();
        keys.map(move |(at, key)| (key.as_str(), each(at)))
            .filter(|(_, each): &(_, Vec<_>)| each.windows(2).any(|two| two[0] != two[1]))
    }

    /// How far the tombstones that not all hold lie ahead of a wall clock, those of the key where it is least; zero if
    /// readers can tell the members apart.
    fn tombstones_ahead(&self, held: &[Held], wall: u64) -> Duration {
        let history = &self.shared.history;
        let ahead = self.differing(held).map(|(_, of)| {
            let newest = of.iter().copied().flatten().map(|(version, _)| version.hlc).max();
            let are_gone = of.iter().all(|&held| history.as_read(held.clone()).is_none());
            newest.filter(|_| are_gone).map_or(Duration::ZERO, |newest| newest.ahead_of(wall))
        });
        ahead.min().unwrap_or_default()
    }

    fn difference(&self) -> String {
        let held = self.held();
        let differing: Vec<String> =
            self.differing(&held).map(|(key, each)| format!("{key}: {each:?}")).collect();
        let lacking: Vec<String> = held
            .iter()
            .zip(held.iter().skip(1))
            .flat_map(|((one, _), (other, _))| [one.minus(other), other.minus(one)])
            .flat_map(|rest| {
                rest.iter().map(|(of, set)| format!("{of}: {set:?}")).collect::<Vec<_>>()
            })
            .collect();
        format!(
            "members still differ: keys [{}], dots [{}]",
            differing.join(", "),
            lacking.join("; ")
        )
    }
}
