//! Which writes a majority has: this node and as many others as that takes. (pure)
//!
//! All others get the records in the order in which they were written here, and say how many of them they have synced.
//! So `n` of them have a write once the `n`th of these numbers, from the greatest down, covers it.

use std::collections::VecDeque;

/// Counts copies of writes, each of which is waited for with a `T`.
pub(super) struct Progress<T> {
    /// Writes so far.
    written: u64,
    /// Entries of the log that are synced; others' records are among them.
    synced: u64,
    /// Writes that each of the others has synced.
    acked: Vec<u64>,
    /// Writes that enough of the others have synced.
    enough: u64,
    /// Where that is looked up.
    scratch: Vec<u64>,
    waiting: VecDeque<Waiting<T>>,
}

struct Waiting<T> {
    write: u64,
    place: u64,
    who: T,
}

impl<T> Progress<T> {
    pub(super) fn new(others: usize) -> Self {
        let acked = vec![0; others];
        let (scratch, waiting) = (Vec::with_capacity(others), VecDeque::new());
        Self { written: 0, synced: 0, acked, enough: 0, scratch, waiting }
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
    pub(super) fn ack(&mut self, other: usize, acked: u64) {
        self.acked[other] = acked;
        // With this node they are a majority.
        let needed = self.acked.len().div_ceil(2);
        self.scratch.clone_from(&self.acked);
        let (_, enough, _) =
            self.scratch.select_nth_unstable_by(needed - 1, |one, other| other.cmp(one));
        self.enough = *enough;
    }

    /// The next one whose write has all the copies that it needs.
    pub(super) fn done(&mut self) -> Option<T> {
        let (synced, enough) = (self.synced, self.enough);
        let first =
            self.waiting.pop_front_if(|first| first.place <= synced && first.write <= enough)?;
        Some(first.who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_done_at_the_local_sync_and_one_ack() {
        let mut progress = Progress::new(2);
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
        let mut progress = Progress::new(2);
        progress.begin(1, 'a');
        progress.ack(0, 1);
        progress.ack(1, 1);
        assert_eq!(progress.done(), None);
    }

    #[test]
    fn among_five_two_others_are_needed() {
        let mut progress = Progress::new(4);
        progress.begin(1, 'a');
        progress.sync(1);
        progress.ack(3, 9);
        assert_eq!(progress.done(), None);
        progress.ack(1, 1);
        assert_eq!(progress.done(), Some('a'));
    }
}
