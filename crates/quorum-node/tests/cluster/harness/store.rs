//! Looks into the data directory of a stopped node.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorum_core::{
    ClockGuard, ClusterId, Frontier, LogSource, PeerId, Replay, ReplicaStore, SeqSet, Silent,
};
use quorum_node::SystemRandom;
use quorum_node::receive::{AdmissionLimits, Receiver};
use quorum_node::store::{Store, StoreConfig, StoreIdentity, StoreSeams};
use quorum_transport::TokioClock;

/// What a stopped node holds, and what of it is still in its log.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) frontier: Frontier,
    /// Lineages that are held and whose beginning is still in the log.
    pub(crate) untrimmed: Frontier,
}

/// Opens the store of a stopped node, which begins a new start of it, and closes it again.
pub(crate) async fn inspect(directory: &Path, cluster: ClusterId, node: &str) -> Inspected {
    let node = PeerId::new(node).expect("a name");
    let seams = StoreSeams {
        clock: Arc::new(TokioClock::new()),
        guard: Arc::new(Mutex::new(ClockGuard::new(Duration::MAX))),
        observer: Arc::new(Silent),
        random: Arc::new(SystemRandom::default()),
    };
    let config = StoreConfig::default();
    let store = Store::open(directory, &StoreIdentity { cluster, node }, config, seams);
    let store = store.expect("the store of a stopped node");
    let limits = AdmissionLimits { value_bytes_max: usize::MAX, clock_skew_max: Duration::MAX };
    let receiver = Receiver::new(store.clone(), limits, []);
    let (frontier, mut untrimmed) = (receiver.frontier(), Frontier::new());
    for (lineage, held) in frontier.iter() {
        let first = SeqSet::up_to(1);
        if held.covers(&first) && receiver.replay(lineage, &first, 1).await != Replay::Trimmed {
            untrimmed.insert_range(lineage, 1, 1);
        }
    }
    drop(receiver);
    store.close().await;
    Inspected { frontier, untrimmed }
}
