//! Anti-entropy: tells every peer what this node wants of it, as long as the two differ.
//!
//! The plan is [`wants`], a function of all frontiers; this loop feeds it and hands out what it says. What is wanted
//! comes on the peer's catch-up lane, paced and behind its live writes, and shrinks the want by arriving: nothing else
//! remembers an exchange, so an interrupted one goes on by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorum_core::{Frontier, PeerId, Reach, ReplicaStore, wants};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::link::peer::Peer;
use crate::seams::Seams;
use crate::server::accept::Serving;
use crate::server::snapshot::SnapshotSeat;

/// Intervals that a want may consist of; what is beyond is wanted when these are here.
pub(crate) const WANTED_INTERVALS_MAX: usize = 65_536;

/// The least time between two plans, so that a busy mesh does not plan all the time.
const PLAN_EVERY_MIN: Duration = Duration::from_millis(100);

/// How long what a member wrote is left to it, after it was last connected or we started: most members that are not
/// there come at once, and somebody else would send the same beside them.
const COORDINATOR_PATIENCE: Duration = Duration::from_secs(2);

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

    /// The members that do not send us their writes now.
    fn away(&self) -> Vec<PeerId> {
        let serving = self.serving.lock();
        let away =
            self.peers.iter().map(|peer| peer.name()).filter(|name| !serving.contains_key(name));
        away.cloned().collect()
    }

    /// Plans, and says in the log what is wanted of whom, once when that begins and once when it is all here.
    fn plan(&self, memory: &mut Memory) {
        let (ours, current) = (self.store.frontier(), self.store.lineage());
        let pushing: Vec<_> =
            self.serving.lock().values().map(|served| served.lineage().clone()).collect();
        let expected = memory.expected(&self.away(), self.seams.clock.now());
        let sender = self.snapshot.holder();
        // Whoever sends everything sends this too. What is wanted comes on a connection that the holder has dialled.
        let is_asked = |peer: &&Arc<Peer>| {
            sender.as_ref().is_none_or(|sender| sender == peer.name())
                && pushing.iter().any(|lineage| lineage.origin.node == *peer.name())
        };
        let holders: BTreeMap<PeerId, Frontier> = self
            .peers
            .iter()
            .filter(is_asked)
            .filter_map(|peer| Some((peer.name().clone(), peer.within_reach()?)))
            .collect();
        let reach = Reach {
            ours: &ours,
            current: &current,
            holders: &holders,
            pushing: &pushing,
            expected: &expected,
        };
        let mut plan = wants(reach);
        for peer in &*self.peers {
            let dots = plan.remove(peer.name()).unwrap_or_default();
            let dots = dots.clipped(WANTED_INTERVALS_MAX);
            memory.say(peer.name(), dots.len());
            peer.want(dots);
        }
    }
}

/// What the loop remembers from one plan to the next. None of it is needed for an exchange to go on.
#[derive(Debug, Default)]
struct Memory {
    /// Since when members that do not send are not there.
    away_since: BTreeMap<PeerId, Instant>,
    /// Peers of which something is wanted, as the log was told.
    wanted: BTreeSet<PeerId>,
}

impl Memory {
    /// Those of the members that are `away` who may still come at once.
    fn expected(&mut self, away: &[PeerId], now: Instant) -> Vec<PeerId> {
        self.away_since.retain(|peer, _| away.contains(peer));
        for peer in away {
            self.away_since.entry(peer.clone()).or_insert(now);
        }
        let is_recent =
            |since: &Instant| now.saturating_duration_since(*since) < COORDINATOR_PATIENCE;
        let recent = self.away_since.iter().filter(|(_, since)| is_recent(since));
        recent.map(|(peer, _)| peer.clone()).collect()
    }

    /// Logs where an exchange with a peer begins and ends.
    fn say(&mut self, peer: &PeerId, wanted: u64) {
        if wanted > 0 && self.wanted.insert(peer.clone()) {
            tracing::info!(%peer, writes = wanted, "taking over what this node lacks");
        } else if wanted == 0 && self.wanted.remove(peer) {
            tracing::info!(%peer, "nothing more is lacking that it could give");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_expected_for_a_while_after_it_was_last_there() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let (a, patience) = (PeerId::new("a").expect("a name"), COORDINATOR_PATIENCE);
        let away = [a];
        assert_eq!(memory.expected(&away, start), away);
        assert_eq!(memory.expected(&away, start + patience), []);
        assert_eq!(memory.expected(&[], start + patience), [], "it is there");
        assert_eq!(memory.expected(&away, start + 2 * patience), away, "and gone again");
    }
}
