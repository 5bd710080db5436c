//! The node's store: current records, the log by dot, the frontier, and the numbers that must never be reused.
//!
//! A [`Store`] is a handle on one data directory. Writes enter through [`local`] and [`replica`], wait in [`intake`],
//! and are made durable together by [`commit`]; readers see synced state only. The rules are in [`merge`],
//! [`sequencer`] and [`draft`]; the bytes in [`schema`]; the engine behind [`engine`].
//!
//! Five promises shape it. The frontier covers a dot only when the record, or a newer one of its key, is synced here.
//! Dots are unique: the epoch is synced before its first use, and a failed append ends it. Nothing is answered or
//! shown before it is synced. A refused record leaves a gap and nothing waits behind it. Queue, gaps and log are
//! bounded.

mod changes;
mod commit;
#[cfg(any(test, feature = "testing"))]
mod commit_task;
mod config;
mod directory;
mod draft;
#[cfg(any(test, feature = "testing"))]
mod driven;
pub mod engine;
mod error;
mod facts;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod heads;
mod intake;
mod lineages;
mod local;
mod merge;
mod open;
mod query;
mod read;
mod replay;
mod replica;
mod rescue;
mod room;
mod schema;
mod scrub;
mod sequencer;
mod shared;
mod stats;
mod upkeep;
mod verify;
mod write_id_age;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use quorum_core::{Clock, Lineage, Origin};

pub use changes::{Change, Changes};
#[cfg(any(test, feature = "testing"))]
pub use commit_task::SlowDisk;
pub use config::StoreConfig;
#[cfg(any(test, feature = "testing"))]
pub(crate) use driven::DrivenCommitter;
pub use error::{OpenError, StoreError};
pub use intake::StoreState;
pub use local::Durable;
pub use open::{StoreIdentity, StoreSeams};
pub use read::{Export, ExportCursor, FoundWrite, Scan, StoredRecord, WriteLookup};
pub(crate) use rescue::{Rescued, rescue, set_aside};
pub use schema::Corrupt;
pub(crate) use schema::RecordKey;
pub(crate) use scrub::{RangeSum, ScrubPage};
#[cfg(any(test, feature = "testing"))]
pub use scrub::{damage, lose};
pub use stats::StoreStats;
pub use verify::{Finding, Verified, verify};

use shared::Shared;

/// A handle on an open data directory. Clones are the same store.
///
/// Dropping the last handle closes the store, and waits for that; [`close`](Self::close) does so on purpose.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    committer: Arc<CommitterHandle>,
}

impl Store {
    /// The origin of the writes that are staged now.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.shared.intake.lock().sequencer.lineage().origin.clone()
    }

    /// The lineage in which writes are numbered now.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        self.shared.intake.lock().sequencer.lineage().clone()
    }

    /// The last number given out in the current lineage; zero before the first write.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.shared.intake.lock().sequencer.issued()
    }

    /// The longest value that is taken, in bytes.
    pub(crate) fn value_bytes_max(&self) -> usize {
        self.shared.config.value_bytes_max
    }

    /// The current lineage and the last number given out in it, as of one moment.
    pub(crate) fn numbered(&self) -> (Lineage, u64) {
        let intake = self.shared.intake.lock();
        (intake.sequencer.lineage().clone(), intake.sequencer.issued())
    }

    /// Takes no more writes, finishes those that wait, syncs, and lets go of the directory.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, the store goes on closing.
    pub async fn close(&self) {
        self.shared.intake.close();
        match self.committer.take() {
            Some(Running::Thread(thread)) => {
                let joining = tokio::task::spawn_blocking(move || thread.join().is_ok());
                let _has_panicked = joining.await;
            }
            #[cfg(any(test, feature = "testing"))]
            Some(Running::Task(ended)) => {
                let _has_panicked = ended.await;
            }
            None => {}
        }
    }

    /// Does work that may wait for the disk where it holds up nobody else. `None` if it panicked there.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        if !self.shared.reads_block() {
            return Some(work(self));
        }
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.ok()
    }

    /// Whether records are refused because the disk is almost full.
    pub(crate) fn is_short_of_room(&self) -> bool {
        self.shared.check_room().is_err()
    }

    /// Whether what is on disk is no longer compacted, until a restart.
    pub(crate) fn compaction_has_ended(&self) -> bool {
        self.shared.engine.read().as_ref().is_some_and(|engine| engine.compaction_has_ended())
    }

    /// Whether a part of what is stored could not be read, since the start.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.shared.unreadable.lock().is_some()
    }

    /// What an operator should do something about, although the store goes on.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = &'static str> {
        let troubles = [
            (self.is_short_of_room(), "disk almost full"),
            (
                self.compaction_has_ended(),
                "store: compaction has failed, look at the disk and restart",
            ),
            (
                self.is_unreadable(),
                "store: a part of it cannot be read, replace the disk and rebuild the node",
            ),
        ];
        troubles.into_iter().filter_map(|(is_so, trouble)| is_so.then_some(trouble))
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Where the one committer of the store runs.
enum Running {
    Thread(JoinHandle<()>),
    /// In a simulation; rings when it has ended.
    #[cfg(any(test, feature = "testing"))]
    Task(tokio::sync::oneshot::Receiver<()>),
}

/// The one committer of the store, stopped with the last handle.
struct CommitterHandle {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

impl CommitterHandle {
    fn new(shared: &Arc<Shared>, running: Running) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(shared), running: Mutex::new(Some(running)) })
    }

    /// Of a committer that somebody else drives.
    #[cfg(any(test, feature = "testing"))]
    fn driven(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(shared), running: Mutex::new(None) })
    }

    fn take(&self) -> Option<Running> {
        self.running.lock().take()
    }
}

impl Drop for CommitterHandle {
    fn drop(&mut self) {
        self.shared.intake.close();
        // A task ends by itself: whoever lets go of it must not wait where everything takes turns.
        if let Some(Running::Thread(thread)) = self.take() {
            let _has_panicked = thread.join();
        }
    }
}
