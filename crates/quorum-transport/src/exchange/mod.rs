//! Anti-entropy: tells every peer what this node wants of it, as long as the two differ.
//!
//! The plan is [`wants`], a function of all frontiers; this loop feeds it and hands out what it says. What is wanted
//! comes on the peer's catch-up lane, paced and behind its live writes, and shrinks the want by arriving: nothing else
//! remembers an exchange, so an interrupted one goes on by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorum_core::{Frontier, PeerId, Reach, ReplicaStore, wants};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::link::peer::Peer;
use crate::seams::Seams;
use crate::server::accept::Serving;
use crate::server::snapshot::SnapshotSeat;

/// The least time between two plans, so that a busy mesh does not plan all the time.
const PLAN_EVERY_MIN: Duration = Duration::from_millis(100);

/// Everything the loop works with.
pub(crate) struct Exchange<S> {
    pub(crate) store: Arc<S>,
    pub(crate) peers: Arc<[Arc<Peer>]>,
    pub(crate) serving: Serving,
    pub(crate) snapshot: Arc<SnapshotSeat>,
    /// Rings when some peer says something new.
    pub(crate) news: Arc<Notify>,
    pub(crate) interval: Duration,
    pub(crate) seams: Seams,
    pub(crate) stop: CancellationToken,
}

impl<S: ReplicaStore> Exchange<S> {
    /// Compares and asks until shutdown.
    pub(crate) async fn run(self) {
        let _stopped: Option<()> = self.stop.run_until_cancelled(self.rounds()).await;
    }

    async fn rounds(&self) {
        let clock = &self.seams.clock;
        loop {
            self.plan();
            clock.sleep_until(clock.now() + PLAN_EVERY_MIN).await;
            // Up to half as long again, so that the members of a mesh do not plan in step.
            let jitter = self.seams.random.next_u64() % 512;
            let pause = self.interval + self.interval * u32::try_from(jitter).unwrap_or(0) / 1024;
            tokio::select! {
                () = self.news.notified() => {}
                () = clock.sleep_until(clock.now() + pause) => {}
            }
        }
    }

    fn plan(&self) {
        let (ours, current) = (self.store.frontier(), self.store.lineage());
        let pushing: Vec<_> =
            self.serving.lock().values().map(|served| served.lineage().origin.clone()).collect();
        let sender = self.snapshot.holder();
        // Whoever sends everything sends this too.
        let is_asked =
            |peer: &&Arc<Peer>| sender.as_ref().is_none_or(|sender| sender == peer.name());
        let holders: BTreeMap<PeerId, Frontier> = self
            .peers
            .iter()
            .filter(is_asked)
            .filter_map(|peer| Some((peer.name().clone(), peer.within_reach()?)))
            .collect();
        let reach = Reach { ours: &ours, current: &current, holders: &holders, pushing: &pushing };
        let mut plan = wants(reach);
        for peer in &*self.peers {
            peer.want(plan.remove(peer.name()).unwrap_or_default());
        }
    }
}
