//! `peers`: how a node sees the others; `peers forget`: an operator's word that one of them is gone for good.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use quorum_core::PeerId;

use super::connection::{ConnectionArguments, explain, run as converse};
use super::exposure::exposure_cell;
use super::table::{Cell, Table, Tone, is_coloured};
use super::{Exit, Output};
use crate::ExposureReport;
use crate::status::{NodeStatus, PeerReport};

/// Arguments of `peers`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[non_exhaustive]
pub struct PeersArguments {
    /// What to do; without a word, the peers are shown.
    #[command(subcommand)]
    pub command: Option<PeersCommand>,
    /// Which node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// What can be done with peers.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum PeersCommand {
    /// Wait no longer for the data of a member that is gone for good
    Forget(ForgetArguments),
}

/// Arguments of `peers forget`.
#[derive(Debug, Args)]
#[command(after_help = "\
A member that is away keeps every tombstone in the mesh from being purged. Forgetting it ends that:
  - tombstones are purged without it;
  - what it holds now is never merged again, not even what nobody else has;
  - if it returns, it sets its data aside, begins anew from the other members, and writes what only
    it had to a file, which `import` reads.
It stays a member: it counts in N, and may return.")]
#[non_exhaustive]
pub struct ForgetArguments {
    /// Which member.
    pub name: PeerId,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Which node is told.
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Runs `peers`. For people, what the peers lack together stands below them.
///
/// # Errors
///
/// If the node cannot be asked.
pub fn run(arguments: &PeersArguments, output: &mut Output) -> anyhow::Result<Exit> {
    if let Some(PeersCommand::Forget(arguments)) = &arguments.command {
        return forget(arguments, output);
    }
    let client = arguments.connection.client()?;
    if output.is_json() {
        let peers = converse(async { client.peers().await.map_err(explain) })?;
        output.show(&peers, |_| Ok(()))?;
        return Ok(Exit::Ok);
    }
    let (peers, status) = converse(async {
        let peers = client.peers().await.map_err(explain)?;
        let status = client.status(false).await.map_err(explain)?;
        anyhow::Ok((peers, status))
    })?;
    let peers = serde_json::from_value::<Vec<PeerReport>>(peers)
        .context("the node's list of peers is not as expected")?;
    let status = serde_json::from_value::<NodeStatus>(status)
        .context("the node's status is not as expected")?;
    output.show(&(), |out| {
        let coloured = is_coloured();
        write_peers(&peers, coloured, out)?;
        write_exposure(&status.exposure, coloured, out)
    })?;
    Ok(Exit::Ok)
}

fn forget(arguments: &ForgetArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let name = &arguments.name;
    if !arguments.yes && !is_confirmed(name)? {
        bail!("{name} is not forgotten");
    }
    let client = arguments.connection.client()?;
    let answer = converse(async { client.forget(name).await.map_err(explain) })?;
    output.show(&answer, |out| {
        writeln!(
            out,
            "{name} is forgotten: tombstones no longer wait for it; if it returns, it begins anew"
        )
    })?;
    Ok(Exit::Ok)
}

/// Asks at the terminal; where there is none, nobody can be asked.
fn is_confirmed(name: &PeerId) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("forgetting {name} cannot be undone: say so with --yes");
    }
    let mut out = io::stderr();
    write!(
        out,
        "Forget {name}? What it holds now is never merged again, and tombstones are purged without it.\nType its name to go on: "
    )?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == name.as_str())
}

fn write_peers(peers: &[PeerReport], coloured: bool, out: &mut dyn Write) -> io::Result<()> {
    const HEADINGS: [&str; 10] = [
        "PEER",
        "ADDRESS",
        "LINK",
        "ROUND TRIP",
        "CLOCK",
        "LAG",
        "MISSING",
        "QUEUED",
        "PUT OFF",
        "LAST ERROR",
    ];
    let mut table = Table::default();
    table.row(HEADINGS.map(|heading| Cell::new(heading, Tone::Faint)));
    for peer in peers {
        let millis = |millis: f64| format!("{millis:.2} ms");
        let link = match (peer.connected, peer.connected_seconds) {
            (true, Some(seconds)) => {
                let since = humantime::format_duration(Duration::from_secs(seconds));
                Cell::new(format!("up {since}"), Tone::Good)
            }
            (true, None) => Cell::new("up", Tone::Good),
            (false, _) => Cell::new("down", Tone::Bad),
        };
        table.row([
            Cell::plain(&peer.node),
            Cell::plain(&peer.address),
            link,
            Cell::known(peer.round_trip_ms.map(millis)),
            Cell::known(peer.clock_offset_ms.map(|offset| format!("{offset:+.2} ms"))),
            Cell::known(peer.lag_writes),
            Cell::known(peer.missing_writes),
            Cell::plain(&HumanBytes(peer.queued_bytes as u64)),
            Cell::plain(&peer.deferred),
            Cell::plain(peer.last_error.as_deref().unwrap_or_default()),
        ]);
    }
    table.write(coloured, out)
}

/// A line of its own: it is not about one peer.
fn write_exposure(
    exposure: &ExposureReport,
    coloured: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut line = Table::default();
    line.row([Cell::new("copies", Tone::Faint), exposure_cell(exposure)]);
    line.write(coloured, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_down_says_why() {
        let peers = serde_json::json!([
            {"node": "n2", "address": "127.0.0.1:7401", "connected": true, "connected_seconds": 61,
             "round_trip_ms": 0.2, "clock_offset_ms": -1.5, "lag_writes": 0, "queued_bytes": 0,
             "deferred": 0},
            {"node": "n3", "address": "127.0.0.1:7402", "connected": false, "queued_bytes": 0,
             "deferred": 0, "last_error": "timed out"},
        ]);
        let peers = serde_json::from_value::<Vec<PeerReport>>(peers).expect("peers");
        let mut out = Vec::new();
        write_peers(&peers, false, &mut out).expect("a Vec takes everything");
        let shown = String::from_utf8(out).expect("text");
        let lines = shown.lines().collect::<Vec<_>>();
        assert!(lines[1].contains("up 1m 1s") && lines[1].contains("-1.50 ms"), "{shown}");
        assert!(lines[2].contains("down") && lines[2].ends_with("timed out"), "{shown}");
        let column = |line: &str, word: &str| line.find(word).map(|at| line[..at].chars().count());
        assert_eq!(column(lines[0], "LINK"), column(lines[1], "up"));
        assert_eq!(column(lines[0], "LINK"), column(lines[2], "down"));
    }

    #[test]
    fn what_the_peers_lack_is_one_line_worded_as_the_status_words_it() {
        let mut out = Vec::new();
        let exposure = ExposureReport { below_n: 1, exact: true, ..ExposureReport::default() };
        write_exposure(&exposure, false, &mut out).expect("a Vec takes everything");
        let expected = "copies  0 writes on fewer than W; 1 writes on fewer than all members\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
