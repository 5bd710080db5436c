//! A store whose committer is driven from outside, step by step: for simulations, where no thread may decide what comes
//! first.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

use super::commit::Committer;
use super::config::StoreConfig;
use super::engine::Engine;
use super::error::OpenError;
use super::open::{StoreIdentity, StoreSeams, prepare};
use super::shared::Shared;
use super::{CommitterHandle, Store};

/// The committer of a store that has no thread for it.
pub(crate) struct DrivenCommitter {
    shared: Arc<Shared>,
    committer: Mutex<Option<Committer>>,
    /// Hears that there is something to commit, once each time that it is asked to.
    bell: Waker,
}

struct Bell<R>(R);

impl<R: Fn() + Send + Sync + 'static> Wake for Bell<R> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

impl DrivenCommitter {
    /// Commits what waits now. Tells whether more waits. After a failure the store stays as it is.
    pub(crate) fn step(&self) -> bool {
        let mut committer = self.committer.lock();
        match committer.as_mut().map(Committer::run_once) {
            Some(Ok(more)) => self.listen() || more,
            Some(Err(_)) => {
                *committer = None;
                false
            }
            None => false,
        }
    }

    /// Lets the bell ring when a job arrives. Tells whether one waits already.
    fn listen(&self) -> bool {
        self.shared.intake.poll_arrived(&Context::from_waker(&self.bell)).is_ready()
    }
}

impl Store {
    /// Opens a store on an engine of the caller's, who also drives its committer. `ring` is called when there is something
    /// to commit, once until the next step.
    pub(crate) fn open_driven(
        engine: impl Engine,
        identity: &StoreIdentity,
        config: StoreConfig,
        seams: StoreSeams,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Self, DrivenCommitter), OpenError> {
        let (shared, committer) = prepare(Arc::new(engine), None, identity, config, seams)?;
        let bell = Waker::from(Arc::new(Bell(ring)));
        let committer = Mutex::new(Some(committer));
        let driven = DrivenCommitter { shared: Arc::clone(&shared), committer, bell };
        driven.listen();
        Ok((Self { committer: CommitterHandle::driven(&shared), shared }, driven))
    }

    /// Records and bytes that wait for the committer, each with its bound.
    pub(crate) fn queued(&self) -> [(usize, usize); 2] {
        let (records, bytes) = self.shared.intake.lock().queued();
        let config = &self.shared.config;
        [(records, config.queue_records_max), (bytes, config.queue_bytes_max)]
    }
}
