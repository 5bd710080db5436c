//! Clients that read and write while things go wrong, and write down what they were told.
//!
//! They know nothing of the mesh but its addresses, and nothing of the faults. Every value is a number that is written
//! once in a life, so a read names the write it saw. There are three kinds of keys, each kind in a namespace of its own
//! for every cycle: `strict` is configured as linearizable; `plain` takes one-phase writes and is read at a quorum; and
//! every key of `once` is written once, under a write id, and tried again through other nodes until its end is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::testing::history::{Kind, Operation};
use quorum_core::{Random, WriteId};
use quorum_node::client::{Client, ClientError, WriteOptions};
use quorum_node::config::Consistency;
use quorum_node::record::{Key, Namespace};
use quorum_transport::testing::SeededRandom;
use tokio::task::JoinSet;

/// Of every mesh.
pub(crate) const CLIENTS: u32 = 6;
/// Few, so that clients meet.
const KEYS: usize = 4;
/// How long a node may wait for the others. Short, so that a client comes back while the fault is still there.
const VERDICT_TIMEOUT: Duration = Duration::from_millis(800);
/// How often a write of unknown end is tried again.
const RETRIES: usize = 3;
/// Between two operations of a client: bounds what must be checked, and leaves the machine to the nodes.
const PAUSE_MILLIS: u64 = 8;

/// The clock of a life: monotonic, shared by clients and faults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline(Instant);

impl Timeline {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn nanos(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("a life of less than centuries")
    }
}

/// How many writes each node has in hand.
#[derive(Debug, Clone)]
pub(crate) struct InHand(Arc<[AtomicUsize]>);

impl InHand {
    pub(crate) fn of(nodes: usize) -> Self {
        Self((0..nodes).map(|_| AtomicUsize::new(0)).collect())
    }

    pub(crate) fn at(&self, node: usize) -> usize {
        self.0[node].load(Ordering::Relaxed)
    }
}

/// The namespaces of one cycle.
#[derive(Debug, Clone)]
pub(crate) struct Spaces {
    pub(crate) strict: Namespace,
    pub(crate) plain: Namespace,
    pub(crate) once: Namespace,
}

/// Namespaces that begin so are configured as linearizable.
pub(crate) const STRICT_PREFIX: &str = "strict.";

impl Spaces {
    pub(crate) fn all(&self) -> [Namespace; 3] {
        [self.strict.clone(), self.plain.clone(), self.once.clone()]
    }

    pub(crate) fn of_cycle(cycle: usize) -> Self {
        let name = |name: String| Namespace::new(name).expect("a short name");
        Self {
            strict: name(format!("{STRICT_PREFIX}{cycle}")),
            plain: name(format!("plain.{cycle}")),
            once: name(format!("once.{cycle}")),
        }
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Committed,
    NotApplied,
    Unknown,
}

/// A write to a key that nobody else writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Once {
    pub(crate) key: String,
    pub(crate) value: u64,
    pub(crate) told: Told,
}

/// When a write was under way, and through which node first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) node: usize,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) told: Told,
}

/// What the clients of one cycle saw.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) strict: Vec<Operation>,
    pub(crate) plain: Vec<Operation>,
    pub(crate) once: Vec<Once>,
    pub(crate) writes: Vec<Span>,
    /// Answers that no node should give to such a client.
    pub(crate) odd: Vec<String>,
}

/// What the clients of a life share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) nodes: usize,
    pub(crate) timeline: Timeline,
    pub(crate) in_hand: InHand,
    pub(crate) values: Arc<AtomicU64>,
}

/// Running clients. [`finish`](Self::finish) them.
#[derive(Debug)]
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    recorded: Arc<Mutex<Recorded>>,
    tasks: JoinSet<()>,
}

impl Clients {
    pub(crate) fn start(shared: &Shared, spaces: &Spaces, seed: u64) -> Self {
        let (stop, recorded) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut tasks = JoinSet::new();
        for number in 0..CLIENTS {
            let one = One {
                number,
                shared: shared.clone(),
                spaces: spaces.clone(),
                stop: Arc::clone(&stop),
                recorded: Arc::clone(&recorded),
                random: SeededRandom::new(seed.wrapping_add(u64::from(number))),
            };
            tasks.spawn(one.run());
        }
        Self { stop, recorded, tasks }
    }

    /// How many writes were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        let recorded = self.recorded.lock();
        recorded.writes.iter().filter(|write| write.told == Told::Committed).count()
    }

    /// Lets every client end its last operation, and returns what they all saw.
    pub(crate) async fn finish(mut self) -> Recorded {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a client does not panic");
        }
        std::mem::take(&mut *self.recorded.lock())
    }
}

struct One {
    number: u32,
    shared: Shared,
    spaces: Spaces,
    stop: Arc<AtomicBool>,
    recorded: Arc<Mutex<Recorded>>,
    random: SeededRandom,
}

impl One {
    async fn run(self) {
        let mut turn = 0;
        while !self.stop.load(Ordering::Relaxed) {
            turn += 1;
            match self.below(10) {
                0..=2 => self.operate(true).await,
                3..=6 => self.operate(false).await,
                _ => self.write_once(turn).await,
            }
            let pause = 1 + self.random.next_u64() % PAUSE_MILLIS;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.random.next_u64() % bound as u64).expect("below a usize")
    }

    fn value(&self) -> u64 {
        self.shared.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// One read or write of a key that all clients share.
    async fn operate(&self, is_strict: bool) {
        let space = if is_strict { &self.spaces.strict } else { &self.spaces.plain };
        let key = format!("k{}", self.below(KEYS));
        let node = self.below(self.shared.nodes);
        let invoked = self.shared.timeline.nanos();
        let (kind, returned) = if self.below(2) == 0 {
            let consistency =
                if is_strict { Consistency::Linearizable } else { Consistency::Quorum };
            let Some(value) = self.read(node, space, &key, consistency).await else { return };
            (Kind::Read { value }, Some(self.shared.timeline.nanos()))
        } else {
            let value = (self.below(10) != 0).then(|| self.value());
            let options = self.options(write_id(&self.random), false);
            let (told, span) = self.write(node, space, &key, value, &options).await;
            self.recorded.lock().writes.push(span);
            match told {
                Told::NotApplied => return,
                Told::Committed => (Kind::Write { value }, Some(span.to)),
                Told::Unknown => (Kind::Write { value }, None),
            }
        };
        let operation = Operation { client: self.number, key, kind, invoked, returned };
        let mut recorded = self.recorded.lock();
        let history = if is_strict { &mut recorded.strict } else { &mut recorded.plain };
        history.push(operation);
    }

    async fn write_once(&self, turn: u64) {
        let (key, value) = (format!("{}-{turn}", self.number), self.value());
        let id = write_id(&self.random);
        let mut node = self.below(self.shared.nodes);
        let (mut told, mut span) =
            self.write(node, &self.spaces.once, &key, Some(value), &self.options(id, false)).await;
        for _ in 0..RETRIES {
            if told != Told::Unknown || self.stop.load(Ordering::Relaxed) {
                break;
            }
            node = (node + 1) % self.shared.nodes;
            let options = self.options(id, true);
            let (retried, last) =
                self.write(node, &self.spaces.once, &key, Some(value), &options).await;
            // That a retry was not applied says nothing of the attempt before it.
            if retried == Told::Committed {
                told = retried;
            }
            span = Span { to: last.to, told, ..span };
        }
        let mut recorded = self.recorded.lock();
        recorded.writes.push(span);
        recorded.once.push(Once { key, value, told });
    }

    const fn options(&self, id: WriteId, is_retry: bool) -> WriteOptions {
        let mut options = WriteOptions::new(id);
        options.timeout = Some(VERDICT_TIMEOUT);
        options.is_retry = is_retry;
        options
    }

    async fn write(
        &self,
        node: usize,
        space: &Namespace,
        key: &str,
        value: Option<u64>,
        options: &WriteOptions,
    ) -> (Told, Span) {
        let (client, key) =
            (self.shared.client.only(node), Key::new(key.to_owned()).expect("a short key"));
        let from = self.shared.timeline.nanos();
        self.shared.in_hand.0[node].fetch_add(1, Ordering::Relaxed);
        let answer = match value {
            Some(value) => client.put(space, &key, Bytes::from(value.to_string()), options).await,
            None => client.delete(space, &key, options).await,
        };
        self.shared.in_hand.0[node].fetch_sub(1, Ordering::Relaxed);
        let told = match answer {
            Ok(_) => Told::Committed,
            Err(error) => {
                self.note(&error);
                if error.may_have_happened() { Told::Unknown } else { Told::NotApplied }
            }
        };
        (told, Span { node, from, to: self.shared.timeline.nanos(), told })
    }

    /// What a read returned; nothing is known of one that failed.
    async fn read(
        &self,
        node: usize,
        space: &Namespace,
        key: &str,
        consistency: Consistency,
    ) -> Option<Option<u64>> {
        let client = self.shared.client.only(node);
        let key = Key::new(key.to_owned()).expect("a short key");
        match client.get(space, &key, Some(consistency)).await {
            Ok(None) => Some(None),
            Ok(Some(found)) => match number(&found.bytes) {
                Some(value) => Some(Some(value)),
                None => {
                    self.recorded.lock().odd.push(format!("{space} {key:?} is {:?}", found.bytes));
                    None
                }
            },
            Err(error) => {
                self.note(&error);
                None
            }
        }
    }

    /// A request of ours is never wrong, so a node that says so is.
    fn note(&self, error: &ClientError) {
        if let ClientError::Refused { .. } | ClientError::Settings { .. } = error {
            self.recorded.lock().odd.push(error.to_string());
        }
    }
}

/// A fresh id: a UUID of version 4. One that looked like version 7 would say when it was made, and lie.
pub(crate) fn write_id(random: &impl Random) -> WriteId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    WriteId::from_bytes(bytes)
}

/// The number in a value.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    str::from_utf8(bytes).ok()?.parse().ok()
}
