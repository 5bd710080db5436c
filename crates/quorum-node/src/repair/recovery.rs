//! Brings a node that has lost its data back to where its acks count: watches what others hold, and says when it is all
//! here.

use std::sync::Arc;

use parking_lot::Mutex;
use quorum_core::{PeerId, Recovery, RecoveryProgress, RecoveryTargets, Source};
use quorum_transport::PeerStatus;

use crate::store::Store;

/// How far a recovery is; nothing while there is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecoveryWatch {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    targets: RecoveryTargets,
    progress: Option<RecoveryProgress>,
    /// What the log said last.
    logged: u64,
}

impl RecoveryWatch {
    /// How far the recovery is that is under way.
    pub(crate) fn progress(&self) -> Option<RecoveryProgress> {
        self.state.lock().progress
    }

    /// Looks at the others, and ends the recovery once everything is here. `w` is the smallest write quorum.
    pub(crate) async fn look(&self, store: &Store, peers: &[PeerStatus], w: usize) {
        if store.recovery() != Recovery::Recovering {
            *self.state.lock() = State::default();
            return;
        }
        let needed = RecoveryTargets::needed(peers.len() + 1, w);
        let progress = {
            let mut state = self.state.lock();
            let progress = state.targets.look(&store.frontier(), peers.iter().map(seen), needed);
            state.note(progress);
            progress
        };
        if !progress.is_over {
            return;
        }
        if progress.may_have_lost {
            tracing::error!(
                covered = progress.covered,
                needed,
                "more members have lost their data than the write quorum can bear: committed writes may be gone; going on with what is left"
            );
        }
        match store.set_recovery(Recovery::Complete).await {
            Ok(()) => tracing::info!("recovered: this node's acks and answers count again"),
            Err(error) => tracing::warn!(%error, "the end of the recovery could not be written"),
        }
    }
}

impl State {
    fn note(&mut self, progress: RecoveryProgress) {
        let is_far = progress.missing.abs_diff(self.logged) > self.logged / 10;
        if self.progress.is_none() || is_far {
            self.logged = progress.missing;
            tracing::info!(
                missing = progress.missing,
                covered = progress.covered,
                needed = progress.needed,
                "recovering"
            );
        }
        self.progress = Some(progress);
    }
}

fn seen(peer: &PeerStatus) -> (&PeerId, Source<'_>) {
    let source = match &peer.frontier {
        _ if peer.connected_since.is_none() => Source::Away,
        Some(frontier) if peer.counts => Source::Complete(frontier),
        Some(_) => Source::Recovering,
        None => Source::Away,
    };
    (&peer.peer, source)
}
