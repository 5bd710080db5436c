//! Bringing a peer up by a snapshot: what is put off, what is compared, and what is claimed at the end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::testing::{ManualClock, block_on, epoch};
use quorum_core::{
    Answer, Applied, Busy, CatchUp, CatchUpLane, Digest, Dot, Durability, Epoch, Frontier, Hlc,
    Incarnation, Incoming, Lineage, Link, LinkConfig, LogSource, Origin, PeerId, PeerReply,
    QuerySource, Question, RangeEntry, Record, Refusal, Replay, ReplicaStore, Reply, ReplyTo,
    SeqSet, SnapshotCursor, Unavailable, WriteId,
};

/// Records of the store, and of one page of its snapshot.
const RECORDS: u64 = 100;
const PAGE: u64 = 10;
/// Records that the peer may have put off.
const RETRIES_MAX: usize = 8;

fn peer() -> PeerId {
    PeerId::new("peer").expect("a name")
}

fn lineage(node: &str) -> Lineage {
    let node = PeerId::new(node).expect("a name");
    let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
    Lineage { origin, epoch: Epoch::new(1, 0) }
}

fn key(seq: u64) -> Bytes {
    Bytes::copy_from_slice(&seq.to_be_bytes())
}

/// Every record is about a key of its own.
fn item(seq: u64) -> Incoming {
    let dot = Dot { lineage: lineage("us"), seq };
    let id = WriteId::from_bytes([1; 16]);
    let record = Record::new(id, dot, Hlc::from_millis(seq), Durability::Fsync, key(seq));
    Incoming { record: Some(Arc::new(record)), ..Incoming::default() }
}

fn entry(seq: u64) -> RangeEntry {
    let record = item(seq).record.expect("it has one");
    let (version, digest) = (record.version(), record.digest);
    RangeEntry { key: key(seq), version, digest, is_tombstone: false }
}

/// A store whose log is gone, but for what came behind its records: those must be compared.
struct Trimmed;

impl ReplicaStore for Trimmed {
    async fn apply(&self, _from: &PeerId, batch: Vec<Incoming>) -> Applied {
        Applied { replies: vec![Reply::Stored; batch.len()], synced: true }
    }

    fn frontier(&self) -> Frontier {
        [(lineage("us"), SeqSet::up_to(RECORDS))].into_iter().collect()
    }

    fn lineage(&self) -> Lineage {
        lineage("us")
    }
}

impl LogSource for Trimmed {
    async fn replay(&self, _: &Lineage, wanted: &SeqSet, _bytes_max: usize) -> Replay {
        let wanted = wanted.intervals().flat_map(|(first, last)| first..=last);
        let known: Vec<Incoming> = wanted.filter(|seq| *seq > RECORDS).map(item).collect();
        if known.is_empty() { Replay::Trimmed } else { Replay::Partly(known) }
    }

    async fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        _bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        let number = |after: SnapshotCursor| u64::from_be_bytes(after.try_into().expect("ours"));
        let first = after.map_or(0, number) + 1;
        let last = (first + PAGE - 1).min(RECORDS);
        let next = (first <= RECORDS).then(|| key(last).to_vec());
        ((first..=last).map(item).collect(), next)
    }
}

impl QuerySource for Trimmed {
    async fn answer(&self, _from: &PeerId, _question: Question) -> Answer {
        ours()
    }
}

/// What every range of the store adds up to.
fn ours() -> Answer {
    Answer::RangeDigest { records: PAGE, digest: Digest::of(b"ours"), is_complete: true }
}

#[derive(Debug, Clone)]
struct Nobody;

impl ReplyTo for Nobody {
    fn reply(&self, _reply: PeerReply, _life: u64) {}

    fn is_closed(&self) -> bool {
        true
    }
}

/// How the peer answers an item, and a question.
type Replies = fn(&Incoming) -> Reply;
type Answers = fn(usize, &Question) -> Answer;

/// A peer that answers at once, around the real link.
struct Peer {
    link: Mutex<Link<(), Nobody>>,
    replies: Replies,
    answers: Answers,
    asked: Mutex<usize>,
    untaken: u64,
    sent: Vec<Incoming>,
    /// Records that were put off when the snapshot ended.
    put_off: Mutex<Option<usize>>,
}

fn unsupported(_number: usize, _question: &Question) -> Answer {
    Answer::Unavailable(Unavailable::Unsupported)
}

impl Peer {
    fn new(held: Frontier, replies: Replies, answers: Answers) -> Self {
        let config = LinkConfig {
            live_queue_bytes_max: 1 << 20,
            frame_bytes_max: 1 << 20,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            retries_max: RETRIES_MAX,
        };
        let mut link = Link::new(peer(), config);
        let _rings = link.connected(epoch(), lineage("peer"), held);
        let link = Mutex::new(link);
        let (asked, put_off) = (Mutex::new(0), Mutex::new(None));
        Self { link, replies, answers, asked, untaken: 0, sent: Vec::new(), put_off }
    }

    /// Brings it up to what is held before every round.
    fn rounds(&mut self, held: &[u64]) {
        let (clock, name) = (ManualClock::new(), peer());
        let second = Duration::from_secs(1);
        let mut catch_up = CatchUp::new(&mut *self, &name, &Trimmed, &clock, 1, second);
        for held in held {
            let held = [(lineage("us"), SeqSet::up_to(*held))].into_iter().collect();
            let Ok(_sent_any) = block_on(catch_up.round(&held));
        }
    }

    fn round(&mut self) {
        self.rounds(&[RECORDS]);
    }

    fn owed(&self) -> u64 {
        let mut link = self.link.lock();
        link.owed(&lineage("us").origin, &Trimmed.frontier(), epoch()).0.len()
    }

    /// The records that were sent to it, by number.
    fn records(&self) -> Vec<u64> {
        let records = self.sent.iter().filter_map(|item| item.record.as_ref());
        records.map(|record| record.dot.seq).collect()
    }

    fn claims(&self) -> usize {
        self.sent.iter().filter(|item| item.record.is_none()).count()
    }
}

impl CatchUpLane for &mut Peer {
    type Error = Infallible;

    fn owed(&mut self, us: &Origin, held: &Frontier, now: Instant) -> Frontier {
        self.link.lock().owed(us, held, now).0
    }

    fn has(&self, dot: &Dot) -> bool {
        self.link.lock().has(dot)
    }

    fn holds_anything(&self) -> bool {
        self.link.lock().within_reach().is_some_and(|held| !held.is_empty())
    }

    async fn send(&mut self, items: Vec<Incoming>) -> Result<(), Infallible> {
        for item in items {
            let reply = (self.replies)(&item);
            let mut link = self.link.lock();
            link.under_way(&item);
            self.untaken += u64::from(!link.answered(&item, &reply, true, epoch()).taken);
            drop(link);
            self.sent.push(item);
        }
        Ok(())
    }

    async fn all_answered(&mut self) {}

    fn untaken(&self) -> u64 {
        self.untaken
    }

    async fn ask(&self, question: Question) -> Answer {
        let mut asked = self.asked.lock();
        *asked += 1;
        (self.answers)(*asked, &question)
    }

    async fn may_snapshot(&self) -> bool {
        let mut link = self.link.lock();
        link.ask_for_snapshot();
        let _word = link.next_word();
        link.snapshot_is(true);
        true
    }

    fn snapshot_done(&self) {
        let mut link = self.link.lock();
        *self.put_off.lock() = Some(link.view().deferred);
        link.snapshot_done();
        let _word = link.next_word();
    }
}

/// A member that refills has no room to promise what comes scattered. It has it all the same: were that put off, item by
/// item, it would take memory for every key, and live writes would find no room.
#[test]
fn what_is_kept_until_the_claim_is_neither_put_off_nor_sent_again() {
    let mut peer = Peer::new(
        Frontier::new(),
        |item| match item.record {
            Some(_) => Reply::Busy { reason: Busy::Kept },
            None => Reply::Stored,
        },
        unsupported,
    );
    peer.round();
    assert_eq!(*peer.put_off.lock(), Some(0));
    assert_eq!((peer.records().len() as u64, peer.claims()), (RECORDS, 1), "claimed at once");
    assert_eq!(peer.owed(), 0);
}

/// What a peer does not take of a snapshot is the snapshot's to send again. Nothing of it is claimed, and all is still owed.
#[test]
fn what_is_not_taken_of_a_snapshot_is_owed_and_not_put_off_one_by_one() {
    for reply in [
        |_: &Incoming| Reply::Busy { reason: Busy::Overload },
        |_: &Incoming| Reply::Refused { reason: Refusal::TooOld },
    ] {
        let mut peer = Peer::new(Frontier::new(), reply, unsupported);
        peer.round();
        assert_eq!((*peer.put_off.lock(), peer.claims()), (Some(0), 0));
        assert_eq!(peer.owed(), RECORDS);
        // A live write finds room.
        let (live, dot) = (item(RECORDS + 1), Dot { lineage: lineage("us"), seq: RECORDS + 1 });
        let mut link = peer.link.lock();
        let rings = link.offer(Some(((), 1)), &live, &dot, epoch(), Nobody).expect("it is new");
        assert!(rings.live);
    }
}

/// One page may meet a busy moment. Without asking again, everything behind it would be sent to a peer that has it.
#[test]
fn a_peer_that_does_not_answer_for_one_page_is_asked_for_the_next() {
    let held = [(lineage("third"), SeqSet::up_to(1))].into_iter().collect();
    let mut peer = Peer::new(
        held,
        |_| Reply::Stored,
        |number, _| match number {
            2 => Answer::Unavailable(Unavailable::Overload),
            _ => ours(),
        },
    );
    peer.round();
    let second_page: Vec<u64> = (PAGE + 1..=2 * PAGE).collect();
    assert_eq!((peer.records(), peer.claims()), (second_page, 1));
}

#[test]
fn a_store_that_answers_no_such_question_is_asked_once() {
    let held = [(lineage("third"), SeqSet::up_to(1))].into_iter().collect();
    let mut peer = Peer::new(held, |_| Reply::Stored, unsupported);
    peer.round();
    assert_eq!((*peer.asked.lock(), peer.records().len() as u64), (1, RECORDS));
}

/// A peer may tell of the same records again and again, or of ever more.
#[test]
fn a_peer_that_never_comes_to_an_end_is_not_listened_to_for_ever() {
    let again: Answers = |_, question| match question {
        Question::Range { .. } => Answer::Range { entries: vec![entry(1)], is_complete: false },
        _ => Answer::RangeDigest { records: 0, digest: Digest::of(b"theirs"), is_complete: true },
    };
    let ever_more: Answers = |number, question| match question {
        Question::Range { .. } => {
            let next = RangeEntry { key: key(number as u64), ..entry(RECORDS + 1) };
            Answer::Range { entries: vec![entry(1), next], is_complete: false }
        }
        _ => Answer::RangeDigest { records: 0, digest: Digest::of(b"theirs"), is_complete: true },
    };
    for answers in [again, ever_more] {
        let held = [(lineage("third"), SeqSet::up_to(1))].into_iter().collect();
        let mut peer = Peer::new(held, |_| Reply::Stored, answers);
        peer.round();
        let all_but_the_first: Vec<u64> = (2..=RECORDS).collect();
        assert_eq!((peer.records(), peer.claims()), (all_but_the_first, 1));
    }
}

/// It lies where the log is trimmed, so a snapshot is tried in vain. Everything behind it would wait for the next attempt.
#[test]
fn a_record_that_is_refused_for_good_does_not_hold_up_what_the_log_still_knows() {
    let refusing = |item: &Incoming| match &item.record {
        Some(record) if record.dot.seq == 1 => Reply::Refused { reason: Refusal::TooOld },
        _ => Reply::Stored,
    };
    let mut peer = Peer::new(Frontier::new(), refusing, unsupported);
    peer.rounds(&[RECORDS, RECORDS + 5]);
    assert_eq!(peer.records(), (1..=RECORDS + 5).collect::<Vec<_>>());
    assert_eq!(peer.claims(), 0);
}

/// Outside a snapshot nothing will claim it, so it is put off like any other.
#[test]
fn what_is_kept_outside_a_snapshot_is_sent_again() {
    let peer = Peer::new(Frontier::new(), |_| Reply::Stored, unsupported);
    let mut link = peer.link.lock();
    let kept = Reply::Busy { reason: Busy::Kept };
    let item = |seq| Incoming { durable: true, ..item(seq) };
    assert!(!link.answered(&item(1), &kept, true, epoch()).taken);
    assert_eq!(link.view().deferred, 1);
}

/// A peer that has as many gaps as it may takes what comes in order, and nothing else. However much it does not take, what comes
/// in order must reach it: not be sent again and again, nor wait behind what is.
#[test]
fn a_peer_without_room_for_gaps_is_brought_up_in_order() {
    let full = Reply::Busy { reason: Busy::Gaps };
    let kept = Reply::Busy { reason: Busy::Kept };
    let peer = Peer::new(Frontier::new(), |_| Reply::Stored, unsupported);
    let mut link = peer.link.lock();
    let us = lineage("us");
    let held = |last| Frontier::from_iter([(us.clone(), SeqSet::up_to(last))]);
    // Live writes far ahead: as many as ever.
    for seq in 5_001..=8_000 {
        let _ = link.answered(&item(seq), &full, true, epoch());
    }
    assert_eq!(link.view().deferred, 0);
    let (owed, _) = link.owed(&us.origin, &held(8_000), epoch());
    assert_eq!(owed, held(8_000), "from the log, in order");
    // Records that stand for dots which come in order, and whose own do not.
    for seq in 1..=2_500 {
        let covers = vec![(us.clone(), SeqSet::from(vec![(seq, seq)]))];
        let item = Incoming { covers, durable: true, ..item(5_000 + seq) };
        link.under_way(&item);
        let _ = link.answered(&item, &kept, true, epoch());
    }
    assert_eq!(link.view().deferred, 0);
    let (owed, _) = link.owed(&us.origin, &held(8_000), epoch());
    assert_eq!(owed, held(8_000).minus(&held(2_500)));
    // What has no place in order is put off, up to the bound; what comes in order still goes.
    let _ = link.reported(Some(&held(2_500)));
    for seq in 3_000..=5_000 {
        let _ = link.answered(&Incoming { durable: true, ..item(seq) }, &kept, true, epoch());
    }
    let (owed, _) = link.owed(&us.origin, &held(8_000), epoch());
    assert_eq!(owed, held(2_999).minus(&held(2_500)));
}
