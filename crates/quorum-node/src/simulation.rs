//! This node as the subject of [`quorum_core::testing::simulation`]: everything but its sockets and threads.
//!
//! The store with its committer, merge and log, the door for peers' records, the path of writes and reads, the chores that
//! purge, trim, close gaps, recover and watch clocks are the ones that run in production. The engine is the one in
//! memory, driven step by step; the network is the simulation's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::testing::simulation::{
    ClientOutcome, ClientWrite, DiskMood, LinkReport, Program, QuorumRead, Seat, SimulatedPeers,
    Subject,
};
use quorum_core::{
    Clock, ClockGuard, ClusterId, Digest, Observer, PeerId, QuorumWriter, Random, Silent,
    wall_millis,
};
use quorum_transport::PeerStatus;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::config::{Config, Consistency, Member, NamespaceSection, Policies, WriteQuorum};
use crate::poll::Members;
use crate::read::ReadRequest;
use crate::receive::{AdmissionLimits, Receiver};
use crate::record::{Key, Namespace, encode};
use crate::repair;
use crate::repair::recovery::RecoveryWatch;
use crate::service::compare_clocks;
use crate::store::engine::memory::MemoryDisk;
use crate::store::{DrivenCommitter, Store, StoreConfig, StoreIdentity, StoreSeams, StoreState};
use crate::write::{WriteFailed, WriteRequest, Writes};

/// A little more than clocks are off at most, so that two of them may be further apart.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(110);
const VALUE_BYTES_MAX: usize = 4 << 10;
/// Short, so that runs purge.
const TOMBSTONE_GRACE: Duration = Duration::from_secs(6);
/// The linearizable namespace, and how its keys begin.
const STRICT: &str = "strict";
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The nodes of one run, with their disks.
#[derive(Debug)]
pub struct SimulatedNodes {
    disks: Mutex<BTreeMap<usize, MemoryDisk>>,
    /// Members that must begin with nothing: what they hold is outdated.
    outdated: Arc<Mutex<BTreeSet<usize>>>,
    /// Entries that the log may have; 0 is unlimited.
    log_entries_max: u64,
}

impl SimulatedNodes {
    /// Nodes on empty disks. With a bound on their logs, members that were away are brought up by comparing everything.
    #[must_use]
    pub fn new(log_entries_max: u64) -> Self {
        Self { disks: Mutex::default(), outdated: Arc::default(), log_entries_max }
    }

    fn disk(&self, index: usize) -> MemoryDisk {
        self.disks.lock().entry(index).or_default().clone()
    }
}

/// One start of one node.
pub struct SimulatedNode {
    index: usize,
    name: PeerId,
    store: Store,
    committer: DrivenCommitter,
    disk: MemoryDisk,
    receiver: Receiver,
    writes: Writes<SimulatedPeers>,
    guard: Arc<Mutex<ClockGuard>>,
    recovery: RecoveryWatch,
    policies: Arc<Policies>,
    outdated: Arc<Mutex<BTreeSet<usize>>>,
    log_entries_max: u64,
}

impl std::fmt::Debug for SimulatedNode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SimulatedNode").field("name", &self.name).finish_non_exhaustive()
    }
}

fn key(name: &str) -> Key {
    Key::new(Bytes::copy_from_slice(name.as_bytes())).expect("simulated keys are valid")
}

/// The namespace of a key: keys that are called strict are linearizable.
fn namespace(key: &str) -> Namespace {
    let name = if key.starts_with(STRICT) { STRICT } else { "simulation" };
    Namespace::new(name).expect("a valid namespace")
}

/// The rule for the linearizable namespace. A majority is counted by hand here: how the node does that is under test.
fn strict(members: usize) -> NamespaceSection {
    NamespaceSection {
        name: Some(STRICT.to_owned()),
        w: Some(WriteQuorum::Exactly(members / 2 + 1)),
        consistency: Some(Consistency::Linearizable),
        ..NamespaceSection::default()
    }
}

fn store_config() -> StoreConfig {
    StoreConfig {
        value_bytes_max: VALUE_BYTES_MAX,
        clock_skew_max: CLOCK_SKEW_MAX,
        // Small, so that runs reach the bounds.
        heads_max: 4,
        queue_records_max: 128,
        queue_bytes_max: 64 << 10,
        batch_records_max: 16,
        clock_headroom: Duration::from_secs(2),
        gaps_max: 8,
        gaps_in_all_max: 24,
        changes_max: 64,
        ..StoreConfig::default()
    }
}

impl Subject for SimulatedNodes {
    type Program = SimulatedNode;

    fn start(&self, seat: &Seat) -> SimulatedNode {
        let disk = self.disk(seat.index);
        if self.outdated.lock().remove(&seat.index) {
            disk.wipe();
        }
        let members: Vec<Member> = seat
            .peers
            .iter()
            .chain([&seat.name])
            .map(|name| Member::new(name.clone(), format!("{name}:1")))
            .collect();
        let mut config = Config::new(seat.name.clone(), members);
        config.namespaces.push(strict(config.members.len()));
        let policies = Arc::new(Policies::new(&config).expect("the defaults are valid"));
        let policy = policies.default_policy().write().clone();
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let clock: Arc<dyn Clock> = Arc::new(seat.clock.clone());
        let random: Arc<dyn Random> = seat.random.clone();
        let guard = Arc::new(Mutex::new(ClockGuard::new(CLOCK_SKEW_MAX)));
        let identity =
            StoreIdentity { cluster: ClusterId::from_bytes([1; 16]), node: seat.name.clone() };
        let open = || {
            let seams = StoreSeams {
                clock: Arc::clone(&clock),
                guard: Arc::clone(&guard),
                observer: Arc::clone(&observer),
                random: Arc::clone(&random),
            };
            let bell = seat.clone();
            let ring = move || bell.needs_sync();
            Store::open_driven(disk.engine(), &identity, store_config(), seams, ring)
        };
        // A start may meet the failure that was meant for the one before; whoever watches processes starts it again.
        let (store, committer) =
            open().or_else(|_| open()).expect("a simulated disk fails once at a time");
        let limits =
            AdmissionLimits { value_bytes_max: VALUE_BYTES_MAX, clock_skew_max: CLOCK_SKEW_MAX };
        let members = seat.peers.iter().cloned().chain([seat.name.clone()]);
        let receiver = Receiver::new(store.clone(), limits, members);
        let writer = QuorumWriter::new(
            policy,
            seat.name.clone(),
            seat.peers.clone(),
            store.clone(),
            seat.network.clone(),
            Arc::clone(&clock),
            Arc::clone(&observer),
        )
        .expect("the members are those of the policy");
        let writes = Writes {
            under_way: receiver.under_way().clone(),
            writer,
            admission: Admission::new(64, 1 << 20, Arc::clone(&observer)),
            clock_guard: Arc::clone(&guard),
            clock: Arc::clone(&clock),
            random,
            observer,
            policies: Arc::clone(&policies),
            read_timeout: READ_TIMEOUT,
            members: Members {
                local: seat.name.clone(),
                peers: seat.peers.clone(),
                network: seat.network.clone(),
                clock,
            },
            receiver: receiver.clone(),
            hurry: CancellationToken::new(),
        };
        SimulatedNode {
            index: seat.index,
            name: seat.name.clone(),
            store,
            committer,
            disk,
            receiver,
            writes,
            guard,
            recovery: RecoveryWatch::default(),
            policies,
            outdated: Arc::clone(&self.outdated),
            log_entries_max: self.log_entries_max,
        }
    }

    fn cut_power(&self, seat: &Seat, _program: &SimulatedNode) {
        self.disk(seat.index).crash();
    }

    fn wipe(&self, seat: &Seat) -> bool {
        self.disk(seat.index).wipe();
        true
    }

    fn digest(&self, name: &str, value: Option<&str>) -> Digest {
        Digest::of(&encode(&namespace(name), &key(name), value.map(str::as_bytes)))
    }

    fn deletes(&self) -> bool {
        true
    }

    fn bears_lost_disks(&self) -> bool {
        true
    }

    fn is_linearizable(&self, key: &str) -> bool {
        key.starts_with(STRICT)
    }

    fn retries(&self) -> bool {
        true
    }
}

impl Program for SimulatedNode {
    type Served = Receiver;

    fn served(&self) -> &Receiver {
        &self.receiver
    }

    async fn write(&self, write: ClientWrite) -> ClientOutcome {
        let request = WriteRequest {
            namespace: namespace(&write.key),
            key: key(&write.key),
            value: write.value.map(Bytes::from),
            write_id: Some(write.write_id),
            copies: write.w.map(WriteQuorum::Exactly),
            timeout: Some(write.timeout),
            durability: None,
            is_retry: write.is_retry,
        };
        match self.writes.write(request).await {
            Ok(receipt) => ClientOutcome::Committed(receipt),
            Err(
                WriteFailed::Indeterminate { .. }
                | WriteFailed::Unsettled { .. }
                | WriteFailed::LookupUnreachable { .. },
            ) => ClientOutcome::Indeterminate,
            Err(_) => ClientOutcome::NotApplied,
        }
    }

    async fn read(&self, name: &str) -> Option<QuorumRead> {
        let request = ReadRequest {
            namespace: namespace(name),
            key: key(name),
            consistency: Some(if name.starts_with(STRICT) {
                Consistency::Linearizable
            } else {
                Consistency::Quorum
            }),
            members: None,
            timeout: None,
        };
        let found = self.writes.read(request).await.ok()?;
        Some(found.stored.map(|stored| (stored.record.version(), stored.record.digest)))
    }

    fn current(&self, name: &str) -> QuorumRead {
        let stored = self.store.get(&namespace(name), &key(name)).ok()??;
        Some((stored.record.version(), stored.record.digest))
    }

    fn sync(&self, mood: DiskMood) -> bool {
        self.disk.set_lying(mood == DiskMood::Lying);
        if mood == DiskMood::Failing {
            self.disk.fail_next_sync();
        }
        self.committer.step()
    }

    fn is_running(&self) -> bool {
        let is_outdated = *self.receiver.outdated().borrow();
        if is_outdated {
            self.outdated.lock().insert(self.index);
        }
        self.store.state() == StoreState::Running && !is_outdated
    }

    async fn chores(&self, reports: Vec<LinkReport>) {
        let peers: Vec<PeerStatus> = reports.into_iter().map(status).collect();
        let clock = self.store.clock();
        let _opinion = compare_clocks(&self.guard, &peers, clock.now(), wall_millis(&**clock));
        self.recovery.look(&self.store, || (peers.clone(), Vec::new()), &self.policies).await;
        let ours = self.store.frontier();
        let void = repair::void::closable(&self.store.lineage(), &ours, &peers);
        if !void.is_empty() {
            let _next_time = self.store.cover(void).await;
        }
        let ours = self.store.frontier();
        let floor = repair::trim::floor(&ours, &self.store.trimmed(), &peers, self.log_entries_max);
        let _next_time = self.store.trim(&floor).await;
        let round = repair::tombstones::Round {
            store: &self.store,
            watermark: self.receiver.watermark(),
            grace: TOMBSTONE_GRACE,
            us: &self.name,
            counted: &|| peers.clone(),
        };
        round.run().await;
    }

    async fn reincarnate(&self) -> bool {
        self.store.reincarnate().await.is_ok()
    }

    fn queues(&self) -> Vec<(usize, usize)> {
        self.store.queued().to_vec()
    }
}

/// A link as the chores of a node know it.
fn status(report: LinkReport) -> PeerStatus {
    let mut status = PeerStatus::unknown(report.peer, String::new());
    status.connected_since = report.connected_since;
    status.lineage = report.lineage;
    status.served = report.served;
    status.frontier = report.frontier;
    status.announcement = report.announcement;
    status.counts = report.counts;
    status.asked_at = report.asked_at;
    (status.clock_offset, status.clock_measured_at) = report.clock_offset.unzip();
    status
}
