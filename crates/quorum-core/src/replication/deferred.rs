//! Records that a peer does not take now: when to send them again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::frontier::Frontier;
use crate::version::Dot;

/// Records that one peer has put off, each with its own growing delay; those behind them go on.
///
/// Bounded: beyond the cap nothing more is put off, and the peer is served in order only until some are taken.
#[derive(Debug, Clone)]
pub struct Deferred {
    delay_min: Duration,
    delay_max: Duration,
    capacity: usize,
    due: BTreeSet<(Instant, Dot)>,
    waiting: BTreeMap<Dot, Instant>,
    attempts: BTreeMap<Dot, u32>,
    /// Whether some attempts may be counted of records that are no longer put off.
    prunable: bool,
}

impl Deferred {
    /// Delays from `delay_min`, doubled at every attempt up to `delay_max`, for at most `capacity` records.
    #[must_use]
    pub const fn new(delay_min: Duration, delay_max: Duration, capacity: usize) -> Self {
        Self {
            delay_min,
            delay_max,
            capacity,
            due: BTreeSet::new(),
            waiting: BTreeMap::new(),
            attempts: BTreeMap::new(),
            prunable: false,
        }
    }

    /// Puts a record off as of `now`.
    pub fn put_off(&mut self, dot: Dot, now: Instant) {
        let (delay_min, delay_max) = (self.delay_min, self.delay_max);
        // A peer that takes none of so many that there is no room to count is not asked for more of them soon.
        let delay = self.attempts(&dot).map_or(delay_max, |attempts| {
            let delay = delay_min.saturating_mul(1 << (*attempts).min(20));
            *attempts += 1;
            delay.min(delay_max)
        });
        self.wait(dot, now + delay);
    }

    /// Puts a record off for as long as any: the peer said that it will not take it.
    pub fn put_off_long(&mut self, dot: Dot, now: Instant) {
        if let Some(attempts) = self.attempts(&dot) {
            *attempts = 20;
        }
        self.wait(dot, now + self.delay_max);
    }

    fn wait(&mut self, dot: Dot, until: Instant) {
        if let Some(former) = self.waiting.insert(dot.clone(), until) {
            self.due.remove(&(former, dot.clone()));
        }
        self.due.insert((until, dot));
    }

    /// How many attempts there were at a record; `None` if there is no room to count.
    fn attempts(&mut self, dot: &Dot) -> Option<&mut u32> {
        if self.attempts.len() >= self.capacity && !self.attempts.contains_key(dot) {
            if std::mem::take(&mut self.prunable) {
                // What is put off no longer went together with others, or begins anew.
                self.attempts.retain(|counted, _| self.waiting.contains_key(counted));
            }
            if self.attempts.len() >= self.capacity {
                return None;
            }
        }
        Some(self.attempts.entry(dot.clone()).or_default())
    }

    /// The record was taken, or will be sent by other means.
    pub fn settle(&mut self, dot: &Dot) {
        if self.attempts.is_empty() && self.waiting.is_empty() {
            return;
        }
        self.attempts.remove(dot);
        if let Some(until) = self.waiting.remove(dot) {
            self.due.remove(&(until, dot.clone()));
        }
    }

    /// Takes out the records that are due at `now`.
    pub fn take_due(&mut self, now: Instant) -> Vec<Dot> {
        let mut taken = Vec::new();
        while self.due.first().is_some_and(|(until, _)| *until <= now)
            && let Some((_, dot)) = self.due.pop_first()
        {
            self.waiting.remove(&dot);
            self.prunable = true;
            taken.push(dot);
        }
        taken
    }

    /// When the next record is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Whether so many records are put off that no further ones should be tried.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.capacity
    }

    /// How many records are put off.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a record is put off.
    #[must_use]
    pub fn contains(&self, dot: &Dot) -> bool {
        self.waiting.contains_key(dot)
    }

    /// Whether none is put off.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The records that are put off, as a set of dots.
    #[must_use]
    pub fn dots(&self) -> Frontier {
        let mut dots = Frontier::new();
        for dot in self.waiting.keys() {
            dots.insert(dot);
        }
        dots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::lineage;
    use crate::testing::epoch;

    fn dot(seq: u64) -> Dot {
        Dot { lineage: lineage("a", 1), seq }
    }

    fn deferred(capacity: usize) -> Deferred {
        Deferred::new(Duration::from_millis(50), Duration::from_secs(5), capacity)
    }

    #[test]
    fn the_delay_doubles_until_its_ceiling() {
        let (mut deferred, mut now) = (deferred(8), epoch());
        for expected in [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            deferred.put_off(dot(1), now);
            let due = deferred.next_due().expect("one is put off");
            assert_eq!(due - now, Duration::from_millis(expected));
            assert!(deferred.take_due(due - Duration::from_millis(1)).is_empty());
            assert_eq!(deferred.take_due(due), vec![dot(1)]);
            now = due;
        }
    }

    #[test]
    fn a_record_that_was_taken_starts_afresh() {
        let (mut deferred, now) = (deferred(8), epoch());
        deferred.put_off(dot(1), now);
        deferred.put_off(dot(1), now);
        deferred.settle(&dot(1));
        assert!(deferred.is_empty() && deferred.next_due().is_none());
        deferred.put_off(dot(1), now);
        assert_eq!(deferred.next_due(), Some(now + Duration::from_millis(50)));
    }

    /// More than the cap may be under way when it is reached, and comes back all at once.
    #[test]
    fn what_goes_beyond_the_cap_waits_for_as_long_as_any() {
        let (mut deferred, now) = (deferred(2), epoch());
        for seq in 1..=3 {
            deferred.put_off(dot(seq), now);
        }
        let soon = now + Duration::from_millis(50);
        assert_eq!(deferred.take_due(soon), vec![dot(1), dot(2)]);
        assert_eq!(deferred.next_due(), Some(now + Duration::from_secs(5)));
        // Nothing is counted for ever: what is no longer put off makes room.
        deferred.put_off(dot(4), soon);
        assert_eq!(deferred.next_due(), Some(soon + Duration::from_millis(50)));
    }

    /// However many are refused, attempts are counted of as many as may be.
    #[test]
    fn refused_records_are_counted_up_to_the_cap_as_well() {
        let (mut deferred, mut now) = (deferred(2), epoch());
        for seq in 1..=9 {
            deferred.put_off_long(dot(seq), now);
        }
        assert_eq!((deferred.len(), deferred.attempts.len()), (9, 2));
        now += Duration::from_secs(5);
        assert_eq!(deferred.take_due(now).len(), 9, "each waits for as long as any");
        // A refused one stays at the longest delay, until others take its place.
        deferred.put_off(dot(1), now);
        assert_eq!(deferred.next_due(), Some(now + Duration::from_secs(5)));
        deferred.put_off_long(dot(10), now);
        assert!(deferred.attempts.contains_key(&dot(10)) && deferred.attempts.len() == 2);
    }

    #[test]
    fn a_full_list_says_so() {
        let (mut deferred, now) = (deferred(2), epoch());
        deferred.put_off(dot(1), now);
        assert!(!deferred.is_full());
        deferred.put_off(dot(2), now);
        assert!(deferred.is_full());
        assert_eq!(deferred.dots().len(), 2);
    }
}
