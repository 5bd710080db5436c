//! An offline check of a whole data directory: every digest, and whether records, log and frontier agree.
//!
//! It opens the directory as a start would, so a damaged log is reported as [`OpenError::Damaged`]; then it reads
//! everything and changes nothing.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use quorum_core::{Digest, Hlc};

use super::config::StoreConfig;
use super::directory::Directory;
use super::engine::{Engine, Space, View};
use super::error::OpenError;
use super::open::{Kept, for_each, open_engine};
use super::schema::{Head, LineageNumber, LogEntry, RecordKey, WriteEntry};
use crate::record::ContentRef;

/// Findings after which no further ones are kept.
const FINDINGS_MAX: usize = 1_000;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it was found.
    pub space: Space,
    /// At which entry, printable.
    pub at: String,
    /// What is wrong.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.space.as_str(), self.at, self.detail)
    }
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Records read, tombstones included.
    pub records: u64,
    /// Log entries read.
    pub log_entries: u64,
    /// What is wrong: at most the first thousand things.
    pub findings: Vec<Finding>,
}

impl Verified {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn note(&mut self, space: Space, at: &[u8], outcome: Result<(), String>) {
        if let Err(detail) = outcome
            && self.findings.len() < FINDINGS_MAX
        {
            self.findings.push(Finding { space, at: at.escape_ascii().to_string(), detail });
        }
    }
}

/// Reads a data directory that no process has open and checks all of it. Blocks.
///
/// # Errors
///
/// [`OpenError`] if the directory cannot be opened, or not be read to its end.
pub fn verify(directory: &Path, config: &StoreConfig) -> Result<Verified, OpenError> {
    if !Directory::is_store(directory) {
        return Err(OpenError::NotAStore { directory: directory.to_owned() });
    }
    let (directory, engine) = open_engine(directory, config)?;
    let verified = verify_view(engine.view().as_ref());
    let last_commit = engine.last_commit();
    drop(engine);
    let verified = verified?;
    // Nothing was committed and the engine is closed, so the directory is as good as after a clean stop.
    directory.mark_clean(last_commit)?;
    Ok(verified)
}

pub(super) fn verify_view(view: &dyn View) -> Result<Verified, OpenError> {
    let kept = Kept::read(view)?;
    let mut verified = Verified::default();
    for_each(view, Space::Records, |key, value| {
        verified.records += 1;
        verified.note(Space::Records, key, check_record(&kept, key, value));
        Ok(())
    })?;
    for_each(view, Space::Log, |key, value| {
        verified.log_entries += 1;
        verified.note(Space::Log, key, check_log(&kept, view, key, value));
        Ok(())
    })?;
    for_each(view, Space::Writes, |key, value| {
        verified.note(Space::Writes, key, check_write(&kept, value));
        Ok(())
    })?;
    Ok(verified)
}

fn check_record(kept: &Kept, key: &Bytes, value: &Bytes) -> Result<(), String> {
    let head = Head::decode(value).map_err(|corrupt| corrupt.to_string())?;
    let (lineage, seq, digest) = (head.lineage, head.seq, head.digest);
    let is_tombstone = head.is_tombstone;
    let name = kept.lineages.name(lineage).map_err(|corrupt| corrupt.to_string())?.clone();
    let record = head.into_record(name, value);
    if Digest::of(&record.payload) != digest {
        return Err("the payload does not hash to its digest".to_owned());
    }
    let content = ContentRef::parse(&record.payload).map_err(|error| error.to_string())?;
    if RecordKey::of(&content).bytes() != key {
        return Err("the payload is about another key".to_owned());
    }
    if content.value.is_none() != is_tombstone {
        return Err("head and payload differ on whether it is a tombstone".to_owned());
    }
    check_covered(kept, lineage, seq, seq)
}

fn check_log(kept: &Kept, view: &dyn View, key: &Bytes, value: &Bytes) -> Result<(), String> {
    let (lineage, run) = LogEntry::decode_run(key, value).map_err(|corrupt| corrupt.to_string())?;
    run.into_iter().try_for_each(|entry| check_log_entry(kept, view, lineage, entry))
}

fn check_log_entry(
    kept: &Kept,
    view: &dyn View,
    lineage: LineageNumber,
    entry: LogEntry,
) -> Result<(), String> {
    check_covered(kept, lineage, entry.first, entry.last)?;
    let Some(about) = entry.key else { return Ok(()) };
    match view.get(Space::Records, about.bytes()) {
        Ok(Some(_)) => Ok(()),
        Ok(None)
            if entry.hlc.is_none_or(|hlc| hlc <= kept.purged()) && kept.purged() > Hlc::ZERO =>
        {
            Ok(())
        }
        Ok(None) => Err("the key it is about has no record".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn check_write(kept: &Kept, value: &Bytes) -> Result<(), String> {
    let entry = WriteEntry::decode(value).map_err(|corrupt| corrupt.to_string())?;
    entry.key.split().map_err(|corrupt| corrupt.to_string())?;
    check_covered(kept, entry.lineage, entry.seq, entry.seq)
}

fn check_covered(kept: &Kept, lineage: LineageNumber, first: u64, last: u64) -> Result<(), String> {
    let held = kept.frontier.get(&lineage);
    let is_covered = held.is_some_and(|held| held.covers(&vec![(first, last)].into()));
    is_covered.then_some(()).ok_or_else(|| "the frontier does not cover its dot".to_owned())
}
