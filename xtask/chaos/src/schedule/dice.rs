//! The lots of a schedule: which node, how long, how much. (pure)

use std::time::Duration;

use quorum_core::Random;
use quorum_transport::testing::{Faults, SeededRandom};

use super::{Cycle, Fault, Step};
use crate::class::Class;

/// Longer than the time after which a silent link is given up (5 s).
const PAST_IDLE: u64 = 6_000;

/// Lots, drawn from the seed.
pub(super) struct Dice(SeededRandom);

impl Dice {
    pub(super) fn new(seed: u64, index: u64, purpose: u64) -> Self {
        // Seeds that differ in one bit lead to unlike sequences, so plain mixing is enough.
        Self(SeededRandom::new(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (purpose << 61)))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.within(low, high))
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }

    /// So many different nodes.
    fn some(&mut self, count: usize, nodes: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..nodes).collect();
        self.shuffle(&mut all);
        all.truncate(count);
        all
    }

    fn minority(&mut self, nodes: usize) -> Vec<usize> {
        let count = 1 + self.below((nodes - 1) / 2);
        self.some(count, nodes)
    }

    fn step(&mut self, (low, high): (u64, u64), fault: Fault) -> Step {
        Step { wait: self.millis(50, 350), lasts: self.millis(low, high), fault }
    }

    pub(super) fn cycle(&mut self, class: Class, nodes: usize) -> Cycle {
        let main = (0..count(class, nodes)).map(|turn| self.main(class, nodes, turn)).collect();
        let beside = match class {
            // Links: beside them nodes die.
            Class::MinorityPartition
            | Class::OneWayPartition
            | Class::DroppedAcks
            | Class::PacketLoss
            | Class::Bandwidth
            | Class::Delay
            | Class::Reorder
            | Class::Duplicate
            | Class::Corrupt => (0..2).map(|_| self.single_kill(nodes)).collect(),
            // Nodes: beside them links are cut.
            _ => (0..3).map(|_| self.short_cut(nodes)).collect(),
        };
        Cycle { class, main, beside }
    }

    /// The faults that a class is about.
    fn main(&mut self, class: Class, nodes: usize, turn: usize) -> Step {
        let node = self.below(nodes);
        match class {
            Class::KillMidWrite => {
                let nodes = match turn {
                    0 if self.one_in(2) => (0..nodes).collect(),
                    1 => self.minority(nodes),
                    _ => vec![node],
                };
                self.step((50, 500), Fault::Kill { nodes })
            }
            Class::KillAtFsync => {
                // A start syncs files and directories, writes sync data.
                let (call, nth) = if self.one_in(3) {
                    ("fsync", self.within(1, 5))
                } else {
                    ("fdatasync", self.within(1, 60))
                };
                self.step((50, 300), Fault::KillAtSync { node, call, nth })
            }
            Class::Pause => {
                let span = if self.one_in(8) { (PAST_IDLE, PAST_IDLE + 500) } else { (300, 1_500) };
                self.step(span, Fault::Pause { node })
            }
            Class::RollingRestart => self.step((0, 100), Fault::Restart { node: turn % nodes }),
            Class::MinorityPartition => {
                let pairs = isolated(&self.minority(nodes), nodes);
                let span = if self.one_in(8) { (PAST_IDLE, PAST_IDLE + 500) } else { (300, 1_200) };
                self.step(span, Fault::Cut { pairs })
            }
            Class::OneWayPartition => {
                let pair = self.some(2, nodes);
                self.step((400, 1_500), Fault::Cut { pairs: vec![(pair[0], pair[1])] })
            }
            Class::DroppedAcks => {
                let pairs = (0..nodes).filter(|peer| *peer != node).map(|peer| (peer, node));
                self.step((400, 1_500), Fault::Cut { pairs: pairs.collect() })
            }
            Class::PacketLoss => {
                let percent = self.within(5, 45);
                self.step((1_000, 2_000), Fault::Lose { percent })
            }
            Class::Bandwidth => {
                let kbit = self.within(64, 1_000);
                self.step((1_000, 2_000), Fault::Throttle { node, kbit })
            }
            Class::Delay | Class::Reorder | Class::Duplicate | Class::Corrupt => {
                let faults = self.misbehaviour(class);
                self.step((1_000, 2_000), Fault::Relay { faults })
            }
            Class::ClockSkew => {
                // Below and beyond what nodes put up with (300 s), both ways.
                let offsets = (0..4).map(|_| {
                    let size =
                        if self.one_in(3) { self.within(310, 3_600) } else { self.within(1, 290) };
                    let size = i64::try_from(size).expect("below an hour");
                    if self.one_in(2) { size } else { -size }
                });
                let offsets = offsets.collect();
                self.step((1_500, 2_500), Fault::SkewClock { node, offsets })
            }
            Class::FullDisk => self.step((500, 1_200), Fault::FillDisk { node }),
            Class::FailedFsync => {
                let nth = self.within(20, 80);
                self.step((200, 800), Fault::FailSync { node, nth })
            }
            Class::PowerCut => {
                let nodes = if turn == 0 && self.one_in(2) {
                    (0..nodes).collect()
                } else {
                    self.minority(nodes)
                };
                self.step((50, 300), Fault::CutPower { nodes })
            }
            Class::WipedDisk => {
                // As many as a write survives: W - 1 of a majority W.
                let nodes = self.some(nodes / 2, nodes);
                self.step((50, 300), Fault::Wipe { nodes })
            }
        }
    }

    fn misbehaviour(&mut self, class: Class) -> Faults {
        let percent = u8::try_from(self.within(5, 40)).expect("a percentage");
        match class {
            Class::Delay => Faults { delay: self.millis(5, 60), ..Faults::NONE },
            Class::Reorder => {
                Faults { late_percent: percent, late_by: self.millis(2, 40), ..Faults::NONE }
            }
            Class::Duplicate => Faults { duplicated_percent: percent, ..Faults::NONE },
            _ => Faults { corrupted_percent: percent, ..Faults::NONE },
        }
    }

    fn single_kill(&mut self, nodes: usize) -> Step {
        let nodes = vec![self.below(nodes)];
        self.step((50, 300), Fault::Kill { nodes })
    }

    fn short_cut(&mut self, nodes: usize) -> Step {
        let pair = self.some(2, nodes);
        let pairs = match self.below(3) {
            0 => vec![(pair[0], pair[1])],
            1 => vec![(pair[0], pair[1]), (pair[1], pair[0])],
            _ => isolated(&pair[..1], nodes),
        };
        self.step((200, 900), Fault::Cut { pairs })
    }
}

/// Faults of the class in one cycle: about three seconds of them.
const fn count(class: Class, nodes: usize) -> usize {
    match class {
        Class::KillMidWrite => 5,
        Class::RollingRestart => nodes,
        Class::KillAtFsync | Class::DroppedAcks | Class::Pause => 3,
        Class::MinorityPartition | Class::OneWayPartition => 4,
        Class::ClockSkew | Class::WipedDisk => 1,
        _ => 2,
    }
}

/// Every pair of which exactly one is in the group.
fn isolated(group: &[usize], nodes: usize) -> Vec<(usize, usize)> {
    let all = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    all.filter(|(from, to)| group.contains(from) != group.contains(to)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_cut_off_hears_and_reaches_nobody_outside() {
        assert_eq!(isolated(&[1], 3), [(0, 1), (1, 0), (1, 2), (2, 1)]);
        assert_eq!(isolated(&[0, 1, 2], 3), []);
    }
}
