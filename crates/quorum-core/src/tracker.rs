//! Counts acknowledgements for one write and says when the count is final.
//!
//! [`AckTracker`] is a plain value: tell it what happened and when it arrived, then ask for the [`Verdict`]. It never
//! waits and never looks at a clock. Every rule lives in one function, `AckTracker::judge`; the other readers are
//! views of it, so they cannot disagree with each other.

use std::time::{Duration, Instant};

use crate::error::{Busy, QuorumError, QuorumFailureReason, Refusal, check_members};
use crate::id::PeerId;
use crate::planted::{self, Bug};
use crate::policy::QuorumPolicy;
use crate::ports::Reply;
use crate::receipt::{MemberStanding, Standing};
use crate::version::Version;

/// What can be said about a write at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "a verdict is one of these three, by definition")]
pub enum Verdict {
    /// Undecided; ask again when something arrives, or at `until` at the latest.
    Pending {
        /// The deadline.
        until: Instant,
    },
    /// W durable copies arrived in time. Final.
    Met {
        /// How many copies count, the local one included.
        acks: usize,
    },
    /// W copies did not arrive in time, or cannot any more. Final.
    Missed {
        /// How many copies count, the local one included.
        acks: usize,
        /// Why the rest is missing.
        reason: QuorumFailureReason,
    },
}

/// What a member has said so far.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// Nothing.
    Silent,
    /// "Not now", as of `at`; another answer may follow.
    Busy {
        reason: Busy,
        at: Instant,
    },
    /// Final answers: the first one stands.
    Acked {
        at: Instant,
    },
    Superseded {
        version: Version,
        at: Instant,
    },
    Drifted {
        at: Instant,
    },
    Refused {
        reason: Refusal,
        at: Instant,
    },
}

impl Answer {
    const fn is_final(&self) -> bool {
        !matches!(self, Self::Silent | Self::Busy { .. })
    }

    /// When the answer arrived, if there is one.
    const fn at(&self) -> Option<Instant> {
        match self {
            Self::Silent => None,
            Self::Busy { at, .. }
            | Self::Acked { at }
            | Self::Superseded { at, .. }
            | Self::Drifted { at }
            | Self::Refused { at, .. } => Some(*at),
        }
    }
}

/// One other member.
#[derive(Debug, Clone)]
struct Peer {
    id: PeerId,
    answer: Answer,
    /// When its earliest answer of any kind arrived: a later one must not make it look silent.
    first_heard: Option<Instant>,
}

impl Peer {
    const fn silent(id: PeerId) -> Self {
        Self { id, answer: Answer::Silent, first_heard: None }
    }
}

/// How far the local copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LocalCopy {
    Pending,
    Durable { at: Instant },
    Failed { detail: String, at: Instant },
}

/// The answers of all members to one write.
///
/// Only the members given at the start count, each once, the local one never as a peer. A member's first final answer
/// stands. An answer counts if it *arrived* at or before the deadline, whenever somebody asks; the first final verdict
/// that somebody was given stands for ever.
#[derive(Debug, Clone)]
pub struct AckTracker {
    policy: QuorumPolicy,
    local: PeerId,
    local_copy: LocalCopy,
    peers: Vec<Peer>,
    started: Instant,
    deadline: Instant,
    superseded_counts: bool,
    /// Some peer has taken this very write under a newer version.
    executed_elsewhere: bool,
    given: Option<Verdict>,
}

impl AckTracker {
    /// Starts counting for a write that begins `now`. `peers` are the other members.
    ///
    /// # Errors
    ///
    /// [`QuorumError::InvalidMembers`] if the local member and the peers are not exactly `policy.n()` different ones.
    pub fn new(
        policy: QuorumPolicy,
        local: PeerId,
        peers: impl IntoIterator<Item = PeerId>,
        now: Instant,
    ) -> Result<Self, QuorumError> {
        let peers: Vec<PeerId> = peers.into_iter().collect();
        check_members(&local, &peers, policy.n())?;
        let deadline = deadline_after(now, policy.ack_timeout());
        let peers = peers.into_iter().map(Peer::silent).collect();
        let (local_copy, superseded_counts, given) = (LocalCopy::Pending, false, None);
        let executed_elsewhere = false;
        Ok(Self {
            policy,
            local,
            local_copy,
            peers,
            started: now,
            deadline,
            superseded_counts,
            executed_elsewhere,
            given,
        })
    }

    /// Lets `Superseded` count as a copy: in the second round of a restamped write, and in the second phase of a
    /// two-phase write. There the version lies above everything that was reported before, so a newer one can only be a
    /// concurrent write, and this one took effect before it.
    #[must_use]
    pub fn counting_superseded(mut self) -> Self {
        self.superseded_counts = true;
        self
    }

    /// Ends the wait at `deadline` instead: for a further round of a write that began earlier.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = deadline;
        self
    }

    // What happened.

    /// The local copy became durable at `at`.
    pub fn record_local(&mut self, at: Instant) {
        if self.local_copy == LocalCopy::Pending {
            self.local_copy = LocalCopy::Durable { at };
        }
    }

    /// The local store failed to make its copy durable.
    pub fn record_local_failure(&mut self, detail: impl Into<String>, at: Instant) {
        if self.local_copy == LocalCopy::Pending {
            self.local_copy = LocalCopy::Failed { detail: detail.into(), at };
        }
    }

    /// `peer` said, at `at`, that the record is durable there.
    pub fn record_peer_ack(&mut self, peer: &PeerId, at: Instant) {
        self.answer(peer, Answer::Acked { at });
    }

    /// `peer` holds this version with another digest.
    pub fn record_id_drift(&mut self, peer: &PeerId, at: Instant) {
        self.answer(peer, Answer::Drifted { at });
    }

    /// `peer` will not take the record.
    pub fn record_refusal(&mut self, peer: &PeerId, reason: Refusal, at: Instant) {
        self.answer(peer, Answer::Refused { reason, at });
    }

    /// `peer` durably holds a newer version of the key.
    pub fn record_superseded(&mut self, peer: &PeerId, version: Version, at: Instant) {
        self.answer(peer, Answer::Superseded { version, at });
    }

    /// `peer` does not take the record now. It is sent again, so another answer may follow.
    ///
    /// One that has lost its data ([`Busy::Recovering`]) takes back whatever it said before.
    pub fn record_busy(&mut self, peer: &PeerId, reason: Busy, at: Instant) {
        if reason == Busy::Recovering
            && let Some(member) = self.peers.iter_mut().find(|member| member.id == *peer)
        {
            member.answer = Answer::Silent;
        }
        self.answer(peer, Answer::Busy { reason, at });
    }

    /// Any reply of a peer.
    pub fn record_reply(&mut self, peer: &PeerId, reply: Reply, at: Instant) {
        match reply {
            Reply::Stored => self.record_peer_ack(peer, at),
            Reply::Superseded { version, is_same_write } => {
                self.executed_elsewhere |= is_same_write;
                self.record_superseded(peer, version, at);
            }
            Reply::Drift => self.record_id_drift(peer, at),
            Reply::Refused { reason } => self.record_refusal(peer, reason, at),
            Reply::Busy { reason } => self.record_busy(peer, reason, at),
        }
    }

    fn answer(&mut self, peer: &PeerId, answer: Answer) {
        // Strangers and the local member are not in the list, so they never count.
        let place = self.peers.iter().position(|member| member.id == *peer);
        let place = match place {
            None if planted::is(Bug::StrangerCounts) => self.silent_place(),
            Some(place)
                if planted::is(Bug::DuplicateCounts) && self.peers[place].answer.is_final() =>
            {
                self.silent_place()
            }
            place => place,
        };
        let Some(member) = place.map(|place| &mut self.peers[place]) else { return };
        member.first_heard = [member.first_heard, answer.at()].into_iter().flatten().min();
        if !member.answer.is_final() {
            member.answer = answer;
        }
    }

    /// Where somebody stands who has said nothing: for planted bugs.
    fn silent_place(&self) -> Option<usize> {
        self.peers.iter().position(|member| !member.answer.is_final())
    }

    // What to do about it.

    /// When to ask again if nothing arrives: the deadline, or `None` once the verdict was given.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.given.is_none().then_some(self.deadline)
    }

    /// The verdict at `now`. The first final one that is given stays.
    pub fn verdict(&mut self, now: Instant) -> Verdict {
        if let Some(given) = self.given {
            return given;
        }
        let verdict = self.judge(now);
        if !matches!(verdict, Verdict::Pending { .. }) {
            self.given = Some(verdict);
        }
        verdict
    }

    /// Whether W durable copies arrived in time.
    #[must_use]
    pub fn is_quorum_met(&mut self, now: Instant) -> bool {
        matches!(self.verdict(now), Verdict::Met { .. })
    }

    /// The verdict as a result: the number of copies that count, or why there are too few.
    ///
    /// # Errors
    ///
    /// [`QuorumError::LocalWriteFailed`] if the local store failed, else [`QuorumError::QuorumNotMet`]; with
    /// [`QuorumFailureReason::InFlight`] while the write is undecided.
    pub fn finalise(&mut self, now: Instant) -> Result<usize, QuorumError> {
        let needed = self.policy.w();
        match (self.verdict(now), &self.local_copy) {
            (Verdict::Met { acks }, _) => Ok(acks),
            (
                Verdict::Missed { reason: QuorumFailureReason::LocalFailed, .. },
                LocalCopy::Failed { detail, .. },
            ) => Err(QuorumError::LocalWriteFailed { detail: detail.clone() }),
            (Verdict::Missed { acks: got, reason }, _) => {
                Err(QuorumError::QuorumNotMet { got, needed, reason })
            }
            (Verdict::Pending { .. }, _) => {
                let reason = QuorumFailureReason::InFlight;
                Err(QuorumError::QuorumNotMet { got: self.tally().copies(), needed, reason })
            }
        }
    }

    /// The one place where the rules are applied.
    fn judge(&self, now: Instant) -> Verdict {
        let (w, tally) = (self.policy.w(), self.tally());
        let acks = tally.copies();
        let is_local = tally.local == 1 || planted::is(Bug::LocalCopyNotNeeded);
        if is_local && acks >= w {
            return Verdict::Met { acks };
        }
        if let LocalCopy::Failed { at, .. } = self.local_copy
            && at <= self.deadline
        {
            return Verdict::Missed { acks, reason: QuorumFailureReason::LocalFailed };
        }
        // How many copies the definitive answers still leave room for.
        let room = self.policy.n() - tally.drifted;
        let definitive = if room < w {
            Some(QuorumFailureReason::IdDrift)
        } else if room - tally.refused < w {
            Some(QuorumFailureReason::Refused)
        } else if room - tally.refused - tally.superseded < w {
            Some(QuorumFailureReason::Superseded)
        } else {
            None
        };
        if let Some(reason) = definitive {
            return Verdict::Missed { acks, reason };
        }
        if now < self.deadline {
            return Verdict::Pending { until: self.deadline };
        }
        let reason = if tally.local == 0 && tally.acked + 1 >= w {
            QuorumFailureReason::LocalPending
        } else if tally.answered == 0 {
            QuorumFailureReason::Unreachable
        } else {
            QuorumFailureReason::Timeout
        };
        Verdict::Missed { acks, reason }
    }

    fn tally(&self) -> Tally {
        let in_time = |at: Instant| at <= self.deadline || planted::is(Bug::LateAckCounts);
        let mut tally = Tally::default();
        if let LocalCopy::Durable { at } = self.local_copy
            && in_time(at)
        {
            tally.local = 1;
        }
        for peer in &self.peers {
            tally.answered += usize::from(peer.first_heard.is_some_and(in_time));
            if !peer.answer.at().is_some_and(in_time) {
                continue;
            }
            match peer.answer {
                Answer::Acked { .. } => tally.acked += 1,
                Answer::Superseded { .. } if self.superseded_counts => tally.acked += 1,
                Answer::Superseded { .. } => tally.superseded += 1,
                Answer::Drifted { .. } if planted::is(Bug::DriftCounts) => tally.acked += 1,
                Answer::Drifted { .. } => tally.drifted += 1,
                Answer::Refused { .. } => tally.refused += 1,
                Answer::Silent | Answer::Busy { .. } => {}
            }
        }
        tally
    }

    // Who stands where.

    /// When the write began.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// The end of the wait. Answers that arrive exactly then still count.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The rule that is applied.
    #[must_use]
    pub const fn policy(&self) -> &QuorumPolicy {
        &self.policy
    }

    /// The peers whose acks count, in the order of the member list.
    pub fn acked_peer_ids(&self) -> impl Iterator<Item = &PeerId> {
        let acked =
            |peer: &&Peer| matches!(peer.answer, Answer::Acked { at } if at <= self.deadline);
        self.peers.iter().filter(acked).map(|peer| &peer.id)
    }

    /// How many peers hold this version with another digest.
    #[must_use]
    pub fn id_drift_count(&self) -> usize {
        self.peers.iter().filter(|peer| matches!(peer.answer, Answer::Drifted { .. })).count()
    }

    /// The largest version that a peer reported as newer than this write.
    #[must_use]
    pub fn superseded_by(&self) -> Option<&Version> {
        let versions = self.peers.iter().filter_map(|peer| match &peer.answer {
            Answer::Superseded { version, .. } => Some(version),
            _ => None,
        });
        versions.max()
    }

    /// Whether some peer has taken this very write under a newer version: then it must not be stamped anew.
    #[must_use]
    pub const fn is_executed_elsewhere(&self) -> bool {
        self.executed_elsewhere
    }

    /// Whether the quorum would be met by now if `Superseded` counted: then only a larger version is missing.
    #[must_use]
    pub(crate) fn only_superseded_is_missing(&self) -> bool {
        let tally = self.tally();
        tally.superseded > 0 && tally.local + tally.acked + tally.superseded >= self.policy.w()
    }

    /// Where every member stands, the local one first: for the receipt.
    #[must_use]
    pub fn standings(&self) -> Vec<MemberStanding> {
        let after = |at: Instant| at.saturating_duration_since(self.started);
        let copy = |at: Instant| {
            if at <= self.deadline {
                Standing::Acked { after: after(at) }
            } else {
                Standing::Late { after: after(at) }
            }
        };
        let local = match &self.local_copy {
            LocalCopy::Pending => Standing::Silent,
            LocalCopy::Durable { at } => copy(*at),
            LocalCopy::Failed { detail, .. } => Standing::Failed { detail: detail.clone() },
        };
        let peers = self.peers.iter().map(|peer| {
            let standing = match &peer.answer {
                Answer::Silent => Standing::Silent,
                Answer::Busy { reason, .. } => Standing::Busy { reason: *reason },
                Answer::Acked { at } => copy(*at),
                Answer::Superseded { version, .. } => {
                    Standing::Superseded { version: version.clone() }
                }
                Answer::Drifted { .. } => Standing::Drifted,
                Answer::Refused { reason, .. } => Standing::Refused { reason: *reason },
            };
            MemberStanding { node: peer.id.clone(), standing }
        });
        std::iter::once(MemberStanding { node: self.local.clone(), standing: local })
            .chain(peers)
            .collect()
    }
}

/// Answers that arrived in time, by kind.
#[derive(Debug, Default)]
struct Tally {
    /// 1 if the local copy is durable.
    local: usize,
    acked: usize,
    superseded: usize,
    drifted: usize,
    refused: usize,
    /// Peers that said anything at all.
    answered: usize,
}

impl Tally {
    const fn copies(&self) -> usize {
        self.local + self.acked
    }
}

/// `now + timeout`, or the far future where that cannot be expressed.
#[must_use]
pub fn deadline_after(now: Instant, timeout: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
    now.checked_add(timeout).or_else(|| now.checked_add(FAR)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::epoch;
    use crate::{CLOCK_SKEW_WARN_DEFAULT, Hlc, Incarnation, Origin};

    /// Of six members of which four are needed, after the local copy, so many acks and so many newer versions.
    fn is_restamped_after(acked: usize, superseded: usize) -> bool {
        let name = |name: &str| PeerId::new(name).expect("a valid name");
        let names = ["a", "b", "c", "d", "e"].map(name);
        let policy = QuorumPolicy::new(6, 4, Duration::from_secs(1), CLOCK_SKEW_WARN_DEFAULT)
            .expect("valid");
        let mut tracker =
            AckTracker::new(policy, name("local"), names.clone(), epoch()).expect("six members");
        tracker.record_local(epoch());
        let origin = Origin { node: name("e"), incarnation: Incarnation::from_bytes([9; 8]) };
        let version = Version { hlc: Hlc::from_millis(5), origin };
        for (index, peer) in names.iter().enumerate().take(acked + superseded) {
            if index < acked {
                tracker.record_peer_ack(peer, epoch());
            } else {
                tracker.record_superseded(peer, version.clone(), epoch());
            }
        }
        tracker.only_superseded_is_missing()
    }

    #[test]
    fn a_larger_version_is_missing_only_where_it_would_make_the_quorum() {
        for (acked, superseded) in [(2, 1), (1, 2), (0, 3), (2, 2)] {
            assert!(is_restamped_after(acked, superseded), "{acked} and {superseded}");
        }
        for (acked, superseded) in [(0, 0), (2, 0), (3, 0), (0, 1), (1, 1), (0, 2)] {
            assert!(!is_restamped_after(acked, superseded), "{acked} and {superseded}");
        }
    }
}
