//! Clients that read and write through all members, one operation at a time each, and write down what they saw.
//!
//! Values are unique numbers, so that every read names the write it saw. A write without an answer, or with an
//! indeterminate one, may have happened or not; one that was not applied is left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::WriteId;
use quorum_core::testing::history::{Kind, Operation};
use quorum_node::config::Consistency;
use quorum_node::record::{Key, Namespace};
use quorum_node::{ReadRequest, WriteFailed, WriteRequest};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::member::Member;
use crate::trace::Trace;

/// The namespace of linearizable registers.
pub(crate) const STRICT: &str = "strict";
/// The namespace of registers that are read by quorum, and of marks.
pub(crate) const PLAIN: &str = "plain";
/// Few, so that clients meet.
pub(crate) const KEYS: usize = 3;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What one write was about.
#[derive(Debug, Clone)]
struct Write {
    namespace: &'static str,
    key: String,
    value: Option<u64>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Committed,
    /// Nobody knew at first; asked again, it was committed.
    CommittedLater,
    NotApplied,
    Unknown,
}

impl Fate {
    const fn is_committed(self) -> bool {
        matches!(self, Self::Committed | Self::CommittedLater)
    }

    /// Whether it took effect before its end, on a register of this namespace. A one-phase write that was below a newer
    /// one from the start may be called committed when it is asked for again, and is never seen: docs/guarantees.md.
    fn is_certain(self, namespace: &str) -> bool {
        self == Self::Committed || (self == Self::CommittedLater && namespace == STRICT)
    }
}

/// Everything the clients of a run have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// On the registers of each namespace.
    pub(crate) operations: BTreeMap<&'static str, Vec<Operation>>,
    /// Marks, keys that are written once: the value, and whether the write was acknowledged.
    pub(crate) marks: BTreeMap<String, (u64, bool)>,
    pub(crate) acknowledged: u64,
    pub(crate) indeterminate: u64,
    pub(crate) reads: u64,
}

/// All clients of a run.
pub(crate) struct Clients {
    pub(crate) members: Vec<Arc<Member>>,
    trace: Trace,
    values: AtomicU64,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

impl Clients {
    pub(crate) fn new(members: Vec<Arc<Member>>, trace: Trace) -> Self {
        let (values, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { members, trace, values, stop, seen: Mutex::default() }
    }

    /// Lets every client finish what it is at.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Returns once they were told to stop.
    pub(crate) async fn stopped(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What they have seen so far.
    pub(crate) fn seen(&self) -> parking_lot::MutexGuard<'_, Seen> {
        self.seen.lock()
    }

    /// One client, until it is stopped.
    pub(crate) async fn run(self: Arc<Self>, client: u32, seed: u64) {
        let random = &mut StdRng::seed_from_u64(seed);
        while !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(random.random_range(1..60))).await;
            let to = random.random_range(0..self.members.len());
            let key = format!("k{}", random.random_range(0..KEYS));
            match random.random_range(0..10) {
                0 | 1 => self.read(client, to, STRICT, key, Consistency::Linearizable).await,
                2 | 3 => self.read(client, to, PLAIN, key, Consistency::Quorum).await,
                4 | 5 => self.write(client, to, STRICT, key, random).await,
                6 | 7 => self.write(client, to, PLAIN, key, random).await,
                _ => self.mark(client, to, random).await,
            }
        }
    }

    /// Reads a register, and writes down what was there.
    pub(crate) async fn read(
        &self,
        client: u32,
        to: usize,
        namespace: &'static str,
        key: String,
        consistency: Consistency,
    ) {
        let invoked = self.trace.event(format_args!("{client} reads {namespace}/{key} at {to}"));
        let Some(value) = self.value(to, namespace, &key, consistency).await else { return };
        let returned = self.trace.event(format_args!("{client} read {value:?}"));
        let returned = Some(returned);
        let operation = Operation { client, key, kind: Kind::Read { value }, invoked, returned };
        let seen = &mut *self.seen.lock();
        seen.reads += 1;
        seen.operations.entry(namespace).or_default().push(operation);
    }

    /// What a member says is there; `None` if it does not say.
    pub(crate) async fn value(
        &self,
        to: usize,
        namespace: &'static str,
        key: &str,
        consistency: Consistency,
    ) -> Option<Option<u64>> {
        let request = ReadRequest {
            namespace: Namespace::new(namespace).ok()?,
            key: Key::new(key.to_owned()).ok()?,
            consistency: Some(consistency),
            members: None,
            timeout: Some(Duration::from_secs(1)),
        };
        let asked = self.members[to].ask(async move |service| service.read_as(request).await.ok());
        let found = tokio::time::timeout(PATIENCE, asked).await.ok().flatten().flatten()?;
        let value = found.stored.and_then(|stored| stored.content.value);
        // What is no number was written by nobody: it is kept as one that nobody writes.
        Some(value.map(|value| parsed(&value).unwrap_or(u64::MAX)))
    }

    async fn write(
        &self,
        client: u32,
        to: usize,
        namespace: &'static str,
        key: String,
        random: &mut StdRng,
    ) {
        let value = (!random.random_ratio(1, 10)).then(|| self.fresh());
        let write = Write { namespace, key: key.clone(), value };
        let (invoked, fate, ended) = self.carry_out(client, to, write, random).await;
        let returned = fate.is_certain(namespace).then_some(ended);
        let operation = Operation { client, key, kind: Kind::Write { value }, invoked, returned };
        let seen = &mut *self.seen.lock();
        if fate != Fate::NotApplied {
            seen.operations.entry(namespace).or_default().push(operation);
        }
    }

    async fn mark(&self, client: u32, to: usize, random: &mut StdRng) {
        let value = self.fresh();
        let key = format!("m{value}");
        // Entered before it is sent: a mark that is found must be one of these.
        self.seen.lock().marks.insert(key.clone(), (value, false));
        let write = Write { namespace: PLAIN, key: key.clone(), value: Some(value) };
        let (_, fate, _) = self.carry_out(client, to, write, random).await;
        self.seen.lock().marks.insert(key, (value, fate.is_committed()));
    }

    /// Writes, and asks again elsewhere if nobody knows what became of it; tells when it began, its fate, and when that
    /// was known.
    async fn carry_out(
        &self,
        client: u32,
        to: usize,
        write: Write,
        random: &mut StdRng,
    ) -> (u64, Fate, u64) {
        let Write { namespace, key, value } = &write;
        let mut id = [0; 16];
        random.fill_bytes(&mut id);
        let named = random.random_bool(0.5).then(|| WriteId::from_bytes(id));
        let began =
            self.trace.event(format_args!("{client} writes {namespace}/{key}={value:?} at {to}"));
        let mut fate = self.attempt(to, &write, named, false).await;
        if fate == Fate::Unknown && named.is_some() && random.random_bool(0.7) {
            let to = random.random_range(0..self.members.len());
            self.trace.event(format_args!("{client} asks again at {to}"));
            // Whatever the second answer says, the first attempt may have happened.
            if self.attempt(to, &write, named, true).await == Fate::Committed {
                fate = Fate::CommittedLater;
            }
        }
        let ended = self.trace.event(format_args!("{client} is told {fate:?}"));
        let seen = &mut *self.seen.lock();
        seen.acknowledged += u64::from(fate.is_committed());
        seen.indeterminate += u64::from(fate == Fate::Unknown);
        (began, fate, ended)
    }

    async fn attempt(&self, to: usize, write: &Write, id: Option<WriteId>, is_retry: bool) -> Fate {
        let (Ok(namespace), Ok(key)) =
            (Namespace::new(write.namespace), Key::new(write.key.clone()))
        else {
            return Fate::NotApplied;
        };
        let request = WriteRequest {
            namespace,
            key,
            value: write.value.map(|value| Bytes::from(value.to_string())),
            write_id: id,
            copies: None,
            timeout: Some(Duration::from_secs(1)),
            durability: None,
            is_retry,
        };
        let asked = self.members[to].ask(async move |service| service.write(request).await);
        match tokio::time::timeout(PATIENCE, asked).await.ok().flatten() {
            Some(Ok(_)) => Fate::Committed,
            None
            | Some(Err(
                WriteFailed::Indeterminate { .. }
                | WriteFailed::Unsettled { .. }
                | WriteFailed::LookupUnreachable { .. },
            )) => Fate::Unknown,
            Some(Err(_)) => Fate::NotApplied,
        }
    }

    fn fresh(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn parsed(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
