//! Turns what writers, links and the store tell into counters and histograms.
//!
//! Every counter exists at zero for each of its closed label values from the start: a rate over a series that appears
//! with its first failure would miss that failure.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use quorum_core::{
    Busy, CommitResult, HandshakeRefusal, Observer, PeerId, QuorumFailureReason, Refusal,
    ScrubFinding,
};

use crate::gauges::Gauges;
use crate::names;
use crate::peer_labels::PeerLabels;

/// The [`Observer`] that records into OpenTelemetry instruments.
///
/// Recording touches memory only, so it costs the same whether or not anybody scrapes or a collector answers. Peers
/// outside the member list are ignored.
#[derive(Debug)]
pub struct OtelObserver {
    peers: Arc<PeerLabels>,
    gauges: Gauges,
    quorum_acks: Counter<u64>,
    quorum_failures: Counter<u64>,
    commit_duration: Histogram<f64>,
    peer_ack_duration: Histogram<f64>,
    peer_busy: Counter<u64>,
    peer_refused: Counter<u64>,
    peer_superseded: Counter<u64>,
    repaired_records: Counter<u64>,
    repaired_bytes: Counter<u64>,
    id_drifts: Counter<u64>,
    tombstones_purged: Counter<u64>,
    scrub_findings: Counter<u64>,
    clock_skew: Histogram<f64>,
    handshakes_refused: Counter<u64>,
    store_sync_duration: Histogram<f64>,
    store_synced_records: Counter<u64>,
}

impl OtelObserver {
    pub(crate) fn new(meter: &Meter, peers: Arc<PeerLabels>, gauges: Gauges) -> Self {
        let counter =
            |name, description| meter.u64_counter(name).with_description(description).build();
        let seconds = |name, description, boundaries: &[f64]| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(boundaries.to_vec())
                .build()
        };
        let latency =
            |name, description| seconds(name, description, &names::LATENCY_BOUNDARIES_SECONDS);
        let observer = Self {
            quorum_acks: counter(
                names::QUORUM_ACK_TOTAL,
                "Writes that were given a verdict, by result",
            ),
            quorum_failures: counter(
                names::QUORUM_FAILURES_TOTAL,
                "Writes that missed their quorum, by reason",
            ),
            commit_duration: latency(
                names::COMMIT_DURATION_SECONDS,
                "Time from the beginning of a write to its verdict",
            ),
            peer_ack_duration: latency(
                names::PEER_ACK_DURATION_SECONDS,
                "Time from handing a record to the link to the ack of the peer",
            ),
            peer_busy: counter(
                names::PEER_BUSY_TOTAL,
                "Records that the peer did not take for now, by reason",
            ),
            peer_refused: counter(
                names::PEER_REFUSED_TOTAL,
                "Records that the peer refused for good, by reason",
            ),
            repaired_records: counter(
                names::REPAIRED_RECORDS_TOTAL,
                "Records sent to a peer because it lacked them",
            ),
            repaired_bytes: counter(
                names::REPAIRED_BYTES_TOTAL,
                "Bytes of records sent to a peer because it lacked them",
            ),
            peer_superseded: counter(
                names::PEER_SUPERSEDED_TOTAL,
                "Records of whose key the peer held a newer version",
            ),
            id_drifts: counter(
                names::ID_DRIFT_TOTAL,
                "Records that the peer holds with other content",
            ),
            tombstones_purged: counter(
                names::TOMBSTONES_PURGED_TOTAL,
                "Tombstones purged because nothing that they hid can come back",
            ),
            scrub_findings: counter(
                names::SCRUB_FINDINGS_TOTAL,
                "Records that the scrub found wrong or put right, by finding",
            ),
            clock_skew: seconds(
                names::CLOCK_SKEW_SECONDS,
                "Absolute offset between this clock and that of the peer",
                &names::SKEW_BOUNDARIES_SECONDS,
            ),
            handshakes_refused: counter(
                names::HANDSHAKES_REFUSED_TOTAL,
                "Handshakes of peers that dialled this node and were refused, by reason",
            ),
            store_sync_duration: latency(
                names::STORE_SYNC_DURATION_SECONDS,
                "Time that one synced commit of the local store took",
            ),
            store_synced_records: counter(
                names::STORE_SYNCED_RECORDS_TOTAL,
                "Records made durable by the local store",
            ),
            peers,
            gauges,
        };
        observer.start_at_zero();
        observer
    }

    fn start_at_zero(&self) {
        for result in CommitResult::ALL {
            self.quorum_acks.add(0, &[KeyValue::new(names::RESULT, result.as_str())]);
        }
        for why in QuorumFailureReason::ALL {
            self.quorum_failures.add(0, &[reason(why.as_str())]);
        }
        for why in HandshakeRefusal::ALL {
            self.handshakes_refused.add(0, &[reason(why.as_str())]);
        }
        self.store_synced_records.add(0, &[]);
        self.tombstones_purged.add(0, &[]);
        for found in ScrubFinding::ALL {
            self.scrub_findings.add(0, &[finding(found)]);
        }
        for peer in self.peers.all() {
            self.peer_superseded.add(0, std::slice::from_ref(peer));
            self.repaired_records.add(0, std::slice::from_ref(peer));
            self.repaired_bytes.add(0, std::slice::from_ref(peer));
            self.id_drifts.add(0, std::slice::from_ref(peer));
            for why in names::BUSIES {
                self.peer_busy.add(0, &[peer.clone(), reason(why.as_str())]);
            }
            for why in names::REFUSALS {
                self.peer_refused.add(0, &[peer.clone(), reason(why.as_str())]);
            }
        }
    }
}

/// The label that says what was found.
fn finding(found: ScrubFinding) -> KeyValue {
    KeyValue::new(names::FINDING, found.as_str())
}

/// The label that says why.
fn reason(why: &'static str) -> KeyValue {
    KeyValue::new(names::REASON, why)
}

impl Observer for OtelObserver {
    fn write_ended(&self, result: CommitResult, elapsed: Duration) {
        let labels = [KeyValue::new(names::RESULT, result.as_str())];
        self.quorum_acks.add(1, &labels);
        self.commit_duration.record(elapsed.as_secs_f64(), &labels);
    }

    fn quorum_missed(&self, why: QuorumFailureReason) {
        self.quorum_failures.add(1, &[reason(why.as_str())]);
    }

    fn writes_in_flight(&self, count: usize) {
        self.gauges.set_writes_in_flight(count as u64);
    }

    fn peer_ack(&self, peer: &PeerId, latency: Duration) {
        if let Some(peer) = self.peers.of(peer) {
            self.peer_ack_duration.record(latency.as_secs_f64(), &[peer]);
        }
    }

    fn repaired(&self, peer: &PeerId, records: usize, bytes: usize) {
        if let Some(peer) = self.peers.of(peer) {
            self.repaired_records.add(records as u64, std::slice::from_ref(&peer));
            self.repaired_bytes.add(bytes as u64, &[peer]);
        }
    }

    fn tombstones_purged(&self, count: u64) {
        self.tombstones_purged.add(count, &[]);
    }

    fn scrubbed(&self, found: ScrubFinding) {
        self.scrub_findings.add(1, &[finding(found)]);
    }

    fn peer_superseded(&self, peer: &PeerId) {
        if let Some(peer) = self.peers.of(peer) {
            self.peer_superseded.add(1, &[peer]);
        }
    }

    fn peer_refusal(&self, peer: &PeerId, why: Refusal) {
        if let Some(peer) = self.peers.of(peer) {
            self.peer_refused.add(1, &[peer, reason(why.as_str())]);
        }
    }

    fn peer_busy(&self, peer: &PeerId, why: Busy) {
        if let Some(peer) = self.peers.of(peer) {
            self.peer_busy.add(1, &[peer, reason(why.as_str())]);
        }
    }

    fn id_drift(&self, peer: &PeerId) {
        if let Some(peer) = self.peers.of(peer) {
            self.id_drifts.add(1, &[peer]);
        }
    }

    fn clock_skew(&self, peer: &PeerId, offset: Duration, _ahead: bool) {
        if let Some(peer) = self.peers.of(peer) {
            self.clock_skew.record(offset.as_secs_f64(), &[peer]);
        }
    }

    fn link(&self, peer: &PeerId, up: bool) {
        self.gauges.set_link_up(peer, up);
    }

    fn handshake_refused(&self, why: HandshakeRefusal) {
        self.handshakes_refused.add(1, &[reason(why.as_str())]);
    }

    fn store_synced(&self, records: usize, took: Duration) {
        self.store_synced_records.add(records as u64, &[]);
        self.store_sync_duration.record(took.as_secs_f64(), &[]);
    }
}
