//! A store whose committer is driven from outside, step by step: for simulations, where no thread may decide what comes
//! first.

use std::sync::Arc;

use parking_lot::Mutex;

use super::commit::Committer;
use super::config::StoreConfig;
use super::engine::Engine;
use super::error::OpenError;
use super::intake::Ring;
use super::open::{StoreIdentity, StoreSeams};
use super::{CommitterThread, Store};

/// The committer of a store that has no thread for it.
pub(crate) struct DrivenCommitter {
    committer: Mutex<Option<Committer>>,
}

impl DrivenCommitter {
    /// Commits what waits now. Tells whether more waits. After a failure the store stays as it is.
    pub(crate) fn step(&self) -> bool {
        let mut committer = self.committer.lock();
        match committer.as_mut().map(Committer::run_once) {
            Some(Ok(more)) => more,
            Some(Err(_)) => {
                *committer = None;
                false
            }
            None => false,
        }
    }
}

impl Store {
    /// Opens a store on an engine of the caller's, who also drives its committer. `ring` is called whenever there is
    /// something to commit.
    pub(crate) fn open_driven(
        engine: impl Engine,
        identity: &StoreIdentity,
        config: StoreConfig,
        seams: StoreSeams,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Self, DrivenCommitter), OpenError> {
        let ring = Some(Ring(Arc::new(ring)));
        let (shared, committer) =
            Self::prepare(Arc::new(engine), None, identity, config, seams, ring)?;
        let thread = CommitterThread { shared: shared.clone(), handle: Mutex::new(None) };
        let committer = DrivenCommitter { committer: Mutex::new(Some(committer)) };
        Ok((Self { shared, thread: Arc::new(thread) }, committer))
    }

    /// Records and bytes that wait for the committer, each with its bound.
    pub(crate) fn queued(&self) -> [(usize, usize); 2] {
        let (records, bytes) = self.shared.intake.lock().queued();
        let config = &self.shared.config;
        [(records, config.queue_records_max), (bytes, config.queue_bytes_max)]
    }
}
