//! What happens to which mesh, and when: everything that is drawn by lot, drawn from the seed alone. (pure)
//!
//! A campaign is a row of *lives*. A life is one mesh from its first start to its last check; it goes through *cycles*,
//! and each cycle is about one class of faults. Life `i` of a seed is always the same, whichever was run before it, so a
//! campaign is continued anywhere and a single life is played again.
//!
//! A cycle has two tracks that run side by side: `main` has the faults of its class, one after the other; `beside` has
//! faults of another kind, so that no class is ever tried alone. A track of links never meets another one of links, nor
//! one of nodes another of nodes: they would undo each other's work.

mod dice;

use std::time::Duration;

use quorum_transport::testing::Faults;

use crate::class::{Class, Wiring};
use dice::Dice;

/// A mesh is given up for a fresh one after so many cycles, so that what is checked stays bounded.
const CYCLES_MAX: usize = 8;

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
    let is_small = (index + round * (per_round + 1)).is_multiple_of(2);
    let nodes = selection.nodes.unwrap_or(if is_small { 3 } else { 5 });
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
}
