//! The JSON of a receipt: of a committed write, and of one whose outcome is open. (pure)

use std::time::Duration;

use quorum_core::{QuorumFailureReason, Receipt, Standing};
use serde_json::{Map, Value, json};

/// The receipt of a committed write.
pub(super) fn committed(receipt: &Receipt) -> Value {
    let acked = receipt.acked().map(|(node, after)| json!({ "node": node, "ms": millis(after) }));
    let missing =
        receipt.missing().map(|(node, standing)| json!({ "node": node, "why": standing.label() }));
    json!({
        "outcome": "committed",
        "write_id": receipt.write_id.to_string(),
        "version": receipt.version.to_string(),
        "digest": receipt.digest.to_string(),
        "durability": receipt.durability.as_str(),
        "needed": receipt.needed,
        "acked": acked.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
    })
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
