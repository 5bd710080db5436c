//! What nodes say to each other.
//!
//! The order of variants and fields is the wire format of this protocol version: golden bytes guard it.

use quorum_core::{
    Announcement, Answer, ClusterId, Digest, Frontier, Incarnation, Lineage, PeerId, Question,
    Record, Reply, SeqSet, StandIn,
};
use serde::{Deserialize, Serialize};

/// First word of the dialling side, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) cluster: ClusterId,
    /// Who dials; must be the name in the certificate.
    pub(crate) node: PeerId,
    /// Who is being dialled.
    pub(crate) to: PeerId,
    /// Digest of the member names.
    pub(crate) members: Digest,
    /// The lineage in which the dialling side numbers its writes now.
    pub(crate) lineage: Lineage,
    /// What else it says of itself.
    pub(crate) announcement: Announcement,
}

/// Everything else on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// The accepting side admits the dialling one.
    Welcome {
        /// The lineage in which the accepting side numbers its writes now.
        lineage: Lineage,
        /// What it durably holds.
        frontier: Frontier,
        /// What else it says of itself.
        announcement: Announcement,
    },
    /// What is your clock, and what do you hold?
    Probe {
        /// The asker's wall clock, in microseconds since the Unix epoch.
        sent_micros: u64,
    },
    /// The answer.
    ProbeReply {
        sent_micros: u64,
        received_micros: u64,
        answered_micros: u64,
        /// What the answering side durably holds beyond its earlier answers, if anything; with the first answer, all of it.
        frontier: Option<Frontier>,
        /// What else it says of itself; only if that has changed since its last word.
        announcement: Option<Announcement>,
    },
    /// Send me these, though they are not your own: the dialling side lacks them and waits for nobody else to bring
    /// them. Takes the place of what was wanted before.
    Want { dots: Frontier },
    /// The log no longer reaches back to what you lack. May I send everything?
    MaySnapshot,
    /// Yes, unless somebody else is at it.
    Snapshot { granted: bool },
    /// Everything is sent, or the attempt is given up.
    SnapshotDone,
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LaneKind {
    /// Records as they are written.
    Live,
    /// Records from the log.
    CatchUp,
    /// Questions and answers.
    Query,
}

/// First frame of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenLane {
    pub(crate) kind: LaneKind,
    /// The sender's incarnation and its life's epoch must be those of the Hello.
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: u64,
}

/// One item of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) record: Option<Record>,
    #[serde(deserialize_with = "quorum_core::wary_list::deserialize")]
    pub(crate) covers: Vec<(Lineage, SeqSet)>,
    /// Whether nobody holds a record for `covers`.
    pub(crate) void: bool,
    /// What stands for `covers`, if the receiver has it already.
    pub(crate) stand_in: Option<StandIn>,
    /// W3C trace context: trace id (16), span id (8), flags (1).
    pub(crate) trace: Option<[u8; 25]>,
}

/// Cumulative answer to the items of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ack {
    /// Items of this stream answered so far, counted from its start.
    pub(crate) upto: u64,
    /// Running hash of versions and digests up to there.
    pub(crate) hash: [u8; 16],
    /// Whether everything newly answered is synced, so that it counts towards the frontier.
    pub(crate) synced: bool,
    /// Newly answered items, by their number from 1, whose answer is not `Stored`.
    #[serde(deserialize_with = "quorum_core::wary_list::deserialize")]
    pub(crate) exceptions: Vec<(u64, Reply)>,
}

/// A question on the query lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The asker's number for it, from 1, never used again on this stream.
    pub(crate) number: u64,
    /// How long the asker will wait from now, in microseconds: an expired question is not answered.
    pub(crate) budget_micros: u64,
    pub(crate) question: Question,
}

/// The answer to the question of this number. Answers come in any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

#[cfg(test)]
pub(crate) mod tests {
    use quorum_core::{
        Dot, Durability, Epoch, Hlc, Incarnation, Lineage, Origin, PeerId, Record, WriteId,
    };

    pub(crate) fn lineage(node: &str) -> Lineage {
        let node = PeerId::new(node).expect("a valid name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
        Lineage { origin, epoch: Epoch::new(1, 7) }
    }

    pub(crate) fn record(seq: u64) -> Record {
        let dot = Dot { lineage: lineage("n1"), seq };
        let payload = format!("payload {seq}").into_bytes().into();
        Record::new(
            WriteId::from_bytes([9; 16]),
            dot,
            Hlc::from_millis(seq),
            Durability::Fsync,
            payload,
        )
    }
}
