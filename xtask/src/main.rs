//! `cargo xtask`: what the project does to itself, written in Rust so that it runs alike everywhere.
//!
//! This file only maps a command's name to the file that carries it out. Nothing here links the
//! product's crates: everything goes through `cargo`, as a person at a terminal would.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a terminal program")]

mod bench;
mod chaos;
mod ci;
mod dist;
mod features;
mod fuzz;
mod manifest;
mod mutants;
mod process;
mod release;
mod simulate;
mod simulate_node;
mod test;
mod tidy;

use std::process::ExitCode;

/// What a command takes and does, and the function that does it.
struct Command {
    name: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const COMMANDS: &[Command] = &[
    Command { name: "ci", summary: "everything the CI machine checks, in its order", run: ci::run },
    Command { name: "test", summary: "all tests; arguments go to `cargo test`", run: test::run },
    Command {
        name: "bench",
        summary: "`peers`: beside etcd, NATS and Redis; `floor`, `mesh`, `data`, `reads`; `micro` and `compare`: single operations",
        run: bench::run,
    },
    Command {
        name: "simulate-node",
        summary: "whole nodes in virtual time, a seed each; `--help` lists its arguments",
        run: simulate_node::run,
    },
    Command {
        name: "chaos",
        summary: "real nodes under real faults while clients write, then checked; --list shows the faults, `summary` adds up",
        run: chaos::run,
    },
    Command {
        name: "fuzz",
        summary: "tries to refute what is claimed of everything that reads bytes from elsewhere; --help tells more",
        run: fuzz::run,
    },
    Command {
        name: "mutants",
        summary: "whether the tests of quorum-core notice small changes of it; names of files narrow it down",
        run: mutants::run,
    },
    Command {
        name: "simulate",
        summary: "meshes in virtual time, seed by seed; --planted proves that bugs are found",
        run: simulate::run,
    },
    Command { name: "tidy", summary: "the house rules no compiler knows", run: tidy::run },
    Command {
        name: "dist",
        summary: "the release archive in dist/; --check-reproducible builds it twice",
        run: dist::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", help());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("unknown command `{name}`\n\n{}", help());
        return ExitCode::from(2);
    };
    match (command.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask <command>\n\nCommands:\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:13} {}\n", command.name, command.summary));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_command() {
        let help = help();
        for command in COMMANDS {
            assert!(help.contains(command.name), "{} is missing from:\n{help}", command.name);
        }
    }
}
