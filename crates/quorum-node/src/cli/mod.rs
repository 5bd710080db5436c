//! The command line: one file per command, and what they share.
//!
//! A command is a file with its arguments (a [`clap::Args`] struct called `…Arguments`) and a
//! function `run(&arguments, &mut Output) -> anyhow::Result<Exit>`; here it gets a variant of
//! [`Command`] and a line in `dispatch`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod batch;
pub mod bench;
pub mod completions;
pub mod config;
mod config_summary;
pub mod connection;
pub mod delete;
pub mod demo;
pub mod exit;
pub mod export;
mod exposure;
pub mod get;
pub mod import;
pub mod init;
pub mod list;
pub mod man;
pub mod output;
pub mod peers;
pub mod pki;
pub mod put;
pub mod serve;
pub mod settings;
pub mod status;
mod table;
pub mod target;
pub mod verify;
pub mod watch;
pub mod write_options;
pub mod write_status;

pub use exit::Exit;
pub use output::Output;

/// Durable W-of-N quorum writes without a leader.
#[derive(Debug, Parser)]
#[command(name = "quorum-node", version, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 ok, 1 error, 2 usage, 3 quorum not met.")]
#[non_exhaustive]
pub struct Cli {
    /// Print results as JSON
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Show in a few seconds what quorum writes do when nodes fail
    Demo(demo::DemoArguments),
    /// Write configuration and certificates for a local cluster or for one node
    Init(init::InitArguments),
    /// Run a node until it is asked to stop
    Serve(serve::ServeArguments),
    /// Write a value and show who has it
    Put(put::PutArguments),
    /// Read a value
    Get(get::GetArguments),
    /// Delete a key and show who knows
    Delete(delete::DeleteArguments),
    /// List the keys of a namespace
    List(list::ListArguments),
    /// Write many values in few requests, from lines of JSON
    Batch(batch::BatchArguments),
    /// Follow the changes of a namespace
    Watch(watch::WatchArguments),
    /// Show what became of a write
    WriteStatus(write_status::WriteStatusArguments),
    /// Show how a node and its quorum are
    Status(status::StatusArguments),
    /// Show how a node sees the others
    Peers(peers::PeersArguments),
    /// Write many records from lines of JSON or text, each until it is committed
    Import(import::ImportArguments),
    /// Read everything a node holds, as lines of JSON
    Export(export::ExportArguments),
    /// Measure how fast nodes commit writes
    Bench(bench::BenchArguments),
    /// Check every record of a stopped node's data directory
    Verify(verify::VerifyArguments),
    /// Make, show and renew certificates
    Pki(pki::PkiArguments),
    /// Check or show a node's configuration
    Config(config::ConfigArguments),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArguments),
    /// Write manual pages, one per command
    Man(man::ManArguments),
}

/// The program: parses the process's arguments, runs the command, says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => {
            let mut output = Output::stdout(cli.json);
            run(cli, &mut output).into()
        }
        Err(error) => {
            // Help and version come this way too, and are no errors. If nobody reads them, so be it.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Ok }.into()
        }
    }
}

/// Runs a parsed command. What goes wrong is said on standard error, causes included.
pub fn run(cli: Cli, output: &mut Output) -> Exit {
    match dispatch(cli.command, output) {
        Ok(exit) => exit,
        Err(error) if output::is_closed_pipe(&error) => Exit::Ok,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            Exit::Error
        }
    }
}

fn dispatch(command: Command, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Init(arguments) => init::run(&arguments, output),
        Command::Serve(arguments) => serve::run(&arguments, output),
        Command::Put(arguments) => put::run(&arguments, output),
        Command::Get(arguments) => get::run(&arguments, output),
        Command::Delete(arguments) => delete::run(&arguments, output),
        Command::List(arguments) => list::run(&arguments, output),
        Command::Batch(arguments) => batch::run(&arguments, output),
        Command::Watch(arguments) => watch::run(&arguments, output),
        Command::WriteStatus(arguments) => write_status::run(&arguments, output),
        Command::Status(arguments) => status::run(&arguments, output),
        Command::Peers(arguments) => peers::run(&arguments, output),
        Command::Import(arguments) => import::run(&arguments, output),
        Command::Export(arguments) => export::run(&arguments, output),
        Command::Bench(arguments) => bench::run(&arguments, output),
        Command::Verify(arguments) => verify::run(&arguments, output),
        Command::Pki(arguments) => pki::run(&arguments, output),
        Command::Config(arguments) => config::run(&arguments, output),
        Command::Completions(arguments) => completions::run(&arguments, output),
        Command::Man(arguments) => man::run(&arguments, output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
