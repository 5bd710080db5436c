//! What the handles of a store and its committing thread share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use quorum_core::{Clock, ClockGuard, Frontier, Observer, Random, wall_millis};
use tokio::sync::watch;

use super::commit::Stopped;
use super::config::StoreConfig;
use super::engine::{Engine, Sizes, View};
use super::error::StoreError;
use super::facts::Facts;
use super::intake::Intake;
use super::lineages::Lineages;
use super::room::Room;
use super::schema::LineageNumber;

/// The synced state, as readers see it.
pub(crate) struct Published {
    /// `None` once the store is closed.
    pub(crate) view: Option<Arc<dyn View>>,
    pub(crate) frontier: Frontier,
    /// Up to where logs are trimmed.
    pub(crate) trimmed: BTreeMap<LineageNumber, u64>,
}

/// Shared state. Nobody waits for one lock with another in hand, but for reads under the lock of the intake and for
/// `publish`, which only the committer does.
pub(crate) struct Shared {
    pub(crate) config: StoreConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) guard: Arc<Mutex<ClockGuard>>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) intake: Intake,
    pub(crate) room: Room,
    pub(crate) published: RwLock<Published>,
    pub(crate) lineages: RwLock<Lineages>,
    /// What is remembered durably about members.
    pub(crate) facts: RwLock<Facts>,
    /// Held from the look at facts until what follows from them is durable, where both must be one step; `true` meanwhile.
    pub(crate) turn: tokio::sync::Mutex<bool>,
    /// Keys of damaged records that somebody came upon.
    pub(crate) damaged: Mutex<BTreeSet<Bytes>>,
    /// What could not be read last, so that it is not told again and again.
    pub(crate) unreadable: Mutex<Option<StoreError>>,
    /// The number of the last synced change.
    pub(crate) changes: watch::Sender<u64>,
    /// `None` once the store is closed.
    pub(crate) engine: RwLock<Option<Arc<dyn Engine>>>,
    /// Whether something is committed that readers do not see yet, because it is not synced.
    pub(crate) has_unsynced: AtomicBool,
    pub(crate) syncs: AtomicU64,
    pub(crate) synced_records: AtomicU64,
}

impl Shared {
    /// The wall clock, if it may stamp a write. One stamped by a clock that has just jumped ahead would win over everything
    /// for as long as it jumped.
    pub(crate) fn stamping_millis(&self) -> Result<u64, StoreError> {
        let wall = wall_millis(&self.clock);
        let mut guard = self.guard.lock();
        guard.record_reading(self.clock.now(), wall);
        guard.fault().map_or(Ok(wall), |fault| Err(StoreError::Clock(fault)))
    }

    /// Whether the disk has room for records. Looks again only if it had none: every commit looks anyway.
    pub(crate) fn check_room(&self) -> Result<(), StoreError> {
        if self.room.is_short() {
            let engine = self.engine.read().clone();
            self.room.look(engine.as_ref(), self.clock.now());
        }
        if self.room.is_short() { Err(StoreError::DiskFull) } else { Ok(()) }
    }

    /// The synced state.
    pub(crate) fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        self.published.read().view.clone().ok_or(StoreError::Closed)
    }

    /// Makes a synced state, and the dots it adds, visible at once.
    pub(crate) fn publish(
        &self,
        view: Arc<dyn View>,
        covered: &[(LineageNumber, u64, u64)],
        changes: u64,
    ) {
        let lineages = self.lineages.read();
        let mut published = self.published.write();
        published.view = Some(view);
        for (number, first, last) in covered {
            let lineage = lineages.name(*number).expect("the committer gave this number");
            published.frontier.insert_range(lineage, *first, *last);
        }
        drop(published);
        let is_later = |last: &mut u64| std::mem::replace(last, changes) != changes;
        self.changes.send_if_modified(is_later);
    }

    pub(crate) fn publish_trimmed(&self, trimmed: &[(LineageNumber, u64)]) {
        if !trimmed.is_empty() {
            self.published.write().trimmed.extend(trimmed.iter().copied());
        }
    }

    /// The store is closed: readers find nothing any more.
    pub(crate) fn withdraw(&self) {
        self.published.write().view = None;
        *self.engine.write() = None;
    }

    /// Whether a read may wait for a disk.
    pub(crate) fn reads_block(&self) -> bool {
        self.engine.read().as_ref().is_some_and(|engine| engine.reads_block())
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.engine.read().as_ref().map(|engine| engine.sizes()).unwrap_or_default()
    }

    pub(crate) fn count_sync(&self, records: usize) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.synced_records.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// Something could not be read when a commit or a peer needed it.
    pub(crate) fn found_unreadable(&self, error: &StoreError) {
        if !matches!(error, StoreError::Unreadable { .. }) {
            return;
        }
        let mut last = self.unreadable.lock();
        if last.as_ref() != Some(error) {
            tracing::error!(%error, "a part of what is stored cannot be read: what needs it has to wait");
            *last = Some(error.clone());
        }
    }

    /// The disk failed. What it holds is unknown until it is read anew, so nothing more is taken or acknowledged.
    pub(crate) fn fail(&self, error: &StoreError) -> Stopped {
        let reason: Arc<str> = match error {
            StoreError::Failed { reason } => reason.clone(),
            other => other.to_string().into(),
        };
        tracing::error!(%reason, "the store has failed and takes no more writes until a restart");
        self.intake.fail(reason);
        Stopped
    }
}
