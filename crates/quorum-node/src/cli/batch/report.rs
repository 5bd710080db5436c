//! What became of the writes of a batch, and under which names to try again those that are not
//! known to be committed. (pure)

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Exit;
use crate::cli::target::readable;
use crate::client::{ClientError, TextOrBase64};

/// How a batch ended. It grows with what was not committed, not with the input.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    committed: u64,
    not_applied: u64,
    indeterminate: u64,
    /// The writes behind the last two figures, in the order of their lines.
    uncommitted: Vec<Uncommitted>,
}

/// A write that is not known to be committed.
#[derive(Debug, Serialize)]
pub(super) struct Uncommitted {
    line: u64,
    namespace: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    key: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    key_base64: Value,
    outcome: &'static str,
    reason: String,
    detail: String,
    /// The name under which a retry is the same write.
    write_id: Value,
}

impl Summary {
    /// Counts a write as the result says; gives it back if it is not known to be committed.
    pub(super) fn note(
        &mut self,
        line: u64,
        write: &Value,
        result: &Value,
    ) -> Option<&Uncommitted> {
        let outcome = match result["outcome"].as_str() {
            Some("committed") => {
                self.committed += 1;
                return None;
            }
            Some("not_applied") => {
                self.not_applied += 1;
                "not_applied"
            }
            // Where nobody promises that nothing happened, it may have.
            _ => {
                self.indeterminate += 1;
                "indeterminate"
            }
        };
        let field = |name: &str| write[name].clone();
        self.uncommitted.push(Uncommitted {
            line,
            namespace: field("namespace"),
            key: field("key"),
            key_base64: field("key_base64"),
            outcome,
            reason: reason(result),
            detail: detail(result).to_owned(),
            write_id: field("write_id"),
        });
        self.uncommitted.last()
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { committed, not_applied, indeterminate, .. } = self;
        writeln!(
            out,
            "{committed} committed, {not_applied} not applied, {indeterminate} indeterminate"
        )
    }

    pub(super) const fn exit(&self) -> Exit {
        match (self.indeterminate, self.not_applied) {
            (0, 0) => Exit::Ok,
            (0, _) => Exit::Error,
            _ => Exit::QuorumNotMet,
        }
    }
}

/// Why, in one word: the node's, or the kind of the problem.
fn reason(result: &Value) -> String {
    let kind = result["type"].as_str().and_then(|kind| kind.rsplit(':').next());
    result["reason"].as_str().or(kind).unwrap_or("unknown").replace('-', "_")
}

/// Why, in a sentence.
fn detail(result: &Value) -> &str {
    let text = |name: &str| result[name].as_str();
    text("detail").or_else(|| text("title")).unwrap_or("the node's answer does not say")
}

/// What an error says of every write of its request, worded as a node words a result.
pub(super) fn result_of(error: &ClientError) -> Value {
    let outcome = if error.may_have_happened() { "indeterminate" } else { "not_applied" };
    let reason = match error {
        ClientError::Lost { .. } => "answer_lost",
        ClientError::Unexpected { .. } | ClientError::Indeterminate(_) => "answer_unclear",
        ClientError::Unreachable { .. } => "node_unreachable",
        ClientError::Settings { .. }
        | ClientError::NotApplied { .. }
        | ClientError::Refused { .. } => "request_refused",
    };
    json!({ "outcome": outcome, "reason": reason, "detail": error.to_string() })
}

impl Uncommitted {
    /// Namespace and key, as people write them.
    fn target(&self) -> String {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let key = TextOrBase64::from_fields("key", text(&self.key), text(&self.key_base64));
        let key = key.ok().flatten().map_or_else(|| "?".to_owned(), |key| readable(&key));
        format!("{}/{key}", self.namespace.as_str().unwrap_or("?"))
    }
}

impl fmt::Display for Uncommitted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, outcome, reason, detail, .. } = self;
        let (target, id) = (self.target(), self.write_id.as_str().unwrap_or("?"));
        write!(out, "line {line}: {target}: {outcome} ({reason}), write id {id}: {detail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write() -> Value {
        json!({ "namespace": "demo", "key": "k", "value": "v", "write_id": "id" })
    }

    /// A summary of one write, and what people are told of it.
    fn noted(write: &Value, result: &Value) -> (Summary, Option<String>) {
        let mut summary = Summary::default();
        let shown = summary.note(7, write, result).map(ToString::to_string);
        (summary, shown)
    }

    #[test]
    fn a_write_that_is_not_committed_is_named_with_its_reason_and_its_id() {
        let missed =
            json!({ "outcome": "indeterminate", "reason": "unreachable", "detail": "1 of 2" });
        let (summary, shown) = noted(&write(), &missed);
        let expected = "line 7: demo/k: indeterminate (unreachable), write id id: 1 of 2";
        assert_eq!((shown.as_deref(), summary.exit()), (Some(expected), Exit::QuorumNotMet));
        let json = serde_json::to_value(&summary).expect("JSON");
        let expected = json!({ "line": 7, "namespace": "demo", "key": "k", "write_id": "id",
            "outcome": "indeterminate", "reason": "unreachable", "detail": "1 of 2" });
        assert_eq!(json["uncommitted"], json!([expected]));
    }

    #[test]
    fn a_problem_without_a_reason_is_called_by_its_kind() {
        let conflict = json!({ "type": "urn:quorum:problem:id-conflict", "outcome": "not_applied",
            "title": "Write id already used" });
        let mut write = write();
        write["key"] = Value::Null;
        write["key_base64"] = "/w==".into();
        let (summary, shown) = noted(&write, &conflict);
        let expected = "line 7: demo/\\xff: not_applied (id_conflict), write id id: \
                        Write id already used";
        assert_eq!((shown.as_deref(), summary.exit()), (Some(expected), Exit::Error));
    }

    #[test]
    fn what_an_answer_leaves_out_is_open() {
        for result in [Value::Null, json!({ "status": 500 })] {
            assert_eq!(noted(&write(), &result).0.exit(), Exit::QuorumNotMet, "{result}");
        }
        let committed = noted(&write(), &json!({ "outcome": "committed" }));
        assert_eq!((committed.0.exit(), committed.1), (Exit::Ok, None));
    }

    #[test]
    fn a_lost_answer_leaves_every_write_open_and_a_refusal_none() {
        let lost = ClientError::Lost {
            url: "http://a:1".parse().expect("an address"),
            detail: "it hung up".into(),
            write_id: None,
        };
        let refused = ClientError::NotApplied { detail: "overloaded".into(), retry_after: None };
        assert_eq!(noted(&write(), &result_of(&lost)).0.exit(), Exit::QuorumNotMet);
        assert_eq!(noted(&write(), &result_of(&refused)).0.exit(), Exit::Error);
    }
}
