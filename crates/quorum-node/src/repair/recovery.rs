//! Brings a node to where its acks count: sees whether others vouch that its data is new, or watches what they hold until
//! what was lost is all here.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use quorum_core::{
    Clock, FirstStart, FirstStartProgress, Origin, PeerId, Recovery, RecoveryProgress,
    RecoveryTargets, Source, Witness, vouchers_needed,
};
use quorum_transport::PeerStatus;

use crate::config::Policies;
use crate::store::Store;

/// How far a node is from where its acks count.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecoveryWatch {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    first: FirstStart,
    targets: RecoveryTargets,
    progress: Progress,
    /// What the log said last.
    logged: u64,
}

/// How far a node is from where its acks count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Progress {
    /// It counts, or nobody has looked yet.
    #[default]
    None,
    /// Its data is new.
    New(FirstStartProgress),
    /// It lost its data.
    Recovering(RecoveryProgress),
}

impl fmt::Display for Progress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(out, "contact: too few peers were heard since the start"),
            Self::New(FirstStartProgress { vouching, needed, missing, .. }) => write!(
                out,
                "contact: new data; {vouching} of {needed} needed peers are connected and vouch that there never was any, {missing} writes are missing"
            ),
            Self::Recovering(RecoveryProgress { covered, needed, missing, .. }) => write!(
                out,
                "recovering: the data of {covered} of {needed} needed members is here, {missing} writes are missing"
            ),
        }
    }
}

impl RecoveryWatch {
    /// How far the node is.
    pub(crate) fn progress(&self) -> Progress {
        self.state.lock().progress
    }

    /// Looks at the others, and at which of them are forgotten, and lets the node count once nothing stands against it.
    pub(crate) async fn look(
        &self,
        store: &Store,
        peers: impl FnOnce() -> (Vec<PeerStatus>, Vec<PeerId>),
        policies: &Policies,
    ) {
        let recovery = store.recovery();
        if recovery == Recovery::Complete {
            *self.state.lock() = State::default();
            return;
        }
        let us = store.lineage().origin;
        let (peers, forgotten) = peers();
        let why = self.state.lock().counts(recovery, store, &us, (&peers, &forgotten), policies);
        let Some(why) = why else { return };
        match store.complete(&us, recovery).await {
            Ok(true) => tracing::info!("{why}"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "it could not be written that this node counts"),
        }
    }
}

impl State {
    /// Why the node counts from now on, if it does.
    fn counts(
        &mut self,
        recovery: Recovery,
        store: &Store,
        us: &Origin,
        (peers, forgotten): (&[PeerStatus], &[PeerId]),
        policies: &Policies,
    ) -> Option<&'static str> {
        let n = peers.len() + 1;
        if recovery == Recovery::New {
            let (needed, ours) = (vouchers_needed(n, policies.largest_w()), store.frontier());
            let witnesses = peers.iter().filter_map(witness);
            let progress = self.first.look((us, &ours), witnesses, needed, store.clock().now());
            self.progress = Progress::New(progress);
            let why = "this node's data is new: its acks and answers count";
            return progress.is_over.then_some(why);
        }
        let needed = RecoveryTargets::needed(n, policies.smallest_w());
        let sources: Vec<_> = peers.iter().map(|peer| seen(peer, forgotten)).collect();
        let progress = self.refill(store, sources, needed);
        progress.is_over.then_some("recovered: this node's acks and answers count again")
    }

    fn refill(
        &mut self,
        store: &Store,
        sources: Vec<(&PeerId, Source<'_>)>,
        needed: usize,
    ) -> RecoveryProgress {
        let progress = self.targets.look(&store.frontier(), sources, needed);
        let is_far = progress.missing.abs_diff(self.logged) > self.logged / 10;
        if !matches!(self.progress, Progress::Recovering(_)) || is_far {
            self.logged = progress.missing;
            tracing::info!(
                missing = progress.missing,
                covered = progress.covered,
                needed = progress.needed,
                "recovering"
            );
        }
        if progress.is_over && progress.may_have_lost {
            tracing::error!(
                covered = progress.covered,
                needed,
                "more members have lost their data than the write quorum can bear: committed writes, if there were any, may be gone; going on with what is left"
            );
        }
        self.progress = Progress::Recovering(progress);
        progress
    }
}

fn witness(peer: &PeerStatus) -> Option<Witness<'_>> {
    peer.connected_since?;
    Some(Witness {
        life: &peer.lineage.as_ref()?.origin,
        said: peer.announcement.as_ref()?,
        // Whose frontier is not known has been hung up on, perhaps because it begins another life.
        frontier: peer.frontier.as_ref()?,
        asked_at: peer.asked_at,
    })
}

fn seen<'a>(peer: &'a PeerStatus, forgotten: &[PeerId]) -> (&'a PeerId, Source<'a>) {
    let life = peer.lineage.as_ref().map(|lineage| &lineage.origin);
    // One that is still being served may yet bring something.
    let is_cut_off = peer.connected_since.is_none() && peer.served.is_none();
    let source = match (life, &peer.frontier) {
        _ if is_cut_off && forgotten.contains(&peer.peer) => Source::Gone,
        _ if peer.connected_since.is_none() => Source::Away,
        (Some(life), Some(frontier)) if peer.counts => Source::Complete(life, frontier),
        (Some(life), Some(_)) => Source::Recovering(life),
        _ => Source::Away,
    };
    (&peer.peer, source)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_forgotten_peer_is_gone_once_no_connection_with_it_is_left() {
        let name = PeerId::new("n2").expect("a name");
        let mut peer = PeerStatus::unknown(name.clone(), String::new());
        let forgotten = [name];
        assert_eq!(seen(&peer, &[]).1, Source::Away);
        assert_eq!(seen(&peer, &forgotten).1, Source::Gone);
        peer.connected_since = Some(Instant::now());
        assert_eq!(seen(&peer, &forgotten).1, Source::Away);
    }
}
