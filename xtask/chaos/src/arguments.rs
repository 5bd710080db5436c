//! What the command is told, and what it says about that before it begins.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::class::Class;
use crate::schedule::{Selection, lives_per_round};

/// About how long one cycle takes, its checks included, and a life beside its cycles. Measured; only for estimates.
const CYCLE_SECONDS: u64 = 7;
const LIFE_SECONDS: u64 = 4;

/// Real nodes under real faults, checked by what their clients were told.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask chaos", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) what: Option<What>,
    /// Show the classes of faults, and do nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// How long to begin new cycles; beyond an hour it is cut into slices, each with a report of its own
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Where all lots are drawn from; left out, a fresh one
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Members of every mesh: 3 or 5; left out, both in turn
    #[arg(long, value_parser = three_or_five)]
    pub(crate) nodes: Option<usize>,
    /// Only these classes, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub(crate) classes: Vec<Class>,
    /// Leave out classes whose tools are not installed
    #[arg(long)]
    pub(crate) skip_missing: bool,
    /// Meshes side by side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) meshes: u8,
    /// Begin with this life of the seed, to go on where an earlier run ended
    #[arg(long, default_value_t = 0)]
    pub(crate) first_life: u64,
    /// End after so many lives, if the time has not
    #[arg(long)]
    pub(crate) lives: Option<u64>,
    /// Where report.md, report.json and the evidence of what was found go
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    pub(crate) report: PathBuf,
    /// Write the report as JSON to stdout as well
    #[arg(long)]
    pub(crate) json: bool,
    /// Prove that the checks work: nodes acknowledge before they have synced, and power cuts must show it
    #[arg(long, conflicts_with_all = ["ledger", "classes"])]
    pub(crate) prove: bool,
    /// Append the figures to this ledger
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = LEDGER)]
    pub(crate) ledger: Option<PathBuf>,
    /// The program to run [default: the one that `cargo xtask chaos` builds]
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/debug/quorum-node",
        hide_default_value = true
    )]
    pub(crate) node: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Add up the ledger, over the present code only
    Summary(Summary),
}

/// Where campaigns are recorded.
const LEDGER: &str = "docs/reliability/chaos.md";

#[derive(Debug, Args)]
pub(crate) struct Summary {
    /// The ledger
    #[arg(long, value_name = "FILE", default_value = LEDGER)]
    pub(crate) ledger: PathBuf,
}

impl Arguments {
    /// The classes that were asked for, each once.
    pub(crate) fn selected(&self) -> Vec<Class> {
        if self.prove {
            return vec![Class::PowerCut];
        }
        let wanted = |class: &Class| self.classes.is_empty() || self.classes.contains(class);
        Class::ALL.iter().copied().filter(wanted).collect()
    }

    /// What is going to happen.
    pub(crate) fn estimate(&self, selection: &Selection) -> String {
        let (classes, lives) =
            (selection.classes.len() as u64, lives_per_round(&selection.classes));
        let meshes = u64::from(self.meshes);
        let round = (classes * CYCLE_SECONDS + lives * LIFE_SECONDS).div_ceil(meshes.min(lives));
        let cycles = self.duration.as_secs() * classes / round.max(1);
        let seed = selection.seed;
        let warning =
            if self.duration.as_secs() < round { ": too short for all of them" } else { "" };
        format!(
            "seed {seed}: {} of {classes} classes with {} meshes side by side: about {cycles} cycles, every class once \
             after about {round} s{warning}",
            humantime::format_duration(self.duration),
            self.meshes
        )
    }

    /// The command that leads the same lives again.
    pub(crate) fn replay(&self, selection: &Selection, first: u64, next: u64) -> String {
        format!("{} --lives {}", self.command(selection, first), next - first)
    }

    /// The command that leads those behind them.
    pub(crate) fn go_on(&self, selection: &Selection, next: u64) -> String {
        self.command(selection, next)
    }

    fn command(&self, selection: &Selection, first: u64) -> String {
        let duration = humantime::format_duration(self.duration).to_string().replace(' ', "");
        let mut line = format!("cargo xtask chaos --seed {} --duration {duration}", selection.seed);
        if first > 0 {
            line += &format!(" --first-life {first}");
        }
        if let Some(nodes) = selection.nodes {
            line += &format!(" --nodes {nodes}");
        }
        if self.prove {
            return line + " --prove";
        }
        // What is drawn depends on which classes there are, also on those left out.
        if selection.classes.len() < Class::ALL.len() {
            let names: Vec<&str> = selection.classes.iter().map(|class| class.name()).collect();
            line += &format!(" --classes {}", names.join(","));
        }
        line
    }
}

fn three_or_five(text: &str) -> Result<usize, String> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("expected 3 or 5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ').skip(2)).expect("a command line of ours")
    }

    #[test]
    fn the_command_that_plays_again_leads_to_the_same_lives() {
        let given =
            parsed("cargo xtask chaos --seed 9 --nodes 5 --duration 90s --classes pause,delay");
        let selection = Selection { seed: 9, classes: given.selected(), nodes: given.nodes };
        let again = parsed(&given.replay(&selection, 4, 6));
        assert_eq!(again.selected(), given.selected());
        let told = (again.seed, again.nodes, again.first_life, again.lives, again.duration);
        assert_eq!(told, (Some(9), Some(5), 4, Some(2), Duration::from_secs(90)));
    }

    #[test]
    fn a_run_that_is_too_short_for_all_classes_says_so() {
        let (short, long) =
            (parsed("cargo xtask chaos --duration 20s"), parsed("cargo xtask chaos"));
        let selection = Selection { seed: 1, classes: Class::ALL.to_vec(), nodes: None };
        assert!(short.estimate(&selection).contains("too short"));
        assert!(!long.estimate(&selection).contains("too short"));
    }
}
