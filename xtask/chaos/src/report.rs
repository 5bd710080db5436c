//! What a campaign came to: every fault with its time, every figure, and a verdict for each class. (pure)

mod markdown;
mod verdict;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checker::Finding;
use crate::class::{Class, Wiring};
use crate::nemesis::Counts;

pub(crate) use verdict::ClassResult;

/// A campaign, or a slice of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) date: String,
    pub(crate) commit: String,
    /// The hash of all that was run, if it was committed; figures add up only over equal ones.
    pub(crate) code: Option<String>,
    pub(crate) machine: String,
    pub(crate) node_program: String,
    /// The command that plays the same again.
    pub(crate) replay: String,
    /// The command that goes on behind it.
    pub(crate) go_on: String,
    pub(crate) seconds: f64,
    pub(crate) meshes: usize,
    pub(crate) classes: Vec<Class>,
    /// Classes that were asked for and whose tools are not installed.
    pub(crate) left_out: Vec<Class>,
    pub(crate) first_life: u64,
    pub(crate) next_life: u64,
    pub(crate) was_stopped: bool,
    pub(crate) lives: Vec<LifeReport>,
}

/// One mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LifeReport {
    pub(crate) life: u64,
    pub(crate) nodes: usize,
    pub(crate) wiring: Wiring,
    /// Since the campaign began.
    pub(crate) began_ms: u64,
    pub(crate) cycles: Vec<CycleReport>,
    /// What is wrong with the life as a whole.
    pub(crate) findings: Vec<Finding>,
}

/// One cycle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CycleReport {
    pub(crate) cycle: usize,
    pub(crate) class: Class,
    /// Of the clients; those that certainly did not happen are left out.
    pub(crate) operations: usize,
    pub(crate) writes: usize,
    pub(crate) acknowledged: usize,
    pub(crate) injections: Vec<InjectionReport>,
    /// From the end of the last fault until all nodes were ready and held the same.
    pub(crate) convergence_ms: Option<u64>,
    pub(crate) findings: Vec<Finding>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InjectionReport {
    /// Whether it is one of those the cycle is about.
    pub(crate) is_main: bool,
    pub(crate) what: String,
    /// Since the life began.
    pub(crate) at_ms: u64,
    pub(crate) lifted_ms: u64,
    /// What it did, in its own unit: processes, packets, datagrams, errors. Zero is no fault.
    pub(crate) effect: u64,
    /// Writes that were under way at some time of it.
    pub(crate) writes: usize,
    /// Those of them that were acknowledged.
    pub(crate) acknowledged: usize,
    pub(crate) counts: Counts,
}

impl LifeReport {
    pub(crate) fn is_good(&self) -> bool {
        self.findings.is_empty() && self.cycles.iter().all(|cycle| cycle.findings.is_empty())
    }
}

impl Report {
    pub(crate) fn cycles(&self) -> impl Iterator<Item = &CycleReport> {
        self.lives.iter().flat_map(|life| &life.cycles)
    }

    /// Everything that must not be, with the life it belongs to.
    pub(crate) fn findings(&self) -> impl Iterator<Item = (u64, &Finding)> {
        self.lives.iter().flat_map(|life| {
            let of_cycles = life.cycles.iter().flat_map(|cycle| &cycle.findings);
            of_cycles.chain(&life.findings).map(|finding| (life.life, finding))
        })
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for injection in self.cycles().flat_map(|cycle| &cycle.injections) {
            counts.add(injection.counts);
        }
        counts
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.cycles().map(|cycle| cycle.acknowledged).sum()
    }

    pub(crate) fn operations(&self) -> usize {
        self.cycles().map(|cycle| cycle.operations).sum()
    }

    /// Whether nothing was found, and every class was really tried.
    pub(crate) fn passed(&self) -> bool {
        self.findings().next().is_none() && self.results().iter().all(ClassResult::passed)
    }

    /// The report in few lines, for a terminal.
    pub(crate) fn verdict(&self) -> String {
        let mut text = String::new();
        for result in self.results() {
            if let Some(complaint) = result.complaint() {
                text += &format!("{}: FAILED: {complaint}\n", result.class);
            }
        }
        let counts = self.counts();
        let slowest = self.convergence().last().copied().unwrap_or_default();
        text += &format!(
            "{}: {} cycles, {} acknowledged writes, {} kills, {} power cuts, {} partitions, {} wiped disks, slowest \
             convergence {} ms, {} findings",
            if self.passed() { "passed" } else { "FAILED" },
            self.cycles().count(),
            self.acknowledged(),
            counts.kills,
            counts.power_cuts,
            counts.partitions,
            counts.wiped_disks,
            slowest.as_millis(),
            self.findings().count()
        );
        text
    }

    pub(crate) fn convergence(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> =
            self.cycles().filter_map(|it| it.convergence_ms).map(Duration::from_millis).collect();
        times.sort_unstable();
        times
    }
}
