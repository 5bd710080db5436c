//! Which cases are measured, how often, and where the figures go.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::figures::{CaseFigures, Figures};
use crate::machine::Machine;
use crate::{cases, instructions, time};

/// What is measured, how often, and where the figures go.
#[derive(Debug, Args)]
pub(crate) struct Extent {
    /// Only cases with this word in their names
    #[arg(long, default_value = "")]
    only: String,
    /// Times that the time of every case is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where to write every figure as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Extent {
    /// Whether the case with this name is one of them.
    pub(crate) fn has(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// Measures what is wanted: the time round by round, so that whatever the machine does in between hits all cases alike.
    pub(crate) fn measure(&self) -> Result<Figures> {
        let mut cases = cases::all();
        cases.retain(|case| self.has(case.name));
        if cases.is_empty() {
            bail!("no case has `{}` in its name", self.only);
        }
        let mut times = vec![Vec::new(); cases.len()];
        for round in 1..=self.rounds {
            for (case, times) in cases.iter().zip(&mut times) {
                eprintln!("round {round} of {}: {}", self.rounds, case.name);
                times.push(time::measure(case)?);
            }
        }
        let can_count = instructions::is_possible();
        if !can_count {
            eprintln!("valgrind is not installed: instructions are not counted");
        }
        let mut measured = Vec::new();
        for (case, times) in cases.iter().zip(times) {
            let instructions = match case.counted_over {
                Some(repeats) if can_count => {
                    eprintln!("instructions: {}", case.name);
                    Some(instructions::count(case.name, repeats)?)
                }
                _ => None,
            };
            measured.push(CaseFigures::new(case.name, &times, instructions));
        }
        let figures = Figures::new(Machine::this(), self.rounds, measured);
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&figures)?;
            fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
        }
        Ok(figures)
    }
}
