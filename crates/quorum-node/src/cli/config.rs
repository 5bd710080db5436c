//! `config check` and `config show`: what a node would run with, before it runs.

use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::config_summary::Summary;
use super::settings::SettingsArguments;
use super::{Exit, Output};
use crate::config::check_files;
use crate::record::Namespace;

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
    /// Check keys, rules and files, and say what follows for reads and writes
    Check(CheckArguments),
    /// Print every key with the value in effect; secrets are named by file, never shown
    Show(SettingsArguments),
}

/// Arguments of `config check`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct CheckArguments {
    /// Show the policy of this namespace only
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<Namespace>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: SettingsArguments,
}

/// Runs `config check` or `config show`.
///
/// # Errors
///
/// The first thing that is wrong with the configuration.
pub fn run(arguments: &ConfigArguments, output: &mut Output) -> anyhow::Result<Exit> {
    match &arguments.command {
        ConfigCommand::Check(CheckArguments { namespace, settings }) => {
            let config = settings.load()?;
            let summary = Summary::of(&config, namespace.as_ref())?;
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
