//! How many writes may be under way at once, in number and in bytes: beyond it a write is refused before any work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use quorum_core::Observer;

/// Bounds the writes of one node. Cloning shares the bound.
#[derive(Clone)]
pub(crate) struct Admission {
    shared: Arc<Shared>,
}

struct Shared {
    writes_max: usize,
    bytes_max: usize,
    writes: AtomicUsize,
    bytes: AtomicUsize,
    closed: AtomicBool,
    observer: Arc<dyn Observer>,
}

/// Why a write is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too much is under way.
    Overloaded,
    /// The node is shutting down.
    Closed,
}

/// The place of one write; free again when dropped.
pub(crate) struct Permit {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Admission {
    pub(crate) fn new(writes_max: usize, bytes_max: usize, observer: Arc<dyn Observer>) -> Self {
        let (writes, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let closed = AtomicBool::new(false);
        Self { shared: Arc::new(Shared { writes_max, bytes_max, writes, bytes, closed, observer }) }
    }

    /// A place for a write of `bytes`, or why there is none.
    pub(crate) fn admit(&self, bytes: usize) -> Result<Permit, Refusal> {
        let shared = &self.shared;
        // Counted first and looked at afterwards, so that two writes cannot both take the last place, and so that
        // whoever waits for zero sees every write that was let in before the door closed.
        let writes = shared.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let total = shared.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let permit = Permit { shared: Arc::clone(shared), bytes };
        if shared.closed.load(Ordering::SeqCst) {
            Err(Refusal::Closed)
        } else if writes > shared.writes_max || total > shared.bytes_max {
            Err(Refusal::Overloaded)
        } else {
            shared.observer.writes_in_flight(writes);
            Ok(permit)
        }
    }

    /// Writes under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.writes.load(Ordering::SeqCst)
    }

    /// Admits no further write.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
    }

    /// Whether [`close`](Self::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::SeqCst)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        let left = self.shared.writes.fetch_sub(1, Ordering::SeqCst) - 1;
        self.shared.observer.writes_in_flight(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorum_core::Silent;

    #[test]
    fn places_are_bounded_in_number_and_bytes_and_given_back() {
        let admission = Admission::new(2, 100, Arc::new(Silent));
        let first = admission.admit(60).ok();
        assert_eq!(admission.admit(60).err(), Some(Refusal::Overloaded));
        let second = admission.admit(40).ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(admission.admit(0).err(), Some(Refusal::Overloaded));
        drop(first);
        assert!(admission.admit(60).is_ok());
        drop(second);
        assert_eq!(admission.in_flight(), 0);
    }

    #[test]
    fn a_closed_door_lets_nobody_in() {
        let admission = Admission::new(2, 100, Arc::new(Silent));
        admission.close();
        assert_eq!(admission.admit(1).err(), Some(Refusal::Closed));
        assert_eq!(admission.in_flight(), 0);
    }
}
