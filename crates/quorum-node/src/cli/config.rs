//! `config check` and `config show`: what a node would run with, before it runs.

use std::io::{self, Write};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::settings::SettingsArguments;
use super::{Exit, Output};
use crate::config::{Config, check, check_files};

/// Arguments of `config`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct ConfigArguments {
    /// What to do with the configuration.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with a configuration.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum ConfigCommand {
    /// Check keys, rules and files, and say what follows for writes
    Check(SettingsArguments),
    /// Print every key with the value in effect; secrets are named by file, never shown
    Show(SettingsArguments),
}

/// Runs `config check` or `config show`.
///
/// # Errors
///
/// The first thing that is wrong with the configuration.
pub fn run(arguments: &ConfigArguments, output: &mut Output) -> anyhow::Result<Exit> {
    match &arguments.command {
        ConfigCommand::Check(settings) => {
            let config = settings.load()?;
            let summary = Summary::of(&config)?;
            check_files(&config, SystemTime::now())?;
            output.show(&summary, |out| summary.write(out))?;
        }
        ConfigCommand::Show(settings) => {
            let config = settings.load()?;
            let text = toml::to_string_pretty(&config)?;
            output.show(&config, |out| out.write_all(text.as_bytes()))?;
        }
    }
    Ok(Exit::Ok)
}

/// What a configuration means for writes.
#[derive(Debug, Serialize)]
struct Summary {
    node: String,
    cluster: String,
    cluster_id: String,
    members: usize,
    w: usize,
    tolerated_failures: usize,
    writes_overlap: bool,
}

impl Summary {
    fn of(config: &Config) -> anyhow::Result<Self> {
        let policy = check(config)?;
        Ok(Self {
            node: config.node.name.to_string(),
            cluster: config.node.cluster.clone(),
            cluster_id: config.node.cluster_id().to_string(),
            members: policy.n(),
            w: policy.w(),
            tolerated_failures: policy.tolerated_failures(),
            writes_overlap: policy.writes_overlap(),
        })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { node, cluster, cluster_id, members, w, tolerated_failures, .. } = self;
        writeln!(out, "configuration of {node} in cluster {cluster} ({cluster_id}) is sound")?;
        writeln!(
            out,
            "W = {w} of N = {members}: commits with up to {tolerated_failures} of {members} members down"
        )?;
        if !self.writes_overlap {
            writeln!(
                out,
                "note: W is not a majority, so two commits may share no member; reads can miss the newer one"
            )?;
        }
        Ok(())
    }
}
