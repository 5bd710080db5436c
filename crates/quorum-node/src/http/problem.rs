//! Every way in which a request can fail, and what the client is told (RFC 9457).
//!
//! One variant per problem; its URI, status and title stand together in [`Problem::kind`]. URIs, statuses and field
//! names are public contract. Where a write may have been asked for, `outcome` says what became of it: `not_applied`
//! promises that nothing happened, `indeterminate` says that it may or may not survive.

use std::fmt::Display;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quorum_core::{QuorumError, QuorumFailureReason, Receipt, WriteId};
use serde_json::{Map, Value, json};

use super::receipt;
use crate::poll::TooFewAnswers;
use crate::read::ReadFailed;
use crate::store::StoreError;
use crate::write::WriteFailed;

/// What problem types begin with.
const TYPE_PREFIX: &str = "urn:quorum:problem:";

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A request that was not answered as asked.
#[derive(Debug)]
pub(super) enum Problem {
    /// A part of the request is not what it should be.
    Invalid { field: &'static str, detail: String },
    /// A query parameter has no meaning here.
    UnknownParameter { name: String },
    /// Understood, but this version does not do it.
    NotSupported { field: &'static str, detail: String },
    /// No token, or none that is let in.
    Unauthorized,
    /// A web page of another site asks.
    ForeignOrigin { origin: String },
    /// The request was meant for another host.
    ForeignHost { host: String },
    /// No such path.
    UnknownPath,
    /// The key is not there, or was deleted.
    KeyNotFound,
    /// The path is there, the method is not.
    MethodNotAllowed,
    /// The body did not come in time.
    BodyTimeout,
    /// The body broke off.
    BodyBroken,
    /// The write id names another write.
    IdConflict { detail: String },
    /// An item of a batch is not what it should be.
    InvalidItem { field: String, detail: String },
    /// The place from which to follow changes is not known here any more, or never was.
    WatchGone { oldest: String, newest: String },
    /// The write id is too old to be told from a new write.
    RetryTooOld { detail: String },
    /// The member cannot be forgotten now.
    NotForgotten { detail: String },
    /// Too few members answered a read, or the first phase of a write: then nothing was written.
    ReadQuorumNotMet { too_few: TooFewAnswers, is_write: bool },
    /// A retry could not be looked up: nothing happened now, what became of the first attempt is unknown.
    LookupUnreachable { write_id: WriteId, too_few: TooFewAnswers },
    /// An earlier attempt was found and could not be driven to an end now.
    Unsettled { write_id: WriteId, detail: String },
    /// The node has lost its data and takes no writes until it has everything again.
    Recovering,
    /// The node's data is new, and it has not heard from enough peers yet.
    NoContact,
    /// The write id is too old for anybody to tell what became of it.
    WriteExpired { write_id: WriteId },
    /// A read found a value at too few members and could not bring it to more.
    WriteBackFailed { detail: String },
    /// The body is longer than the limit.
    TooLarge { what: &'static str, bytes_max: usize },
    /// Too much is under way.
    Overloaded,
    /// The disk could not be read.
    Unreadable { detail: String },
    /// The node is going down.
    ShuttingDown,
    /// The node distrusts its clock.
    ClockFault { detail: String },
    /// The disk is almost full.
    DiskFull { detail: String },
    /// The disk failed earlier; the node takes no writes.
    StoreFailed { detail: String },
    /// The node is up, but not ready for writes.
    NotReady { reasons: Vec<String> },
    /// Too few copies in time. Not a failure: the write may survive.
    QuorumNotMet { receipt: Box<Receipt>, cause: QuorumError },
}

/// What a kind of problem is called. The outcome is `None` where no write is in question.
struct Kind {
    slug: &'static str,
    status: StatusCode,
    title: &'static str,
    outcome: Option<&'static str>,
    retry_after_seconds: Option<u16>,
}

const NOT_APPLIED: Option<&str> = Some("not_applied");

impl Problem {
    pub(super) fn invalid(field: &'static str, detail: &dyn Display) -> Self {
        Self::Invalid { field, detail: detail.to_string() }
    }

    /// The table of all problems.
    fn kind(&self) -> Kind {
        use StatusCode as S;
        let (slug, status, title, outcome, retry_after_seconds) = match self {
            Self::Invalid { .. } => {
                ("invalid-request", S::BAD_REQUEST, "Invalid request", NOT_APPLIED, None)
            }
            Self::UnknownParameter { .. } => {
                ("unknown-parameter", S::BAD_REQUEST, "Unknown parameter", NOT_APPLIED, None)
            }
            Self::NotSupported { .. } => (
                "not-supported",
                S::BAD_REQUEST,
                "Not supported by this version",
                NOT_APPLIED,
                None,
            ),
            Self::Unauthorized => {
                ("unauthorized", S::UNAUTHORIZED, "A bearer token is needed", NOT_APPLIED, None)
            }
            Self::ForeignOrigin { .. } => {
                ("foreign-origin", S::FORBIDDEN, "Foreign origin", NOT_APPLIED, None)
            }
            Self::ForeignHost { .. } => {
                ("foreign-host", S::MISDIRECTED_REQUEST, "Foreign host", NOT_APPLIED, None)
            }
            Self::UnknownPath => ("unknown-path", S::NOT_FOUND, "Unknown path", None, None),
            Self::KeyNotFound => ("key-not-found", S::NOT_FOUND, "Key not found", None, None),
            Self::MethodNotAllowed => {
                ("method-not-allowed", S::METHOD_NOT_ALLOWED, "Method not allowed", None, None)
            }
            Self::BodyTimeout => {
                ("body-timeout", S::REQUEST_TIMEOUT, "The body was too slow", NOT_APPLIED, None)
            }
            Self::BodyBroken => {
                ("body-broken", S::BAD_REQUEST, "The body broke off", NOT_APPLIED, None)
            }
            Self::IdConflict { .. } => {
                ("id-conflict", S::CONFLICT, "Write id already used", NOT_APPLIED, None)
            }
            Self::InvalidItem { .. } => {
                ("invalid-request", S::BAD_REQUEST, "Invalid request", NOT_APPLIED, None)
            }
            Self::WatchGone { .. } => ("watch-gone", S::GONE, "Place no longer known", None, None),
            Self::RetryTooOld { .. } => {
                ("retry-too-old", S::CONFLICT, "Too old to be retried", NOT_APPLIED, None)
            }
            Self::NotForgotten { .. } => {
                ("not-forgotten", S::CONFLICT, "Member not forgotten", None, None)
            }
            Self::ReadQuorumNotMet { is_write, .. } => {
                let outcome = if *is_write { NOT_APPLIED } else { None };
                let status = S::SERVICE_UNAVAILABLE;
                ("read-quorum-not-met", status, "Read quorum not met", outcome, Some(1))
            }
            Self::LookupUnreachable { .. } => {
                let (status, outcome) = (S::SERVICE_UNAVAILABLE, Some("indeterminate"));
                ("lookup-unreachable", status, "Retry not looked up", outcome, Some(1))
            }
            Self::Unsettled { .. } => {
                let (status, outcome) = (S::SERVICE_UNAVAILABLE, Some("indeterminate"));
                ("retry-unsettled", status, "Earlier attempt not settled", outcome, Some(1))
            }
            Self::Recovering => {
                ("recovering", S::SERVICE_UNAVAILABLE, "Recovering", NOT_APPLIED, Some(5))
            }
            Self::NoContact => (
                "no-contact",
                S::SERVICE_UNAVAILABLE,
                "Too few peers heard yet",
                NOT_APPLIED,
                Some(1),
            ),
            Self::WriteExpired { .. } => {
                ("write-expired", S::GONE, "Too long ago to tell", None, None)
            }
            Self::WriteBackFailed { .. } => {
                let status = S::SERVICE_UNAVAILABLE;
                ("write-back-failed", status, "Newest value at too few members", None, Some(1))
            }
            Self::TooLarge { .. } => {
                ("too-large", S::PAYLOAD_TOO_LARGE, "Too large", NOT_APPLIED, None)
            }
            Self::Overloaded => {
                ("overloaded", S::TOO_MANY_REQUESTS, "Overloaded", NOT_APPLIED, Some(1))
            }
            Self::Unreadable { .. } => {
                ("unreadable", S::INTERNAL_SERVER_ERROR, "Store not readable", None, None)
            }
            Self::ShuttingDown => {
                ("shutting-down", S::SERVICE_UNAVAILABLE, "Shutting down", NOT_APPLIED, Some(5))
            }
            Self::ClockFault { .. } => {
                ("clock-fault", S::SERVICE_UNAVAILABLE, "Clock not trusted", NOT_APPLIED, Some(5))
            }
            Self::DiskFull { .. } => {
                ("disk-full", S::INSUFFICIENT_STORAGE, "Disk almost full", NOT_APPLIED, Some(5))
            }
            Self::StoreFailed { .. } => {
                ("store-failed", S::SERVICE_UNAVAILABLE, "Store failed", NOT_APPLIED, Some(30))
            }
            Self::NotReady { .. } => {
                ("not-ready", S::SERVICE_UNAVAILABLE, "Not ready", None, Some(1))
            }
            Self::QuorumNotMet { .. } => {
                let outcome = Some("indeterminate");
                ("quorum-not-met", S::SERVICE_UNAVAILABLE, "Quorum not met", outcome, Some(1))
            }
        };
        Kind { slug, status, title, outcome, retry_after_seconds }
    }

    fn detail(&self) -> String {
        match self {
            Self::Invalid { field, detail } | Self::NotSupported { field, detail } => {
                format!("{field}: {detail}")
            }
            Self::UnknownParameter { name } => {
                format!("the parameter {name:?} has no meaning here")
            }
            Self::Unauthorized => "send Authorization: Bearer with a token of this node".into(),
            Self::ForeignOrigin { origin } => {
                format!("pages of {origin:?} may not write through this interface")
            }
            Self::ForeignHost { host } => format!(
                "{host:?} is not a name of this interface; use an IP address or localhost, or configure tokens"
            ),
            Self::UnknownPath => "nothing is served under this path".into(),
            Self::KeyNotFound => "this node holds no value under the key".into(),
            Self::MethodNotAllowed => "the Allow header names the methods of this path".into(),
            Self::BodyTimeout => "the body did not arrive in time; nothing was written".into(),
            Self::BodyBroken => "the body ended early; nothing was written".into(),
            Self::TooLarge { what, bytes_max } => {
                format!("the {what} is longer than {bytes_max} bytes; nothing was written")
            }
            Self::Overloaded => "too much is under way; nothing was written, try again soon".into(),
            Self::ShuttingDown => {
                "the node is shutting down; nothing was written, use another node".into()
            }
            Self::ClockFault { detail } | Self::DiskFull { detail } => {
                format!("{detail}; nothing was written, use another node")
            }
            Self::NotReady { reasons } => reasons.join("; "),
            Self::QuorumNotMet { cause, .. } => {
                format!("{cause}; the write may survive: retry with the same Idempotency-Key")
            }
            Self::InvalidItem { field, detail } => {
                format!("{field}: {detail}; no item was written")
            }
            Self::WatchGone { .. } => {
                "read what is there and follow from \"newest\", or from \"oldest\" for what is still known".into()
            }
            Self::ReadQuorumNotMet { too_few, is_write: true } => {
                format!("{too_few}; nothing was written")
            }
            Self::ReadQuorumNotMet { too_few, is_write: false } => too_few.to_string(),
            Self::Unsettled { detail, .. } => {
                format!("{detail}; retry with the same Idempotency-Key")
            }
            Self::Recovering => {
                "the node has lost its data and does not have everything again; nothing was written, use another node".into()
            }
            Self::NoContact => {
                "the node's data is new and it has not heard from enough peers; nothing was written, try again when they are there (`readyz` and `status` say how many it needs)".into()
            }
            Self::WriteExpired { write_id } => {
                format!("what became of write {write_id} is no longer known: read its key")
            }
            Self::LookupUnreachable { too_few, .. } => format!(
                "{too_few}, too few to know whether the write took effect; nothing was written now: retry with the same Idempotency-Key"
            ),
            Self::WriteBackFailed { detail } => {
                format!("{detail}; returning it could make a later read go back behind it")
            }
            Self::RetryTooOld { detail } => {
                format!("{detail}; nothing was written now, an earlier attempt may have been: read the key")
            }
            Self::IdConflict { detail }
            | Self::NotForgotten { detail }
            | Self::Unreadable { detail }
            | Self::StoreFailed { detail } => detail.clone(),
        }
    }

    /// The fields of this problem beyond those that all have.
    fn extensions(&self) -> Map<String, Value> {
        let fields = match self {
            Self::Invalid { field, .. } | Self::NotSupported { field, .. } => {
                json!({ "field": field })
            }
            Self::UnknownParameter { name } => json!({ "field": name }),
            Self::TooLarge { what, bytes_max } => json!({ "field": what, "bytes_max": bytes_max }),
            Self::NotReady { reasons } => json!({ "reasons": reasons }),
            Self::InvalidItem { field, .. } => json!({ "field": field }),
            Self::WatchGone { oldest, newest } => json!({ "oldest": oldest, "newest": newest }),
            Self::ReadQuorumNotMet { too_few, .. } => unanswered("read_quorum_not_met", too_few),
            Self::LookupUnreachable { write_id, too_few } => {
                let mut fields = unanswered("lookup_unreachable", too_few);
                fields["write_id"] = write_id.to_string().into();
                fields
            }
            Self::Unsettled { write_id, .. } => {
                json!({ "reason": "unsettled", "write_id": write_id.to_string() })
            }
            Self::WriteExpired { write_id } => json!({ "write_id": write_id.to_string() }),
            Self::QuorumNotMet { receipt, cause } => {
                receipt::indeterminate(receipt, reason_of(cause))
            }
            _ => Value::Null,
        };
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    fn headers(&self, kind: &Kind) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![(header::CONTENT_TYPE, CONTENT_TYPE)];
        if let Some(seconds) = kind.retry_after_seconds {
            headers.push((header::RETRY_AFTER, seconds.into()));
        }
        if matches!(self, Self::Unauthorized) {
            let scheme = HeaderValue::from_static("Bearer realm=\"quorum\"");
            headers.push((header::WWW_AUTHENTICATE, scheme));
        }
        if matches!(self, Self::BodyTimeout | Self::BodyBroken) {
            headers.push((header::CONNECTION, HeaderValue::from_static("close")));
        }
        headers
    }
}

/// Which members answered, and why the others did not.
fn unanswered(reason: &str, too_few: &TooFewAnswers) -> Value {
    let members = too_few.members.iter().map(|(node, why)| match why {
        None => json!({ "node": node, "standing": "answered" }),
        Some(why) => json!({ "node": node, "standing": why }),
    });
    json!({
        "reason": reason,
        "got": too_few.got,
        "needed": too_few.needed,
        "members": members.collect::<Vec<_>>(),
    })
}

/// The reason in the words of the metrics.
fn reason_of(cause: &QuorumError) -> QuorumFailureReason {
    match cause {
        QuorumError::QuorumNotMet { reason, .. } => *reason,
        _ => QuorumFailureReason::LocalFailed,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = self.kind();
        let mut response = (kind.status, Json(self.body())).into_response();
        for (name, value) in self.headers(&kind) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl Problem {
    /// The problem as JSON.
    pub(super) fn body(&self) -> Value {
        let kind = self.kind();
        let mut body = Map::new();
        body.insert("type".into(), format!("{TYPE_PREFIX}{}", kind.slug).into());
        body.insert("title".into(), kind.title.into());
        body.insert("status".into(), kind.status.as_u16().into());
        body.insert("detail".into(), self.detail().into());
        if let Some(outcome) = kind.outcome {
            body.insert("outcome".into(), outcome.into());
        }
        body.extend(self.extensions());
        Value::Object(body)
    }
}

impl From<WriteFailed> for Problem {
    fn from(failed: WriteFailed) -> Self {
        match failed {
            WriteFailed::Overloaded => Self::Overloaded,
            WriteFailed::ShuttingDown => Self::ShuttingDown,
            WriteFailed::Clock(fault) => Self::ClockFault { detail: fault.to_string() },
            // The copies asked for are the only part of the rule that a request can set.
            WriteFailed::Invalid(cause) => Self::invalid("w", &cause),
            WriteFailed::Forbidden { field, detail } => Self::Invalid { field, detail },
            WriteFailed::NoReadQuorum(too_few) => {
                Self::ReadQuorumNotMet { too_few, is_write: true }
            }
            WriteFailed::LookupUnreachable { write_id, too_few } => {
                Self::LookupUnreachable { write_id, too_few }
            }
            WriteFailed::Unsettled { write_id, detail } => Self::Unsettled { write_id, detail },
            WriteFailed::Recovering => Self::Recovering,
            WriteFailed::NoContact => Self::NoContact,
            WriteFailed::Refused(error) => error.into(),
            WriteFailed::Indeterminate { receipt, cause } => Self::QuorumNotMet { receipt, cause },
        }
    }
}

impl From<ReadFailed> for Problem {
    fn from(failed: ReadFailed) -> Self {
        match failed {
            ReadFailed::Invalid { field, detail } => Self::Invalid { field, detail },
            ReadFailed::TooFewAnswers(too_few) => {
                Self::ReadQuorumNotMet { too_few, is_write: false }
            }
            ReadFailed::WriteBack(cause) => Self::WriteBackFailed { detail: cause.to_string() },
            ReadFailed::NotTaken { .. } => Self::WriteBackFailed { detail: failed.to_string() },
            ReadFailed::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::Overloaded,
            StoreError::DiskFull => Self::DiskFull { detail: error.to_string() },
            StoreError::TooLarge { what, limit, .. } => Self::TooLarge { what, bytes_max: limit },
            StoreError::IdConflict { .. } => Self::IdConflict { detail: error.to_string() },
            StoreError::FromTheFuture { .. } | StoreError::Clock(_) => {
                Self::ClockFault { detail: error.to_string() }
            }
            StoreError::Overtaken { .. } => Self::IdConflict { detail: error.to_string() },
            StoreError::RetryTooOld { .. } => Self::RetryTooOld { detail: error.to_string() },
            StoreError::Failed { .. } => Self::StoreFailed { detail: error.to_string() },
            StoreError::Unreadable { .. } => Self::Unreadable { detail: error.to_string() },
            StoreError::Closed => Self::ShuttingDown,
        }
    }
}
