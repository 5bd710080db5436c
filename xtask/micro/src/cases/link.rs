//! The link between two nodes on loopback, over QUIC with TLS: to a peer and back.
//!
//! Both nodes share one thread and keep what they hold in memory, so this is the processor's work at both ends and the
//! system's between them, without the switches between threads that two processes need.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use quorum_core::testing::{KeyValue, MemoryStore};
use quorum_core::{
    Answer, Incarnation, Inquirer, LocalStore, Outgoing, PeerId, Question, Replicator, Reply,
    Silent,
};
use quorum_transport::testing::{Loopback, eventually};
use quorum_transport::{Endpoint, QuicPeers, TokioClock};
use tokio::runtime::Runtime;

use crate::case::{Case, Repeat, each};

pub(crate) const CASES: &[Case] = &[
    Case::timed("link/record-and-ack", record_and_ack),
    Case::timed("link/question-and-answer", question_and_answer),
];

const KEY: &str = "key";
const VALUE: [u8; 300] = [b'v'; 300];
/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two connected nodes, of which the first one speaks.
struct Pair {
    runtime: Runtime,
    store: MemoryStore,
    network: QuicPeers,
    peer: PeerId,
    // Dropped last: while they are there, the link is up.
    _endpoints: [Endpoint; 2],
}

impl Pair {
    fn connect() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut mesh = Loopback::new(2).expect("a loopback network");
        // Nothing else is said meanwhile.
        mesh.config.probe_interval = PATIENCE;
        let (store, endpoints) = runtime.block_on(async {
            let stores = [1, 2].map(|number: u8| {
                let name = mesh.name(usize::from(number) - 1).clone();
                MemoryStore::new(name, Incarnation::from_bytes([number; 8]), TokioClock::new())
            });
            let endpoints = [0, 1].map(|index| {
                let store = Arc::new(stores[index].clone());
                mesh.start(index, store, Arc::new(Silent)).expect("starts")
            });
            let counts = |endpoint: &Endpoint| endpoint.peers().iter().all(|peer| peer.counts);
            eventually("both nodes count for each other", || endpoints.iter().all(counts)).await;
            let [store, _] = stores;
            (store, endpoints)
        });
        let (network, peer) = (endpoints[0].replicator(), mesh.name(1).clone());
        Self { runtime, store, network, peer, _endpoints: endpoints }
    }

    /// A write of the first node until the second one has answered it.
    async fn replicate(&self) -> Reply {
        let staged = self.store.stage(KeyValue::new(KEY, &VALUE[..])).await.expect("staged");
        let outgoing = Outgoing { record: staged.record, trace: None };
        let replied = self.network.fan_out(outgoing).next().await;
        replied.expect("the peer replies").reply
    }

    async fn ask(&self) -> Answer {
        let question = Question::Newest { key: KEY.into(), with_record: true };
        let peers = std::slice::from_ref(&self.peer);
        let answered = self.network.ask(peers, question, Instant::now() + PATIENCE).next().await;
        answered.expect("the peer answers").answer
    }
}

fn record_and_ack() -> Repeat {
    let pair = Pair::connect();
    each(move || {
        let reply = pair.runtime.block_on(pair.replicate());
        assert_eq!(reply, Reply::Stored, "a new record");
    })
}

/// The newest record of a key, as for a read at a quorum.
fn question_and_answer() -> Repeat {
    let pair = Pair::connect();
    pair.runtime.block_on(pair.replicate());
    each(move || {
        let answer = pair.runtime.block_on(pair.ask());
        assert!(matches!(answer, Answer::Newest(Some(_))), "the record that was sent");
    })
}
