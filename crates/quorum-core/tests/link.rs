//! What a link remembers of its peer is bounded, whatever the peer says, and so is what it keeps for it; and a writer hears of
//! its write only what the peer says of that very write.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorum_core::testing::epoch;
use quorum_core::{
    Announcement, Busy, Dot, Durability, Epoch, FrameSize, Frontier, Hlc, Incarnation, Incoming,
    Lineage, Link, LinkConfig, Origin, PeerId, PeerReply, Record, Recovery, Reply, ReplyTo, Rings,
    SeqSet, Version, WriteId,
};

const FRAME_BYTES_MAX: usize = 2_000;

const NOTHING: Rings =
    Rings { live: false, large: false, catch_up: false, news: false, connection: false };
const NEWS: Rings = Rings { news: true, ..NOTHING };
const TOO_MUCH: Rings = Rings { connection: true, ..NOTHING };

#[derive(Debug, Clone)]
struct Nobody;

impl ReplyTo for Nobody {
    fn reply(&self, _reply: PeerReply, _life: u64) {}

    fn is_closed(&self) -> bool {
        true
    }
}

fn link<R: ReplyTo>(live_queue_bytes_max: usize) -> Link<(), R> {
    let config = LinkConfig {
        live_queue_bytes_max,
        frame_bytes_max: FRAME_BYTES_MAX,
        retry_min: Duration::from_millis(1),
        retry_max: Duration::from_secs(1),
        retries_max: 10,
    };
    Link::new(PeerId::new("peer").expect("a name"), config)
}

fn lineage(node: &str) -> Lineage {
    let node = PeerId::new(node).expect("a name");
    let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
    Lineage { origin, epoch: Epoch::new(1, 0) }
}

/// One number of a lineage, with a gap before and after it.
fn every_other(at: u64) -> Frontier {
    let mut one = Frontier::new();
    one.insert_range(&lineage("third"), 2 * at, 2 * at);
    one
}

#[test]
fn a_peer_that_announces_ever_more_gaps_is_hung_up_on() {
    let mut link = link::<Nobody>(1 << 20);
    let now = epoch();
    let _ = link.connected(now, lineage("peer"), Frontier::new());
    // Twelve bytes for the lineage, two for each interval.
    let bound = (FRAME_BYTES_MAX as u64 - 12) / 2;
    for at in 1..=bound {
        assert_eq!(link.reported(Some(&every_other(at))), NEWS, "{at} intervals fit into a frame");
    }
    assert!(!link.is_stale());
    assert_eq!(link.reported(Some(&every_other(bound + 1))), TOO_MUCH);
    assert!(link.is_stale());
    // It says nothing more on this connection, and begins anew on the next.
    assert_eq!(link.reported(Some(&every_other(bound + 2))), NOTHING);
    let _ = link.connected(now, lineage("peer"), every_other(1));
    assert!(!link.is_stale());
    assert_eq!(link.reported(Some(&every_other(2))), NEWS);
}

#[test]
fn numbers_without_gaps_take_no_room() {
    let mut link = link::<Nobody>(1 << 20);
    let _ = link.connected(epoch(), lineage("peer"), Frontier::new());
    for seq in 1..=FRAME_BYTES_MAX as u64 {
        let mut one = Frontier::new();
        one.insert_range(&lineage("third"), seq, seq);
        assert_eq!(link.reported(Some(&one)), NEWS);
    }
    assert!(!link.is_stale());
}

#[test]
fn lineages_of_which_nothing_is_held_take_room_too() {
    let mut link = link::<Nobody>(1 << 20);
    let _ = link.connected(epoch(), lineage("peer"), Frontier::new());
    let lineages = FRAME_BYTES_MAX / 12;
    let mut named = (0..=lineages).map(|number| {
        let nothing = (lineage(&format!("third-{number}")), SeqSet::new());
        link.reported(Some(&std::iter::once(nothing).collect()))
    });
    assert_eq!(named.by_ref().take_while(|said| *said == NEWS).count(), lineages);
    assert!(link.is_stale());
}

/// Writes down what it hears.
#[derive(Debug, Clone, Default)]
struct Writer {
    heard: Arc<Mutex<Vec<Reply>>>,
    is_gone: Arc<AtomicBool>,
}

impl Writer {
    fn heard(&self) -> Vec<Reply> {
        self.heard.lock().expect("no test panics with it").clone()
    }

    fn goes(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }
}

impl ReplyTo for Writer {
    fn reply(&self, reply: PeerReply, _life: u64) {
        self.heard.lock().expect("no test panics with it").push(reply.reply);
    }

    fn is_closed(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }
}

fn written(seq: u64) -> Incoming {
    let dot = Dot { lineage: lineage("us"), seq };
    let (id, payload) = (WriteId::from_bytes([7; 16]), Bytes::from_static(b"payload"));
    let record = Record::new(id, dot, Hlc::from_millis(seq), Durability::Fsync, payload);
    Incoming { record: Some(Arc::new(record)), ..Incoming::default() }
}

/// The same, as a writer words it who wants no sync.
fn relaxed(item: &Incoming) -> Incoming {
    let record = (**item.record.as_ref().expect("it has a record")).clone();
    let record = Record { durability: Durability::Relaxed, ..record };
    Incoming { record: Some(Arc::new(record)), ..item.clone() }
}

fn dot_of(item: &Incoming) -> Dot {
    item.record.as_ref().expect("it has a record").dot.clone()
}

/// The link to a peer that is up and complete.
fn link_up(live_queue_bytes_max: usize, held: Frontier) -> Link<(), Writer> {
    let mut link = link(live_queue_bytes_max);
    let _ = link.connected(epoch(), lineage("peer"), held);
    let _ =
        link.announced(Announcement { recovery: Recovery::Complete, ..Announcement::default() });
    link
}

/// One, and a write whose writer waits for the peer's word.
fn with_a_writer() -> (Link<(), Writer>, Incoming, Writer) {
    let mut link = link_up(1 << 20, Frontier::new());
    let (write, writer) = (written(1), Writer::default());
    let _ = link.offer(Some(((), 100)), &write, &dot_of(&write), epoch(), writer.clone());
    (link, write, writer)
}

fn taken_live(link: &mut Link<(), Writer>) -> Vec<Dot> {
    let taken = link.take_live(FrameSize::Small, usize::MAX);
    taken.iter().map(|queued| dot_of(&queued.item)).collect()
}

/// The peer would not know the write by its id: a retry there, once we are gone, would execute it again.
#[test]
fn a_later_record_of_the_key_is_no_word_on_the_write_itself() {
    for synced in [true, false] {
        let (mut link, write, writer) = with_a_writer();
        // The connection breaks before it is answered, and the log brings the record that has overwritten it.
        assert_eq!(taken_live(&mut link), [dot_of(&write)]);
        let mut later = written(2);
        later.covers = vec![(lineage("us"), SeqSet::up_to(1))];
        link.under_way(&later);
        let answered = link.answered(&later, &Reply::Stored, synced, epoch());
        assert!(answered.taken && answered.rings.live, "{answered:?}");
        assert!(writer.heard().is_empty(), "{:?}", writer.heard());
        assert_eq!(taken_live(&mut link), [dot_of(&write)], "it is sent itself");
        let _ = link.answered(&write, &Reply::Stored, true, epoch());
        assert_eq!(writer.heard(), [Reply::Stored]);
    }
}

/// What the peer has, by way of another member or from long ago, may be below where the log is trimmed, and would look as if
/// everything had to be compared.
#[test]
fn a_write_that_the_peer_has_already_is_sent_again_without_the_log() {
    let mut held = Frontier::new();
    held.insert_range(&lineage("us"), 1, 2);
    let mut link = link_up(150, held.clone());
    // A write that nobody waits for fills the queue.
    let (first, gone) = (written(2), Writer::default());
    gone.goes();
    let _ = link.offer(Some(((), 100)), &first, &dot_of(&first), epoch(), gone);
    let (old, writer) = (written(1), Writer::default());
    let _ = link.offer(Some(((), 100)), &old, &dot_of(&old), epoch(), writer.clone());
    let (owed, rings) = link.owed(&lineage("us").origin, &held, epoch());
    assert!(owed.is_empty() && rings.live, "{owed:?} {rings:?}");
    let _ = link.reported(Some(&held));
    assert_eq!(taken_live(&mut link), [dot_of(&first), dot_of(&old)], "once each");
    let _ = link.answered(&old, &Reply::Stored, true, epoch());
    assert_eq!(writer.heard(), [Reply::Stored]);
}

/// A peer that answers probes and no record, for hours: its disk may hang. Writers come, find no room in the queue, are sent
/// again, and give up.
#[test]
fn writes_that_come_and_go_leave_nothing_behind_for_a_peer_that_does_not_answer() {
    const QUEUE: usize = 1_000;
    const BYTES: usize = 100;
    const AT_ONCE: usize = 20;
    let mut link = link_up(QUEUE, Frontier::new());
    let (us, mut held, mut waiting) = (lineage("us").origin, Frontier::new(), VecDeque::new());
    for seq in 1..=10_000 {
        let (write, writer) = (written(seq), Writer::default());
        let _ = link.offer(Some(((), BYTES)), &write, &dot_of(&write), epoch(), writer.clone());
        held.insert(&dot_of(&write));
        waiting.push_back(writer);
        if waiting.len() > AT_ONCE {
            waiting.pop_front().expect("there are some").goes();
        }
        let _ = link.owed(&us, &held, epoch());
        let view = link.view();
        assert!(view.queued_bytes - view.queued_again_bytes <= QUEUE, "{view:?}");
        assert!(view.queued_again_bytes <= view.waiting_bytes, "{view:?}");
        assert!(view.waiting_bytes <= 2 * (AT_ONCE + 1) * BYTES, "{view:?}");
    }
    waiting.iter().for_each(Writer::goes);
    let _ = link.reported(None);
    let view = link.view();
    assert_eq!((view.waiting, view.queued_bytes), (0, QUEUE), "what is new waits for its turn");
    assert_eq!(taken_live(&mut link).len(), QUEUE / BYTES);
    assert_eq!(link.view().queued_bytes, 0);
    // The log sends the rest, and nothing is thought to be on its way that is not.
    let (owed, _) = link.owed(&us, &held, epoch());
    assert_eq!(owed.len(), 10_000 - (QUEUE / BYTES) as u64);
}

/// Nothing needs to look at the link for that.
#[test]
fn what_is_sent_again_is_among_what_writers_wait_for() {
    const BYTES: usize = 100;
    let mut link = link_up(0, Frontier::new());
    for seq in 1..=10_000 {
        let (write, writer) = (written(seq), Writer::default());
        let _ = link.offer(Some(((), BYTES)), &write, &dot_of(&write), epoch(), writer.clone());
        // The peer takes a later record of the key.
        let mut later = written(20_000);
        later.covers = vec![(lineage("us"), vec![(seq, seq)].into())];
        assert!(link.answered(&later, &Reply::Stored, true, epoch()).rings.live);
        writer.goes();
        assert_eq!(link.view().queued_bytes, BYTES, "those of former writers are gone");
    }
}

/// Neither those that are new wait until all that goes again is sent, nor the other way around.
#[test]
fn what_is_new_and_what_goes_again_take_turns() {
    let mut link = link_up(1 << 20, Frontier::new());
    let offer = |link: &mut Link<(), Writer>, seq| {
        let write = written(seq);
        let _ = link.offer(Some(((), 100)), &write, &dot_of(&write), epoch(), Writer::default());
    };
    (1..=3).for_each(|seq| offer(&mut link, seq));
    link.disconnected();
    let _ = link.connected(epoch(), lineage("peer"), Frontier::new());
    (4..=6).for_each(|seq| offer(&mut link, seq));
    // Also where one frame is as much as is taken at once.
    let one = |link: &mut Link<(), Writer>| link.take_live(FrameSize::Small, 1).pop();
    let taken = std::iter::from_fn(|| one(&mut link));
    let seqs: Vec<u64> = taken.map(|queued| dot_of(&queued.item).seq).collect();
    assert_eq!(seqs, [4, 1, 5, 2, 6, 3]);
}

/// It would store the same again and again, and whoever answers before it has synced would never be asked once it counts.
#[test]
fn what_a_peer_answers_before_its_word_counts_is_sent_once_more_when_it_does() {
    let says = |recovery| Announcement { recovery, ..Announcement::default() };
    for synced in [true, false] {
        let (mut link, write, writer) = with_a_writer();
        let dot = dot_of(&write);
        let mut held = Frontier::new();
        held.insert(&dot);
        let look = |link: &mut Link<(), Writer>| {
            let (owed, rings) = link.owed(&lineage("us").origin, &held, epoch());
            assert!(owed.is_empty() && rings == NOTHING, "{owed:?} {rings:?}");
            assert_eq!(link.reported(None), NOTHING);
            taken_live(link)
        };
        assert_eq!(link.announced(says(Recovery::Recovering)), NOTHING);
        assert_eq!(taken_live(&mut link), std::slice::from_ref(&dot));
        let _ = link.answered(&write, &Reply::Stored, synced, epoch());
        let busy = Reply::Busy { reason: Busy::Recovering };
        assert_eq!(writer.heard(), std::slice::from_ref(&busy));
        for _ in 0..3 {
            assert_eq!(look(&mut link), [], "synced: {synced}");
        }
        assert_eq!(link.reported(Some(&held)), NEWS);
        assert!(link.is_drained(), "its frontier tells what it holds");
        assert_eq!(look(&mut link), []);
        assert_eq!(link.announced(says(Recovery::Recovering)), NOTHING);
        assert!(link.announced(says(Recovery::Complete)).live);
        assert_eq!(look(&mut link), [dot], "synced: {synced}");
        assert_eq!(link.announced(says(Recovery::Complete)), NOTHING);
        assert_eq!(look(&mut link), [], "once");
        let _ = link.answered(&write, &Reply::Stored, synced, epoch());
        assert_eq!(writer.heard(), [busy, Reply::Stored]);
    }
}

/// It may have begun another life.
#[test]
fn what_a_peer_answered_before_its_word_counts_is_sent_again_on_the_next_connection() {
    let (mut link, write, _writer) = with_a_writer();
    let recovering = Announcement { recovery: Recovery::Recovering, ..Announcement::default() };
    let _ = link.announced(recovering);
    assert_eq!(taken_live(&mut link), [dot_of(&write)]);
    let _ = link.answered(&write, &Reply::Stored, true, epoch());
    link.disconnected();
    assert!(link.connected(epoch(), lineage("peer"), Frontier::new()).live);
    assert_eq!(taken_live(&mut link), [dot_of(&write)]);
}

/// A read brings a relaxed write to more members while its writer still waits: what the reader shows no later read may miss.
#[test]
fn whoever_wants_a_write_synced_hears_of_a_synced_copy_only() {
    let version = Version { hlc: Hlc::from_millis(9), origin: lineage("us").origin };
    for early in [Reply::Stored, Reply::Superseded { version, is_same_write: false }, Reply::Drift]
    {
        let mut link = link_up(1 << 20, Frontier::new());
        let (synced, writer, reader) = (written(1), Writer::default(), Writer::default());
        let (dot, lax) = (dot_of(&synced), relaxed(&synced));
        let _ = link.offer(Some(((), 100)), &lax, &dot, epoch(), writer.clone());
        assert_eq!(taken_live(&mut link), std::slice::from_ref(&dot));
        assert_eq!(link.offer(Some(((), 100)), &synced, &dot, epoch(), reader.clone()), None);
        assert!(link.answered(&lax, &early, false, epoch()).rings.live);
        assert_eq!((writer.heard(), reader.heard()), (vec![early.clone()], vec![]));
        let again = link.take_live(FrameSize::Small, usize::MAX);
        assert_eq!(again.iter().map(|queued| &queued.item).collect::<Vec<_>>(), [&synced]);
        let _ = link.answered(&synced, &Reply::Stored, true, epoch());
        assert_eq!((writer.heard(), reader.heard()), (vec![early], vec![Reply::Stored]));
        assert_eq!(link.view().waiting, 0);
    }
}

#[test]
fn a_synced_copy_is_enough_for_all() {
    let (mut link, write, writer) = with_a_writer();
    let (dot, second) = (dot_of(&write), Writer::default());
    assert_eq!(taken_live(&mut link), std::slice::from_ref(&dot));
    let joined = link.offer(Some(((), 100)), &relaxed(&write), &dot, epoch(), second.clone());
    assert_eq!(joined, None);
    assert_eq!(link.answered(&write, &Reply::Stored, true, epoch()).rings, NOTHING);
    assert_eq!((writer.heard(), second.heard()), (vec![Reply::Stored], vec![Reply::Stored]));
    assert_eq!(taken_live(&mut link), []);
}

#[test]
fn what_goes_again_on_the_next_connection_is_to_be_synced_if_somebody_wants_that() {
    let mut link = link_up(1 << 20, Frontier::new());
    let (write, dot) = (written(1), dot_of(&written(1)));
    let _ = link.offer(Some(((), 100)), &relaxed(&write), &dot, epoch(), Writer::default());
    let _ = link.offer(Some(((), 100)), &write, &dot, epoch(), Writer::default());
    let _ = link.offer(Some(((), 100)), &relaxed(&write), &dot, epoch(), Writer::default());
    link.disconnected();
    let _ = link.connected(epoch(), lineage("peer"), Frontier::new());
    let again = link.take_live(FrameSize::Small, usize::MAX);
    assert_eq!(again.iter().map(|queued| &queued.item).collect::<Vec<_>>(), [&write]);
}

/// The first writer has its answer, so nothing else would bring one.
#[test]
fn what_was_answered_before_it_was_synced_is_sent_again_though_the_queue_is_full() {
    let mut link = link_up(100, Frontier::new());
    let (write, reader) = (written(1), Writer::default());
    let (dot, lax) = (dot_of(&write), relaxed(&write));
    let _ = link.offer(Some(((), 100)), &lax, &dot, epoch(), Writer::default());
    assert_eq!(taken_live(&mut link), std::slice::from_ref(&dot));
    let _ = link.answered(&lax, &Reply::Stored, false, epoch());
    let other = written(2);
    let _ = link.offer(Some(((), 100)), &other, &dot_of(&other), epoch(), Writer::default());
    let rings = link.offer(Some(((), 100)), &write, &dot, epoch(), reader.clone());
    assert!(rings.is_some_and(|rings| rings.live), "{rings:?}");
    assert_eq!(taken_live(&mut link), [dot_of(&other), dot]);
    let _ = link.answered(&write, &Reply::Stored, true, epoch());
    assert_eq!(reader.heard(), [Reply::Stored]);
}

/// Either would take the place of the other, and be sent again and again without a pause.
#[test]
fn two_items_with_one_record_are_put_off_side_by_side() {
    let mut link = link_up(1 << 20, Frontier::new());
    let mut held = Frontier::new();
    held.insert_range(&lineage("us"), 1, 3);
    let covering =
        |seq| Incoming { covers: vec![(lineage("us"), vec![(seq, seq)].into())], ..written(3) };
    let busy = Reply::Busy { reason: Busy::Overload };
    for item in [covering(1), covering(2)] {
        link.under_way(&item);
        let _ = link.answered(&item, &busy, true, epoch());
    }
    let owed = |link: &mut Link<(), Writer>, at| link.owed(&lineage("us").origin, &held, at).0;
    assert_eq!(owed(&mut link, epoch()), Frontier::new());
    assert_eq!(owed(&mut link, epoch() + Duration::from_secs(1)), held);
}
