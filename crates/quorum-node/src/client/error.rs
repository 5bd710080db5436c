//! Why a request was not answered as hoped: whether anything may have happened, and whether a
//! retry is safe. (pure)

use std::fmt::Write;
use std::time::Duration;

use quorum_core::WriteId;

use super::answer::{MissedQuorum, Problem};
use super::url::NodeUrl;

/// A request that did not succeed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The client cannot be built or used as told; nothing was sent.
    #[error("{detail}")]
    Settings {
        /// What is wrong.
        detail: String,
    },
    /// No node could be reached; nothing was sent.
    #[error("cannot reach {}", list(tried))]
    Unreachable {
        /// The nodes that were tried.
        tried: Vec<Unreachable>,
    },
    /// The node was reached and then lost: a write may or may not have happened. A retry is safe
    /// with the same write id.
    #[error("lost {url} before it answered: {detail}")]
    Lost {
        /// Which node.
        url: NodeUrl,
        /// How it was lost.
        detail: String,
        /// The write, if it was one.
        write_id: Option<WriteId>,
    },
    /// Too few members confirmed the write in time: it may or may not survive. A retry is safe
    /// with the same write id.
    #[error("quorum not met: {} of {} copies ({})", .0.got, .0.needed, .0.reason)]
    Indeterminate(Box<MissedQuorum>),
    /// The node takes no writes at the moment; nothing happened. A retry is safe.
    #[error("not applied: {detail}")]
    NotApplied {
        /// Why.
        detail: String,
        /// When the node wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The request is wrong; nothing happened, and a retry fails alike.
    #[error("{url} refused the request ({status}): {detail}")]
    Refused {
        /// Which node.
        url: NodeUrl,
        /// The HTTP status.
        status: u16,
        /// Why.
        detail: String,
    },
    /// The answer makes no sense: a fault of the node, or something else answers at its address. A
    /// write may have happened.
    #[error("{url} answered {status}: {detail}")]
    Unexpected {
        /// Which node.
        url: NodeUrl,
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
        /// The write, if it was one.
        write_id: Option<WriteId>,
    },
}

/// A node that could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreachable {
    /// Which node.
    pub url: NodeUrl,
    /// Why.
    pub cause: String,
}

impl ClientError {
    /// Whether another attempt, with the same write id if it is a write, may succeed and does no
    /// harm.
    #[must_use]
    pub const fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Indeterminate(_)
            | Self::NotApplied { .. } => true,
            Self::Unexpected { status, .. } => *status >= 500,
            Self::Settings { .. } | Self::Refused { .. } => false,
        }
    }

    /// Whether a write that ended so may have happened.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Indeterminate(_) | Self::Unexpected { .. })
    }

    pub(super) fn lost(url: &NodeUrl, detail: String) -> Self {
        Self::Lost { url: url.clone(), detail, write_id: None }
    }

    /// The same error of a write that has a name.
    pub(super) fn with_write_id(mut self, id: WriteId) -> Self {
        if let Self::Lost { write_id, .. } | Self::Unexpected { write_id, .. } = &mut self {
            *write_id = Some(id);
        }
        self
    }
}

/// What an answer that is not a success means.
pub(super) fn problem_error(
    url: NodeUrl,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> ClientError {
    const SHOWN_BYTES_MAX: usize = 200;
    let problem = Problem::parse(body);
    if problem.outcome.as_deref() == Some("indeterminate")
        && let Ok(missed) = serde_json::from_slice(body)
    {
        return ClientError::Indeterminate(Box::new(missed));
    }
    let detail = match problem.text() {
        Some(text) => text.to_owned(),
        None if body.is_empty() => "no explanation".to_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES_MAX)]).trim().to_owned(),
    };
    let is_not_applied = problem.outcome.as_deref() == Some("not_applied");
    match status {
        408 | 429 => ClientError::NotApplied { detail, retry_after: seconds(retry_after) },
        500.. if is_not_applied => {
            ClientError::NotApplied { detail, retry_after: seconds(retry_after) }
        }
        400..=499 => ClientError::Refused { url, status, detail },
        _ => ClientError::Unexpected { url, status, detail, write_id: None },
    }
}

fn seconds(retry_after: Option<&str>) -> Option<Duration> {
    retry_after?.trim().parse().ok().map(Duration::from_secs)
}

fn list(tried: &[Unreachable]) -> String {
    let mut text = String::new();
    for (index, Unreachable { url, cause }) in tried.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        write!(text, "{separator}{url}: {cause}").expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> NodeUrl {
        "http://a:1".parse().expect("an address")
    }

    #[test]
    fn a_missed_quorum_is_indeterminate_and_keeps_its_members() {
        let body = br#"{"type":"x","title":"Quorum not met","outcome":"indeterminate",
            "reason":"unreachable","got":1,"needed":2,"write_id":"w",
            "members":[{"node":"n1","standing":"acked","ms":0.5},{"node":"n2","standing":"silent"}]}"#;
        let error = problem_error(url(), 503, Some("1"), body);
        assert!(error.is_worth_a_retry() && error.may_have_happened());
        let ClientError::Indeterminate(missed) = error else { panic!("{error}") };
        assert_eq!((missed.got, missed.needed, missed.members.len()), (1, 2, 2));
        assert_eq!(missed.members[1].ms, None);
    }

    #[test]
    fn what_was_not_applied_did_not_happen_and_may_be_tried_again() {
        let body = br#"{"title":"Overloaded","outcome":"not_applied"}"#;
        for status in [429, 503] {
            let error = problem_error(url(), status, Some("2"), body);
            let retry_after = Some(Duration::from_secs(2));
            let expected = ClientError::NotApplied { detail: "Overloaded".into(), retry_after };
            assert_eq!(error, expected);
            assert!(error.is_worth_a_retry() && !error.may_have_happened());
        }
    }

    #[test]
    fn a_wrong_request_is_not_tried_again() {
        let body = br#"{"detail":"w = 4 is outside 1..=3","outcome":"not_applied"}"#;
        let error = problem_error(url(), 400, None, body);
        assert!(!error.is_worth_a_retry() && !error.may_have_happened());
        let shown = "http://a:1 refused the request (400): w = 4 is outside 1..=3";
        assert_eq!(error.to_string(), shown);
    }

    #[test]
    fn a_fault_without_a_verdict_leaves_the_write_unknown() {
        for (status, body) in [(500, &b"oops"[..]), (503, b""), (502, b"<html>")] {
            let error = problem_error(url(), status, None, body);
            assert!(error.may_have_happened() && error.is_worth_a_retry(), "{status}");
        }
    }

    #[test]
    fn every_node_that_was_tried_is_named() {
        let cause = "refused".to_owned();
        let one = Unreachable { url: url(), cause };
        let error = ClientError::Unreachable { tried: vec![one.clone(), one] };
        let shown = "cannot reach http://a:1: refused; http://a:1: refused";
        assert_eq!(error.to_string(), shown);
    }
}
