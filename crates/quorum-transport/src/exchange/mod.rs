//! Anti-entropy: tells every peer what this node wants of it, as long as the two differ.
//!
//! The plan is [`ExchangePlan`], a function of all frontiers; this loop feeds it and hands out what it says. What is wanted
//! comes on the peer's catch-up lane, paced and behind its live writes, and shrinks the want by arriving: nothing else
//! remembers an exchange, so an interrupted one goes on by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorum_core::{ExchangePlan, ExchangeSight, Frontier, PeerId, ReplicaStore, SnapshotSeat};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::link::peer::Peer;
use crate::seams::Seams;
use crate::server::accept::Serving;

/// The least time between two plans, so that a busy mesh does not plan all the time.
const PLAN_EVERY_MIN: Duration = Duration::from_millis(100);

/// Everything the loop works with.
pub(crate) struct Exchange<S> {
    pub(crate) store: Arc<S>,
    pub(crate) peers: Arc<[Arc<Peer>]>,
    pub(crate) serving: Serving,
    pub(crate) snapshot: Arc<Mutex<SnapshotSeat>>,
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
        let mut memory = Memory::default();
        loop {
            self.plan(&mut memory);
            clock.sleep_until(clock.now() + PLAN_EVERY_MIN).await;
            // Up to half as long again, so that the members of a mesh do not plan in step.
            let jitter = self.seams.random.next_u64() % 512;
            let pause = self.interval + self.interval * u32::try_from(jitter).unwrap_or(0) / 1024;
            tokio::select! {
                biased;
                () = self.news.notified() => {}
                () = clock.sleep_until(clock.now() + pause) => {}
            }
        }
    }

    /// Plans, and says in the log what is wanted of whom, once when that begins and once when it is all here.
    fn plan(&self, memory: &mut Memory) {
        let (ours, current) = (self.store.frontier(), self.store.lineage());
        let pushing: Vec<_> =
            self.serving.lock().values().map(|served| served.lineage().clone()).collect();
        let now = self.seams.clock.now();
        let sender = self.snapshot.lock().holder(now).cloned();
        let within_reach: BTreeMap<PeerId, Frontier> = self
            .peers
            .iter()
            .filter_map(|peer| Some((peer.name().clone(), peer.within_reach()?)))
            .collect();
        let sight = ExchangeSight {
            ours: &ours,
            current: &current,
            within_reach: &within_reach,
            pushing: &pushing,
            snapshot_sender: sender.as_ref(),
        };
        let names = self.peers.iter().map(|peer| peer.name());
        let plan = memory.plan.wants(sight, names, now);
        for (peer, (name, dots)) in self.peers.iter().zip(plan) {
            memory.say(&name, dots.len());
            peer.want(dots);
        }
    }
}

/// What the loop remembers from one plan to the next. None of it is needed for an exchange to go on.
#[derive(Debug, Default)]
struct Memory {
    plan: ExchangePlan,
    /// Peers of which something is wanted, as the log was told.
    wanted: BTreeSet<PeerId>,
}

impl Memory {
    /// Logs where an exchange with a peer begins and ends.
    fn say(&mut self, peer: &PeerId, wanted: u64) {
        if wanted > 0 && self.wanted.insert(peer.clone()) {
            tracing::info!(%peer, writes = wanted, "taking over what this node lacks");
        } else if wanted == 0 && self.wanted.remove(peer) {
            tracing::info!(%peer, "nothing more is lacking that it could give");
        }
    }
}
