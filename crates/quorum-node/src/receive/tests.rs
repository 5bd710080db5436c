//! What a member announces, whom it knows, and what it takes from whom.

use super::*;
use bytes::Bytes;
use quorum_core::{
    ClusterId, Dot, Durability, Epoch, Incarnation, Known, Repute, Stability, WriteId,
};

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
    let seams = StoreSeams::trusting();
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
async fn whoever_has_lost_its_disk_vouches_for_nobody_before_it_has_taken_over_whom_others_know() {
    let (receiver, first, second) = (receiver(), life("n2", 1), life("n2", 2));
    let (us, third) = (life("n1", 9), life("n3", 1));
    receiver.announced(&second, &says(Recovery::New, &[]), Occasion::Answer).await;
    assert_vouches(&receiver, &second, true);
    // A further member knows both of them in former lives.
    receiver.announced(&third, &says(Recovery::Complete, &[&us, &first]), Occasion::Answer).await;
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
    receiver.announced(&second, &says(Recovery::New, &[&third, &stranger]), Occasion::Answer).await;
    assert_vouches(&receiver, &third, true);
    assert_vouches(&receiver, &stranger, false);
    receiver.store.set_recovery(Recovery::Recovering).await.expect("the disk works");
    receiver.announced(&second, &says(Recovery::New, &[&life("n3", 2)]), Occasion::Answer).await;
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
        .announced(&second, &says(Recovery::Complete, &[&lives[0], &lives[1]]), Occasion::Answer)
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
    assert_eq!(receiver.announcement(us).recovery, Recovery::Recovering, "its acks do not count");

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
