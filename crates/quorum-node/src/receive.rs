//! What this node takes from its peers: every record is checked before the store sees it.
//!
//! [`admit`] is the whole rule. A record that cannot be right is refused for good; one whose clock is too far ahead is
//! answered as busy, because either clock may be corrected; everything else is merged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorum_core::{
    Announcement, Answer, Applied, Busy, Digest, Frontier, Hlc, Incoming, KnownWrite, Lineage,
    LogSource, Occasion, Origin, PeerId, QuerySource, Question, Record, Recovery, Refusal, Replay,
    ReplicaStore, Reply, SeqSet, SnapshotCursor, StandIn, Unavailable, wall_millis,
};
use tokio::sync::watch;

use crate::record::{ContentRef, PAYLOAD_OVERHEAD_MAX};
use crate::store::{RecordKey, Store, StoreError, StoreState};
use crate::under_way::UnderWay;
use crate::watermark::Watermark;

/// What a record may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Longest value, in bytes.
    pub value_bytes_max: usize,
    /// How far a version may lie ahead of this node's clock. Beyond it the record would win over everything written
    /// meanwhile.
    pub clock_skew_max: Duration,
}

/// Checks one record against everything that does not depend on what the store holds.
///
/// # Errors
///
/// The reply to give instead of merging it.
pub fn admit<'a>(
    record: &'a Record,
    limits: &AdmissionLimits,
    wall_millis: u64,
) -> Result<ContentRef<'a>, Reply> {
    let refused = |reason| Err(Reply::Refused { reason });
    // Checked before hashing, so that a giant costs nothing.
    if record.payload.len() > limits.value_bytes_max.saturating_add(PAYLOAD_OVERHEAD_MAX) {
        return refused(Refusal::TooLarge);
    }
    if !record.is_intact() {
        return refused(Refusal::Corrupt);
    }
    let Ok(content) = ContentRef::parse(&record.payload) else {
        return refused(Refusal::Malformed);
    };
    if record.dot.seq == 0 {
        return refused(Refusal::Malformed);
    }
    if content.value.is_some_and(|value| value.len() > limits.value_bytes_max) {
        return refused(Refusal::TooLarge);
    }
    if record.hlc.ahead_of(wall_millis) > limits.clock_skew_max {
        return Err(Reply::Busy { reason: Busy::Clock });
    }
    Ok(content)
}

/// Whether an item names dots of this node's present start that it has not given out: taking them would let its own next
/// write be taken for known.
fn names_unissued(incoming: &Incoming, (lineage, issued): &(Lineage, u64)) -> bool {
    let is_unissued = |of: &Lineage, last: u64| of == lineage && last > *issued;
    let record = incoming.record.as_ref();
    record.is_some_and(|record| is_unissued(&record.dot.lineage, record.dot.seq))
        || incoming.covers.iter().any(|(of, seqs)| is_unissued(of, seqs.last()))
}

/// One item of a peer's batch after the check.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// To be merged.
    Record {
        record: Arc<Record>,
        key: RecordKey,
        is_tombstone: bool,
        covers: Vec<(Lineage, SeqSet)>,
        /// Whether its sender cannot lose it.
        durable: bool,
    },
    /// Dots to be covered without a record: because none exists, or because a snapshot has brought what overwrote them.
    Covers { covers: Vec<(Lineage, SeqSet)>, void: bool },
    /// Dots for which a record stands that is here already.
    HeldHere { covers: Vec<(Lineage, SeqSet)>, stand_in: StandIn },
    /// Not to be merged; answered already.
    Answered(Reply),
}

impl Admitted {
    /// What it holds in the queue, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let of_covers = |covers: &[(Lineage, SeqSet)]| {
            covers.iter().map(|(_, seqs)| 64 + 16 * seqs.interval_count()).sum::<usize>()
        };
        match self {
            Self::Record { record, covers, .. } => record.payload.len() + of_covers(covers),
            Self::Covers { covers, .. } | Self::HeldHere { covers, .. } => of_covers(covers),
            Self::Answered(_) => 0,
        }
    }
}

/// The store behind its door: what the transport serves to peers.
#[derive(Debug, Clone)]
pub struct Receiver {
    store: Store,
    limits: AdmissionLimits,
    /// All members of the mesh.
    members: Arc<BTreeSet<PeerId>>,
    /// A digest of the settings that all members should share.
    settings: Option<Digest>,
    /// Writes that are being executed here.
    under_way: UnderWay,
    watermark: Watermark,
    /// Turns `true` when what is stored here must not be used any more.
    outdated: watch::Sender<bool>,
}

/// Lives that are remembered as forgotten, at most: an operator declares each.
const FORGOTTEN_MAX: usize = 1_024;

impl Receiver {
    /// A door to this store for these members.
    #[must_use]
    pub fn new(
        store: Store,
        limits: AdmissionLimits,
        members: impl IntoIterator<Item = PeerId>,
    ) -> Self {
        let members = Arc::new(members.into_iter().collect());
        let (watermark, outdated) = (Watermark::default(), watch::Sender::new(false));
        let under_way = UnderWay::default();
        Self { store, limits, members, settings: None, under_way, watermark, outdated }
    }

    /// The same door, which also tells peers these settings.
    #[must_use]
    pub const fn with_settings(mut self, settings: Digest) -> Self {
        self.settings = Some(settings);
        self
    }

    /// The writes that are being executed here.
    pub(crate) const fn under_way(&self) -> &UnderWay {
        &self.under_way
    }

    /// What members say of their clocks.
    pub(crate) const fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    /// Turns `true` when what is stored here must not be used any more: it was declared gone, or it comes from a disk that
    /// went back to before tombstones that are purged by now.
    pub(crate) fn outdated(&self) -> watch::Receiver<bool> {
        self.outdated.subscribe()
    }

    /// Whether this node holds what it acknowledged. What is outdated is lost, until the node has begun anew.
    pub(crate) fn recovery(&self) -> Recovery {
        if self.must_not_be_used() { Recovery::Recovering } else { self.store.recovery() }
    }

    /// Whether what is stored here must not be used any more. Nothing is added to it either: what peers would add says
    /// nothing of what was purged, and what is older would pass for current.
    fn must_not_be_used(&self) -> bool {
        *self.outdated.borrow()
    }

    /// What follows from a member's word: that this node has lost its data, or that the member is to be remembered.
    async fn conclude(
        &self,
        from: &Lineage,
        said: &Announcement,
        when: Occasion,
    ) -> Result<(), StoreError> {
        let us = self.store.lineage().origin;
        if said.knows_of_a_loss(&us) && self.store.began_with_a_loss(&us).await? {
            tracing::warn!(
                peer = %from.origin.node,
                "this node lived before and its data directory is empty: recovering, its acks do not count until it has everything again"
            );
        }
        // What was answered to the member before must be in the frontier that it is told next: whoever knows that nobody
        // else holds a dot may declare it void.
        self.store.settle().await?;
        let may_vouch = self.recovery() != Recovery::Recovering;
        // Of the others, whoever has not forgotten whom it knew is believed; one that is new may have, and not know it. What
        // it knows is true all the same, and no less than a member knows that has not forgotten anybody itself.
        let is_believed = match said.recovery {
            Recovery::Complete => true,
            Recovery::New => may_vouch,
            Recovery::Recovering => false,
        };
        let told = said.known.iter().filter(|known| {
            let node = &known.life.node;
            let is_third = *node != from.origin.node && *node != us.node;
            is_believed && is_third && self.members.contains(node)
        });
        self.store.meet(&from.origin, (said, when), may_vouch, told).await?;
        self.heed_purges(from, said).await
    }

    /// What follows from what the member has purged and whom it has forgotten.
    async fn heed_purges(&self, from: &Lineage, said: &Announcement) -> Result<(), StoreError> {
        let us = self.store.lineage().origin;
        let mut known = self.store.forgotten();
        for life in &said.forgotten {
            if *life == us {
                self.is_outdated(&from.origin.node, "this life was declared gone");
            } else if known.len() < FORGOTTEN_MAX && known.insert(life.clone()) {
                tracing::warn!(member = %life.node, "a life of the member was declared gone: nobody waits for its data");
                self.store.forget(life.clone()).await?;
            }
        }
        if self.most_purged(&from.origin).is_some_and(|most| said.purged > most) {
            self.is_outdated(&from.origin.node, "tombstones are purged that this disk forgot");
        }
        let seen = said.stable.max(said.purged);
        if seen.ahead_of(wall_millis(self.store.clock())) <= self.limits.clock_skew_max {
            self.store.observe(seen);
        }
        self.watermark.heard(&from.origin, said);
        Ok(())
    }

    /// Up to where a member may have purged, if that is known: it purges nothing that this node, as it knows it, has not claimed
    /// to hold. If it has, the claim is lost, or it went on without this node; and so may be the deletion of something that is
    /// still here.
    fn most_purged(&self, by: &Origin) -> Option<Hlc> {
        let stable = self.store.stable();
        if stable > Hlc::ZERO {
            return Some(stable);
        }
        // While this node has not acknowledged anything either, it may begin anew.
        if self.store.recovery() == Recovery::Complete {
            return None;
        }
        // It has claimed nothing since it met this member. Nor does whoever has met it claim more before it counts, and nobody
        // purges beyond the claim of a member that has kept its disk.
        let met = self.store.met(&by.node).filter(|met| met.life == *by).map(|met| met.purged);
        met.into_iter().chain(self.store.least_claim_met()).min()
    }

    fn is_outdated(&self, peer: &PeerId, why: &str) {
        if !self.outdated.send_replace(true) {
            tracing::error!(%peer, why, "this node's data must not be used any more");
        }
    }

    fn check(&self, incoming: Incoming, wall_millis: u64, issued: &(Lineage, u64)) -> Admitted {
        if names_unissued(&incoming, issued) {
            return Admitted::Answered(Reply::Refused { reason: Refusal::Malformed });
        }
        let Incoming { record, covers, void, stand_in, durable, .. } = incoming;
        let Some(record) = record else {
            return match stand_in {
                Some(stand_in) if RecordKey::from_bytes(stand_in.key.clone()).split().is_err() => {
                    Admitted::Answered(Reply::Refused { reason: Refusal::Malformed })
                }
                Some(stand_in) => Admitted::HeldHere { covers, stand_in },
                None => Admitted::Covers { covers, void },
            };
        };
        match admit(&record, &self.limits, wall_millis) {
            Ok(content) => {
                let (key, is_tombstone) = (RecordKey::of(&content), content.value.is_none());
                Admitted::Record { record, key, is_tombstone, covers, durable }
            }
            Err(reply) => Admitted::Answered(reply),
        }
    }
}

impl ReplicaStore for Receiver {
    async fn apply(&self, from: &PeerId, batch: Vec<Incoming>) -> Applied {
        if self.must_not_be_used() {
            let not_now = Reply::Busy { reason: Busy::Recovering };
            return Applied { replies: vec![not_now; batch.len()], synced: true };
        }
        let (wall, issued) = (wall_millis(self.store.clock()), self.store.numbered());
        let checked = batch.into_iter().map(|incoming| {
            let admitted = self.check(incoming, wall, &issued);
            if let Admitted::Answered(reply) = &admitted {
                tracing::debug!(peer = %from, ?reply, "did not take a record");
            }
            admitted
        });
        self.store.merge(checked.collect()).await
    }

    fn frontier(&self) -> Frontier {
        self.store.frontier()
    }

    fn has_failed(&self) -> bool {
        self.store.state() != StoreState::Running
    }

    fn lineage(&self) -> Lineage {
        self.store.lineage()
    }

    fn announcement(&self, _to: &PeerId) -> Announcement {
        Announcement {
            recovery: self.recovery(),
            known: self.store.everybody_known(),
            close: self.watermark.close_of(&self.store.lineage().origin),
            stable: self.store.stable(),
            purged: self.store.purged(),
            forgotten: self.store.forgotten().into_iter().collect(),
            settings: self.settings,
        }
    }

    async fn announced(&self, from: &Lineage, said: &Announcement, when: Occasion) {
        match self.conclude(from, said, when).await {
            // That the store has failed was said already.
            Err(_) if self.has_failed() => {}
            Err(error) => {
                tracing::warn!(peer = %from.origin.node, %error, "could not remember what a peer said");
            }
            Ok(()) => {}
        }
    }
}

impl QuerySource for Receiver {
    async fn answer(&self, from: &PeerId, question: Question) -> Answer {
        if self.must_not_be_used() {
            return Answer::Unavailable(Unavailable::Recovering);
        }
        let Question::Write { write_id } = &question else {
            return self.store.answer(question).await;
        };
        // Asked first: whatever ends meanwhile is found in the store.
        let local = self.store.origin().node;
        let is_ours = self.under_way.has_precedence(write_id, &local, from);
        match self.store.answer(question).await {
            Answer::Write(KnownWrite::Unknown) if is_ours => Answer::Write(KnownWrite::UnderWay),
            answer => answer,
        }
    }
}

impl LogSource for Receiver {
    async fn replay(&self, lineage: &Lineage, wanted: &SeqSet, bytes_max: usize) -> Replay {
        self.store.replay(lineage, wanted, bytes_max).await
    }

    async fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        self.store.snapshot(after, bytes_max).await
    }
}

#[cfg(test)]
mod tests;
