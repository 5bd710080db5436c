//! What the core needs from the world: a store, a network, a clock.
//!
//! An embedder implements the stores over its own table and takes the network from `quorum-transport`, or the other
//! way round. The promises of each port are stated here and checked by the suite of the `testing` feature.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;

use crate::announcement::{Announcement, Occasion};
use crate::clock::hlc::Hlc;
use crate::error::{Busy, Refusal};
use crate::frontier::{Frontier, SeqSet};
use crate::id::PeerId;
use crate::record::Record;
use crate::trace::TraceParent;
use crate::version::{Dot, Lineage, Version};

/// A boxed wait, so that clocks can be shared as trait objects.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time, injected.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time: for deadlines and latencies.
    fn now(&self) -> Instant;
    /// Wall-clock time since the Unix epoch: for versions and skew, never for deadlines.
    fn wall(&self) -> Duration;
    /// Completes once [`now`](Self::now) is at or past `at`.
    fn sleep_until(&self, at: Instant) -> Sleep;
}

/// The wall clock in whole milliseconds.
pub fn wall_millis(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.wall().as_millis()).unwrap_or(u64::MAX)
}

/// What a future comes to, unless `deadline` comes first: then it is dropped.
///
/// # Cancellation
///
/// As that of the future.
pub async fn in_time<T>(
    clock: &dyn Clock,
    deadline: Instant,
    outcome: impl Future<Output = T>,
) -> Option<T> {
    let (mut outcome, mut sleep) = (pin!(outcome), clock.sleep_until(deadline));
    poll_fn(|context| match outcome.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn wall(&self) -> Duration {
        (**self).wall()
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        (**self).sleep_until(at)
    }
}

/// Randomness, injected: for jitter, salts and fresh identifiers.
pub trait Random: Send + Sync + 'static {
    /// The next number. Need not be unpredictable to an adversary, must differ between processes.
    fn next_u64(&self) -> u64;
}

/// A write that has its place in the order and is on its way to the local disk.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct Staged<D> {
    /// The write, with a dot and a version that will never be given to another.
    pub record: Arc<Record>,
    /// Completes when the record is durable here, with the moment at which it was; or with the store's error.
    pub durable: D,
    /// Whether this is an earlier write, which the write id names. It keeps its version whatever happens: stamping it anew
    /// could execute it twice.
    pub is_known: bool,
}

/// The store of the node that takes a write.
///
/// # Promises
///
/// - A dot is never given out twice, not even over a crash, a lost disk or a restored backup: the epoch is durable
///   before its first use, the incarnation is fresh for every new or restored data directory.
/// - Dots of one lineage are numbered 1, 2, 3 without holes, in the order of versions.
/// - Every version is larger than every version this store has issued or seen for any key.
/// - `durable` completes with `Ok` only after the record would survive what its
///   [`Durability`](crate::Durability) names. A store may be durable before `stage` returns (an SQL commit) or long
///   after (a group commit): the fan-out runs beside it.
/// - A failed append ends the epoch: no later dot is issued in that lineage.
pub trait LocalStore: Send + Sync {
    /// A write as the application words it.
    type Op: Send;
    /// Why the store takes no write, or lost one.
    type Error: std::error::Error + Send + Sync + 'static;
    /// The wait for durability.
    type Durable: Future<Output = Result<Instant, Self::Error>> + Send + Unpin;

    /// Gives the write its dot and version and starts making it durable.
    ///
    /// # Errors
    ///
    /// The write was refused and nothing is left of it, neither here nor elsewhere.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, the write is either not staged at all or staged in full and replicated by catch-up.
    fn stage(
        &self,
        op: Self::Op,
    ) -> impl Future<Output = Result<Staged<Self::Durable>, Self::Error>> + Send;

    /// Stages the same write again, under a new dot and a version above `above`, with its old write id.
    ///
    /// # Errors
    ///
    /// As [`stage`](Self::stage).
    fn restamp(
        &self,
        record: &Record,
        above: &Version,
    ) -> impl Future<Output = Result<Staged<Self::Durable>, Self::Error>> + Send;
}

/// One thing to apply at a replica: a record, the dots it stands for, or both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "transports build it")]
pub struct Incoming {
    /// The record to merge. Its own dot is covered by applying it.
    pub record: Option<Arc<Record>>,
    /// Dots that are covered too once the record is applied: their records were overwritten by it, or purged.
    pub covers: Vec<(Lineage, SeqSet)>,
    /// Whether no member holds a record for `covers`, so that whoever lacks these dots may be told the same. Without a
    /// record and `false`, `covers` is the claim at the end of a snapshot: their records are here, under other dots.
    pub void: bool,
    /// What the item is about, if the log that replays it says so. It goes in place of a record that the receiver holds
    /// already, so that no record is sent twice for what it has overwritten.
    pub stand_in: Option<StandIn>,
    /// Whether the sender held it durably when it sent it, as whatever comes by the catch-up lane is. The serving side sets
    /// it; a record that is sent as it is written may still be lost by its sender.
    pub durable: bool,
    /// The span that caused the write, if it was sampled.
    pub trace: Option<TraceParent>,
}

impl Incoming {
    /// `covers` as a frontier.
    #[must_use]
    pub fn covered(&self) -> Frontier {
        self.covers.iter().cloned().collect()
    }
}

/// A record that stands for dots, without the record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct StandIn {
    /// Its dot. A receiver that does not cover it answers [`Reply::Busy`].
    pub dot: Dot,
    /// The time of its version.
    pub hlc: Hlc,
    /// Its key, in the store's own bytes.
    pub key: Bytes,
}

/// A replica's answer to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Reply {
    /// Final: the record, with this exact version and digest, is durable there.
    Stored,
    /// Final: a newer version of the key is durable there.
    Superseded {
        /// That version.
        version: Version,
        /// Whether a newer version of this very write was taken there, by its write id: somebody else has executed it.
        is_same_write: bool,
    },
    /// Final: this version is there with another digest.
    Drift,
    /// Final: it will not be taken.
    Refused {
        /// Why.
        reason: Refusal,
    },
    /// Not final: it is not taken now, and will be sent again.
    Busy {
        /// Why.
        reason: Busy,
    },
}

/// What became of a batch at a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct Applied {
    /// One reply for each item, in order. An item without a record is answered [`Reply::Stored`].
    pub replies: Vec<Reply>,
    /// Whether the batch is synced. `false` only if every record of it asked for
    /// [`Durability::Relaxed`](crate::Durability::Relaxed): the replies then are true to that wish, and the frontier
    /// does not cover the batch yet.
    pub synced: bool,
}

/// The store of a node that takes other nodes' records.
///
/// # Promises
///
/// - `apply` replies `Stored` only for a record that is as durable as it asks, under exactly its version and digest.
/// - Merging is idempotent, commutative and associative: the largest version of a key wins, on equal versions the
///   larger digest, and the latter is answered [`Reply::Drift`].
/// - A refused or busy record leaves a gap: its dot and its `covers` stay uncovered, items behind it are applied.
/// - `frontier` covers only what is synced, and is itself durable together with it.
/// - A batch is durable after one sync, not one per record.
pub trait ReplicaStore: Send + Sync + 'static {
    /// Merges a batch from the member `from` and makes it durable.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, the batch may be applied or not; sending it again is safe.
    fn apply(&self, from: &PeerId, batch: Vec<Incoming>) -> impl Future<Output = Applied> + Send;

    /// What is durably held here, of every lineage.
    fn frontier(&self) -> Frontier;

    /// Whether a write to the disk has failed: then more may be held than `frontier` says, and come to light when the store is
    /// opened anew. No peer is told of what it holds any more, and nothing that peers say can be remembered.
    fn has_failed(&self) -> bool {
        false
    }

    /// The lineage in which this store numbers its own writes now. Durable before it is first told.
    fn lineage(&self) -> Lineage;

    /// What is to be said to the member `to` beside frontier and lineage. Durable before it is told.
    fn announcement(&self, _to: &PeerId) -> Announcement {
        Announcement::default()
    }

    /// A member, living as `from`, has said this on that occasion. Whatever follows from it is durable when this returns: nothing of
    /// that member is applied or counted before.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, it is said again with the next connection.
    fn announced(
        &self,
        _from: &Lineage,
        _said: &Announcement,
        _when: Occasion,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stores build it")]
pub enum Replay {
    /// Items that together cover some of the wanted dots, each dot once. Empty if none of them is to be had now.
    Items(Vec<Incoming>),
    /// The same, but the log no longer knows others of the wanted dots: only a [`snapshot`](LogSource::snapshot) can bring
    /// those.
    Partly(Vec<Incoming>),
    /// The log no longer knows any of these dots: only a [`snapshot`](LogSource::snapshot) can bring the peer up to date.
    Trimmed,
}

/// The log of a store, by dot.
///
/// # Promises
///
/// - A dot whose record was overwritten is replayed as the key's *current* record, standing for every wanted dot it
///   has overwritten. Skipping it instead would let two nodes differ for ever when the overwriter is lost.
/// - Only synced state is replayed.
pub trait LogSource: Send + Sync + 'static {
    /// Up to about `bytes_max` of payload that covers dots of `wanted`, smallest first, and at least one item if there
    /// is any.
    fn replay(
        &self,
        lineage: &Lineage,
        wanted: &SeqSet,
        bytes_max: usize,
    ) -> impl Future<Output = Replay> + Send;

    /// Every current record, page by page: up to about `bytes_max` of them after the cursor of the last page (`None`
    /// begins), with the cursor of this one, or `None` after the last.
    ///
    /// Whoever takes a snapshot reads the [`frontier`](ReplicaStore::frontier) first and claims it for the receiver
    /// only after the last page is applied there.
    fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> impl Future<Output = (Vec<Incoming>, Option<SnapshotCursor>)> + Send;
}

/// Where a snapshot goes on: the store's own bytes. Of a store that answers
/// [`Question::RangeDigest`](crate::Question::RangeDigest), it is the key of the last record of the page: then only what
/// the receiver lacks is sent.
pub type SnapshotCursor = Vec<u8>;

/// One record handed to the network.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Outgoing {
    /// The record.
    pub record: Arc<Record>,
    /// The span that caused it, if it was sampled.
    pub trace: Option<TraceParent>,
}

/// A peer's reply with the moment at which it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "replicators build it")]
pub struct PeerReply {
    /// Who replied, by its authenticated name.
    pub peer: PeerId,
    /// What it said.
    pub reply: Reply,
    /// When it arrived here.
    pub at: Instant,
}

/// The network, as a writer sees it.
///
/// # Promises
///
/// - Every peer gets the record, however long that takes and whether or not anybody still listens: dropping the
///   replies cancels nothing.
/// - A reply is reported under the name that the connection authenticated, with its time of arrival.
/// - The queue is bounded: by the number of peers times the replies that a peer may give before its final one.
/// - `fan_out` itself does not wait.
pub trait Replicator: Send + Sync {
    /// Replies as they arrive. Ends when no more can come.
    type Replies: Stream<Item = PeerReply> + Send + Unpin;

    /// Starts sending a record to every peer.
    fn fan_out(&self, outgoing: Outgoing) -> Self::Replies;
}
