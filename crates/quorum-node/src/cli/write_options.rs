//! The flags that say how a write is to be done, and what is said about its outcome.

use std::io::{self, Write};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use quorum_core::{Durability, WriteId};

use super::connection::explain;
use super::{Exit, Output};
use crate::client::{ClientError, MissedQuorum, Receipt, WriteOptions};
use crate::config::WriteQuorum;
use crate::world::SystemRandom;
use crate::write::fresh_write_id;

/// Flags of a command that writes.
#[derive(Debug, Clone, Default, Args)]
#[non_exhaustive]
pub struct WriteArguments {
    /// Durable copies needed: majority, all or a number [default: as the node is configured]
    #[arg(long, value_name = "W", value_parser = WriteQuorum::from_str)]
    pub w: Option<WriteQuorum>,
    /// When a copy counts as durable [default: as the node is configured]
    #[arg(long, value_enum)]
    pub durability: Option<DurabilityName>,
}

/// How durable a copy has to be, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(clippy::exhaustive_enums, reason = "one for each durability of the core")]
pub enum DurabilityName {
    /// Forced to stable storage: survives a power cut
    Fsync,
    /// Handed to the operating system: survives the death of the process
    Relaxed,
}

impl WriteArguments {
    /// The options of a write of this name.
    #[must_use]
    pub fn options(&self, write_id: WriteId, timeout: Option<std::time::Duration>) -> WriteOptions {
        let durability = self.durability.map(|name| match name {
            DurabilityName::Fsync => Durability::Fsync,
            DurabilityName::Relaxed => Durability::Relaxed,
        });
        WriteOptions { write_id, w: self.w, timeout, durability, is_retry: false }
    }
}

/// A write's name that nobody has used, and that says when it was made.
#[must_use]
pub fn new_write_id() -> WriteId {
    let clock = quorum_transport::TokioClock::new();
    fresh_write_id(&SystemRandom, quorum_core::wall_millis(&clock))
}

/// Sixteen bytes, marked as a UUID of this version.
pub(super) fn uuid(mut bytes: [u8; 16], version: u8) -> WriteId {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    WriteId::from_bytes(bytes)
}

/// Says how a write ended. `again` is the command that repeats it, without its write id.
///
/// # Errors
///
/// If it was refused or not applied, or nobody reads the output.
pub(super) fn show_outcome(
    result: Result<Receipt, ClientError>,
    what: &str,
    again: &str,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let error = match result {
        Ok(receipt) => {
            output.show(&receipt, |out| write_receipt(&receipt, what, out))?;
            return Ok(Exit::Ok);
        }
        Err(error) => error,
    };
    let write_id = match &error {
        ClientError::Indeterminate(missed) => {
            output.show(missed, |out| write_missed_quorum(missed, what, out))?;
            missed.write_id.clone()
        }
        ClientError::Lost { write_id: Some(id), .. }
        | ClientError::Unexpected { write_id: Some(id), .. } => {
            writeln!(io::stderr(), "error: {error}")?;
            id.to_string()
        }
        _ => return Err(explain(error)),
    };
    writeln!(
        io::stderr(),
        "The write may or may not survive. To find out, retry it under the same name, which never \
         writes twice:\n  {again} --write-id {write_id}"
    )?;
    Ok(Exit::QuorumNotMet)
}

fn write_receipt(receipt: &Receipt, what: &str, out: &mut dyn Write) -> io::Result<()> {
    let Receipt { write_id, version, durability, needed, acked, missing, .. } = receipt;
    let copies = acked.len();
    writeln!(out, "committed {what}: {copies} copies ({durability}), {needed} needed")?;
    let names = acked.iter().map(|ack| &ack.node).chain(missing.iter().map(|member| &member.node));
    let width = names.map(String::len).max().unwrap_or(0);
    for ack in acked {
        writeln!(out, "  {:width$}  acked in {:.2} ms", ack.node, ack.ms)?;
    }
    for member in missing {
        writeln!(out, "  {:width$}  not counted: {}", member.node, member.why)?;
    }
    writeln!(out, "version {version}, write id {write_id}")
}

fn write_missed_quorum(missed: &MissedQuorum, what: &str, out: &mut dyn Write) -> io::Result<()> {
    let MissedQuorum { reason, got, needed, members, .. } = missed;
    writeln!(out, "indeterminate {what}: {got} of {needed} needed copies in time ({reason})")?;
    let width = members.iter().map(|member| member.node.len()).max().unwrap_or(0);
    for member in members {
        write!(out, "  {:width$}  {}", member.node, member.standing)?;
        match member.ms {
            Some(ms) => writeln!(out, " in {ms:.2} ms")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("a Vec takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_receipt_says_who_has_it_and_who_has_not() {
        let receipt = serde_json::json!({
            "outcome": "committed", "write_id": "id", "version": "v", "digest": "d",
            "durability": "fsync", "needed": 2,
            "acked": [{"node": "n1", "ms": 0.4}, {"node": "north", "ms": 1.25}],
            "missing": [{"node": "n3", "why": "silent"}],
        });
        let receipt: Receipt = serde_json::from_value(receipt).expect("a receipt");
        let shown = text(|out| write_receipt(&receipt, "demo/k", out));
        let expected = "committed demo/k: 2 copies (fsync), 2 needed\n  \
                        n1     acked in 0.40 ms\n  \
                        north  acked in 1.25 ms\n  \
                        n3     not counted: silent\n\
                        version v, write id id\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_missed_quorum_says_what_everybody_said() {
        let missed = serde_json::json!({
            "outcome": "indeterminate", "write_id": "id", "reason": "unreachable",
            "got": 1, "needed": 2,
            "members": [{"node": "n1", "standing": "acked", "ms": 0.4},
                        {"node": "n2", "standing": "silent"}],
        });
        let missed: MissedQuorum = serde_json::from_value(missed).expect("a problem");
        let shown = text(|out| write_missed_quorum(&missed, "demo/k", out));
        let expected = "indeterminate demo/k: 1 of 2 needed copies in time (unreachable)\n  \
                        n1  acked in 0.40 ms\n  \
                        n2  silent\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn write_ids_are_valid_uuids() {
        let id = uuid([0xff; 16], 8).to_string();
        assert_eq!(id, "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_ne!(new_write_id(), new_write_id());
    }
}
