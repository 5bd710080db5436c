//! A store that must not be merged any more: moved aside, and read for what only it holds.

use std::fs;
use std::io;
use std::path::Path;

use quorum_core::{Dot, Frontier};

use super::config::StoreConfig;
use super::directory::Directory;
use super::engine::{Engine, Space};
use super::error::OpenError;
use super::open::{Kept, for_each, open_engine};
use super::schema::Head;
use crate::record::Content;

/// A record, or a deletion, that somebody does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rescued {
    pub(crate) content: Content,
}

/// Moves a store that no process has open to another directory of the same file system. The next start in `from` begins
/// a new store.
pub(crate) fn set_aside(from: &Path, to: &Path) -> Result<(), OpenError> {
    if !Directory::is_store(from) {
        return Err(OpenError::NotAStore { directory: from.to_owned() });
    }
    Directory::open(from)?.move_engine_to(to)
}

/// Shows `each` record of a store that no process has open whose dot `frontier` does not cover. Damaged ones are left out.
/// Blocks.
pub(crate) fn rescue(
    directory: &Path,
    frontier: &Frontier,
    mut each: impl FnMut(Rescued) -> io::Result<()>,
) -> Result<(), OpenError> {
    let (locked, engine) = open_engine(directory, &StoreConfig::default())?;
    let view = engine.view();
    let kept = Kept::read(view.as_ref())?;
    let mut written = Ok(());
    for_each(view.as_ref(), Space::Records, |_, value| {
        let head = Head::decode(value)?;
        let lineage = kept.lineages.name(head.lineage)?.clone();
        let dot = Dot { lineage: lineage.clone(), seq: head.seq };
        if frontier.contains(&dot) || written.is_err() {
            return Ok(());
        }
        let record = head.into_record(lineage, value);
        match Content::decode(&record.payload) {
            Ok(content) if record.is_intact() => written = each(Rescued { content }),
            _ => tracing::error!(%dot, "a damaged record was left out"),
        }
        Ok(())
    })?;
    let last_commit = engine.last_commit();
    drop((view, engine));
    locked.mark_clean(last_commit)?;
    written.map_err(OpenError::io("write what was rescued from", directory))
}

impl Directory {
    /// Moves the engine and what belongs to it; what is left is a directory without a store in it.
    fn move_engine_to(&self, to: &Path) -> Result<(), OpenError> {
        let failed = |doing| OpenError::io(doing, to);
        // The engine last: a crash before it leaves the store where it was, merely not marked as closed.
        let other = Self::open(to)?;
        let clean = self.clean_mark()?;
        self.remove_clean_mark()?;
        fs::rename(self.engine_path(), other.engine_path()).map_err(failed("move the store to"))?;
        if let Some(last_commit) = clean {
            other.mark_clean(last_commit)?;
        }
        super::directory::sync_directory(to)?;
        super::directory::sync_directory(self.path())
    }
}
