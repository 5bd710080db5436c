//! The committing thread's work as a task, on a disk that takes its time: for a simulation, in which everything takes
//! turns on one thread and time is a number.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::commit::Committer;
use super::engine::memory::MemoryDisk;
use super::error::OpenError;
use super::open::{StoreIdentity, StoreSeams, prepare};
use super::{CommitterHandle, Running, Store, StoreConfig};

/// Something that runs a task.
type Spawn<'a> = &'a dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>);

/// A disk in memory, and how long each of its commits takes.
#[derive(Clone)]
pub struct SlowDisk {
    disk: MemoryDisk,
    takes: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl fmt::Debug for SlowDisk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SlowDisk").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl SlowDisk {
    /// A disk on which a commit takes as long as `takes` says when it is asked.
    #[must_use]
    pub fn new(disk: MemoryDisk, takes: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { disk, takes: Arc::new(takes) }
    }

    /// Opens a store whose commits are done by a task.
    pub(crate) fn open(
        self,
        identity: &StoreIdentity,
        config: StoreConfig,
        seams: StoreSeams,
        spawn: Spawn<'_>,
    ) -> Result<Store, OpenError> {
        let engine = Arc::new(self.disk.engine());
        let (shared, committer) = prepare(engine, None, identity, config, seams)?;
        let (report, ended) = oneshot::channel();
        spawn(Box::pin(async move {
            committer.run_in_turns(&*self.takes).await;
            let _nobody_waits = report.send(());
        }));
        Ok(Store { committer: CommitterHandle::new(&shared, Running::Task(ended)), shared })
    }
}

impl Committer {
    /// As [`run`](Self::run): what waits is taken together, and is durable once its commit has taken its time.
    async fn run_in_turns(mut self, takes: &(dyn Fn() -> Duration + Send + Sync)) {
        let clock = Arc::clone(&self.shared.clock);
        loop {
            if let Some(next) = self.next_commit.take() {
                clock.sleep_until(next).await;
            }
            let arrived = poll_fn(|context| self.shared.intake.poll_arrived(context));
            match self.unsynced.since {
                None => arrived.await,
                Some(_) => {
                    let patience = self.shared.config.relaxed_sync_after;
                    tokio::select! {
                        biased;
                        () = arrived => {}
                        () = clock.sleep_until(clock.now() + patience) => {}
                    }
                }
            }
            let jobs = self.shared.intake.take(&self.shared.config, Some(Duration::ZERO));
            let Some(jobs) = jobs else { break };
            clock.sleep_until(clock.now() + takes()).await;
            let step = if jobs.is_empty() { self.sync() } else { self.step(jobs) };
            if step.is_err() {
                return;
            }
        }
        if self.sync().is_ok() {
            self.close();
        }
    }
}
