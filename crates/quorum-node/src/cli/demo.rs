//! `demo`: a mesh of three in one process that shows what a quorum write is worth when members fail.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use quorum_core::Receipt;
use quorum_metrics::{LogConfig, LogFormat, init_logging};
use serde::Serialize;
use tokio::sync::Notify;

use super::{Exit, Output};
use crate::local_mesh::LocalMesh;
use crate::record::{Key, Namespace};
use crate::{Node, WriteFailed, WriteRequest, shutdown};

/// How long the mesh may take to find itself, and to agree again after a failure.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a write may wait for its quorum.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct DemoArguments {
    /// Leave the mesh running at the end and say where it can be reached
    #[arg(long)]
    serve: bool,
    /// Log filter, e.g. "info"
    #[arg(long, value_name = "FILTER", default_value = "off")]
    log: String,
}

/// One line of the story.
#[derive(Debug, Serialize)]
struct Line {
    step: &'static str,
    text: String,
}

/// Runs the command.
///
/// # Errors
///
/// What did not come true.
pub fn run(arguments: &DemoArguments, output: &mut Output) -> anyhow::Result<Exit> {
    init_logging(&LogConfig { format: LogFormat::Text, filter: arguments.log.clone() }, None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let directory = tempfile::Builder::new().prefix("quorum-demo-").tempdir()?;
    runtime.block_on(async {
        let started = Instant::now();
        let mut story = Story { output, said: "" };
        let mut mesh =
            LocalMesh::start(3, directory.path(), |_| {}).await.context("starting three nodes")?;
        let told = tell(&mut mesh, &mut story).await;
        if told.is_ok() {
            story.say(
                "done",
                format!("All of it came true, in {:.1} s.", started.elapsed().as_secs_f64()),
            )?;
            if arguments.serve {
                linger(&mesh, &mut story).await?;
            }
        }
        mesh.stop_all().await;
        told.map(|()| Exit::Ok)
    })
}

async fn tell(mesh: &mut LocalMesh, story: &mut Story<'_>) -> anyhow::Result<()> {
    story.say("start", "Three nodes: own certificates, QUIC on loopback, a store each. A write commits at 2 of 3 durable copies.".into())?;
    for (index, (key, value)) in
        [("apple", "red"), ("pear", "green"), ("plum", "blue")].into_iter().enumerate()
    {
        let receipt = put(mesh, index, key, value).await?;
        story.say(
            "commit",
            format!("n{} writes {key} = {value}: {}", index + 1, in_words(&receipt)),
        )?;
    }

    mesh.stop(2).await;
    story.say("stop", "n3 is stopped. Two copies can still be had.".into())?;
    let receipt = put(mesh, 0, "cherry", "dark red").await?;
    ensure!(receipt.acked().count() == 2, "two copies were expected, not {:?}", receipt.members);
    story.say("commit", format!("n1 writes cherry = dark red: {}", in_words(&receipt)))?;

    mesh.stop(1).await;
    story.say(
        "stop",
        "n2 is stopped too. Now two copies cannot be had, and nobody pretends otherwise.".into(),
    )?;
    let outcome = node(mesh, 0)?.service().write(request("fig", "purple")?).await;
    let Err(WriteFailed::Indeterminate { receipt, cause }) = outcome else {
        anyhow::bail!("a write without a quorum was expected to be indeterminate");
    };
    ensure!(receipt.got == 1, "exactly the local copy was expected, not {}", receipt.got);
    story.say(
        "indeterminate",
        format!("n1 writes fig = purple: indeterminate, {cause}; {}", in_words(&receipt)),
    )?;

    mesh.restart(1).await.context("restarting n2")?;
    mesh.restart(2).await.context("restarting n3")?;
    story.say(
        "return",
        "n2 and n3 are back. n1 sends them what they missed, from its log.".into(),
    )?;
    let digest = agreed_digest(mesh).await?;
    for (index, node) in mesh.running().enumerate() {
        let records = node.service().export(None, 100).await?.records.len();
        ensure!(records == 5, "n{} holds {records} records, not 5", index + 1);
        story.say(
            "agree",
            format!("n{} holds {records} records, digest {}", index + 1, &digest[..16]),
        )?;
    }
    Ok(())
}

async fn put(mesh: &LocalMesh, index: usize, key: &str, value: &str) -> anyhow::Result<Receipt> {
    Ok(node(mesh, index)?.service().write(request(key, value)?).await?)
}

fn node(mesh: &LocalMesh, index: usize) -> anyhow::Result<&Node> {
    mesh.node(index).with_context(|| format!("n{} is not running", index + 1))
}

fn request(key: &str, value: &str) -> anyhow::Result<WriteRequest> {
    Ok(WriteRequest {
        namespace: Namespace::new("fruit")?,
        key: Key::new(Bytes::copy_from_slice(key.as_bytes()))?,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        write_id: None,
        copies: None,
        timeout: Some(TIMEOUT),
        durability: None,
        is_retry: false,
    })
}

/// The digest that all running nodes come to share.
async fn agreed_digest(mesh: &LocalMesh) -> anyhow::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut digests = Vec::new();
        for node in mesh.running() {
            digests.extend(node.service().status(true).await?.content_digest);
        }
        let first = digests.first().cloned().context("no node is running")?;
        if digests.len() == 3 && digests.iter().all(|digest| *digest == first) {
            return Ok(first);
        }
        ensure!(Instant::now() < deadline, "the nodes do not agree: {digests:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A receipt in a few words.
fn in_words(receipt: &Receipt) -> String {
    let acked: Vec<String> = receipt
        .acked()
        .map(|(node, after)| format!("{node} in {:.1} ms", after.as_secs_f64() * 1_000.0))
        .collect();
    let missing: Vec<String> =
        receipt.missing().map(|(node, standing)| format!("{node} {}", standing.label())).collect();
    let mut words = format!("durable on {}", acked.join(", "));
    if !missing.is_empty() {
        words.push_str(&format!("; not yet: {}", missing.join(", ")));
    }
    words
}

async fn linger(mesh: &LocalMesh, story: &mut Story<'_>) -> anyhow::Result<()> {
    let addresses: Vec<String> = (0..3)
        .filter_map(|index| mesh.http_addr(index))
        .map(|address| format!("http://{address}"))
        .collect();
    story.say("serve", format!("The mesh is yours until Ctrl-C: {}", addresses.join("  ")))?;
    if let Some(first) = addresses.first() {
        story.say(
            "serve",
            format!("Try: curl -X PUT --data-binary yellow {first}/v1/kv/fruit/banana"),
        )?;
        story.say("serve", format!("     curl {first}/v1/status"))?;
    }
    shutdown::requested(std::sync::Arc::new(Notify::new())).await?;
    Ok(())
}

/// Says each line as it happens.
struct Story<'a> {
    output: &'a mut Output,
    said: &'static str,
}

impl Story<'_> {
    fn say(&mut self, step: &'static str, text: String) -> io::Result<()> {
        // A word in the margin where a new kind of step begins.
        let margin = if self.said == step { "" } else { step };
        self.said = step;
        let line = Line { step, text };
        self.output.line(&line, |out| write!(out, "{margin:>13}  {}", line.text))
    }
}
