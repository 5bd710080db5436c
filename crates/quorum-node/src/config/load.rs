//! Reads the configuration file and turns all sources into one [`Config`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Origin};
use super::layers::{FileText, Layered, Setting, environment_settings, merge};
use super::sections::Config;

/// Where settings come from, weakest first: the file, the environment, the command line.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Sources {
    file: Option<PathBuf>,
    settings: Vec<Setting>,
}

impl Sources {
    /// No sources: everything by default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also reads this file. Relative paths in it are relative to its directory.
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..self }
    }

    /// Also takes the `QUORUM_*` settings among these variables.
    #[must_use]
    pub fn environment(self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.with(environment_settings(variables))
    }

    /// Also sets `key` (`section.key`) as the command line would: above what was added before.
    #[must_use]
    pub fn flag(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.with([Setting::flag(key, value)])
    }

    fn with(mut self, settings: impl IntoIterator<Item = Setting>) -> Self {
        self.settings.extend(settings);
        self
    }

    /// Reads and merges all sources. The rules across sections are [`check`](super::check())'s.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`], [`ConfigError::Syntax`] or [`ConfigError::Value`], naming the file
    /// and, where there is one, the key.
    pub fn load(self) -> Result<Config, ConfigError> {
        let file = self.file.map(read).transpose()?;
        let Layered { mut config, overridden } = merge(file.as_ref(), self.settings)?;
        let directory = file.as_ref().and_then(|file| file.path.parent());
        anchor(&mut config, directory.unwrap_or_else(|| Path::new("")), &overridden);
        Ok(config)
    }
}

fn read(path: PathBuf) -> Result<FileText, ConfigError> {
    match fs::read_to_string(&path) {
        Ok(text) => Ok(FileText::new(path, text)),
        Err(source) => Err(ConfigError::Read { path, source }),
    }
}

/// Makes paths from the file, and default ones, relative to its directory, so that a node's
/// directory can be moved and started from anywhere. Paths from variables and flags are relative
/// to where the command runs, as everywhere else.
fn anchor(config: &mut Config, directory: &Path, overridden: &BTreeMap<String, Origin>) {
    let anchored = |key: &str, path: &mut PathBuf| {
        if !overridden.contains_key(key) {
            *path = directory.join(&path);
        }
    };
    anchored("node.data_dir", &mut config.node.data_dir);
    anchored("tls.ca", &mut config.tls.ca);
    anchored("tls.cert", &mut config.tls.cert);
    anchored("tls.key", &mut config.tls.key);
    let http = &mut config.http;
    for (key, path) in [
        ("http.tls_cert", &mut http.tls_cert),
        ("http.tls_key", &mut http.tls_key),
        ("http.tokens_file", &mut http.tokens_file),
    ] {
        if let Some(path) = path {
            anchored(key, path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_the_file_belong_to_its_directory_and_others_to_the_caller() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("quorum.toml");
        let text =
            "[node]\nname = \"n1\"\ndata_dir = \"data\"\n[http]\ntls_cert = \"/etc/h.pem\"\n";
        fs::write(&path, text).expect("written");
        let config = Sources::new().file(&path).flag("tls.key", "my.key").load().expect("loaded");
        assert_eq!(config.node.data_dir, directory.path().join("data"));
        assert_eq!(config.tls.ca, directory.path().join("ca.pem"));
        assert_eq!(config.tls.key, Path::new("my.key"));
        assert_eq!(config.http.tls_cert, Some("/etc/h.pem".into()));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Sources::new().file("/nowhere/quorum.toml").load().expect_err("no file");
        assert!(error.to_string().contains("/nowhere/quorum.toml"), "{error}");
    }
}
