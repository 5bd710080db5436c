//! What clients asked of keys of linearizable namespaces and were told, to be judged at the end of a run.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::Mutex;

use crate::id::Digest;
use crate::testing::epoch;
use crate::testing::history::{History, Kind, Operation, linearizable};

/// Operations of one run, and the values by which they name what was written.
#[derive(Debug, Default)]
pub(super) struct Operations {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    values: BTreeMap<Digest, Option<u64>>,
    operations: Vec<Operation>,
}

impl Operations {
    /// A write is asked for. Returns its place.
    pub(super) fn write(
        &self,
        (client, key): (u64, &str),
        digest: Digest,
        is_delete: bool,
        now: Instant,
    ) -> usize {
        let mut state = self.state.lock();
        let next = state.values.len() as u64;
        let value = *state.values.entry(digest).or_insert_with(|| (!is_delete).then_some(next));
        state.add(client, key, Kind::Write { value }, (now, None))
    }

    /// The write at a place is committed.
    pub(super) fn committed(&self, place: usize, now: Instant) {
        self.state.lock().operations[place].returned = Some(micros(now));
    }

    /// Nothing of the write at a place is anywhere. It stays as a read of nobody knows what.
    pub(super) fn not_applied(&self, place: usize) {
        self.state.lock().operations[place].kind = Kind::Read { value: None };
    }

    /// A read that began at a time has found something.
    pub(super) fn read(
        &self,
        (client, key): (u64, &str),
        digest: Option<&Digest>,
        (began, now): (Instant, Instant),
    ) {
        let mut state = self.state.lock();
        let value = digest.and_then(|digest| state.values.get(digest).copied().flatten());
        state.add(client, key, Kind::Read { value }, (began, Some(now)));
    }

    /// Why what clients saw has no order, if so.
    pub(super) fn judge(&self) -> Option<String> {
        let history = History::new(self.state.lock().operations.clone());
        linearizable(&history).err().filter(|why| !why.is_undecided).map(|why| why.to_string())
    }
}

impl State {
    fn add(
        &mut self,
        client: u64,
        key: &str,
        kind: Kind,
        (began, ended): (Instant, Option<Instant>),
    ) -> usize {
        self.operations.push(Operation {
            client: u32::try_from(client).unwrap_or(u32::MAX),
            key: key.to_owned(),
            kind,
            invoked: micros(began),
            returned: ended.map(micros),
        });
        self.operations.len() - 1
    }
}

fn micros(now: Instant) -> u64 {
    super::dial::micros(now.saturating_duration_since(epoch()))
}
