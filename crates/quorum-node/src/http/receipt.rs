//! The JSON of a receipt: of a committed write, and of one whose outcome is open. (pure)

use std::time::Duration;

use quorum_core::{Digest, QuorumFailureReason, Receipt, Standing, WriteId};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The receipt of a committed write, in the order in which somebody reads it. Written without a tree of values in between:
/// it is the answer to every write.
#[derive(Debug, Serialize)]
pub(super) struct Committed<'a> {
    outcome: &'static str,
    needed: usize,
    durability: &'static str,
    acked: Vec<Acked<'a>>,
    missing: Vec<Missing<'a>>,
    write_id: WriteId,
    version: String,
    digest: Digest,
    /// Only within the answer to a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
}

#[derive(Debug, Serialize)]
struct Acked<'a> {
    node: &'a str,
    ms: f64,
}

#[derive(Debug, Serialize)]
struct Missing<'a> {
    node: &'a str,
    why: String,
}

impl<'a> Committed<'a> {
    pub(super) fn of(receipt: &'a Receipt) -> Self {
        let acked =
            receipt.acked().map(|(node, after)| Acked { node: node.as_str(), ms: millis(after) });
        let missing = receipt
            .missing()
            .map(|(node, standing)| Missing { node: node.as_str(), why: standing.label() });
        Self {
            outcome: "committed",
            needed: receipt.needed,
            durability: receipt.durability.as_str(),
            acked: acked.collect(),
            missing: missing.collect(),
            write_id: receipt.write_id,
            version: receipt.version.to_string(),
            digest: receipt.digest,
            status: None,
        }
    }
}

/// What a problem adds about a write that may or may not survive.
pub(super) fn indeterminate(receipt: &Receipt, reason: QuorumFailureReason) -> Value {
    let members = receipt.members.iter().map(|member| {
        let mut entry = Map::new();
        entry.insert("node".into(), member.node.as_str().into());
        entry.insert("standing".into(), member.standing.label().into());
        if let Standing::Acked { after } | Standing::Late { after } = member.standing {
            entry.insert("ms".into(), millis(after).into());
        }
        Value::Object(entry)
    });
    json!({
        "reason": reason.as_str(),
        "got": receipt.got,
        "needed": receipt.needed,
        "members": members.collect::<Vec<_>>(),
        "write_id": receipt.write_id.to_string(),
        "version": receipt.version.to_string(),
        "digest": receipt.digest.to_string(),
        "durability": receipt.durability.as_str(),
    })
}

/// Milliseconds with three decimals: finer is noise.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_keep_their_fraction() {
        assert_eq!(json!(millis(Duration::from_nanos(1_234_567))).to_string(), "1.235");
        assert_eq!(json!(millis(Duration::from_secs(2))).to_string(), "2000.0");
    }
}
