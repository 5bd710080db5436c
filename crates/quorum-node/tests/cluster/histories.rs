//! What clients of the mesh saw, written down by clients that know nothing of it, judged by a checker that knows
//! nothing of it either.
//!
//! Values are unique numbers, so that every read names the write it saw. A write without an answer, or with an
//! indeterminate one, may have happened or not; one that was not applied is left out.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use quorum_core::testing::history::{self, History, Kind, Operation};
use tokio::task::JoinSet;

use crate::harness::http::{self, Outcome};
use crate::harness::process::Cluster;
use crate::harness::random::Seeded;
use crate::harness::until;
use crate::harness::wires::Wires;

/// Few, so that clients meet.
const KEYS: usize = 3;
const CLIENTS: u32 = 5;

/// Clients that read and write the same few keys through all members, one operation at a time each.
struct Clients {
    began: Instant,
    targets: Vec<SocketAddr>,
    namespace: &'static str,
    read: &'static str,
    stop: AtomicBool,
    values: AtomicU64,
    operations: Mutex<Vec<Operation>>,
}

impl Clients {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("a short test")
    }

    async fn client(self: Arc<Self>, client: u32, mut random: Seeded) {
        while !self.stop.load(Ordering::Relaxed) {
            let to = self.targets[random.below(self.targets.len())];
            let key = format!("k{}", random.below(KEYS));
            let invoked = self.now();
            let seen = if random.below(2) == 0 {
                self.read(to, &key).await
            } else {
                self.write(to, &key, random.below(10) == 0).await
            };
            let Some((kind, is_certain)) = seen else { continue };
            let returned = is_certain.then(|| self.now());
            let operation = Operation { client, key, kind, invoked, returned };
            self.operations.lock().expect("no client panics with the lock").push(operation);
        }
    }

    /// What a read returned; nothing is known of one that failed.
    async fn read(&self, to: SocketAddr, key: &str) -> Option<(Kind, bool)> {
        let path = format!("/v1/kv/{}/{key}?timeout=1s{}", self.namespace, self.read);
        let Outcome::Answered(answer) = http::get(to, &path).await else { return None };
        let value = match answer.status {
            StatusCode::OK => Some(answer.text().parse().expect("a number")),
            StatusCode::NOT_FOUND => None,
            StatusCode::SERVICE_UNAVAILABLE => return None,
            other => panic!("a read was answered {other}: {}", answer.text()),
        };
        Some((Kind::Read { value }, true))
    }

    async fn write(&self, to: SocketAddr, key: &str, deletes: bool) -> Option<(Kind, bool)> {
        let path = format!("/v1/kv/{}/{key}?timeout=1s", self.namespace);
        let value = (!deletes).then(|| self.values.fetch_add(1, Ordering::Relaxed) + 1);
        let (method, body) = match value {
            Some(value) => (Method::PUT, Bytes::from(value.to_string())),
            None => (Method::DELETE, Bytes::new()),
        };
        let is_certain = match http::send(to, method, &path, &[], body).await {
            Outcome::Refused => return None,
            Outcome::Unanswered(_) => false,
            Outcome::Answered(answer) => match answer.json()["outcome"].as_str() {
                Some("committed") => true,
                Some("not_applied") => return None,
                Some("indeterminate") => false,
                _ => panic!("a write was answered {}: {}", answer.status, answer.text()),
            },
        };
        Some((Kind::Write { value }, is_certain))
    }

    fn certain(&self) -> usize {
        let operations = self.operations.lock().expect("no client panics with the lock");
        operations.iter().filter(|operation| operation.returned.is_some()).count()
    }

    async fn progress(&self, count: usize) {
        let before = self.certain();
        until("clients get answers", async || self.certain() >= before + count).await;
    }
}

/// Runs the clients while members are cut off and killed, and returns what they saw.
async fn recorded(test: &str, namespace: &'static str, read: &'static str) -> History {
    let mut random = Seeded::announced(test);
    let mut cluster = Cluster::init(3, &[]);
    for node in &cluster.nodes {
        node.configure("[[namespaces]]\nname = \"strict\"\nconsistency = \"linearizable\"");
    }
    let wires = Wires::between(&cluster, random.below(1 << 30) as u64).await;
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.linked().await;
    let clients = Arc::new(Clients {
        began: Instant::now(),
        targets: cluster.nodes.iter().map(|node| node.http).collect(),
        namespace,
        read,
        stop: AtomicBool::new(false),
        values: AtomicU64::new(0),
        operations: Mutex::default(),
    });
    let mut running = JoinSet::new();
    for client in 0..CLIENTS {
        running.spawn(Arc::clone(&clients).client(client, random.split()));
    }
    for _ in 0..4 {
        clients.progress(20 + random.below(100)).await;
        let victim = random.below(3);
        match random.below(3) {
            0 => wires.isolate(victim),
            1 => wires.cut(victim, (victim + 1) % 3),
            _ => cluster.nodes[victim].kill(),
        }
        clients.progress(20 + random.below(100)).await;
        wires.heal();
        if !cluster.nodes[victim].is_running() {
            cluster.nodes[victim].start();
        }
    }
    clients.progress(50).await;
    clients.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended.expect("a client does not panic");
    }
    let operations = std::mem::take(&mut *clients.operations.lock().expect("nobody else is left"));
    History::new(operations)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linearizable_namespace_is_linearizable_under_partitions_and_crashes() {
    let history = recorded("linearizable", "strict", "").await;
    if let Err(violation) = history::linearizable(&history) {
        panic!("not linearizable:\n{violation}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorum_reads_are_those_of_a_regular_register_under_partitions_and_crashes() {
    let history = recorded("regular", "test", "&consistency=quorum").await;
    if let Err(violation) = history::regular(&history) {
        panic!("not regular:\n{violation}");
    }
}
