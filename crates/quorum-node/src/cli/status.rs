//! `status`: how a node and its quorum are.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::HumanBytes;
use quorum_core::PeerId;

use super::connection::{ConnectionArguments, explain, run as converse};
use super::exposure::exposure_cell;
use super::table::{Cell, Table, Tone, is_coloured};
use super::{Exit, Output};
use crate::ScrubReport;
use crate::status::NodeStatus;

/// Arguments of `status`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct StatusArguments {
    /// Also show a digest of everything the node holds: equal on nodes that hold the same
    #[arg(long)]
    pub digest: bool,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Runs `status`.
///
/// # Errors
///
/// If the node cannot be asked.
pub fn run(arguments: &StatusArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    let raw = converse(async { client.status(arguments.digest).await.map_err(explain) })?;
    if output.is_json() {
        output.show(&raw, |_| Ok(()))?;
        return Ok(Exit::Ok);
    }
    let status = serde_json::from_value(raw).context("the node's status is not as expected")?;
    output.show(&(), |out| write_status(&status, is_coloured(), out))?;
    Ok(Exit::Ok)
}

fn write_status(status: &NodeStatus, coloured: bool, out: &mut dyn Write) -> io::Result<()> {
    let judged =
        |good: bool, text: String| Cell::new(text, if good { Tone::Good } else { Tone::Bad });
    let NodeStatus { members, write_quorum, reachable, quorum, .. } = status;
    let quorum_text = format!(
        "{}: {reachable} of {members} members reachable, writes need {write_quorum}",
        if *quorum { "yes" } else { "NO" }
    );
    let ready_text = match status.not_ready.as_slice() {
        [] if status.ready => "yes".to_owned(),
        reasons => format!("NO: {}", reasons.join("; ")),
    };
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_seconds));
    let mut table = Table::default();
    let mut row = |name: &str, cell: Cell| table.row([Cell::new(name, Tone::Faint), cell]);
    row("node", Cell::plain(&status.node));
    row("ready", judged(status.ready, ready_text));
    row("quorum", judged(*quorum, quorum_text));
    row("records", Cell::plain(&status.records));
    row("store", Cell::plain(&HumanBytes(status.store_bytes)));
    row("copies", exposure_cell(&status.exposure));
    if !status.recovery.is_empty() {
        row("recovery", Cell::plain(&status.recovery));
    }
    row("scrub", judged(is_sound(&status.scrub), scrub_text(&status.scrub)));
    if !status.forgotten.is_empty() {
        let names: Vec<&str> = status.forgotten.iter().map(PeerId::as_str).collect();
        row("forgotten", Cell::plain(&names.join(", ")));
    }
    row("writes issued", Cell::plain(&status.writes_issued));
    row("writes in flight", Cell::plain(&status.writes_in_flight));
    row("uptime", Cell::plain(&uptime));
    row("version", Cell::plain(&status.version));
    row("cluster", Cell::plain(&status.cluster));
    row("incarnation", Cell::plain(&format!("{}, epoch {}", status.incarnation, status.epoch)));
    if let Some(digest) = &status.content_digest {
        row("content digest", Cell::plain(&digest));
    }
    table.write(coloured, out)
}

/// Whether the disk gave nobody reason to look at it.
fn is_sound(scrub: &ScrubReport) -> bool {
    scrub.corrupt == 0 && scrub.missing == 0 && scrub.drift == 0
}

/// What the scrub has found.
fn scrub_text(scrub: &ScrubReport) -> String {
    let ScrubReport { passes, records_checked, corrupt, missing, drift, repaired, .. } = scrub;
    let under_way = match records_checked {
        0 => String::new(),
        checked => format!(", {checked} records of the next checked"),
    };
    let found = match is_sound(scrub) {
        true => "nothing found".to_owned(),
        false => format!(
            "{corrupt} corrupt, {missing} missing, {drift} drifted; {repaired} repaired, {} not",
            scrub.unrepaired
        ),
    };
    format!("{found}; {passes} passes{under_way}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_quorum_says_so_first() {
        let status = serde_json::json!({
            "node": "n1", "cluster": "c", "version": "0.1.0", "incarnation": "i", "epoch": "e",
            "members": 3, "write_quorum": 2, "reachable": 1, "quorum": false, "ready": false,
            "not_ready": ["quorum: 1 of 2 needed members reachable"], "writes_issued": 7,
            "writes_in_flight": 0, "records": 7, "store_bytes": 1024, "uptime_seconds": 61,
        });
        let status = serde_json::from_value(status).expect("a status");
        let mut out = Vec::new();
        write_status(&status, false, &mut out).expect("a Vec takes everything");
        let shown = String::from_utf8(out).expect("text");
        let mut lines = shown.lines();
        assert_eq!(lines.next(), Some("node              n1"));
        let ready = "ready             NO: quorum: 1 of 2 needed members reachable";
        assert_eq!(lines.next(), Some(ready));
        let quorum = "quorum            NO: 1 of 3 members reachable, writes need 2";
        assert_eq!(lines.next(), Some(quorum));
        assert!(shown.contains("uptime            1m 1s\n"), "{shown}");
    }
}
