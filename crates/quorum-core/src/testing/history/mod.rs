//! Judges what clients of a mesh saw: whether a recorded history is that of a linearizable or of a regular register.
//!
//! A [`History`] is written down by clients that know nothing of the system: what they asked for, when, and what they were
//! told. [`linearizable`] and [`regular`] know nothing of the system either. Every key is a register of its own; both
//! properties hold for a history if they hold for each key (for linearizability: Herlihy and Wing 1990, theorem 1).

mod linearizable;
mod regular;

use std::collections::BTreeMap;
use std::fmt;

pub use linearizable::linearizable;
pub use regular::regular;

/// What an operation did, by the values it wrote or saw. `None` is the absence of a value: a delete, or a read of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "recorders build it, and a register has nothing else")]
pub enum Kind {
    /// Returned this value.
    Read {
        /// What it saw.
        value: Option<u64>,
    },
    /// Wrote this value. Give every write a value of its own, so that a read names the write it saw.
    Write {
        /// What it wrote.
        value: Option<u64>,
    },
}

/// One operation of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "recorders build it")]
pub struct Operation {
    /// Which client; for messages only.
    pub client: u32,
    /// Which register.
    pub key: String,
    /// What it did.
    pub kind: Kind,
    /// When it was sent, on a monotonic clock that all clients share, in any unit.
    pub invoked: u64,
    /// When its answer arrived. `None` if nobody knows whether it took effect: no answer, or an indeterminate one.
    pub returned: Option<u64>,
}

impl Operation {
    /// When it was over at the latest: never, if nobody knows.
    const fn end(&self) -> u64 {
        match self.returned {
            Some(returned) => returned,
            None => u64::MAX,
        }
    }

    const fn is_read(&self) -> bool {
        matches!(self.kind, Kind::Read { .. })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: Option<u64>| {
            value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
        };
        let did = match self.kind {
            Kind::Read { value: seen } => format!("read {}", value(seen)),
            Kind::Write { value: written } => format!("wrote {}", value(written)),
        };
        let end = self.returned.map_or_else(|| "?".to_owned(), |returned| returned.to_string());
        write!(out, "client {} {did} in {}..{end}", self.client, self.invoked)
    }
}

/// Operations of all clients. What certainly did not happen is left out by whoever records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// The history of these operations, in any order.
    #[must_use]
    pub const fn new(operations: Vec<Operation>) -> Self {
        Self { operations }
    }

    /// How many operations there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operations on each key in order of their beginnings. A read without an answer says nothing.
    fn by_key(&self) -> BTreeMap<&str, Vec<&Operation>> {
        let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        for operation in &self.operations {
            if operation.returned.is_some() || !operation.is_read() {
                keys.entry(&operation.key).or_default().push(operation);
            }
        }
        keys.values_mut()
            .for_each(|operations| operations.sort_by_key(|it| (it.invoked, it.end())));
        keys
    }
}

/// How much was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Keys.
    pub keys: usize,
    /// Operations that were looked at.
    pub operations: usize,
    /// Reads among them.
    pub reads: usize,
    /// States that the search went through; zero where nothing is searched.
    pub states: usize,
}

impl Stats {
    fn count(&mut self, operations: &[&Operation]) {
        self.keys += 1;
        self.operations += operations.len();
        self.reads += operations.iter().filter(|operation| operation.is_read()).count();
    }
}

/// Why a history is not what it should be, or could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key:?}: {detail}")]
#[non_exhaustive]
pub struct Violation {
    /// The key.
    pub key: String,
    /// Which operation does not fit, with those around it.
    pub detail: String,
    /// Whether the search was given up instead: then the history may be good.
    pub is_undecided: bool,
}

/// The operations that are under way at some time of `around`, one per line, and those just before.
fn neighbourhood(operations: &[&Operation], around: &Operation) -> String {
    const BEFORE: usize = 5;
    let begins_before = |operation: &&&Operation| operation.invoked <= around.end();
    let so_far: Vec<_> = operations.iter().filter(begins_before).collect();
    let is_over = |operation: &&Operation| operation.end() < around.invoked;
    let over: Vec<_> = so_far.iter().filter(|operation| is_over(operation)).collect();
    let kept_from = over.len().saturating_sub(BEFORE);
    let kept = over[kept_from..].iter().map(|operation| ***operation);
    let concurrent =
        so_far.iter().filter(|operation| !is_over(operation)).map(|operation| **operation);
    let lines = kept.chain(concurrent).map(|operation| format!("\n  {operation}"));
    lines.collect()
}
