//! `batch`: many writes in few requests, each with a verdict of its own.
//!
//! Every write has a name before it is sent, and one that is not known to be committed is shown
//! with its name, so that whoever runs the batch can run that write again.

mod report;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::connection::{ConnectionArguments, explain, run as converse};
use super::write_options::new_write_id;
use super::{Exit, Output};
use crate::client::Client;
use crate::record::Namespace;
use report::{Summary, result_of};

/// Writes of one request, and their bytes as they were read.
const GROUP_ITEMS_MAX: usize = 1_000;
const GROUP_BYTES_MAX: usize = 8 << 20;
/// Longest line.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Arguments of `batch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each line is a JSON object: namespace, key (or key_base64), value (or value_base64; null deletes),
and optionally write_id, w, timeout, durability.

A write that is not committed is shown with its write id. A line that names a write_id may have been
sent before: it is looked for at other nodes first, and never written twice.

Example:
  echo '{\"namespace\":\"demo\",\"key\":\"a\",\"value\":\"1\"}' | quorum-node batch")]
#[non_exhaustive]
pub struct BatchArguments {
    /// File to read; - or nothing is standard input
    pub file: Option<PathBuf>,
    /// Namespace of lines that name none
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<Namespace>,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Runs `batch`. A write that is not known to be committed is said on standard error as soon as
/// that is clear, with its line and its write id; as JSON the result has it too.
///
/// # Errors
///
/// If a line means no write, or the node cannot be asked or refuses a request. Requests before that
/// one may have been written; if anything is open, that is no error but [`Exit::QuorumNotMet`].
pub fn run(arguments: &BatchArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    let mut input = open(arguments.file.as_deref())?;
    let mut summary = Summary::default();
    let outcome = write_all(&client, &mut *input, arguments.namespace.as_ref(), &mut summary);
    output.show(&summary, |out| summary.write(out))?;
    let exit = summary.exit();
    if exit != Exit::QuorumNotMet {
        outcome?;
        return Ok(exit);
    }
    if let Err(error) = outcome {
        say(format_args!("error: {error:#}"));
    }
    say("What is indeterminate may or may not survive. To find out, run those lines again, each \
         with its write id as \"write_id\", which never writes twice.");
    Ok(exit)
}

fn open(file: Option<&Path>) -> anyhow::Result<Box<dyn BufRead>> {
    let input: Box<dyn BufRead> = match file {
        Some(path) if path != Path::new("-") => {
            let file =
                File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        _ => Box::new(BufReader::new(io::stdin())),
    };
    Ok(input)
}

/// Writes the input, request by request, to its end or to the first request that was not answered.
fn write_all(
    client: &Client,
    input: &mut dyn BufRead,
    namespace: Option<&Namespace>,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let mut number = 0;
    loop {
        let sent = number;
        let group = read_group(input, &mut number, namespace).with_context(|| sent_up_to(sent))?;
        if group.writes.is_empty() {
            return Ok(());
        }
        send(client, &group, summary).with_context(|| sent_up_to(number))?;
    }
}

/// How much of the input was sent when something ended it.
fn sent_up_to(line: u64) -> String {
    match line {
        0 => "nothing was sent".to_owned(),
        _ => format!("nothing behind line {line} was sent"),
    }
}

/// One request in the making.
#[derive(Default)]
struct Group {
    /// The line each write comes from.
    lines: Vec<u64>,
    writes: Vec<Value>,
    bytes: usize,
    /// Whether a line names its write. The node takes the word for all writes of a request: those
    /// that are new are looked for in vain, which does no harm.
    is_retry: bool,
}

fn read_group(
    input: &mut dyn BufRead,
    number: &mut u64,
    namespace: Option<&Namespace>,
) -> anyhow::Result<Group> {
    let mut group = Group::default();
    let mut line = Vec::new();
    while group.writes.len() < GROUP_ITEMS_MAX && group.bytes < GROUP_BYTES_MAX {
        line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        if io::Read::take(&mut *input, limit).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        *number += 1;
        if line.len() > LINE_BYTES_MAX {
            bail!("line {number} is longer than {LINE_BYTES_MAX} bytes");
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut write: Value =
            serde_json::from_slice(&line).with_context(|| format!("line {number}"))?;
        let Some(fields) = write.as_object_mut() else { bail!("line {number} is no JSON object") };
        if let Some(namespace) = namespace {
            fields.entry("namespace").or_insert_with(|| namespace.as_str().into());
        }
        if fields.get("write_id").is_none_or(Value::is_null) {
            // Named here, so that whoever sees an indeterminate outcome can ask for it.
            fields.insert("write_id".to_owned(), new_write_id().to_string().into());
        } else {
            // Whoever names a write may have asked for it before.
            group.is_retry = true;
        }
        group.bytes += line.len();
        group.lines.push(*number);
        group.writes.push(write);
    }
    Ok(group)
}

/// Sends one request and notes what became of each of its writes, also if it got no answer.
fn send(client: &Client, group: &Group, summary: &mut Summary) -> anyhow::Result<()> {
    let body = json!({ "writes": group.writes }).to_string();
    let answer = converse(async { Ok(client.batch(body.into(), group.is_retry).await) })?;
    match answer {
        Ok(answer) => {
            group.note(|index| &answer["results"][index], summary);
            Ok(())
        }
        Err(error) => {
            let of_each = result_of(&error);
            group.note(|_| &of_each, summary);
            Err(explain(error))
        }
    }
}

impl Group {
    fn note<'a>(&self, result: impl Fn(usize) -> &'a Value, summary: &mut Summary) {
        for (index, (line, write)) in self.lines.iter().zip(&self.writes).enumerate() {
            if let Some(uncommitted) = summary.note(*line, write, result(index)) {
                say(uncommitted);
            }
        }
    }
}

/// Says something on standard error. A reader that went away misses it: that must not end a batch,
/// nor hide how it ended.
fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(lines: &str) -> Group {
        read_group(&mut lines.as_bytes(), &mut 0, None).expect("a group")
    }

    #[test]
    fn every_write_has_a_name_before_it_is_sent() {
        let group = group("{\"key\":\"a\"}\n\n{\"key\":\"b\",\"write_id\":null}\n");
        assert_eq!((group.lines.as_slice(), group.is_retry), (&[1, 3][..], false));
        for write in &group.writes {
            assert_eq!(write["write_id"].as_str().map(str::len), Some(36), "{write}");
        }
    }

    #[test]
    fn a_name_in_the_input_is_kept_and_makes_a_retry() {
        let group = group("{\"key\":\"a\"}\n{\"key\":\"b\",\"write_id\":\"mine\"}\n");
        assert!(group.is_retry);
        assert_eq!(group.writes[1]["write_id"], "mine");
    }
}
