//! One start of one member: its program, its links, and what it serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::clock::MemberClock;
use super::history::History;
use super::network::Net;
use super::peer::{LinkReport, Peer};
use super::program::{Program, QuorumRead};
use super::rng::SeededRandom;
use super::tasks::{Bell, Once, Owner, until};
use super::trace::Trace;
use crate::frontier::Frontier;
use crate::id::PeerId;
use crate::link::{ExchangePlan, ExchangeSight, SnapshotSeat};
use crate::observe::HandshakeRefusal;
use crate::ports::{Clock, ReplicaStore};
use crate::version::Lineage;

const PLAN_EVERY_MIN: Duration = Duration::from_millis(100);
const PLAN_INTERVAL: Duration = Duration::from_secs(1);

/// A connection that is served.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) lineage: Lineage,
    /// No further batch is begun.
    pub(super) stop: Arc<Once>,
    /// Nothing of it can be applied any more.
    pub(super) gone: Arc<Once>,
}

/// One start of one member.
pub(super) struct Member<P> {
    pub(super) index: usize,
    pub(super) name: PeerId,
    /// Which start of it, from 1.
    pub(super) start: u64,
    pub(super) program: Arc<P>,
    pub(super) clock: MemberClock,
    pub(super) random: Arc<SeededRandom>,
    pub(super) net: Arc<Net>,
    pub(super) peers: Arc<[Arc<Peer>]>,
    pub(super) serving: Mutex<BTreeMap<PeerId, Served>>,
    pub(super) snapshot: Mutex<SnapshotSeat>,
    pub(super) news: Arc<Bell>,
    pub(super) disk: Arc<Bell>,
    pub(super) rolled_back: Bell,
    pub(super) history: Arc<History>,
    pub(super) trace: Trace,
    pub(super) keys: Arc<[String]>,
}

impl<P: Program> Member<P> {
    pub(super) const fn owner(&self) -> Owner {
        Some((self.index, self.start))
    }

    /// What the program holds of a key.
    pub(super) fn current(&self, key: usize) -> QuorumRead {
        self.program.current(&self.keys[key])
    }

    pub(super) fn peer(&self, name: &PeerId) -> Option<&Arc<Peer>> {
        self.peers.iter().find(|peer| peer.name == *name)
    }

    /// A peer says why it will not have us.
    pub(super) fn hear_refusal(&self, refusal: Option<HandshakeRefusal>) {
        if refusal == Some(HandshakeRefusal::RolledBack) {
            self.rolled_back.ring();
        }
    }

    /// How every link is, as the program's chores see it.
    pub(super) fn reports(&self) -> Vec<LinkReport> {
        let serving = self.serving.lock();
        let served = |peer: &Peer| serving.get(&peer.name).map(|served| served.lineage.clone());
        self.peers.iter().map(|peer| peer.report(served(peer))).collect()
    }

    /// Plans what to ask of whom, again and again.
    pub(super) async fn exchange(self: Arc<Self>) {
        let mut plan = ExchangePlan::default();
        loop {
            self.plan(&mut plan);
            self.clock.sleep_until(self.clock.now() + PLAN_EVERY_MIN).await;
            let jitter = u32::try_from(self.random.below(512)).unwrap_or(0);
            let pause = PLAN_INTERVAL + PLAN_INTERVAL * jitter / 1024;
            let _news = until(&self.clock, self.clock.now() + pause, self.news.heard()).await;
        }
    }

    fn plan(&self, plan: &mut ExchangePlan) {
        let store = self.program.served();
        let (ours, current) = (store.frontier(), store.lineage());
        let serving = self.serving.lock();
        let pushing: Vec<Lineage> = serving.values().map(|served| served.lineage.clone()).collect();
        drop(serving);
        let sender = self.snapshot.lock().holder(self.clock.now()).cloned();
        let reach =
            |peer: &Arc<Peer>| Some((peer.name.clone(), peer.link(|l| l.within_reach().cloned())?));
        let within_reach: BTreeMap<PeerId, Frontier> =
            self.peers.iter().filter_map(reach).collect();
        let sight = ExchangeSight {
            ours: &ours,
            current: &current,
            within_reach: &within_reach,
            pushing: &pushing,
            snapshot_sender: sender.as_ref(),
        };
        let names = self.peers.iter().map(|peer| &peer.name);
        let wants = plan.wants(sight, names, self.clock.now());
        for (peer, (_, dots)) in self.peers.iter().zip(wants) {
            if peer.link(|link| link.want(dots)) {
                peer.to_say.ring();
            }
        }
    }

    /// Lets the program do its chores now and then.
    pub(super) async fn chores(self: Arc<Self>, every: Duration) {
        loop {
            let pause = self.random.between(every / 2, every);
            self.clock.sleep_until(self.clock.now() + pause).await;
            self.program.chores(self.reports()).await;
        }
    }

    /// Takes another incarnation when a peer remembers more of this member than its disk does.
    pub(super) async fn watch_rollback(self: Arc<Self>) {
        loop {
            self.rolled_back.heard().await;
            self.history.count("rolled back");
            let index = self.index as u64;
            self.trace.event("rolled back", (index, self.start), || &self.name);
            self.history.rolled_back(self.index, &self.name);
            let _has_another = self.program.reincarnate().await;
            self.peers.iter().for_each(|peer| peer.hang_up());
            self.serving.lock().values().for_each(|served| served.stop.happen());
        }
    }
}
