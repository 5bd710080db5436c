//! The store of the example keeps every promise of the ports: the suite that embedders run on theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorum_core::testing::promises::{self, StoreUnderTest};
use quorum_core::{Digest, PeerId, Version, WriteId};
use quorum_transport::TokioClock;

#[path = "../examples/sqlite_table/store.rs"]
mod store;

use store::{Contact, ContactStore};

struct Harness {
    folder: tempfile::TempDir,
    entropy: AtomicU64,
}

impl StoreUnderTest for Harness {
    type Store = ContactStore;

    fn create(&self, member: &PeerId) -> ContactStore {
        let path = self.folder.path().join(format!("{member}.sqlite"));
        let entropy = self.entropy.fetch_add(1, Ordering::Relaxed);
        ContactStore::open(&path, member, entropy, Arc::new(TokioClock::new())).expect("opens")
    }

    fn crash(&self, member: &PeerId, store: ContactStore) -> ContactStore {
        drop(store);
        self.create(member)
    }

    fn op(&self, key: &str, value: &str) -> Contact {
        let mut write_id = [0; 16];
        write_id.copy_from_slice(&Digest::of(&Contact::payload(key, value)).as_bytes()[..16]);
        let write_id = WriteId::from_bytes(write_id);
        Contact { write_id, name: key.to_owned(), phone: value.to_owned() }
    }

    fn payload(&self, key: &str, value: &str) -> Bytes {
        Contact::payload(key, value).into()
    }

    fn current(&self, store: &ContactStore, key: &str) -> Option<(Version, Digest)> {
        let record = store.current(key).expect("readable")?;
        Some((record.version(), record.digest))
    }
}

#[test]
fn the_contact_store_keeps_every_promise() {
    let folder = tempfile::tempdir().expect("a folder");
    promises::all(&Harness { folder, entropy: AtomicU64::new(1) });
}

#[test]
fn the_table_of_the_application_shows_the_winner() {
    let folder = tempfile::tempdir().expect("a folder");
    let harness = Harness { folder, entropy: AtomicU64::new(1) };
    let store = harness.create(&PeerId::new("n1").expect("a name"));
    for phone in ["1", "2"] {
        let staged = quorum_core::LocalStore::stage(&store, harness.op("ada", phone));
        quorum_core::testing::block_on(staged).expect("staged");
    }
    assert_eq!(store.contacts().expect("readable"), [("ada".to_owned(), "2".to_owned())]);
}
