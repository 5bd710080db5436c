//! Which writes have two copies: this node's and another's. (pure)
//!
//! Both others get the records in the order in which they were written here, and say how many of them they have synced.
//! So a write has a second copy once the greater of the two numbers covers it.

use std::collections::VecDeque;

/// Counts copies of writes, each of which is waited for with a `T`.
pub(super) struct Progress<T> {
    /// Writes so far.
    written: u64,
    /// Entries of the log that are synced; others' records are among them.
    synced: u64,
    /// Writes that the others have synced.
    acked: [u64; 2],
    waiting: VecDeque<Waiting<T>>,
}

struct Waiting<T> {
    write: u64,
    place: u64,
    who: T,
}

impl<T> Progress<T> {
    pub(super) const fn new() -> Self {
        Self { written: 0, synced: 0, acked: [0; 2], waiting: VecDeque::new() }
    }

    /// The next write begins, with its place in the log.
    pub(super) fn begin(&mut self, place: u64, who: T) {
        self.written += 1;
        self.waiting.push_back(Waiting { write: self.written, place, who });
    }

    /// So many entries of the log are synced.
    pub(super) const fn sync(&mut self, synced: u64) {
        self.synced = synced;
    }

    /// One of the others has synced so many writes.
    pub(super) const fn ack(&mut self, other: usize, acked: u64) {
        self.acked[other] = acked;
    }

    /// The next one whose write has two copies.
    pub(super) fn done(&mut self) -> Option<T> {
        let [one, other] = self.acked;
        let first = self.waiting.front()?;
        let is_done = first.place <= self.synced && first.write <= one.max(other);
        if is_done { self.waiting.pop_front().map(|waiting| waiting.who) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_done_at_the_local_sync_and_one_ack() {
        let mut progress = Progress::new();
        progress.begin(1, 'a');
        progress.begin(3, 'b');
        progress.ack(1, 2);
        assert_eq!(progress.done(), None);
        progress.sync(1);
        assert_eq!((progress.done(), progress.done()), (Some('a'), None));
        progress.sync(3);
        assert_eq!((progress.done(), progress.done()), (Some('b'), None));
    }

    #[test]
    fn two_copies_elsewhere_are_no_copy_here() {
        let mut progress = Progress::new();
        progress.begin(1, 'a');
        progress.ack(0, 1);
        progress.ack(1, 1);
        assert_eq!(progress.done(), None);
    }
}
