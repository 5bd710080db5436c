//! What to send to whom next, as functions from values to values: what a peer is owed, what to ask
//! of whom, when a busy peer is asked again, what the log may forget, which dots will never be seen.

mod deferred;
mod lane_hash;
mod owed;
mod plan;
mod rolled_back;
mod trim;
mod void;

pub use deferred::Deferred;
pub use lane_hash::LaneHash;
pub use owed::owed_to;
pub use plan::{Reach, wants};
pub use rolled_back::rolled_back;
pub use trim::trim_floor;
pub use void::void_dots;

#[cfg(test)]
pub(crate) mod tests {
    use crate::id::{Incarnation, PeerId};
    use crate::version::{Epoch, Lineage, Origin};

    pub(crate) fn peer(name: &str) -> PeerId {
        PeerId::new(name).expect("a valid name")
    }

    /// The lineage of the `start`th start of `node`'s first life.
    pub(crate) fn lineage(node: &str, start: u64) -> Lineage {
        let origin = Origin { node: peer(node), incarnation: Incarnation::from_bytes([1; 8]) };
        Lineage { origin, epoch: Epoch::new(start, 0) }
    }
}
