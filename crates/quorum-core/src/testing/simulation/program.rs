//! What is simulated: the program of a member, or only a store with the quorum writer around it.

use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use super::clock::MemberClock;
use super::peer::{LinkReport, SimulatedPeers};
use super::rng::SeededRandom;
use super::tasks::Bell;
use crate::id::{Digest, PeerId, WriteId};
use crate::observe::Silent;
use crate::policy::QuorumPolicy;
use crate::ports::{LocalStore, LogSource, ReplicaStore};
use crate::query::QuerySource;
use crate::receipt::{Receipt, WriteError};
use crate::version::Version;
use crate::writer::{CommitOptions, QuorumWriter};

/// A write as a simulated client words it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientWrite {
    /// Under which key.
    pub key: String,
    /// What; `None` deletes. Only programs that [can delete](Subject::deletes) are asked for that.
    pub value: Option<String>,
    /// The write's name.
    pub write_id: WriteId,
    /// Copies needed; as the policy says if left out.
    pub w: Option<usize>,
    /// How long to wait for the verdict.
    pub timeout: Duration,
    /// Whether the same write was asked for before, here or elsewhere.
    pub is_retry: bool,
}

/// What a client was told.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a write has three outcomes")]
pub enum ClientOutcome {
    /// Committed.
    Committed(Receipt),
    /// Nothing of it is anywhere, and never will be.
    NotApplied,
    /// It may or may not survive.
    Indeterminate,
}

impl<E: std::error::Error> From<Result<Receipt, WriteError<E>>> for ClientOutcome {
    fn from(outcome: Result<Receipt, WriteError<E>>) -> Self {
        match outcome {
            Ok(receipt) => Self::Committed(receipt),
            Err(WriteError::NotApplied(_)) => Self::NotApplied,
            Err(WriteError::Indeterminate { .. }) => Self::Indeterminate,
        }
    }
}

/// What a client has read at a quorum: the newest record by version and digest, a tombstone included.
pub type QuorumRead = Option<(Version, Digest)>;

/// What a disk does with the next sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store must play every case")]
pub enum DiskMood {
    /// It syncs.
    Honest,
    /// It says that it has, and forgets it when the power is cut.
    Lying,
    /// It fails.
    Failing,
}

/// The place of one member in the mesh, for one start of its program.
#[derive(Clone)]
#[non_exhaustive]
pub struct Seat {
    /// The member.
    pub name: PeerId,
    /// Its number, from 0.
    pub index: usize,
    /// The other members.
    pub peers: Vec<PeerId>,
    /// The rule of the mesh.
    pub policy: QuorumPolicy,
    /// Its clock.
    pub clock: MemberClock,
    /// Its randomness: incarnations, salts, write ids.
    pub random: Arc<SeededRandom>,
    /// Its network.
    pub network: SimulatedPeers,
    pub(super) disk: Arc<Bell>,
}

impl Seat {
    /// Something waits for the disk: [`Program::sync`] is called when the disk gets round to it.
    pub fn needs_sync(&self) {
        self.disk.ring();
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Seat").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A running program of one member.
pub trait Program: Send + Sync + 'static {
    /// What is served to peers.
    type Served: ReplicaStore + LogSource + QuerySource;

    /// What is served to peers.
    fn served(&self) -> &Self::Served;

    /// Carries out a client's write.
    fn write(&self, write: ClientWrite) -> impl Future<Output = ClientOutcome> + Send;

    /// Reads a key at a read quorum; `None` if that was not met, or for a program that reads locally only.
    fn read(&self, _key: &str) -> impl Future<Output = Option<QuorumRead>> + Send {
        ready(None)
    }

    /// The synced current record of a key.
    fn current(&self, key: &str) -> QuorumRead;

    /// Makes durable what waits; see [`Seat::needs_sync`]. Tells whether more waits.
    fn sync(&self, _mood: DiskMood) -> bool {
        false
    }

    /// Whether the program still takes writes; one that does not is started again after a while.
    fn is_running(&self) -> bool {
        true
    }

    /// What the program does now and then: purge, trim, close gaps, watch its clock.
    fn chores(&self, _peers: Vec<LinkReport>) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// A peer remembers more of this member than its disk does: takes another incarnation. Tells whether it has.
    fn reincarnate(&self) -> impl Future<Output = bool> + Send {
        ready(false)
    }

    /// How full its queues are, of what they may hold; each pair is one queue.
    fn queues(&self) -> Vec<(usize, usize)> {
        Vec::new()
    }
}

/// What a simulation starts, kills and starts again.
pub trait Subject: 'static {
    /// The program of one member.
    type Program: Program;

    /// Starts the program of a member on what its disk holds.
    fn start(&self, seat: &Seat) -> Self::Program;

    /// Cuts the power of a member whose program has just been stopped where it stood: what was not synced is gone.
    fn cut_power(&self, seat: &Seat, program: &Self::Program);

    /// Takes the disk away: the next start finds an empty one. Tells whether it did.
    fn wipe(&self, _seat: &Seat) -> bool {
        false
    }

    /// The digest of the payload that a record of such a write carries.
    fn digest(&self, key: &str, value: Option<&str>) -> Digest;

    /// Whether its programs can delete.
    fn deletes(&self) -> bool {
        false
    }

    /// Whether its programs bear disks that lie or are lost, and [`wipe`](Self::wipe) works.
    fn bears_lost_disks(&self) -> bool {
        false
    }

    /// Whether a key belongs to a linearizable namespace: then what clients see of it is judged by that.
    fn is_linearizable(&self, _key: &str) -> bool {
        false
    }

    /// Whether its programs know a write by its id when it is asked for again, through another member even.
    fn retries(&self) -> bool {
        false
    }
}

/// A store to be simulated: the quorum writer is put around it.
pub trait SimulatedStore: Send + Sync + 'static {
    /// The store. A clone must be the same store.
    type Store: LocalStore<Durable: 'static> + ReplicaStore + LogSource + QuerySource + Clone;

    /// Opens the store of a member on what survived; empty at first.
    fn open(&self, seat: &Seat) -> Self::Store;

    /// Loses what is not synced, as a power cut does.
    fn cut_power(&self, seat: &Seat, store: &Self::Store);

    /// A local write.
    fn op(&self, key: &str, value: &str, write_id: WriteId) -> <Self::Store as LocalStore>::Op;

    /// The digest of the payload that a record of such a write carries.
    fn digest(&self, key: &str, value: &str) -> Digest;

    /// Version and digest of the synced current record of a key.
    fn current(&self, store: &Self::Store, key: &str) -> QuorumRead;

    /// Makes durable what waits, for a store whose appends do; see [`Seat::needs_sync`]. Tells whether more waits.
    fn sync(&self, _store: &Self::Store, _mood: DiskMood) -> bool {
        false
    }

    /// Whether the store still takes writes; one that does not is opened again after a while.
    fn is_running(&self, _store: &Self::Store) -> bool {
        true
    }
}

/// A [`Subject`] made of a store and the quorum writer.
#[derive(Debug)]
pub struct StoreSubject<H> {
    harness: Arc<H>,
}

impl<H: SimulatedStore> StoreSubject<H> {
    /// Simulates the stores of `harness`.
    #[must_use]
    pub fn new(harness: H) -> Self {
        Self { harness: Arc::new(harness) }
    }
}

/// The program of a [`StoreSubject`].
#[derive(Debug)]
pub struct StoreProgram<H: SimulatedStore> {
    harness: Arc<H>,
    writer: QuorumWriter<H::Store, SimulatedPeers, MemberClock>,
    store: H::Store,
}

impl<H: SimulatedStore> Program for StoreProgram<H> {
    type Served = H::Store;

    fn served(&self) -> &H::Store {
        &self.store
    }

    async fn write(&self, write: ClientWrite) -> ClientOutcome {
        let value = write.value.unwrap_or_default();
        let op = self.harness.op(&write.key, &value, write.write_id);
        let options =
            CommitOptions { w: write.w, timeout: Some(write.timeout), ..CommitOptions::default() };
        self.writer.commit(op, options).await.into()
    }

    fn current(&self, key: &str) -> QuorumRead {
        self.harness.current(&self.store, key)
    }

    fn sync(&self, mood: DiskMood) -> bool {
        self.harness.sync(&self.store, mood)
    }

    fn is_running(&self) -> bool {
        self.harness.is_running(&self.store)
    }
}

impl<H: SimulatedStore> Subject for StoreSubject<H> {
    type Program = StoreProgram<H>;

    fn start(&self, seat: &Seat) -> StoreProgram<H> {
        let store = self.harness.open(seat);
        let writer = QuorumWriter::new(
            seat.policy.clone(),
            seat.name.clone(),
            seat.peers.clone(),
            store.clone(),
            seat.network.clone(),
            seat.clock.clone(),
            Arc::new(Silent),
        );
        let writer = writer.expect("the seat's members are those of its policy");
        StoreProgram { harness: Arc::clone(&self.harness), writer, store }
    }

    fn cut_power(&self, seat: &Seat, program: &StoreProgram<H>) {
        self.harness.cut_power(seat, &program.store);
    }

    fn digest(&self, key: &str, value: Option<&str>) -> Digest {
        self.harness.digest(key, value.unwrap_or_default())
    }
}
