//! `export`: everything a node holds, as lines of JSON that `import` reads.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;

use super::connection::{ConnectionArguments, explain, run as converse};
use super::{Exit, Output};
use crate::client::Export;
use crate::record::Namespace;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct ExportArguments {
    /// Only this namespace [default: all]
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<Namespace>,
    /// Write to a file, which appears only once it is complete [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Runs `export`. The number of records is said on standard error.
///
/// # Errors
///
/// If the node cannot be asked or goes away halfway, or the file cannot be written.
pub fn run(arguments: &ExportArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    let records = converse(async {
        let export = client.export(arguments.namespace.as_ref()).await.map_err(explain)?;
        match &arguments.output {
            Some(path) => write_file(export, path).await,
            None => copy(export, &mut Stdout(output)).await,
        }
    })?;
    writeln!(io::stderr(), "exported {records} records")?;
    Ok(Exit::Ok)
}

/// Writes the export beside `path` and moves it there when it is complete and synced.
async fn write_file(export: Export, path: &Path) -> anyhow::Result<u64> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().with_context(|| format!("{} is no file", path.display()))?;
    let mut partial_name = std::ffi::OsString::from(".");
    partial_name.push(name);
    partial_name.push(format!(".{}.partial", std::process::id()));
    let partial = directory.join(partial_name);
    let cannot = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create_new(&partial).with_context(cannot)?);
    let written = async {
        let records = copy(export, &mut file).await?;
        file.flush().and_then(|()| file.get_ref().sync_all()).with_context(cannot)?;
        fs::rename(&partial, path).with_context(cannot)?;
        Ok(records)
    };
    let written = written.await;
    if written.is_err() {
        // What is incomplete is of no use; the error that made it so is the one to report.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Copies the export and counts its lines.
async fn copy(mut export: Export, to: &mut (dyn Write + Send)) -> anyhow::Result<u64> {
    let (mut records, mut last) = (0, b'\n');
    while let Some(chunk) = export.next().await.map_err(explain)? {
        to.write_all(&chunk)?;
        records += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        last = chunk.last().copied().unwrap_or(last);
    }
    ensure!(last == b'\n', "the export ends in the middle of a line");
    Ok(records)
}

/// Standard output as the command line hands it out.
struct Stdout<'a>(&'a mut Output);

impl Write for Stdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.raw(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
