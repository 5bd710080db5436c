//! The store as peers' records reach it: checked batches are queued, merged and answered together.

use quorum_core::{Applied, Busy, Frontier, Reply};
use tokio::sync::oneshot;
use tracing::Span;

use super::Store;
use super::error::StoreError;
use super::intake::{Job, StoreState};
use crate::receive::Admitted;

impl Store {
    /// Merges a batch that was checked.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, the batch may be applied or not.
    pub(crate) async fn merge(&self, items: Vec<Admitted>) -> Applied {
        let len = items.len();
        match self.enqueue(items) {
            Ok(applied) => applied.await.unwrap_or_else(|_| busy(len, Busy::Disk)),
            Err(StoreError::Overloaded) => busy(len, Busy::Overload),
            Err(_) => busy(len, Busy::Disk),
        }
    }

    fn enqueue(&self, items: Vec<Admitted>) -> Result<oneshot::Receiver<Applied>, StoreError> {
        let shared = &self.shared;
        shared.check_room()?;
        let mut intake = shared.intake.lock();
        intake.check_running()?;
        let bytes = items.iter().map(Admitted::bytes).sum();
        intake.check_room(&shared.config, items.len(), bytes)?;
        // Under the lock that orders the queue: a local write queued behind this batch gets a version above it.
        for item in &items {
            if let Admitted::Record { record, .. } = item {
                intake.sequencer.observe(record.hlc);
            }
        }
        let (done, applied) = oneshot::channel();
        shared.intake.push(&mut intake, Job::Merge { items, span: Span::current(), done });
        Ok(applied)
    }

    /// What is durably held here, of every lineage. Covers synced state only.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        self.shared.published.read().frontier.clone()
    }

    /// Up to where every member is known to hold everything: the log is trimmed that far.
    #[must_use]
    pub fn trimmed(&self) -> Frontier {
        let lineages = self.shared.lineages.read();
        let trimmed = self.shared.published.read().trimmed.clone();
        let named = trimmed.into_iter().filter_map(|(number, last)| {
            Some((lineages.name(number).ok()?.clone(), quorum_core::SeqSet::up_to(last)))
        });
        named.collect()
    }

    /// Whether the store takes writes, and why not.
    #[must_use]
    pub fn state(&self) -> StoreState {
        self.shared.intake.lock().state.clone()
    }
}

/// Nothing of the batch was taken, all of it may come again.
fn busy(items: usize, reason: Busy) -> Applied {
    Applied { replies: vec![Reply::Busy { reason }; items], synced: true }
}
