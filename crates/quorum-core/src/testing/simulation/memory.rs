//! The simplest store as a subject: [`MemoryStore`], its appends held until the disk gets round to them.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::program::{DiskMood, QuorumRead, Seat, SimulatedStore};
use crate::id::{Digest, Incarnation, WriteId};
use crate::ports::Random;
use crate::testing::store::{Appends, KeyValue, MemoryStore};

/// The stores of one run.
#[derive(Debug, Default)]
pub struct MemoryStores {
    stores: Mutex<BTreeMap<usize, MemoryStore>>,
}

impl SimulatedStore for MemoryStores {
    type Store = MemoryStore;

    fn open(&self, seat: &Seat) -> MemoryStore {
        let mut stores = self.stores.lock();
        let store = stores.entry(seat.index).or_insert_with(|| {
            let incarnation = Incarnation::from_bytes(seat.random.next_u64().to_le_bytes());
            MemoryStore::new(seat.name.clone(), incarnation, seat.clock.clone())
        });
        if store.was_started() {
            store.crash();
        }
        store.set_appends(Appends::Held);
        let seat = seat.clone();
        store.on_append(move || seat.needs_sync());
        store.clone()
    }

    fn cut_power(&self, _seat: &Seat, _store: &MemoryStore) {
        // What is held is lost at the next opening, whatever ended the process.
    }

    fn op(&self, key: &str, value: &str, write_id: WriteId) -> KeyValue {
        KeyValue { write_id, ..KeyValue::new(key, value.to_owned()) }
    }

    fn digest(&self, key: &str, value: &str) -> Digest {
        Digest::of(&KeyValue::encode(key, value.as_bytes()))
    }

    fn current(&self, store: &MemoryStore, key: &str) -> QuorumRead {
        store.current(key).map(|record| (record.version(), record.digest))
    }

    fn sync(&self, store: &MemoryStore, mood: DiskMood) -> bool {
        match mood {
            DiskMood::Failing => store.fail(),
            DiskMood::Honest | DiskMood::Lying => store.release(),
        }
        false
    }

    fn is_running(&self, store: &MemoryStore) -> bool {
        store.takes_writes()
    }
}
