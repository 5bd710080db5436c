//! Group commit: one thread that makes everything which waits durable with one sync.
//!
//! It takes what is in the queue, builds one batch, commits it and answers everybody. While it waits for the disk the
//! queue fills again, so batches grow with the load by themselves; under load it also lets a millisecond pass from one
//! commit to the next, since a sync costs the same for one record and for a hundred. Nothing is answered and
//! nothing becomes visible before it is as durable as it asked to be; the frontier and the readers see synced state
//! only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorum_core::planted::{self, Bug};
use quorum_core::{Applied, Busy, Dot, Hlc, Lineage, Recovery, Reply, WriteId};
use tracing::Span;

use super::directory::Directory;
use super::draft::{Draft, Finished, Held};
use super::engine::{Batch, Engine, EngineError, Sync, View};
use super::error::{StoreError, with_causes};
use super::facts::Fact;
use super::intake::{Done, Job};
use super::schema::LineageNumber;
use super::shared::Shared;
use crate::receive::Admitted;

/// What a node that takes another incarnation knows of itself: its disk has lost something that it acknowledged.
const LOST: Fact = Fact::Recovery(Recovery::Recovering);

/// Records in one commit from which on more are certain to come at once.
const UNDER_LOAD: usize = 4;

/// How long after the disk had no room for a commit it is tried again.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// What to say once the batch is committed. Dropped if it is not.
enum Answer {
    Staged {
        write_id: WriteId,
        dot: Dot,
        done: Done<Instant>,
    },
    /// Replies to items, the first of which has this number in the commit.
    Merged {
        replies: Vec<Reply>,
        first: usize,
        done: Done<Applied>,
    },
    Reserved {
        ceiling: Hlc,
    },
    Reincarnated {
        lineage: Lineage,
        done: Done<()>,
    },
    Established {
        fact: Fact,
        done: Done<()>,
    },
    Trimmed {
        up_to: u64,
        done: Done<u64>,
    },
    Repaired {
        is_put: bool,
        done: Done<bool>,
    },
    Purged {
        purged: u64,
        is_all: bool,
        done: Done<(u64, bool)>,
    },
    Finished {
        done: Done<()>,
    },
}

impl Answer {
    /// Tells of those of its items of which something was not taken.
    fn put_off(&mut self, untaken: &BTreeMap<usize, Busy>) {
        let Self::Merged { replies, first, .. } = self else { return };
        for (item, reason) in untaken.range(*first..*first + replies.len()) {
            replies[item - *first] = Reply::Busy { reason: *reason };
        }
    }
}

/// What is committed and not yet synced.
#[derive(Default)]
pub(super) struct Unsynced {
    pub(super) since: Option<Instant>,
    covered: Vec<(LineageNumber, u64, u64)>,
    /// Relaxed writes that were answered already.
    staged: Vec<(WriteId, Dot)>,
    records: usize,
}

/// The state of the committing thread.
pub(crate) struct Committer {
    pub(super) shared: Arc<Shared>,
    engine: Arc<dyn Engine>,
    /// The lock on the directory, held until the engine is closed.
    directory: Option<Directory>,
    latest: Arc<dyn View>,
    held: Held,
    pub(super) unsynced: Unsynced,
    /// Not before this time.
    pub(super) next_commit: Option<Instant>,
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        engine: Arc<dyn Engine>,
        directory: Option<Directory>,
        held: Held,
    ) -> Self {
        let latest = engine.view();
        let (unsynced, next_commit) = (Unsynced::default(), None);
        Self { shared, engine, directory, latest, held, unsynced, next_commit }
    }

    /// Commits until the store is closed or fails.
    pub(crate) fn run(mut self) {
        let _even_if_this_panics = FailUnlessStopped(self.shared.clone());
        loop {
            self.let_gather();
            let patience = self.unsynced.since.map(|_| self.shared.config.relaxed_sync_after);
            let step = match self.shared.intake.take(&self.shared.config, patience) {
                Some(jobs) if jobs.is_empty() => self.sync(),
                Some(jobs) => self.step(jobs),
                None => break,
            };
            if step.is_err() {
                return;
            }
        }
        if self.sync().is_ok() {
            self.close();
        }
    }

    /// Commits what waits now, for a store without a thread. Tells whether more waits, or something is not synced yet; an
    /// error if the store has failed.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn run_once(&mut self) -> Result<bool, Stopped> {
        self.next_commit = None;
        if self.shared.intake.lock().is_idle() {
            self.sync()?;
        } else if let Some(jobs) = self.shared.intake.take(&self.shared.config, None) {
            self.step(jobs)?;
        }
        Ok(!self.shared.intake.lock().is_idle() || self.unsynced.since.is_some())
    }

    /// Under load, waits until it is time for the next commit.
    fn let_gather(&mut self) {
        if let Some(next) = self.next_commit.take() {
            std::thread::sleep(next.saturating_duration_since(self.shared.clock.now()));
        }
    }

    /// Commits a batch of jobs. On an error the store has failed before anybody who waits is told.
    pub(super) fn step(&mut self, jobs: Vec<Job>) -> Result<(), Stopped> {
        let shared = self.shared.clone();
        let mut draft =
            Draft::new(&mut self.held, self.latest.as_ref(), &shared.lineages, &shared.config);
        let mut answers = Vec::with_capacity(jobs.len());
        let _until_synced: Vec<Span> = jobs.iter().filter_map(sync_span).collect();
        for job in jobs {
            match enter(&mut draft, job) {
                Ok(answer) => answers.push(answer),
                // Whoever waits for this job is told by getting no answer; the others go on.
                Err(error @ StoreError::Unreadable { .. }) => draft.found_unreadable(error),
                Err(error) => return Err(shared.fail(&error)),
            }
        }
        let finished = draft.finish().map_err(|error| shared.fail(&error))?;
        if let Some(error) = &finished.unreadable {
            shared.found_unreadable(error);
        }
        answers.iter_mut().for_each(|answer| answer.put_off(&finished.untaken));
        let is_synced = self.commit(finished)?;
        self.answer(answers, is_synced);
        Ok(())
    }

    /// Makes the batch as durable as it wants to be. Tells whether everything committed is synced.
    fn commit(&mut self, finished: Finished) -> Result<bool, Stopped> {
        let now = self.shared.clock.now();
        if finished.records >= UNDER_LOAD {
            self.next_commit = Some(now + self.shared.config.commit_interval);
        }
        let is_due = self.unsynced.since.is_some_and(|since| {
            now.saturating_duration_since(since) >= self.shared.config.relaxed_sync_after
        });
        let wants_sync = finished.wants_sync || is_due;
        if finished.batch.is_empty() && !(wants_sync && self.unsynced.since.is_some()) {
            // Duplicates only: what they found is as durable as the last commit.
            return Ok(self.unsynced.since.is_none());
        }
        self.shared.room.look(Some(&self.engine), now);
        let lies = planted::is(Bug::AckBeforeSync) || planted::is(Bug::UnsyncedShown);
        let sync = if wants_sync && !lies { Sync::Data } else { Sync::Buffered };
        self.commit_to_engine(&finished.batch, sync)?;
        self.latest = self.engine.view();
        self.unsynced.covered.extend(finished.covered);
        self.unsynced.records += finished.records;
        self.unsynced.since.get_or_insert(now);
        self.shared.has_unsynced.store(true, Ordering::Release);
        if wants_sync && planted::is(Bug::AckBeforeSync) {
            // Answered as if it were synced, and shown when it is.
            return Ok(true);
        }
        if wants_sync {
            self.shared.publish_trimmed(&finished.trimmed);
            self.synced(now);
        }
        Ok(wants_sync)
    }

    /// Syncs what is committed and not yet synced, if anything is.
    pub(super) fn sync(&mut self) -> Result<(), Stopped> {
        if self.unsynced.since.is_some() {
            let started = self.shared.clock.now();
            self.commit_to_engine(&Batch::default(), Sync::Data)?;
            self.synced(started);
        }
        Ok(())
    }

    /// Commits, as soon as there is room for it if the disk is full. Meanwhile nothing more is taken.
    fn commit_to_engine(&self, batch: &Batch, sync: Sync) -> Result<(), Stopped> {
        let failed = |error: EngineError| StoreError::Failed { reason: with_causes(&error).into() };
        loop {
            match self.engine.commit(batch, sync) {
                Err(error) if error.is_full() && self.shared.intake.is_running() => {
                    self.shared.room.ran_out();
                    std::thread::sleep(ROOM_PAUSE);
                }
                Ok(()) => {
                    self.shared.room.sufficed();
                    return Ok(());
                }
                Err(error) => return Err(self.shared.fail(&failed(error))),
            }
        }
    }

    /// Shows readers what is synced now, and lets the frontier cover it.
    fn synced(&mut self, started: Instant) {
        let unsynced = std::mem::take(&mut self.unsynced);
        self.shared.publish(self.latest.clone(), &unsynced.covered, self.held.changes);
        // Whoever finds nothing unsynced must see all of it.
        self.shared.has_unsynced.store(false, Ordering::Release);
        let took = self.shared.clock.now().saturating_duration_since(started);
        self.shared.count_sync(unsynced.records);
        self.shared.observer.store_synced(unsynced.records, took);
        if !unsynced.staged.is_empty() {
            let mut intake = self.shared.intake.lock();
            for (write_id, dot) in unsynced.staged {
                intake.landed(&write_id, &dot);
            }
        }
    }

    fn answer(&mut self, answers: Vec<Answer>, is_synced: bool) {
        let at = self.shared.clock.now();
        let shared = self.shared.clone();
        // One lock for all: staged writes leave the map of those in flight, ceilings rise.
        let mut intake = shared.intake.lock();
        for answer in answers {
            // Whoever no longer waits has dropped the other end.
            let _heard = match answer {
                Answer::Staged { write_id, dot, done } => {
                    intake.durable(&write_id, &dot, at);
                    if is_synced {
                        intake.landed(&write_id, &dot);
                    } else {
                        self.unsynced.staged.push((write_id, dot));
                    }
                    done.send(at).is_ok()
                }
                Answer::Merged { replies, done, .. } => {
                    done.send(Applied { replies, synced: is_synced }).is_ok()
                }
                Answer::Reserved { ceiling } => {
                    intake.reserved(ceiling);
                    true
                }
                Answer::Reincarnated { lineage, done } => {
                    shared.facts.write().take(&LOST);
                    intake.sequencer.switch(lineage);
                    done.send(()).is_ok()
                }
                Answer::Established { fact, done } => {
                    shared.facts.write().take(&fact);
                    done.send(()).is_ok()
                }
                Answer::Trimmed { up_to, done } => done.send(up_to).is_ok(),
                Answer::Repaired { is_put, done } => done.send(is_put).is_ok(),
                Answer::Purged { purged, is_all, done } => done.send((purged, is_all)).is_ok(),
                Answer::Finished { done } => done.send(()).is_ok(),
            };
        }
    }

    /// Closes the engine, then says on disk that nothing was left undone, then lets go of the directory.
    pub(super) fn close(self) {
        self.shared.withdraw();
        let Self { engine, latest, directory, .. } = self;
        let last_commit = engine.last_commit();
        drop((latest, engine));
        if let Some(directory) = directory
            && let Err(error) = directory.mark_clean(last_commit)
        {
            tracing::warn!(%error, "the store is closed but not marked so");
        }
    }
}

/// Proof that the store was told of its failure.
#[derive(Debug)]
pub(crate) struct Stopped;

/// Nobody may wait for a thread that is gone.
struct FailUnlessStopped(Arc<Shared>);

impl Drop for FailUnlessStopped {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&StoreError::Failed { reason: "the committing thread panicked".into() });
        }
    }
}

/// A span below that of a traced write, open while its batch is made durable.
fn sync_span(job: &Job) -> Option<Span> {
    let waiting = job.span().filter(|span| !span.is_disabled())?;
    Some(tracing::debug_span!(parent: waiting, "quorum.fsync"))
}

/// Enters one job into the draft.
fn enter(draft: &mut Draft<'_>, job: Job) -> Result<Answer, StoreError> {
    Ok(match job {
        Job::Stage { record, key, is_tombstone, done, .. } => {
            match draft.stage(&record, &key, is_tombstone)? {
                Reply::Stored | Reply::Superseded { .. } | Reply::Drift => {}
                refused => {
                    let reason = format!("{} was not taken here: {refused:?}", record.dot);
                    return Err(StoreError::Failed { reason: reason.into() });
                }
            }
            Answer::Staged { write_id: record.write_id, dot: record.dot.clone(), done }
        }
        Job::Merge { items, done, .. } => {
            let first = draft.items();
            let reply = |item: Admitted| {
                let reply = match item {
                    Admitted::Record { record, key, is_tombstone, covers, durable } => {
                        draft.merge(&record, &key, is_tombstone, &covers, durable)
                    }
                    Admitted::Covers { covers, void: false } => Ok(draft.adopt(&covers)),
                    Admitted::Covers { covers, void: true } => Ok(draft.adopt_void(&covers)),
                    Admitted::HeldHere { covers, stand_in } => draft.adopt_held(&covers, &stand_in),
                    Admitted::Answered(reply) => Ok(reply),
                };
                draft.end_item(reply)
            };
            let replies = items.into_iter().map(reply).collect::<Result<_, _>>()?;
            Answer::Merged { replies, first, done }
        }
        Job::Reserve { ceiling } => {
            draft.reserve(ceiling);
            Answer::Reserved { ceiling }
        }
        Job::Cover { dots, done } => {
            draft.cover_void(&dots);
            Answer::Finished { done }
        }
        Job::Trim { lineage, up_to, done } => {
            Answer::Trimmed { up_to: draft.trim(&lineage, up_to)?, done }
        }
        Job::Forget { write_ids, done } => {
            write_ids.iter().for_each(|write_id| draft.forget(write_id));
            Answer::Finished { done }
        }
        Job::Sync { done } => {
            draft.sync();
            Answer::Finished { done }
        }
        Job::Close { hlc, done } => {
            draft.close(hlc);
            Answer::Finished { done }
        }
        Job::Purge { up_to, done } => {
            let (purged, is_all) = draft.purge(up_to)?;
            Answer::Purged { purged, is_all, done }
        }
        Job::Repair { record, done } => Answer::Repaired { is_put: draft.repair(&record)?, done },
        Job::Establish { fact, done } => {
            draft.establish(&fact);
            Answer::Established { fact, done }
        }
        Job::Reincarnate { lineage, done } => {
            draft.begin(&lineage);
            draft.establish(&LOST);
            Answer::Reincarnated { lineage, done }
        }
    })
}
