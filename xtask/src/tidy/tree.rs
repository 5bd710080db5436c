//! The checkout as the rules see it: paths from the root on, with `/`, and the text behind them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// Folders that hold what was built or what is none of ours.
const SKIPPED: &[&str] = &[".git", "dist", "target"];

/// Members of the workspace that are no part of the product.
const OUTSIDE_CRATES: &[&str] =
    &["xtask", "xtask/chaos", "xtask/ledger", "xtask/micro", "xtask/simulate-node"];

/// Only what rules read is kept in memory; of other files the path is enough.
const READ: &[&str] = &[".md", ".rs", ".toml"];

/// Every file of the checkout.
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        collect(root, "", &mut files)?;
        Ok(Self { files })
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let owned = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self { files: owned.collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is such a file, or a folder with a file in it.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self
                .files
                .range(folder.clone()..)
                .next()
                .is_some_and(|(name, _)| name.starts_with(&folder))
    }

    /// Path and text of every file whose path ends like this.
    pub(crate) fn ending(&self, end: &'static str) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(end))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Folder and manifest of every member of the workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ending("/Cargo.toml").filter_map(|(path, text)| {
            let folder = path.strip_suffix("/Cargo.toml")?;
            let is_member = OUTSIDE_CRATES.contains(&folder)
                || folder.strip_prefix("crates/").is_some_and(|name| !name.contains('/'));
            is_member.then_some((folder, text))
        })
    }
}

fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> Result<()> {
    let listing = std::fs::read_dir(directory)
        .with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in listing {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() {
            let text = if READ.iter().any(|end| name.ends_with(end)) {
                std::fs::read_to_string(entry.path())
                    .with_context(|| format!("cannot read {path}"))?
            } else {
                String::new()
            };
            files.insert(path, text);
        }
    }
    Ok(())
}
