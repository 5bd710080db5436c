//! Why the store takes no write, loses one, or does not open.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorum_core::{ClockFault, ClusterId, PeerId, WriteId};

use super::engine::EngineError;

/// Why an open store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Too much waits for the disk already. Nothing happened; a retry is safe and may succeed soon.
    #[error("the store is overloaded: too many writes wait for the disk")]
    Overloaded,
    /// The disk is almost full. Nothing happened; a retry succeeds once there is room.
    #[error("the disk is almost full: no records are taken until there is room")]
    DiskFull,
    /// The caller's value is too large. Nothing happened; a retry fails the same way.
    #[error("the {what} has {len} bytes; at most {limit} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// The write id was first used longer ago than ids are told apart, so it cannot be known whether the write took
    /// effect then. Nothing happened.
    #[error("write id {write_id} is too old to be told from a new write")]
    RetryTooOld {
        /// The id.
        write_id: WriteId,
    },
    /// The caller gave a write id that names another write. Nothing happened; a retry needs an id of its own.
    #[error("write id {write_id} was used before for another write")]
    IdConflict {
        /// The id.
        write_id: WriteId,
    },
    /// This node's clock is not trusted, so it stamps no writes. Nothing happened; another node takes the write.
    #[error("the clock is not trusted: {0}")]
    Clock(ClockFault),
    /// The write would have to be stamped above a time from the future, which would drag this node's clock along: that of
    /// the key's newest version, or up to which others have purged. Nothing happened; a retry succeeds once that time has
    /// come, or the key was written anew.
    #[error("the time that the write must come after lies {} s ahead of this node's clock", .by.as_secs())]
    FromTheFuture {
        /// How far it is ahead.
        by: Duration,
    },
    /// Another member has executed the write meanwhile, under a newer version. Nothing happened now.
    #[error("write id {write_id} was executed through another member meanwhile")]
    Overtaken {
        /// The id.
        write_id: WriteId,
    },
    /// The disk failed. A write under way may or may not survive; the store takes no more until it is opened anew.
    #[error("the store has failed and takes no more writes until it is restarted: {reason}")]
    Failed {
        /// What failed first.
        reason: Arc<str>,
    },
    /// The disk could not be read. Nothing changed; a retry is safe and may fail the same way.
    #[error("the store could not be read: {reason}")]
    Unreadable {
        /// What was read, and what went wrong.
        reason: Arc<str>,
    },
    /// The store was closed. Nothing happened.
    #[error("the store is closed")]
    Closed,
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        Self::Unreadable { reason: with_causes(&error).into() }
    }
}

impl From<super::schema::Corrupt> for StoreError {
    fn from(error: super::schema::Corrupt) -> Self {
        Self::Unreadable { reason: error.to_string().into() }
    }
}

/// An error and what caused it, on one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why a data directory was not opened. Nothing was changed unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("data directory {} is in use by another process", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// A later version of this program wrote it.
    #[error(
        "data directory {} has format {found}, this program knows formats up to {known}: run a newer version",
        directory.display()
    )]
    NewerFormat {
        /// The directory.
        directory: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this program knows.
        known: u32,
    },
    /// An earlier version of this program wrote it, and did not close it: only that version can tell what the end of its
    /// log is worth.
    #[error(
        "data directory {} has format {found} and was not closed: start and stop the version that wrote it once more",
        directory.display()
    )]
    OlderFormatNotClosed {
        /// The directory.
        directory: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It holds no store, where there should be one or nothing.
    #[error("directory {} holds something else than a store", directory.display())]
    NotAStore {
        /// The directory.
        directory: PathBuf,
    },
    /// It belongs to another member.
    #[error("the data directory belongs to node {found}, not to {expected}")]
    OtherNode {
        /// Whose it is.
        found: PeerId,
        /// Who tried to open it.
        expected: PeerId,
    },
    /// It belongs to another cluster.
    #[error("the data directory belongs to cluster {found}, not to {expected}")]
    OtherCluster {
        /// The cluster it belongs to.
        found: ClusterId,
        /// The cluster that was expected.
        expected: ClusterId,
    },
    /// Data that had been acknowledged is damaged. The files were left as they are.
    #[error(
        "{} is damaged at offset {offset}: {detail}. Acknowledged writes may be lost, so the store does not open. \
         Restore the data directory from a backup, or rebuild it from the peers: move it away and start anew",
        file.display()
    )]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What was found there.
        detail: String,
    },
    /// What the store keeps about itself makes no sense.
    #[error("the store's own bookkeeping is damaged: {detail}")]
    Corrupt {
        /// What was read.
        detail: String,
    },
    /// A file could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The engine did not open, or did not take the first commit of this start.
    #[error("cannot open the store")]
    Engine(#[from] EngineError),
}

impl OpenError {
    /// Wraps an I/O error with what was being done to which file.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

impl From<super::schema::Corrupt> for OpenError {
    fn from(error: super::schema::Corrupt) -> Self {
        Self::Corrupt { detail: error.to_string() }
    }
}
