//! `completions`: a script that teaches a shell our commands and flags.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, Output};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct CompletionsArguments {
    /// The shell to write for
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn run(arguments: &CompletionsArguments, output: &mut Output) -> anyhow::Result<Exit> {
    // Rendered to memory first: the generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "quorum-node", &mut script);
    output.raw(&script)?;
    Ok(Exit::Ok)
}
