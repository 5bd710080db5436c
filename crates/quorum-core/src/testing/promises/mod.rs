//! The promises of the store ports as checks that run against any store.
//!
//! Implement [`StoreUnderTest`] for a harness around your store and call [`all`], or single checks by name. Every
//! check is a function that panics, saying which promise is broken and how, if the store does not keep it.
//!
//! The checks crash stores, so a harness needs a way to take away what was not synced. A harness that cannot simulate
//! a power cut should at least drop the store without a farewell and open it anew: that finds most mistakes.
//!
//! Not checked, because no harness can cause it in general: that a failed append ends the epoch, and that a restored
//! backup is a new incarnation.

mod local;
mod log;
mod replica;
mod subject;

use std::future::Future;

use bytes::Bytes;

use crate::id::{Digest, PeerId};
use crate::ports::{LocalStore, LogSource, ReplicaStore};
use crate::testing::executor;
use crate::version::Version;

pub use local::{
    a_completed_append_survives_a_crash, a_restamped_write_lies_above,
    dots_are_dense_and_in_the_order_of_versions, dots_are_never_reused, versions_always_increase,
};
pub use log::{
    a_frontier_is_backed_by_records, a_replay_gives_wanted_dots_only,
    a_snapshot_and_its_frontier_make_a_full_copy, an_overwritten_dot_replays_as_the_current_record,
    only_synced_state_is_replayed,
};
pub use replica::{
    a_frontier_is_durable_and_never_ahead, a_gap_stays_a_gap, a_newer_version_is_reported,
    a_refused_record_leaves_a_gap, covered_dots_come_with_their_record,
    merging_is_commutative_and_idempotent, on_drift_the_larger_digest_wins,
    stored_survives_a_crash,
};

/// A harness around the store that is checked.
///
/// Every check makes stores of members of its own, so one harness serves all checks, each of them once.
pub trait StoreUnderTest {
    /// The store.
    type Store: LocalStore + ReplicaStore + LogSource;

    /// Makes an empty store for the member `member`. It takes records from members of any name.
    fn create(&self, member: &PeerId) -> Self::Store;

    /// Ends the store of `member` as a power cut would, and opens it again on what survived.
    fn crash(&self, member: &PeerId, store: Self::Store) -> Self::Store;

    /// A local write of `value` under `key`.
    fn op(&self, key: &str, value: &str) -> <Self::Store as LocalStore>::Op;

    /// The payload that a record of such a write carries.
    fn payload(&self, key: &str, value: &str) -> Bytes;

    /// Version and digest of the current record of `key`, if there is one.
    fn current(&self, store: &Self::Store, key: &str) -> Option<(Version, Digest)>;

    /// Runs a future of the store to its end. Override it if the store needs a runtime around it.
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        executor::block_on(future)
    }
}

/// Runs every check.
///
/// # Panics
///
/// If the store breaks a promise; the message says which.
pub fn all<H: StoreUnderTest>(harness: &H) {
    dots_are_never_reused(harness);
    dots_are_dense_and_in_the_order_of_versions(harness);
    versions_always_increase(harness);
    a_completed_append_survives_a_crash(harness);
    a_restamped_write_lies_above(harness);

    stored_survives_a_crash(harness);
    merging_is_commutative_and_idempotent(harness);
    a_newer_version_is_reported(harness);
    on_drift_the_larger_digest_wins(harness);
    a_refused_record_leaves_a_gap(harness);
    a_gap_stays_a_gap(harness);
    covered_dots_come_with_their_record(harness);
    a_frontier_is_durable_and_never_ahead(harness);

    an_overwritten_dot_replays_as_the_current_record(harness);
    a_replay_gives_wanted_dots_only(harness);
    only_synced_state_is_replayed(harness);
    a_frontier_is_backed_by_records(harness);
    a_snapshot_and_its_frontier_make_a_full_copy(harness);
}
