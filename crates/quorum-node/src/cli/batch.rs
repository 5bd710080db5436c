//! `batch`: many writes in few requests, each with a verdict of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::connection::{ConnectionArguments, explain, run as converse};
use super::write_options::new_write_id;
use super::{Exit, Output};
use crate::record::Namespace;

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

/// How a batch ended.
#[derive(Debug, Default, Serialize)]
struct Summary {
    committed: u64,
    not_applied: u64,
    indeterminate: u64,
}

/// One request in the making.
#[derive(Default)]
struct Group {
    /// The line each write comes from.
    lines: Vec<u64>,
    writes: Vec<Value>,
    bytes: usize,
}

/// Runs `batch`. Writes that were not committed are said on standard error, by line.
///
/// # Errors
///
/// If a line means no write, or the node cannot be asked: then the lines before it may have been written.
pub fn run(arguments: &BatchArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    let mut input: Box<dyn BufRead> = match &arguments.file {
        Some(path) if path != Path::new("-") => {
            let file =
                File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        _ => Box::new(BufReader::new(io::stdin())),
    };
    let mut summary = Summary::default();
    let mut number = 0;
    loop {
        let group = read_group(&mut *input, &mut number, arguments.namespace.as_ref())?;
        if group.writes.is_empty() {
            break;
        }
        let body = json!({ "writes": group.writes }).to_string();
        let answer = converse(async { client.batch(body.into()).await.map_err(explain) })?;
        note(&answer, &group.lines, &mut summary)?;
    }
    output.show(&summary, |out| {
        let Summary { committed, not_applied, indeterminate } = &summary;
        writeln!(
            out,
            "{committed} committed, {not_applied} not applied, {indeterminate} indeterminate"
        )
    })?;
    Ok(match summary {
        Summary { indeterminate: 1.., .. } => Exit::QuorumNotMet,
        Summary { not_applied: 1.., .. } => Exit::Error,
        _ => Exit::Ok,
    })
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
        // Named here, so that whoever sees an indeterminate outcome can ask for it.
        fields.entry("write_id").or_insert_with(|| new_write_id().to_string().into());
        group.bytes += line.len();
        group.lines.push(*number);
        group.writes.push(write);
    }
    Ok(group)
}

fn note(answer: &Value, lines: &[u64], summary: &mut Summary) -> anyhow::Result<()> {
    let results = answer["results"].as_array().context("an answer without results")?;
    for (line, result) in lines.iter().zip(results) {
        match result["outcome"].as_str() {
            Some("committed") => {
                summary.committed += 1;
                continue;
            }
            Some("indeterminate") => summary.indeterminate += 1,
            _ => summary.not_applied += 1,
        }
        let text = |name: &str| result[name].as_str().unwrap_or_default();
        writeln!(io::stderr(), "line {line}: {}: {}", text("outcome"), text("detail"))?;
    }
    Ok(())
}
