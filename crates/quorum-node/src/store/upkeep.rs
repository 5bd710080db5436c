//! What the node asks of its store now and then: shorten the log, forget old write ids, settle void dots, begin a new
//! incarnation. Each takes bounded steps through the committer, between which writes go on.

use std::ops::Bound;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use quorum_core::{
    Epoch, Frontier, Hlc, Incarnation, Lineage, Origin, PeerId, Random, SeqSet, Stability, WriteId,
};
use tokio::sync::oneshot;

use super::Store;
use super::engine::{PageLimit, Space};
use super::error::StoreError;
use super::facts::Fact;
use super::intake::{Done, Job};
use super::read::behind;
use super::schema::{Corrupt, WriteEntry, tombstone_key};

/// Write ids looked at in one step.
const WRITES_PAGE: PageLimit = PageLimit::new(4_096, 1 << 20);

impl Store {
    /// Shortens the log of every lineage up to what `floor` covers without a gap, as far as anything is held here. Records
    /// and tombstones stay.
    ///
    /// # Errors
    ///
    /// As for a write. What was trimmed before the error stays trimmed.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, a part is trimmed.
    pub async fn trim(&self, floor: &Frontier) -> Result<(), StoreError> {
        for (lineage, up_to) in self.trimmable(floor) {
            let job = |done| Job::Trim { lineage: lineage.clone(), up_to, done };
            while self.ask(job).await? < up_to {}
        }
        Ok(())
    }

    fn trimmable(&self, floor: &Frontier) -> Vec<(Lineage, u64)> {
        let published = self.shared.published.read();
        let lineages = self.shared.lineages.read();
        let trimmable = |(lineage, seqs): (&Lineage, &SeqSet)| {
            let held = published.frontier.of(lineage)?.last();
            let trimmed = published.trimmed.get(&lineages.number(lineage)?).copied().unwrap_or(0);
            let up_to = seqs.contiguous().min(held);
            (up_to > trimmed).then(|| (lineage.clone(), up_to))
        };
        floor.iter().filter_map(trimmable).collect()
    }

    /// Forgets the write ids whose writes are older than the configured horizon. Tells how many.
    ///
    /// # Errors
    ///
    /// As for a write, or [`StoreError::Unreadable`].
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, a part is forgotten.
    pub async fn forget_old_writes(&self) -> Result<usize, StoreError> {
        // Twice the horizon: so long an id that comes too late is known to be too old, not taken for a new one.
        let oldest = self.millis_ago(2);
        let (mut after, mut forgotten): (Option<Bytes>, usize) = (None, 0);
        loop {
            let page =
                self.shared.view()?.page(Space::Writes, behind(after.as_deref()), WRITES_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(forgotten) };
            after = Some(last.clone());
            let mut write_ids = Vec::new();
            for (write_id, entry) in page {
                if WriteEntry::decode(&entry)?.hlc.millis() < oldest {
                    let bytes = write_id.as_ref().try_into();
                    let bytes = bytes.map_err(|_| Corrupt { what: "write id" })?;
                    write_ids.push(WriteId::from_bytes(bytes));
                }
            }
            if !write_ids.is_empty() {
                forgotten += write_ids.len();
                self.ask(|done| Job::Forget { write_ids, done }).await?;
            }
            // Paging through a long list must not starve the tasks beside it.
            tokio::task::yield_now().await;
        }
    }

    /// Covers dots that no member holds and none ever will, durably.
    ///
    /// # Errors
    ///
    /// As for a write.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, the dots may be covered or not.
    pub async fn cover(&self, dots: Vec<(Lineage, SeqSet)>) -> Result<(), StoreError> {
        self.ask(|done| Job::Cover { dots, done }).await
    }

    /// Closes the clock: no version at or below `hlc` is issued any more, in this start or a later one. Tells the current
    /// lineage and the last number given out in it by then.
    ///
    /// # Errors
    ///
    /// As for a write.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, it is closed for this start, and perhaps for later ones.
    pub async fn close_clock(&self, hlc: Hlc) -> Result<(Lineage, u64), StoreError> {
        let issued = {
            let mut intake = self.shared.intake.lock();
            intake.sequencer.observe(hlc);
            (intake.sequencer.lineage().clone(), intake.sequencer.issued())
        };
        self.ask(|done| Job::Close { hlc, done }).await?;
        Ok(issued)
    }

    /// Returns once everything that was answered before is synced, and so visible.
    ///
    /// # Errors
    ///
    /// As for a write.
    ///
    /// # Cancellation
    ///
    /// It is synced all the same.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        if !self.shared.has_unsynced.load(Ordering::Acquire) {
            return Ok(());
        }
        self.ask(|done| Job::Sync { done }).await
    }

    /// The wall clock, if what lasts may go by it.
    pub(crate) fn stamping_millis(&self) -> Result<u64, StoreError> {
        self.shared.stamping_millis()
    }

    /// Stamps later writes above a time that was seen elsewhere.
    pub fn observe(&self, hlc: Hlc) {
        self.shared.intake.lock().sequencer.observe(hlc);
    }

    /// Purges tombstones up to a time, for good. Tells how many. From then on nothing of that time is taken whose dot is
    /// not known.
    ///
    /// # Errors
    ///
    /// As for a write. What was purged before the error stays purged.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, a part is purged.
    pub async fn purge(&self, up_to: Hlc) -> Result<u64, StoreError> {
        // Durable, and known to whoever replays the log, before the first one is gone.
        self.establish(Fact::Purged(up_to)).await?;
        let mut purged = 0;
        loop {
            let (step, is_all) = self.ask(|done| Job::Purge { up_to, done }).await?;
            purged += step;
            if is_all {
                return Ok(purged);
            }
        }
    }

    /// Whether there are tombstones up to a time.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`], or [`StoreError::Closed`].
    pub fn has_tombstones(&self, up_to: Hlc) -> Result<bool, StoreError> {
        let end = tombstone_key(up_to.next(), &[]);
        let range = (Bound::Unbounded, Bound::Excluded(end.as_ref()));
        let first = self.shared.view()?.page(Space::Tombstones, range, PageLimit::new(1, 1))?;
        Ok(!first.is_empty())
    }

    /// Begins a new incarnation: because peers remember more of this one than the disk does. Writes staged after it
    /// returns are numbered in the new lineage.
    ///
    /// # Errors
    ///
    /// As for a write.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, the new incarnation may have begun or not.
    pub async fn reincarnate(&self) -> Result<Lineage, StoreError> {
        let turn = self.turn().await?;
        if self.stable() == Hlc::ZERO {
            // Any claim may be among what the disk forgot: whoever has purged has done so relying on a claim that is lost.
            self.set_stable(Stability::LEAST_CLAIM).await?;
        }
        let node = self.origin().node;
        let lineage = first_lineage(node, self.shared.random.as_ref());
        let job = |done| Job::Reincarnate { lineage: lineage.clone(), done };
        self.ask(job).await?;
        turn.over();
        Ok(lineage)
    }

    pub(super) async fn ask<T>(&self, job: impl FnOnce(Done<T>) -> Job) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        self.shared.intake.submit(job(done))?;
        answer.await.map_err(|_| self.shared.intake.stopped())
    }
}

/// The lineage of the first start of a fresh incarnation.
pub(super) fn first_lineage(node: PeerId, random: &dyn Random) -> Lineage {
    let incarnation = Incarnation::from_bytes(random.next_u64().to_be_bytes());
    let origin = Origin { node, incarnation };
    Lineage { origin, epoch: Epoch::new(1, epoch_salt(random)) }
}

/// What tells two starts of one copied disk apart.
pub(super) fn epoch_salt(random: &dyn Random) -> u16 {
    let [low, high, ..] = random.next_u64().to_be_bytes();
    u16::from_be_bytes([low, high])
}
