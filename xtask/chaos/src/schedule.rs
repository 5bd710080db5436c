//! What happens to which mesh, and when: everything that is drawn by lot, drawn from the seed alone. (pure)
//!
//! A campaign is a row of *lives*. A life is one mesh from its first start to its last check; it goes through *cycles*,
//! and each cycle is about one class of faults. Life `i` of a seed is always the same, whichever was run before it, so a
//! campaign is continued anywhere and a single life is played again.
//!
//! A cycle has two tracks that run side by side: `main` has the faults of its class, one after the other; `beside` has
//! faults of another kind, so that no class is ever tried alone. A track of links never meets another one of links, nor
//! one of nodes another of nodes: they would undo each other's work.

use std::time::Duration;

use quorum_core::Random;
use quorum_transport::testing::{Faults, SeededRandom};

use crate::class::{Class, Wiring};

/// A mesh is given up for a fresh one after so many cycles, so that what is checked stays bounded.
const CYCLES_MAX: usize = 8;

/// Longer than the time after which a silent link is given up (5 s).
const PAST_IDLE: u64 = 6_000;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) seed: u64,
    /// All of them different.
    pub(crate) classes: Vec<Class>,
    /// Members of every mesh; left out, three and five in turn.
    pub(crate) nodes: Option<usize>,
}

/// One mesh, and what it goes through.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Life {
    pub(crate) index: u64,
    /// Where everything else that is drawn in this life begins.
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) wiring: Wiring,
    pub(crate) cycles: Vec<Cycle>,
}

/// The faults of some seconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cycle {
    pub(crate) class: Class,
    pub(crate) main: Vec<Step>,
    pub(crate) beside: Vec<Step>,
}

/// One fault of a track.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// From the end of the one before.
    pub(crate) wait: Duration,
    /// How long it stays.
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

/// Something that goes wrong. Nodes are counted from 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    Kill {
        nodes: Vec<usize>,
    },
    KillAtSync {
        node: usize,
        call: &'static str,
        nth: u64,
    },
    FailSync {
        node: usize,
        nth: u64,
    },
    Pause {
        node: usize,
    },
    Restart {
        node: usize,
    },
    /// Packets from the first to the second are dropped, for every pair.
    Cut {
        pairs: Vec<(usize, usize)>,
    },
    Lose {
        percent: u64,
    },
    Throttle {
        node: usize,
        kbit: u64,
    },
    Relay {
        faults: Faults,
    },
    SkewClock {
        node: usize,
        offsets: Vec<i64>,
    },
    FillDisk {
        node: usize,
    },
    CutPower {
        nodes: Vec<usize>,
    },
    Wipe {
        nodes: Vec<usize>,
    },
}

/// How many lives it takes until every class had its turn.
pub(crate) fn lives_per_round(classes: &[Class]) -> u64 {
    parts(classes).len() as u64
}

/// The life with this number.
pub(crate) fn life(selection: &Selection, index: u64) -> Life {
    let per_round = lives_per_round(&selection.classes);
    let (round, part) = (index / per_round, index % per_round);
    let mut order = Dice::new(selection.seed, round, 0);
    let mut classes = selection.classes.clone();
    order.shuffle(&mut classes);
    let classes = parts(&classes).swap_remove(usize::try_from(part).expect("a few"));
    let mut dice = Dice::new(selection.seed, index, 1);
    // The three members of one round are five in the next.
    let nodes =
        selection.nodes.unwrap_or(if (index + round * (per_round + 1)) % 2 == 0 { 3 } else { 5 });
    let wiring = classes[0].wiring();
    let cycles = classes.iter().map(|class| dice.cycle(*class, nodes)).collect();
    Life { index, seed: dice.next(), nodes, wiring, cycles }
}

/// Classes that one mesh can go through, in the order given.
fn parts(classes: &[Class]) -> Vec<Vec<Class>> {
    let mut parts = Vec::new();
    for wiring in [Wiring::Direct, Wiring::Relayed] {
        let alike: Vec<Class> =
            classes.iter().copied().filter(|class| class.wiring() == wiring).collect();
        let lives = alike.len().div_ceil(CYCLES_MAX).max(1);
        parts.extend(alike.chunks(alike.len().div_ceil(lives).max(1)).map(<[Class]>::to_vec));
    }
    parts
}

/// Lots, drawn from the seed.
struct Dice(SeededRandom);

impl Dice {
    fn new(seed: u64, index: u64, purpose: u64) -> Self {
        // Seeds that differ in one bit lead to unlike sequences, so plain mixing is enough.
        Self(SeededRandom::new(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (purpose << 61)))
    }

    fn next(&mut self) -> u64 {
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
        self.next() % count == 0
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
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

    fn cycle(&mut self, class: Class, nodes: usize) -> Cycle {
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

    fn selection(classes: &[Class]) -> Selection {
        Selection { seed: 7, classes: classes.to_vec(), nodes: None }
    }

    #[test]
    fn the_same_seed_leads_to_the_same_lives_and_another_one_to_others() {
        let one = selection(Class::ALL);
        let other = Selection { seed: 8, ..one.clone() };
        for index in 0..20 {
            assert_eq!(life(&one, index), life(&one, index));
            assert_ne!(life(&one, index), life(&other, index));
        }
    }

    #[test]
    fn every_round_has_every_class_once_and_no_life_mixes_wirings() {
        let selection = selection(Class::ALL);
        let per_round = lives_per_round(&selection.classes);
        for round in 0..5 {
            let lives = (0..per_round).map(|part| life(&selection, round * per_round + part));
            let mut seen = Vec::new();
            for life in lives {
                assert!(life.cycles.len() <= CYCLES_MAX, "{life:?}");
                assert!(life.cycles.iter().all(|cycle| cycle.class.wiring() == life.wiring));
                seen.extend(life.cycles.iter().map(|cycle| cycle.class));
            }
            seen.sort_unstable();
            assert_eq!(seen, Class::ALL);
        }
    }

    #[test]
    fn each_part_of_a_round_meets_three_and_five_nodes() {
        let selection = selection(Class::ALL);
        let per_round = lives_per_round(&selection.classes);
        for part in 0..per_round {
            let sizes = [part, part + per_round].map(|index| life(&selection, index).nodes);
            assert!(sizes == [3, 5] || sizes == [5, 3], "{sizes:?}");
        }
    }

    #[test]
    fn no_fault_destroys_more_disks_than_a_write_survives() {
        let selection = selection(&[Class::WipedDisk]);
        for index in 0..50 {
            let life = life(&selection, index);
            for step in life.cycles.iter().flat_map(|cycle| &cycle.main) {
                let Fault::Wipe { nodes } = &step.fault else { panic!("{step:?}") };
                let (w, mut distinct) = (life.nodes / 2 + 1, nodes.clone());
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(distinct.len(), w - 1, "{nodes:?}");
            }
        }
    }

    #[test]
    fn a_group_that_is_cut_off_hears_and_reaches_nobody_outside() {
        assert_eq!(isolated(&[1], 3), [(0, 1), (1, 0), (1, 2), (2, 1)]);
        assert_eq!(isolated(&[0, 1, 2], 3), []);
    }
}
