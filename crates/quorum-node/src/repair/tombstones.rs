//! Purges tombstones once nothing that they hide can come back: closes this node's clock, says up to where everything is
//! held, and removes what lies below the watermark. The reasoning is in [`quorum_core::Stability`].

use std::time::Duration;

use quorum_core::planted::{self, Bug};
use quorum_core::{Close, Frontier, Hlc, Lineage, PeerId, Recovery, SeqSet};
use quorum_transport::PeerStatus;

use crate::service::Service;
use crate::store::{Store, StoreError};
use crate::watermark::Watermark;

/// How often a clock is closed: every time costs syncs on all members, so not oftener than tombstones come of age.
pub(crate) fn close_every(grace: Duration) -> Duration {
    (grace / 8).clamp(Duration::from_millis(250), Duration::from_secs(60))
}

/// Does what can be done now.
pub(crate) async fn round(service: &Service) {
    let round = Round {
        store: service.store(),
        watermark: service.watermark(),
        grace: service.config().repair.tombstone_grace,
        us: &service.config().node.name,
        counted: &|| service.counted_peers(),
    };
    match round.run().await {
        0 => {}
        purged => service.writes().observer.tombstones_purged(purged),
    }
}

/// What a round works with.
pub(crate) struct Round<'a> {
    pub(crate) store: &'a Store,
    pub(crate) watermark: &'a Watermark,
    /// How old a tombstone must be.
    pub(crate) grace: Duration,
    /// This node.
    pub(crate) us: &'a PeerId,
    /// The peers whose data is waited for, now.
    pub(crate) counted: &'a (dyn Fn() -> Vec<PeerStatus> + Sync),
}

impl Round<'_> {
    /// Does what can be done now. Tells how many tombstones were purged.
    pub(crate) async fn run(&self) -> u64 {
        // What this node lacks, or a time that is wrong, must not be promised to anybody.
        if self.store.recovery() != Recovery::Complete {
            return 0;
        }
        match self.close_and_purge().await {
            Ok(purged) => purged,
            // Said elsewhere, and not every time.
            Err(StoreError::Clock(_)) => 0,
            Err(error) => {
                tracing::warn!(%error, "tombstones could not be purged");
                0
            }
        }
    }

    async fn close_and_purge(&self) -> Result<u64, StoreError> {
        let (store, watermark) = (self.store, self.watermark);
        // Judged as for a write: a clock that was closed in the future stamps everything after that in the future.
        let wall = store.stamping_millis()?;
        let grace = u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX);
        let of_age = Hlc::from_millis(wall.saturating_sub(grace));

        self.close(of_age).await?;

        // Asked for each time: of whom nobody waited for before, a next life may have been met meanwhile.
        let is_first = !store.has_claimed();
        if let Some(stable) = watermark.stable(&store.frontier(), &self.members(), is_first) {
            store.set_stable(stable).await?;
        }
        let settled = match planted::is(Bug::PurgedByClock) {
            true => Some(of_age),
            false => watermark.settled(store.stable(), &(self.counted)(), store.clock().now()),
        };
        let Some(settled) = settled else { return Ok(0) };
        let up_to = settled.min(of_age);
        if up_to <= store.purged() || !store.has_tombstones(up_to)? {
            return Ok(0);
        }
        let purged = store.purge(up_to).await?;
        tracing::debug!(purged, up_to = up_to.millis(), "tombstones purged");
        Ok(purged)
    }

    /// All that count, this node included.
    fn members(&self) -> Vec<PeerId> {
        let others = (self.counted)().into_iter().map(|peer| peer.peer);
        others.chain([self.us.clone()]).collect()
    }

    /// Promises to issue nothing at or below `hlc` any more, if everything that was issued until then can be named.
    async fn close(&self, hlc: Hlc) -> Result<(), StoreError> {
        let store = self.store;
        let own_earlier = || own_earlier(store, &(self.counted)());
        let current = store.lineage();
        let already = self.watermark.close_of(&current.origin).map(|close| close.hlc);
        if already.is_some_and(|already| already >= hlc) || own_earlier().is_none() {
            return Ok(());
        }
        let (lineage, issued) = store.close_clock(hlc).await?;
        // Looked at again: a start or a life may have ended meanwhile.
        if let Some(mut covers) = own_earlier().filter(|_| lineage == store.lineage()) {
            if issued > 0 {
                covers.insert_range(&lineage, 1, issued);
            }
            self.watermark.closed(&lineage.origin, Close { hlc, covers });
        }
        Ok(())
    }
}

/// What this member has given out in all its earlier starts and lives: known once nothing of it is missing here that
/// somebody may hold.
fn own_earlier(store: &Store, peers: &[PeerStatus]) -> Option<Frontier> {
    earlier(&store.lineage(), store.frontier(), peers.iter().map(|peer| peer.frontier.as_ref()))
}

fn earlier<'a>(
    current: &Lineage,
    mut ours: Frontier,
    reports: impl IntoIterator<Item = Option<&'a Frontier>>,
) -> Option<Frontier> {
    let is_own_earlier =
        |lineage: &Lineage| lineage.origin.node == current.origin.node && lineage != current;
    ours.retain(is_own_earlier);
    if ours.iter().any(|(_, seqs)| !SeqSet::is_empty(&seqs.gaps())) {
        return None;
    }
    for report in reports {
        let mut theirs = report?.clone();
        theirs.retain(is_own_earlier);
        if !ours.covers(&theirs) {
            return None;
        }
    }
    Some(ours)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use quorum_core::{Clock, ClusterId, Epoch, Incarnation, Origin, Sleep};
    use quorum_transport::TokioClock;

    use super::*;
    use crate::local_mesh::LocalMesh;
    use crate::store::engine::memory::MemoryDisk;
    use crate::store::{StoreConfig, StoreIdentity, StoreSeams};

    fn lineage(node: &str, life: u8, start: u64) -> Lineage {
        let node = PeerId::new(node).expect("a name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([life; 8]) };
        Lineage { origin, epoch: Epoch::new(start, 1) }
    }

    fn holding(sets: &[(&Lineage, SeqSet)]) -> Frontier {
        sets.iter().map(|(lineage, set)| ((*lineage).clone(), set.clone())).collect()
    }

    #[test]
    fn a_clock_is_closed_only_while_nothing_earlier_can_turn_up() {
        let (life, before, now) = (lineage("n1", 1, 1), lineage("n1", 2, 1), lineage("n1", 2, 2));
        let other = lineage("n2", 1, 1);
        let ours = holding(&[
            (&life, SeqSet::up_to(3)),
            (&before, SeqSet::up_to(5)),
            (&now, SeqSet::up_to(9)),
            (&other, vec![(4, 4)].into()),
        ]);
        let known = holding(&[(&life, SeqSet::up_to(3)), (&before, SeqSet::up_to(5))]);
        assert_eq!(earlier(&now, ours.clone(), [Some(&ours)]), Some(known));
        assert_eq!(earlier(&now, ours.clone(), [Some(&ours), None]), None, "one is silent");
        // A write of an earlier life that only a peer still holds.
        let more = holding(&[(&life, SeqSet::up_to(4))]);
        assert_eq!(earlier(&now, ours, [Some(&more)]), None);
        let gap = holding(&[(&before, vec![(1, 1), (3, 3)].into())]);
        assert_eq!(earlier(&now, gap.clone(), [Some(&gap)]), None);
    }

    /// While the clock is closed, a member is met that nobody waited for before.
    #[tokio::test]
    async fn a_member_that_is_met_during_a_round_counts_in_it() {
        let [us, second] = ["n1", "n2"].map(|name| PeerId::new(name).expect("a name"));
        let cluster = ClusterId::from_bytes([1; 16]);
        let seams = StoreSeams::trusting();
        let identity = StoreIdentity { cluster, node: us.clone() };
        let engine = MemoryDisk::new().engine();
        let store = Store::open_on(engine, &identity, StoreConfig::default(), seams);
        let store = store.expect("memory opens");
        store.set_recovery(Recovery::Complete).await.expect("the disk works");
        let (watermark, origin) = (Watermark::default(), store.lineage().origin);
        let is_met = |hlc: Option<Close>| match hlc {
            Some(_) => vec![PeerStatus::unknown(second.clone(), String::new())],
            None => Vec::new(),
        };
        let counted = || is_met(watermark.close_of(&origin));
        let round = Round {
            store: &store,
            watermark: &watermark,
            grace: Duration::ZERO,
            us: &us,
            counted: &counted,
        };
        round.run().await;
        assert!(watermark.close_of(&origin).is_some());
        assert_eq!(store.stable(), Hlc::ZERO, "nothing is known of what the second has closed");
        let alone = Round { counted: &Vec::new, ..round };
        alone.run().await;
        assert!(store.stable() > Hlc::ZERO);
    }

    /// The machine's clock, whose wall time is ahead by as many seconds as the test says.
    #[derive(Default)]
    struct Stepped(AtomicU64);

    impl Clock for Stepped {
        fn now(&self) -> Instant {
            TokioClock::new().now()
        }

        fn wall(&self) -> Duration {
            TokioClock::new().wall() + Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn sleep_until(&self, at: Instant) -> Sleep {
            TokioClock::new().sleep_until(at)
        }
    }

    /// The clock may have jumped since the last look at it. What is closed cannot be opened again: every later write would
    /// be stamped above it, and put off by all peers until that time has come.
    #[tokio::test]
    async fn a_clock_that_has_just_jumped_is_not_closed() {
        let clock = Arc::new(Stepped::default());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock_of = |_| -> Arc<dyn Clock> { clock.clone() };
        let adjust = |config: &mut crate::Config| config.repair.tombstone_grace = Duration::ZERO;
        let mesh = LocalMesh::start_with_clocks(1, directory.path(), adjust, clock_of).await;
        let mut mesh = mesh.expect("a mesh of one");
        let service = mesh.node(0).expect("it runs").service().clone();
        let closed = || {
            let origin = service.store().lineage().origin;
            service.watermark().close_of(&origin).map_or(Hlc::ZERO, |close| close.hlc)
        };
        round(&service).await;
        let before = closed();
        assert!(before > Hlc::ZERO, "closed while the clock is right");
        // All tasks share this thread: nothing has looked at the clock since.
        clock.0.store(3_600, Ordering::Relaxed);
        round(&service).await;
        clock.0.store(0, Ordering::Relaxed);
        let ahead = closed().ahead_of(before.millis());
        assert!(ahead < Duration::from_secs(60), "{ahead:?}");
        mesh.stop_all().await;
    }
}
