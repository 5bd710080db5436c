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
mod tests {
    use super::*;
    use bytes::Bytes;
    use parking_lot::Mutex;
    use quorum_core::{
        ClockGuard, ClusterId, Dot, Durability, Epoch, Incarnation, Known, Repute, Silent,
        Stability, WriteId,
    };
    use quorum_transport::TokioClock;

    use crate::local_mesh::LocalMesh;
    use crate::record::{Key, Namespace, encode};
    use crate::store::engine::memory::MemoryDisk;
    use crate::store::{StoreConfig, StoreIdentity, StoreSeams};

    const WALL: u64 = 1_000_000;

    fn limits() -> AdmissionLimits {
        AdmissionLimits { value_bytes_max: 8, clock_skew_max: Duration::from_secs(300) }
    }

    fn record(payload: Bytes, hlc_millis: u64) -> Record {
        let node = PeerId::new("n2").expect("a valid name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
        let dot = Dot { lineage: Lineage { origin, epoch: Epoch::new(1, 1) }, seq: 1 };
        let hlc = Hlc::from_millis(hlc_millis);
        Record::new(WriteId::from_bytes([1; 16]), dot, hlc, Durability::Fsync, payload)
    }

    fn payload(value: &[u8]) -> Bytes {
        let namespace = Namespace::new("ns").expect("a valid namespace");
        let key = Key::new(Bytes::from_static(b"k")).expect("a valid key");
        encode(&namespace, &key, Some(value))
    }

    fn reply(record: &Record) -> Option<Reply> {
        admit(record, &limits(), WALL).err()
    }

    #[test]
    fn a_sound_record_is_admitted_up_to_every_limit() {
        assert_eq!(reply(&record(payload(b"12345678"), WALL + 300_000)), None);
    }

    #[test]
    fn what_cannot_be_right_is_refused_for_good() {
        let mut damaged = record(payload(b"1"), WALL);
        damaged.payload = payload(b"2");
        assert_eq!(reply(&damaged), Some(Reply::Refused { reason: Refusal::Corrupt }));
        let nonsense = record(Bytes::from_static(b"nonsense"), WALL);
        assert_eq!(reply(&nonsense), Some(Reply::Refused { reason: Refusal::Malformed }));
        let large = record(payload(b"123456789"), WALL);
        assert_eq!(reply(&large), Some(Reply::Refused { reason: Refusal::TooLarge }));
        let giant = record(Bytes::from(vec![0; 10_000]), WALL);
        assert_eq!(reply(&giant), Some(Reply::Refused { reason: Refusal::TooLarge }));
        let mut unnumbered = record(payload(b"1"), WALL);
        unnumbered.dot.seq = 0;
        assert_eq!(reply(&unnumbered), Some(Reply::Refused { reason: Refusal::Malformed }));
    }

    #[test]
    fn a_record_from_the_future_may_come_again() {
        let early = record(payload(b"1"), WALL + 300_001);
        assert_eq!(reply(&early), Some(Reply::Busy { reason: Busy::Clock }));
    }

    fn is_recovering(receiver: &Receiver) -> bool {
        receiver.recovery() == Recovery::Recovering
    }

    /// Its disk went back to before its first claim, so it does not know that others relied on one.
    #[tokio::test]
    async fn a_node_whose_disk_forgot_its_first_claim_is_outdated_once_others_have_purged() {
        let receiver = receiver();
        let from = record(payload(b"1"), WALL).dot.lineage;
        let said = Announcement { purged: Hlc::from_millis(6), ..Announcement::default() };
        receiver.announced(&from, &said, Occasion::Answer).await;
        assert!(!is_recovering(&receiver), "a new member has nothing that could be outdated");
        receiver.store.reincarnate().await.expect("the disk works");
        receiver.announced(&from, &said, Occasion::Answer).await;
        assert!(*receiver.outdated().borrow());
    }

    /// Whoever knew of it would have waited for its claim. What it has taken over from others may be deleted by now, and it
    /// would not be told.
    #[tokio::test]
    async fn a_node_that_has_claimed_nothing_is_outdated_once_a_member_that_it_met_has_purged() {
        let (receiver, second, third) = (receiver(), life("n2", 1), life("n3", 1));
        let purged = |millis| Announcement {
            recovery: Recovery::Complete,
            purged: Hlc::from_millis(millis),
            ..Announcement::default()
        };
        receiver.announced(&second, &purged(3), Occasion::Answer).await;
        receiver.announced(&second, &purged(3), Occasion::Answer).await;
        receiver.announced(&third, &purged(4), Occasion::Answer).await;
        receiver.announced(&life("n3", 2), &purged(5), Occasion::Answer).await;
        assert!(!*receiver.outdated().borrow(), "that was so when they met");
        receiver.store.set_recovery(Recovery::Complete).await.expect("the disk works");
        receiver.announced(&second, &purged(6), Occasion::Answer).await;
        assert!(!*receiver.outdated().borrow(), "it may have acknowledged something");
        receiver.store.set_recovery(Recovery::Recovering).await.expect("the disk works");
        receiver.announced(&second, &purged(6), Occasion::Answer).await;
        assert!(*receiver.outdated().borrow());
    }

    /// Whoever it met was lost, or forgotten, with what it claimed: the others have gone on without both.
    #[tokio::test]
    async fn a_node_that_has_claimed_nothing_is_outdated_once_anybody_purges_beyond_the_claim_of_one_that_it_met()
     {
        let (receiver, second, third) = (receiver(), life("n2", 1), life("n3", 1));
        let said = |stable, purged| Announcement {
            recovery: Recovery::Complete,
            stable: Hlc::from_millis(stable),
            purged: Hlc::from_millis(purged),
            ..Announcement::default()
        };
        receiver.announced(&second, &said(3, 0), Occasion::Hello).await;
        receiver.announced(&third, &said(9, 4), Occasion::Hello).await;
        assert!(!*receiver.outdated().borrow(), "the second did not know yet of this life");
        receiver.announced(&second, &said(5, 0), Occasion::Answer).await;
        receiver.announced(&life("n2", 2), &said(9, 5), Occasion::Answer).await;
        receiver.announced(&life("n3", 2), &said(9, 5), Occasion::Answer).await;
        assert!(!*receiver.outdated().borrow(), "the second had claimed that");
        receiver.store.set_recovery(Recovery::Complete).await.expect("the disk works");
        receiver.announced(&life("n3", 3), &said(9, 6), Occasion::Answer).await;
        assert!(!*receiver.outdated().borrow(), "it may have acknowledged something");
        receiver.store.set_recovery(Recovery::Recovering).await.expect("the disk works");
        receiver.announced(&life("n3", 4), &said(9, 6), Occasion::Answer).await;
        assert!(*receiver.outdated().borrow(), "the claim of its former life is what counts");
    }

    /// A member whose disk went back claims next to nothing until it knows better.
    #[tokio::test]
    async fn a_member_that_has_forgotten_its_claims_says_nothing_of_what_others_may_purge() {
        let receiver = receiver();
        let said = Announcement { stable: Stability::LEAST_CLAIM, ..Announcement::default() };
        receiver.announced(&life("n2", 1), &said, Occasion::Answer).await;
        let purged = Announcement { purged: Hlc::from_millis(6), ..Announcement::default() };
        receiver.announced(&life("n3", 1), &purged, Occasion::Answer).await;
        assert!(!*receiver.outdated().borrow());
    }

    #[tokio::test]
    async fn a_store_that_has_failed_or_is_closed_is_not_spoken_for() {
        let disk = MemoryDisk::new();
        let (failing, closing) = (receiver_on(&disk), receiver());
        assert!(!failing.has_failed() && !closing.has_failed());
        disk.fail_next_sync();
        failing.store.set_recovery(Recovery::Complete).await.expect_err("the disk fails");
        closing.store.close().await;
        assert!(failing.has_failed() && closing.has_failed());
    }

    /// The door of the member "n1" to a store on an empty disk.
    fn receiver() -> Receiver {
        receiver_on(&MemoryDisk::new())
    }

    fn receiver_on(disk: &MemoryDisk) -> Receiver {
        let node = PeerId::new("n1").expect("a name");
        let identity = StoreIdentity { cluster: ClusterId::from_bytes([1; 16]), node };
        let seams = StoreSeams {
            clock: Arc::new(TokioClock::new()),
            guard: Arc::new(Mutex::new(ClockGuard::new(Duration::MAX))),
            observer: Arc::new(Silent),
            random: Arc::new(crate::SystemRandom),
        };
        let store = Store::open_on(disk.engine(), &identity, StoreConfig::default(), seams);
        let members = ["n1", "n2", "n3"].map(|name| PeerId::new(name).expect("a name"));
        Receiver::new(store.expect("memory opens"), limits(), members)
    }

    /// A life of a member.
    fn life(node: &str, number: u8) -> Lineage {
        let node = PeerId::new(node).expect("a name");
        let incarnation = Incarnation::from_bytes([number; 8]);
        Lineage { origin: Origin { node, incarnation }, epoch: Epoch::new(1, 0) }
    }

    fn says(recovery: Recovery, vouched: &[&Lineage]) -> Announcement {
        let known = |life: &&Lineage| Known { life: life.origin.clone(), repute: Repute::Vouched };
        let known = vouched.iter().map(known).collect();
        Announcement { recovery, known, ..Announcement::default() }
    }

    #[track_caller]
    fn assert_vouches(receiver: &Receiver, life: &Lineage, expected: bool) {
        let said = receiver.announcement(&life.origin.node);
        assert_eq!(said.vouches_for(&life.origin), expected, "{said:?}");
    }

    #[tokio::test]
    async fn a_member_that_comes_with_an_empty_disk_is_vouched_for_in_its_first_life_only() {
        let (receiver, first, second) = (receiver(), life("n2", 1), life("n2", 2));
        receiver.announced(&first, &says(Recovery::New, &[]), Occasion::Answer).await;
        assert_vouches(&receiver, &first, true);
        receiver.announced(&second, &says(Recovery::New, &[]), Occasion::Answer).await;
        assert_vouches(&receiver, &second, false);
        assert!(receiver.announcement(&second.origin.node).knows_of_a_loss(&second.origin));
    }

    /// The disk went back to before the member was complete; it has lost what it acknowledged since.
    #[tokio::test]
    async fn a_member_that_was_complete_and_says_that_it_is_new_is_told_of_its_loss() {
        let (receiver, second) = (receiver(), life("n2", 1));
        receiver.announced(&second, &says(Recovery::New, &[]), Occasion::Answer).await;
        receiver.announced(&second, &says(Recovery::Complete, &[]), Occasion::Answer).await;
        receiver.announced(&second, &says(Recovery::New, &[]), Occasion::Answer).await;
        assert_vouches(&receiver, &second, false);
        assert!(receiver.announcement(&second.origin.node).knows_of_a_loss(&second.origin));
    }

    #[tokio::test]
    async fn whoever_has_lost_its_disk_vouches_for_nobody_before_it_has_taken_over_whom_others_know()
     {
        let (receiver, first, second) = (receiver(), life("n2", 1), life("n2", 2));
        let (us, third) = (life("n1", 9), life("n3", 1));
        receiver.announced(&second, &says(Recovery::New, &[]), Occasion::Answer).await;
        assert_vouches(&receiver, &second, true);
        // A further member knows both of them in former lives.
        receiver
            .announced(&third, &says(Recovery::Complete, &[&us, &first]), Occasion::Answer)
            .await;
        assert!(is_recovering(&receiver));
        receiver.announced(&second, &says(Recovery::New, &[]), Occasion::Answer).await;
        receiver.store.set_recovery(Recovery::Complete).await.expect("the disk works");
        assert_vouches(&receiver, &second, false);
        assert_vouches(&receiver, &first, false);
    }

    #[tokio::test]
    async fn what_is_said_of_members_is_believed_unless_the_speaker_has_forgotten_whom_it_knew() {
        let (receiver, second, third) = (receiver(), life("n2", 1), life("n3", 1));
        let stranger = life("n4", 1);
        receiver.announced(&second, &says(Recovery::Recovering, &[&third]), Occasion::Answer).await;
        assert_vouches(&receiver, &third, false);
        receiver
            .announced(&second, &says(Recovery::New, &[&third, &stranger]), Occasion::Answer)
            .await;
        assert_vouches(&receiver, &third, true);
        assert_vouches(&receiver, &stranger, false);
        receiver.store.set_recovery(Recovery::Recovering).await.expect("the disk works");
        receiver
            .announced(&second, &says(Recovery::New, &[&life("n3", 2)]), Occasion::Answer)
            .await;
        assert_vouches(&receiver, &third, false);
        receiver.store.set_recovery(Recovery::Complete).await.expect("the disk works");
        assert_vouches(&receiver, &third, true);
    }

    /// Whoever heard of the forgotten life alone would take the member for gone, and recover without what its next life holds.
    #[tokio::test]
    async fn the_next_life_of_a_forgotten_member_is_told_of_once_it_was_met() {
        let (receiver, first, next) = (receiver(), life("n2", 1), life("n2", 2));
        let told = |repute, life: &Lineage| {
            let known = Known { life: life.origin.clone(), repute };
            assert_eq!(receiver.announcement(&life.origin.node).known, [known]);
        };
        receiver.announced(&first, &says(Recovery::Complete, &[]), Occasion::Answer).await;
        receiver.announced(&next, &says(Recovery::Recovering, &[]), Occasion::Answer).await;
        told(Repute::Complete, &first);
        receiver.store.forget(first.origin.clone()).await.expect("the disk works");
        told(Repute::Contested, &next);
        assert!(receiver.announcement(&next.origin.node).knows_of_a_loss(&next.origin));
        let known = receiver.store.known(&next.origin.node).map(|known| known.life);
        assert_eq!(known, Some(first.origin.clone()), "only its own word makes it more");
        receiver.announced(&next, &says(Recovery::Complete, &[]), Occasion::Answer).await;
        told(Repute::Complete, &next);
        receiver.store.forget(next.origin.clone()).await.expect("the disk works");
        told(Repute::Complete, &next);
    }

    /// It lived before, whoever knew it then: it was forgotten.
    #[tokio::test]
    async fn the_next_life_of_a_forgotten_member_that_was_not_known_is_told_of_as_well() {
        let (receiver, first, next) = (receiver(), life("n2", 1), life("n2", 2));
        receiver.announced(&next, &says(Recovery::Recovering, &[]), Occasion::Answer).await;
        assert_eq!(receiver.announcement(&next.origin.node).known, []);
        receiver.store.forget(first.origin.clone()).await.expect("the disk works");
        let known = Known { life: next.origin.clone(), repute: Repute::Contested };
        assert_eq!(receiver.announcement(&next.origin.node).known, [known]);
    }

    /// However often somebody says something else of a member in one breath, it adds up.
    #[tokio::test]
    async fn different_lives_of_one_member_in_one_announcement_show_a_loss() {
        let (receiver, second) = (receiver(), life("n2", 1));
        let lives = [life("n3", 1), life("n3", 2)];
        receiver
            .announced(
                &second,
                &says(Recovery::Complete, &[&lives[0], &lives[1]]),
                Occasion::Answer,
            )
            .await;
        lives.iter().for_each(|life| assert_vouches(&receiver, life, false));
    }

    /// Its disk went back to before deletions that are purged elsewhere: were it brought up to date now, it would claim to
    /// hold everything, and keep what was deleted.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_whose_data_is_outdated_takes_and_answers_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mesh = LocalMesh::start(1, directory.path(), |_| {}).await;
        let mut mesh = mesh.expect("a mesh of one starts");
        let service = mesh.node(0).expect("it runs").service().clone();
        let (store, receiver) = (service.store(), service.writes().receiver.clone());
        store.set_stable(Hlc::from_millis(5)).await.expect("the disk works");
        let wall = wall_millis(store.clock());
        let peer = record(payload(b"1"), wall);
        let (from, held) = (peer.dot.lineage.clone(), store.frontier());
        let said =
            |purged| Announcement { purged: Hlc::from_millis(purged), ..Announcement::default() };
        receiver.announced(&from, &said(5), Occasion::Answer).await;
        assert!(!is_recovering(&receiver), "what is purged is known here");
        receiver.announced(&from, &said(wall + 60_000), Occasion::Answer).await;
        assert!(is_recovering(&receiver), "writes and reads go through another node");
        let us = &from.origin.node;
        assert_eq!(
            receiver.announcement(us).recovery,
            Recovery::Recovering,
            "its acks do not count"
        );

        let claim = Incoming {
            covers: vec![(from.clone(), SeqSet::up_to(3))],
            record: Some(Arc::new(peer)),
            ..Incoming::default()
        };
        let applied = receiver.apply(us, vec![claim]).await;
        assert_eq!(applied.replies, [Reply::Busy { reason: Busy::Recovering }]);
        assert_eq!(receiver.frontier(), held, "nothing is claimed");
        let question = Question::Newest { key: Bytes::from_static(b"key"), with_record: true };
        let answer = receiver.answer(us, question).await;
        assert_eq!(answer, Answer::Unavailable(Unavailable::Recovering));
        mesh.stop_all().await;
    }
}
