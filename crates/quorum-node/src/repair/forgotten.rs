//! A life of this member that must not be merged any more: it is set aside, and what only it holds is written to a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use quorum_core::{Frontier, Recovery};

use crate::export_line;
use crate::service::Service;
use crate::store::{self, OpenError, Rescued};

const DIRECTORY: &str = "forgotten-";
const FILE: &str = "rescued-";

/// Moves the store of a data directory aside, so that the next start begins with nothing. Tells where it is now.
///
/// # Errors
///
/// [`OpenError`]; the store is where it was, then, unless it was only that the move could not be made durable.
pub(crate) fn set_aside(data_dir: &Path, incarnation: &str) -> Result<PathBuf, OpenError> {
    let to = data_dir.join(format!("{DIRECTORY}{incarnation}"));
    store::set_aside(data_dir, &to)?;
    Ok(to)
}

/// Once this node holds everything again: writes what only the lives hold that were set aside. Each is looked at once.
pub(crate) async fn rescue(service: &Service) {
    let store = service.store();
    if store.recovery() != Recovery::Complete {
        return;
    }
    let (data_dir, frontier) = (service.config().node.data_dir.clone(), store.frontier());
    // A panic in there was logged by the runtime's hook; the directories stay.
    let _panicked = store.aside(move |_| rescue_from(&data_dir, &frontier)).await.is_none();
}

fn rescue_from(data_dir: &Path, frontier: &Frontier) {
    for (directory, file) in waiting(data_dir) {
        match write(&directory, &file, frontier) {
            Ok(0) => tracing::info!(
                directory = %directory.display(),
                "the forgotten life held nothing that is not here; its directory can be removed"
            ),
            Ok(records) => tracing::warn!(
                records,
                file = %file.display(),
                directory = %directory.display(),
                "the forgotten life held records that nobody else has: they were written to the file and not merged; `quorum-node import` writes them anew"
            ),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(directory = %directory.display(), error, "could not look through the forgotten life");
            }
        }
    }
}

/// Whether some life was set aside and not looked through.
pub(crate) fn is_waiting(data_dir: &Path) -> bool {
    !waiting(data_dir).is_empty()
}

/// Directories that were set aside and not looked through, each with the file for what only it holds.
fn waiting(data_dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(data_dir) else { return Vec::new() };
    let waiting = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let incarnation = name.to_str()?.strip_prefix(DIRECTORY)?;
        let file = data_dir.join(format!("{FILE}{incarnation}.jsonl"));
        (entry.path().is_dir() && !file.exists()).then(|| (entry.path(), file))
    });
    waiting.collect()
}

/// Writes what `frontier` does not cover; the file appears when it is complete.
fn write(directory: &Path, file: &Path, frontier: &Frontier) -> anyhow::Result<u64> {
    let partial = file.with_extension("partial");
    let mut out = BufWriter::new(File::create(&partial)?);
    let mut records = 0;
    store::rescue(directory, frontier, |Rescued { content }| {
        records += 1;
        export_line::write(&content, &mut out)
    })?;
    out.flush()?;
    out.get_ref().sync_all()?;
    std::fs::rename(&partial, file)?;
    Ok(records)
}
