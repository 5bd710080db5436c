//! A peer that was away is brought up out of the log of another store, over the real link, however few gaps it may have.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use quorum_core::testing::{ManualClock, epoch};
use quorum_core::{
    Answer, CatchUp, CatchUpLane, Dot, Frontier, Incoming, Link, LinkConfig, Origin, PeerReply,
    Question, ReplicaStore, ReplyTo, Unavailable,
};
use quorum_node::receive::Receiver;
use quorum_node::store::engine::memory::MemoryDisk;
use quorum_node::store::{Store, StoreConfig};

use crate::harness::{TestClock, on_memory_with, op, peer, receiver, write};

#[derive(Debug, Clone)]
struct Nobody;

impl ReplyTo for Nobody {
    fn reply(&self, _reply: PeerReply, _life: u64) {}

    fn is_closed(&self) -> bool {
        true
    }
}

/// A peer and the link to it. What is sent together arrives together.
struct Behind {
    link: Link<(), Nobody>,
    receiver: Receiver,
    items: usize,
}

impl Behind {
    fn new(store: &Store, retries_max: usize) -> Self {
        let config = LinkConfig {
            live_queue_bytes_max: 1 << 20,
            frame_bytes_max: 1 << 20,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            retries_max,
        };
        let receiver = receiver(store);
        let mut link = Link::new(peer("n2"), config);
        let _rings = link.connected(epoch(), store.lineage(), receiver.frontier());
        Self { link, receiver, items: 0 }
    }

    async fn deliver(&mut self, items: Vec<Incoming>) {
        self.items += items.len();
        let applied = self.receiver.apply(&peer("n1"), items.clone()).await;
        for (item, reply) in items.iter().zip(&applied.replies) {
            let _ = self.link.answered(item, reply, applied.synced, epoch());
        }
    }
}

impl CatchUpLane for &mut Behind {
    type Error = Infallible;

    fn owed(&mut self, us: &Origin, held: &Frontier, now: Instant) -> Frontier {
        self.link.owed(us, held, now).0
    }

    fn has(&self, dot: &Dot) -> bool {
        self.link.has(dot)
    }

    fn holds_anything(&self) -> bool {
        true
    }

    async fn send(&mut self, items: Vec<Incoming>) -> Result<(), Infallible> {
        items.iter().for_each(|item| self.link.under_way(item));
        self.deliver(items).await;
        Ok(())
    }

    async fn all_answered(&mut self) {}

    fn untaken(&self) -> u64 {
        0
    }

    async fn ask(&self, _question: Question) -> Answer {
        Answer::Unavailable(Unavailable::Unsupported)
    }

    async fn may_snapshot(&self) -> bool {
        false
    }

    fn snapshot_done(&self) {}
}

/// Every record that a log sends of the first round stands for a dot that comes in order, and has its own far behind: more of
/// those than there may be gaps, or than may be put off. No time passes, so nothing that is put off is sent again: what comes in
/// order must be enough. Live writes go on meanwhile, and have no room either.
#[tokio::test]
async fn a_peer_that_was_away_while_keys_were_overwritten_out_of_order_is_brought_up() {
    const KEYS: u64 = 2_000;
    let (clock, few) = (TestClock::new(), StoreConfig { gaps_max: 20, ..StoreConfig::default() });
    let from = on_memory_with(&MemoryDisk::new(), "n1", StoreConfig::default(), &clock);
    let to = on_memory_with(&MemoryDisk::new(), "n2", few, &clock);
    let mut behind = Behind::new(&to, 16);
    for index in 0..KEYS {
        write(&from, op(&format!("k{index}"), "first")).await;
    }
    for index in 0..KEYS {
        write(&from, op(&format!("k{}", index * 1_237 % KEYS), "second")).await;
    }
    let (source, manual, name) = (receiver(&from), ManualClock::new(), peer("n2"));
    let mut rounds = 0;
    while to.frontier() != from.frontier() {
        let live = write(&from, op(&format!("live{rounds}"), "1")).await;
        if rounds < 50 {
            behind.deliver(vec![Incoming { record: Some(live), ..Incoming::default() }]).await;
        }
        let held = from.frontier();
        let second = Duration::from_secs(1);
        let mut catch_up = CatchUp::new(&mut behind, &name, &source, &manual, 8 << 10, second);
        let Ok(_) = catch_up.round(&held).await;
        let _ = behind.link.reported(Some(&to.frontier()));
        rounds += 1;
        assert!(rounds < 400, "{:?} of {held:?}", to.frontier());
    }
    assert!(behind.items < 6 * KEYS as usize, "{} items in {rounds} rounds", behind.items);
}
