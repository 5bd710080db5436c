//! The flags that say where a node's configuration comes from, shared by all commands that need it.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, Sources};

/// Flags of a command that reads the configuration.
#[derive(Debug, Clone, Default, Args)]
#[non_exhaustive]
pub struct SettingsArguments {
    /// Configuration file; without one, the environment alone configures the node
    #[arg(long, short, value_name = "FILE", env = "QUORUM_CONFIG")]
    pub config: Option<PathBuf>,
    /// Set a key, above file and environment, e.g. --set http.listen=127.0.0.1:8080 (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
    /// Log filter, e.g. "debug" or "info,quorum_transport=debug"; the same as --set log.filter=FILTER
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

impl SettingsArguments {
    /// Reads the configuration from the file, the process environment and these flags.
    ///
    /// # Errors
    ///
    /// As [`Sources::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        // A variable that is not UTF-8 cannot be one of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let sources = self.config.iter().fold(Sources::new(), |sources, path| sources.file(path));
        let sources = self
            .set
            .iter()
            .fold(sources.environment(variables), |sources, (key, value)| sources.flag(key, value));
        self.log.iter().fold(sources, |sources, filter| sources.flag("log.filter", filter)).load()
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
