//! Every metric, label and span name, and the closed sets that label values come from.
//!
//! The names are public contract: dashboards and alert rules are written against them. They are the full Prometheus
//! names, suffixes included, and travel over OTLP unchanged.

use quorum_core::{Busy, Refusal};

/// Counter of writes that were given a verdict, by `result`.
pub const QUORUM_ACK_TOTAL: &str = "replication_quorum_ack_total";
/// Counter of writes that missed their quorum, by `reason`.
pub const QUORUM_FAILURES_TOTAL: &str = "replication_quorum_failures_total";
/// Histogram of seconds from the beginning of a write to its verdict, by `result`.
pub const COMMIT_DURATION_SECONDS: &str = "replication_commit_duration_seconds";
/// Gauge of writes begun and not yet given a verdict.
pub const WRITES_IN_FLIGHT: &str = "replication_writes_in_flight";

/// Histogram of seconds from handing a record to the link to the ack of `peer`.
pub const PEER_ACK_DURATION_SECONDS: &str = "replication_peer_ack_duration_seconds";
/// Counter of records that `peer` did not take for now, by `reason`.
pub const PEER_BUSY_TOTAL: &str = "replication_peer_busy_total";
/// Counter of records that `peer` refused for good, by `reason`.
pub const PEER_REFUSED_TOTAL: &str = "replication_peer_refused_total";
/// Counter of records of whose key `peer` held a newer version.
pub const PEER_SUPERSEDED_TOTAL: &str = "replication_peer_superseded_total";
/// Counter of records that `peer` holds with another digest.
pub const ID_DRIFT_TOTAL: &str = "replication_id_drift_total";
/// Gauge of this node's writes that `peer` does not yet durably hold.
pub const FRONTIER_LAG_WRITES: &str = "replication_frontier_lag_writes";
/// Gauge, 1 while the link to `peer` is up and 0 while it is down.
pub const LINK_UP: &str = "replication_link_up";
/// Counter of handshakes of peers that dialled this node and were refused, by `reason`.
pub const HANDSHAKES_REFUSED_TOTAL: &str = "replication_handshakes_refused_total";

/// Gauge of writes that `peer` does not yet durably hold, whoever made them.
pub const PEER_MISSING_WRITES: &str = "replication_peer_missing_writes";
/// Gauge of writes held here that fewer members hold than `copies` says: `w`, or all `n`.
pub const UNDER_REPLICATED_WRITES: &str = "replication_under_replicated_writes";
/// Gauge of seconds since the oldest of them was made; 0 if there is none.
pub const UNDER_REPLICATED_AGE_SECONDS: &str = "replication_under_replicated_age_seconds";
/// Counter of records sent to `peer` because it lacked them.
pub const REPAIRED_RECORDS_TOTAL: &str = "replication_repaired_records_total";
/// Counter of their bytes.
pub const REPAIRED_BYTES_TOTAL: &str = "replication_repaired_bytes_total";

/// Counter of tombstones purged because nothing that they hid can come back.
pub const TOMBSTONES_PURGED_TOTAL: &str = "replication_tombstones_purged_total";
/// Counter of what the scrub came upon, by `finding`.
pub const SCRUB_FINDINGS_TOTAL: &str = "replication_scrub_findings_total";

/// Histogram of the absolute offset between this clock and that of `peer`, in seconds.
pub const CLOCK_SKEW_SECONDS: &str = "replication_clock_skew_seconds";
/// Gauge, 1 while this node trusts its own clock and 0 while it takes no writes because of it.
pub const CLOCK_HEALTHY: &str = "replication_clock_healthy";

/// Histogram of seconds that one synced commit of the local store took.
pub const STORE_SYNC_DURATION_SECONDS: &str = "replication_store_sync_duration_seconds";
/// Counter of records made durable by the local store.
pub const STORE_SYNCED_RECORDS_TOTAL: &str = "replication_store_synced_records_total";
/// Gauge of bytes that the local store takes on disk.
pub const STORE_BYTES: &str = "replication_store_bytes";
/// Gauge of records that the local store holds.
pub const STORE_RECORDS: &str = "replication_store_records";
/// Gauge, 1 while the local store compacts what it holds and 0 once that has failed, until a restart.
pub const STORE_COMPACTING: &str = "replication_store_compacting";
/// Gauge, 1 while the local store can be read and 0 once a part of it could not, until a restart.
pub const STORE_READABLE: &str = "replication_store_readable";

/// Gauge of the Unix time, in seconds, at which this node's certificate ends.
pub const CERTIFICATE_EXPIRY_SECONDS: &str = "replication_certificate_expiry_seconds";
/// Gauge that is always 1; its `version` label says what is running.
pub const BUILD_INFO: &str = "quorum_build_info";

/// Every metric name, in the order above.
pub const METRICS: [&str; 29] = [
    QUORUM_ACK_TOTAL,
    QUORUM_FAILURES_TOTAL,
    COMMIT_DURATION_SECONDS,
    WRITES_IN_FLIGHT,
    PEER_ACK_DURATION_SECONDS,
    PEER_BUSY_TOTAL,
    PEER_REFUSED_TOTAL,
    PEER_SUPERSEDED_TOTAL,
    ID_DRIFT_TOTAL,
    FRONTIER_LAG_WRITES,
    LINK_UP,
    HANDSHAKES_REFUSED_TOTAL,
    PEER_MISSING_WRITES,
    UNDER_REPLICATED_WRITES,
    UNDER_REPLICATED_AGE_SECONDS,
    REPAIRED_RECORDS_TOTAL,
    REPAIRED_BYTES_TOTAL,
    TOMBSTONES_PURGED_TOTAL,
    SCRUB_FINDINGS_TOTAL,
    CLOCK_SKEW_SECONDS,
    CLOCK_HEALTHY,
    STORE_SYNC_DURATION_SECONDS,
    STORE_SYNCED_RECORDS_TOTAL,
    STORE_BYTES,
    STORE_RECORDS,
    STORE_COMPACTING,
    STORE_READABLE,
    CERTIFICATE_EXPIRY_SECONDS,
    BUILD_INFO,
];

/// Label: how a write ended, a [`CommitResult`](quorum_core::CommitResult).
pub const RESULT: &str = "result";
/// Label: what the scrub came upon, from a closed set.
pub const FINDING: &str = "finding";
/// Label: why, from a closed set.
pub const REASON: &str = "reason";
/// Label: the name of a member, never of a stranger.
pub const PEER: &str = "peer";
/// Label: how many copies are too few, `w` or `n`.
pub const COPIES: &str = "copies";
/// Label: the running version.
pub const VERSION: &str = "version";

/// Span of one write at its coordinator, from its beginning to its verdict.
pub const SPAN_COMMIT: &str = "quorum.commit";
/// Span of one record on its way to one peer, until that peer's final answer.
pub const SPAN_SEND: &str = "quorum.send";
/// Span of one record being taken in at a peer; its parent lies on the coordinator.
pub const SPAN_APPLY: &str = "quorum.apply";
/// Span of one synced commit of the local store.
pub const SPAN_FSYNC: &str = "quorum.fsync";

/// Upper bounds of the latency histograms, in seconds: from a fast disk to a lost cause.
pub(crate) const LATENCY_BOUNDARIES_SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
    5.0, 10.0,
];

/// Upper bounds of the skew histogram, in seconds. They hold the default warning (30 s) and the default hard limit
/// (300 s), so that an alert can count what lies beyond either exactly.
pub(crate) const SKEW_BOUNDARIES_SECONDS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Every final refusal, so that each has a series before it first happens.
pub(crate) const REFUSALS: [Refusal; 5] =
    [Refusal::Corrupt, Refusal::Malformed, Refusal::TooLarge, Refusal::TooOld, Refusal::Policy];

/// Every passing refusal, for the same end.
pub(crate) const BUSIES: [Busy; 6] = Busy::ALL;
