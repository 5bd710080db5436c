//! What is true now, as opposed to what has happened: links, lag, store, certificate, clock.
//!
//! A gauge that nobody has set has no series, because any number would be a claim. The exceptions are links, which
//! are down until they come up, and writes in flight, of which there are none.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Gauge, Meter};
use quorum_core::PeerId;

use crate::names;
use crate::peer_labels::PeerLabels;

/// Sets the gauges of one node. Cloning is cheap, and clones set the same gauges.
///
/// No method blocks or fails. A peer that is not in the member list is ignored.
#[derive(Debug, Clone)]
pub struct Gauges {
    peers: Arc<PeerLabels>,
    writes_in_flight: Gauge<u64>,
    frontier_lag: Gauge<u64>,
    missing_writes: Gauge<u64>,
    under_replicated: Gauge<u64>,
    under_replicated_age: Gauge<f64>,
    link_up: Gauge<u64>,
    clock_healthy: Gauge<u64>,
    store_bytes: Gauge<u64>,
    store_records: Gauge<u64>,
    store_compacting: Gauge<u64>,
    store_readable: Gauge<u64>,
    certificate_expiry: Gauge<u64>,
}

impl Gauges {
    pub(crate) fn new(meter: &Meter, peers: Arc<PeerLabels>) -> Self {
        let gauge = |name, description| meter.u64_gauge(name).with_description(description).build();
        let build_info = gauge(names::BUILD_INFO, "Always 1; the label says what is running");
        build_info.record(1, &[KeyValue::new(names::VERSION, env!("CARGO_PKG_VERSION"))]);

        let gauges = Self {
            writes_in_flight: gauge(
                names::WRITES_IN_FLIGHT,
                "Writes begun and not yet given a verdict",
            ),
            frontier_lag: gauge(
                names::FRONTIER_LAG_WRITES,
                "Writes of this node that the peer does not yet durably hold",
            ),
            missing_writes: gauge(
                names::PEER_MISSING_WRITES,
                "Writes that the peer does not yet durably hold, whoever made them",
            ),
            under_replicated: gauge(
                names::UNDER_REPLICATED_WRITES,
                "Writes held here that have fewer copies than the label says",
            ),
            under_replicated_age: meter
                .f64_gauge(names::UNDER_REPLICATED_AGE_SECONDS)
                .with_description("Seconds since the oldest write with too few copies was made")
                .build(),
            link_up: gauge(names::LINK_UP, "1 while the link to the peer is up"),
            clock_healthy: gauge(
                names::CLOCK_HEALTHY,
                "0 while this node takes no writes because its clock is wrong",
            ),
            store_bytes: gauge(names::STORE_BYTES, "Bytes the local store takes on disk"),
            store_records: gauge(names::STORE_RECORDS, "Records the local store holds"),
            store_compacting: gauge(
                names::STORE_COMPACTING,
                "0 once the local store no longer compacts what it holds, until a restart",
            ),
            store_readable: gauge(
                names::STORE_READABLE,
                "0 once a part of what the local store holds could not be read, until a restart",
            ),
            certificate_expiry: gauge(
                names::CERTIFICATE_EXPIRY_SECONDS,
                "Unix time at which the certificate of this node ends",
            ),
            peers,
        };
        gauges.set_writes_in_flight(0);
        for peer in gauges.peers.all() {
            gauges.link_up.record(0, std::slice::from_ref(peer));
        }
        gauges
    }

    /// Writes begun here and not yet given a verdict.
    pub fn set_writes_in_flight(&self, count: u64) {
        self.writes_in_flight.record(count, &[]);
    }

    /// How many of this node's writes `peer` does not yet durably hold.
    pub fn set_frontier_lag(&self, peer: &PeerId, writes: u64) {
        if let Some(peer) = self.peers.of(peer) {
            self.frontier_lag.record(writes, &[peer]);
        }
    }

    /// How many writes held here `peer` does not yet durably hold.
    pub fn set_missing_writes(&self, peer: &PeerId, writes: u64) {
        if let Some(peer) = self.peers.of(peer) {
            self.missing_writes.record(writes, &[peer]);
        }
    }

    /// How many writes have fewer than `copies` copies, and the age of the oldest of them in seconds.
    pub fn set_exposed(&self, copies: &'static str, writes: u64, age_seconds: f64) {
        let copies = [KeyValue::new(names::COPIES, copies)];
        self.under_replicated.record(writes, &copies);
        self.under_replicated_age.record(age_seconds, &copies);
    }

    /// Whether the link to `peer` is up.
    pub fn set_link_up(&self, peer: &PeerId, up: bool) {
        if let Some(peer) = self.peers.of(peer) {
            self.link_up.record(up.into(), &[peer]);
        }
    }

    /// Whether this node trusts its own clock.
    pub fn set_clock_healthy(&self, healthy: bool) {
        self.clock_healthy.record(healthy.into(), &[]);
    }

    /// Bytes the local store takes on disk.
    pub fn set_store_bytes(&self, bytes: u64) {
        self.store_bytes.record(bytes, &[]);
    }

    /// Records the local store holds.
    pub fn set_store_records(&self, records: u64) {
        self.store_records.record(records, &[]);
    }

    /// Whether the local store compacts what it holds.
    pub fn set_store_compacting(&self, compacting: bool) {
        self.store_compacting.record(compacting.into(), &[]);
    }

    /// Whether all that was looked for in the local store could be read.
    pub fn set_store_readable(&self, readable: bool) {
        self.store_readable.record(readable.into(), &[]);
    }

    /// When this node's certificate ends. A time before 1970 counts as 1970.
    pub fn set_certificate_expiry(&self, not_after: SystemTime) {
        let unix = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.certificate_expiry.record(unix.as_secs(), &[]);
    }
}
