//! How far an import has come: up to which line everything is committed, kept in a small file.
//!
//! The file also holds a digest of the lines up to there, so that an import is not resumed with
//! another input.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

/// What a state file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    /// The layout of the file.
    format: u32,
    /// The name of the import, from which its write ids follow.
    pub(super) import_id: String,
    /// Every line up to this one is committed, or was bad and skipped.
    pub(super) lines: u64,
    /// The digest of those lines.
    pub(super) digest: String,
}

const FORMAT: u32 = 1;

impl Checkpoint {
    pub(super) fn new(import_id: String, lines: u64, digest: &LinesDigest) -> Self {
        Self { format: FORMAT, import_id, lines, digest: digest.to_string() }
    }

    /// The checkpoint in a file, if the file exists.
    pub(super) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let checkpoint: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no state of an import", path.display()))?;
        ensure!(
            checkpoint.format == FORMAT,
            "{} was written by another version of this program (format {}, not {FORMAT})",
            path.display(),
            checkpoint.format
        );
        Ok(Some(checkpoint))
    }

    /// Puts the checkpoint into a file, all of it or nothing.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let written = || -> io::Result<()> {
            let mut file = File::create(&partial)?;
            serde_json::to_writer(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&partial, path)
        };
        written().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A digest of the first lines of an input, that can be asked for after every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinesDigest([u8; 32]);

impl LinesDigest {
    /// That of no lines.
    pub(super) const EMPTY: Self = Self([0; 32]);

    /// That of the same lines and one more.
    #[must_use]
    pub(super) fn with(&self, line: &[u8]) -> Self {
        Self(*blake3::keyed_hash(&self.0, line).as_bytes())
    }
}

impl std::fmt::Display for LinesDigest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// Which lines are under way, and so up to which line everything is done.
///
/// It grows with the number of lines under way, not with the input: what is done is what lies
/// before the first line that is not.
#[derive(Debug)]
pub(super) struct Frontier {
    /// Lines under way or given up, each with the digest of the lines before it.
    open: BTreeMap<u64, LinesDigest>,
    /// The last line that was begun, and the digest up to and with it.
    begun: (u64, LinesDigest),
}

impl Frontier {
    /// All lines up to this one are done.
    pub(super) const fn new(lines: u64, digest: LinesDigest) -> Self {
        Self { open: BTreeMap::new(), begun: (lines, digest) }
    }

    /// A line is under way: the one after the last that was begun.
    pub(super) fn begin(&mut self, number: u64, digest: LinesDigest) {
        self.open.insert(number, self.begun.1);
        self.begun = (number, digest);
    }

    /// A line is done. One that is given up never is.
    pub(super) fn finish(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// The last line up to which all are done, and the digest up to and with it.
    pub(super) fn done(&self) -> (u64, LinesDigest) {
        match self.open.first_key_value() {
            Some((first_open, before)) => (first_open - 1, *before),
            None => self.begun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(lines: &[&str]) -> LinesDigest {
        lines.iter().fold(LinesDigest::EMPTY, |digest, line| digest.with(line.as_bytes()))
    }

    #[test]
    fn only_lines_without_a_gap_before_them_are_done() {
        let mut frontier = Frontier::new(0, LinesDigest::EMPTY);
        assert_eq!(frontier.done(), (0, digest(&[])));
        frontier.begin(1, digest(&["a"]));
        frontier.begin(2, digest(&["a", "b"]));
        frontier.begin(3, digest(&["a", "b", "c"]));
        frontier.finish(2);
        assert_eq!(frontier.done(), (0, digest(&[])));
        frontier.finish(1);
        assert_eq!(frontier.done(), (2, digest(&["a", "b"])));
        frontier.finish(3);
        assert_eq!(frontier.done(), (3, digest(&["a", "b", "c"])));
    }

    #[test]
    fn where_lines_end_matters_to_their_digest() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["", "a"]), digest(&["a"]));
    }

    #[test]
    fn a_checkpoint_reads_back_and_a_foreign_file_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state");
        assert_eq!(Checkpoint::read(&path).expect("nothing"), None);
        let checkpoint = Checkpoint::new("id".into(), 7, &digest(&["a"]));
        checkpoint.write(&path).expect("written");
        assert_eq!(Checkpoint::read(&path).expect("readable"), Some(checkpoint));
        fs::write(&path, "{}").expect("written");
        assert!(Checkpoint::read(&path).is_err());
        let later = r#"{"format":2,"import_id":"i","lines":1,"digest":""}"#;
        fs::write(&path, later).expect("written");
        let error = Checkpoint::read(&path).expect_err("another format").to_string();
        assert!(error.contains("another version"), "{error}");
    }
}
