//! `import`: many records from lines, each written until it is committed.
//!
//! Memory is bounded by the number of records under way. A write's name follows from the import,
//! the line and its content, so that a retry, and a second run, never writes a record twice. Two
//! records of one key are never under way together: the later line wins.

mod checkpoint;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod input;
mod line;
mod report;
mod retry;
mod write_id;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connection::{ConnectionArguments, explain, run as converse};
use super::write_options::{WriteArguments, new_write_id};
use super::{Exit, Output};
use crate::client::ClientError;
use crate::record::Namespace;
use checkpoint::{Checkpoint, Frontier, LinesDigest};
use input::{Input, Line};
use line::{Entry, LineFormat};
use report::{Progress, Summary};
use retry::{Fate, Writer};
use write_id::write_id;

/// Time between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
A line is {\"namespace\":\"demo\",\"key\":\"k\",\"value\":\"v\"}, as `export` writes it. \"key_base64\"
and \"value_base64\" stand for bytes that are not text; a null value deletes the key. With --lines,
every line of a plain text is a value, and its number, in ten digits, is the key.

A write is named after the import, the line's number and its content, and is written once under that
name: running the same import again after a failure is safe. The import's name is --import-id, else
the one in the --state file, else it follows from the file's path, length and time of change. Give
another one to write the same unchanged file again on purpose. With a --state file of an earlier run,
or with --import-id, every record is looked for at other nodes before it is written.

Examples:
  quorum-node import records.ndjson --state records.state
  quorum-node export --url http://old:7480 | quorum-node import -
  quorum-node import /usr/share/dict/words --lines --namespace words")]
#[non_exhaustive]
pub struct ImportArguments {
    /// File to read; - or nothing is standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Namespace of lines that name none
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<Namespace>,
    /// Lines are values as they stand, not JSON; the key is the number of the line
    #[arg(long, requires = "namespace")]
    pub lines: bool,
    /// Records under way at once
    #[arg(long, value_name = "N", default_value = "64")]
    pub clients: NonZeroUsize,
    /// Write through all nodes of --url in turn, not only through the first that can be reached
    #[arg(long)]
    pub spread: bool,
    /// Stop when a record could not be committed for so long
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub give_up_after: Duration,
    /// Remember in this file how far the import has come, and go on from there
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Name of the import
    #[arg(long, value_name = "TEXT")]
    pub import_id: Option<String>,
    /// Go on behind lines that mean no record and records that the node refuses
    #[arg(long)]
    pub skip_bad: bool,
    /// How to write.
    #[command(flatten)]
    pub write: WriteArguments,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Runs `import`. What became of how many records is the result; what is wrong with single lines is
/// said on standard error.
///
/// # Errors
///
/// If the input or the state cannot be read or written, or the node lets nobody in.
pub fn run(arguments: &ImportArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    let input = Input::open(arguments.file.as_deref())?;
    let resume = arguments.state.as_deref().map(Checkpoint::read).transpose()?.flatten();
    let import_id = import_id(arguments, &input, resume.as_ref())?;
    let writer = Writer {
        client,
        write: arguments.write.clone(),
        timeout: arguments.connection.timeout,
        give_up_after: arguments.give_up_after,
        // Whoever names an import may have run it before, without a file that remembers it.
        is_rerun: resume.is_some() || arguments.import_id.is_some(),
    };
    if resume.is_none() {
        remember_beginning(arguments, &import_id)?;
    }
    let mut import = Import::new(arguments, writer, import_id, resume.as_ref(), input.bytes);
    let started = Instant::now();
    let outcome = converse(async {
        let outcome = import.run(input.lines(resume)).await;
        // Whatever happened, what is done is remembered.
        import.save()?;
        outcome
    });
    import.progress.finish();
    import.summary.seconds = started.elapsed().as_secs_f64();
    import.summary.lines_done = import.frontier.done().0;
    output.show(&import.summary, |out| import.summary.write(out))?;
    outcome?;
    let exit = import.exit();
    if exit != Exit::Ok {
        let again = match &arguments.state {
            Some(_) => "run it again to go on".to_owned(),
            None => format!(
                "run it again with --import-id '{}' to go on; nothing is written twice",
                import.summary.import_id
            ),
        };
        writeln!(io::stderr(), "not everything was imported; {again}")?;
    }
    Ok(exit)
}

/// The name of the import.
fn import_id(
    arguments: &ImportArguments,
    input: &Input,
    resume: Option<&Checkpoint>,
) -> anyhow::Result<String> {
    let given = arguments.import_id.clone();
    if let Some(checkpoint) = resume {
        ensure!(
            given.as_ref().is_none_or(|id| *id == checkpoint.import_id),
            "the --state file is that of import {:?}",
            checkpoint.import_id
        );
        return Ok(checkpoint.import_id.clone());
    }
    Ok(given.or_else(|| input.identity.clone()).unwrap_or_else(|| new_write_id().to_string()))
}

/// Puts a beginning into the state file before anything is sent, so that the next run knows of this
/// one however early it ends.
fn remember_beginning(arguments: &ImportArguments, import_id: &str) -> anyhow::Result<()> {
    match &arguments.state {
        Some(path) => Checkpoint::new(import_id.to_owned(), 0, &LinesDigest::EMPTY).write(path),
        None => Ok(()),
    }
}

/// An import under way.
struct Import<'a> {
    arguments: &'a ImportArguments,
    writer: Writer,
    format: LineFormat,
    frontier: Frontier,
    summary: Summary,
    progress: Progress,
    /// Records under way, and which keys they are about.
    under_way: JoinSet<(Finished, Fate)>,
    keys: HashSet<u64>,
    saved: Instant,
    /// Nothing more is begun.
    stopping: bool,
}

/// What identifies a record that is no longer under way.
struct Finished {
    number: u64,
    key: u64,
    position: u64,
}

/// A record that is about to be written.
struct Next {
    line: Line,
    entry: Entry,
    key: u64,
}

impl<'a> Import<'a> {
    fn new(
        arguments: &'a ImportArguments,
        writer: Writer,
        import_id: String,
        resume: Option<&Checkpoint>,
        bytes: Option<u64>,
    ) -> Self {
        let resumed_behind = resume.map_or(0, |checkpoint| checkpoint.lines);
        Self {
            arguments,
            writer,
            format: LineFormat { namespace: arguments.namespace.clone(), plain: arguments.lines },
            // The digest up to there is in the file already, and is written only further on.
            frontier: Frontier::new(resumed_behind, LinesDigest::EMPTY),
            summary: Summary { import_id, resumed_behind, ..Summary::default() },
            progress: Progress::new(bytes),
            under_way: JoinSet::new(),
            keys: HashSet::new(),
            saved: Instant::now(),
            stopping: false,
        }
    }

    /// Writes all lines, or stops at the first that cannot be written.
    async fn run(&mut self, mut lines: mpsc::Receiver<anyhow::Result<Line>>) -> anyhow::Result<()> {
        let mut next: Option<Next> = None;
        let mut at_end = false;
        let mut outcome = Ok(());
        loop {
            if self.stopping {
                (next, at_end) = (None, true);
            }
            let has_room = self.under_way.len() < self.arguments.clients.get();
            if has_room && let Some(ready) = next.take_if(|next| !self.keys.contains(&next.key)) {
                self.begin(ready);
                continue;
            }
            let wants_line = next.is_none() && !at_end && has_room;
            if !wants_line && self.under_way.is_empty() {
                return outcome;
            }
            tokio::select! {
                line = lines.recv(), if wants_line => match line {
                    Some(Ok(line)) => next = self.read(line),
                    Some(Err(error)) => (outcome, self.stopping) = (Err(error), true),
                    None => at_end = true,
                },
                Some(finished) = self.under_way.join_next() => {
                    let (finished, fate) = finished?;
                    if let Err(error) = self.finish(&finished, fate) {
                        (outcome, self.stopping) = (Err(error), true);
                    }
                }
            }
        }
    }

    /// The record that a line means; none if it means none.
    fn read(&mut self, line: Line) -> Option<Next> {
        self.frontier.begin(line.number, line.digest);
        let entry = if line.too_long {
            Err("the line is too long".to_owned())
        } else {
            self.format.read(line.number, &line.content)
        };
        match entry {
            Ok(Some(entry)) => {
                let mut hasher = DefaultHasher::new();
                (entry.namespace.as_str(), entry.key.as_bytes()).hash(&mut hasher);
                return Some(Next { key: hasher.finish(), line, entry });
            }
            Ok(None) => self.frontier.finish(line.number),
            Err(problem) => {
                self.summary.bad += 1;
                self.progress.complain(line.number, problem);
                self.skip(line.number);
            }
        }
        None
    }

    fn begin(&mut self, Next { line, entry, key }: Next) {
        self.keys.insert(key);
        let id = write_id(&self.summary.import_id, line.number, &entry);
        let finished = Finished { number: line.number, key, position: line.position };
        let nodes = self.writer.client.nodes().len() as u64;
        let first = if self.arguments.spread { line.number % nodes } else { 0 };
        let writer = self.writer.clone();
        self.under_way.spawn(async move {
            let first = usize::try_from(first).unwrap_or_default();
            (finished, writer.write(entry, id, first).await)
        });
    }

    fn finish(&mut self, finished: &Finished, fate: Fate) -> anyhow::Result<()> {
        self.keys.remove(&finished.key);
        let number = finished.number;
        match fate {
            Fate::Committed => {
                self.summary.committed += 1;
                self.frontier.finish(number);
            }
            Fate::Indeterminate(error) => {
                self.summary.indeterminate += 1;
                self.progress.complain(number, format_args!("indeterminate: {error}"));
                self.stopping = true;
            }
            Fate::NotApplied(error) => {
                self.summary.not_applied += 1;
                self.progress.complain(number, format_args!("gave up: {error}"));
                self.stopping = true;
            }
            Fate::Refused(error) => {
                self.summary.refused += 1;
                if !is_about_the_record(&error) {
                    return Err(explain(error));
                }
                self.progress.complain(number, error);
                self.skip(number);
            }
        }
        self.progress.update(finished.position, self.summary.committed);
        if self.saved.elapsed() >= CHECKPOINT_EVERY {
            self.save()?;
        }
        Ok(())
    }

    /// Passes over a line, or begins no further ones.
    fn skip(&mut self, number: u64) {
        if self.arguments.skip_bad {
            self.frontier.finish(number);
        } else {
            self.stopping = true;
        }
    }

    fn save(&mut self) -> anyhow::Result<()> {
        self.saved = Instant::now();
        let (lines, digest) = self.frontier.done();
        match &self.arguments.state {
            Some(path) if lines > self.summary.resumed_behind => {
                Checkpoint::new(self.summary.import_id.clone(), lines, &digest).write(path)
            }
            _ => Ok(()),
        }
    }

    const fn exit(&self) -> Exit {
        let Summary { indeterminate, not_applied, .. } = self.summary;
        match (indeterminate, not_applied, self.stopping) {
            (0, 0, false) => Exit::Ok,
            (0, ..) => Exit::Error,
            _ => Exit::QuorumNotMet,
        }
    }
}

/// Whether a refusal is due to this one record, so that others may fare better.
const fn is_about_the_record(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 400 | 409 | 413 | 414 | 422, .. })
}
