//! Claims about the writer, under a manual clock, with scripted peers and a store whose disk obeys.

use super::*;
use crate::error::{Busy, Refusal};
use crate::id::Incarnation;
use crate::receipt::Standing;
use crate::testing::{
    Appends, Executor, KeyValue, ManualClock, MemoryStore, MemoryStoreError, Script, ScriptedPeers,
    epoch,
};
use crate::version::{Origin, Version};
use crate::{Hlc, ReplicaStore};
use parking_lot::Mutex;

type TestWriter = QuorumWriter<MemoryStore, ScriptedPeers, ManualClock>;
type Outcome = Result<Receipt, WriteError<MemoryStoreError>>;

const TIMEOUT: Duration = Duration::from_millis(2_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn peer(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}

/// Writes down everything it is told about writes.
#[derive(Default)]
struct Notes {
    ended: Mutex<Vec<CommitResult>>,
    missed: Mutex<Vec<QuorumFailureReason>>,
}

impl Observer for Notes {
    fn write_ended(&self, result: CommitResult, _elapsed: Duration) {
        self.ended.lock().push(result);
    }

    fn quorum_missed(&self, reason: QuorumFailureReason) {
        self.missed.lock().push(reason);
    }
}

/// A mesh seen from its member n1: the others are n2, n3 and so on, one list of scripts for each.
struct Mesh {
    clock: ManualClock,
    store: MemoryStore,
    network: ScriptedPeers,
    notes: Arc<Notes>,
    writer: TestWriter,
}

impl Mesh {
    fn new<const PEERS: usize>(w: usize, scripts: [Vec<Script>; PEERS]) -> Self {
        let clock = ManualClock::new();
        let store = MemoryStore::new(peer("n1"), Incarnation::from_bytes([1; 8]), clock.clone());
        let peers: Vec<PeerId> = (2..PEERS + 2).map(|at| peer(&format!("n{at}"))).collect();
        let network = peers
            .iter()
            .zip(scripts)
            .fold(ScriptedPeers::new(clock.clone()), |network, (peer, scripts)| {
                network.with(peer, scripts)
            });
        let policy = QuorumPolicy::majority(PEERS + 1)
            .and_then(|policy| policy.with_w(w))
            .expect("a sound rule");
        let notes = Arc::new(Notes::default());
        let observer: Arc<dyn Observer> = Arc::<Notes>::clone(&notes);
        let parts = (store.clone(), network.clone(), clock.clone());
        let writer =
            QuorumWriter::new(policy, peer("n1"), peers, parts.0, parts.1, parts.2, observer)
                .expect("a sound member list");
        Self { clock, store, network, notes, writer }
    }

    /// Writes, letting time pass as needed.
    fn commit(&self, options: CommitOptions) -> Outcome {
        let op = KeyValue::new("key", "value");
        Executor::new(self.clock.clone()).block_on(self.writer.commit(op, options))
    }

    fn write(&self) -> Outcome {
        self.commit(CommitOptions::default())
    }

    fn elapsed(&self) -> Duration {
        self.clock.now() - epoch()
    }
}

fn indeterminate(outcome: Outcome) -> (Receipt, QuorumError) {
    match outcome.expect_err("no quorum") {
        WriteError::Indeterminate { receipt, cause } => (*receipt, cause),
        WriteError::NotApplied(cause) => panic!("not applied: {cause}"),
    }
}

fn missed(got: usize, needed: usize, reason: QuorumFailureReason) -> QuorumError {
    QuorumError::QuorumNotMet { got, needed, reason }
}

fn labels(receipt: &Receipt) -> Vec<String> {
    let label =
        |member: &crate::MemberStanding| format!("{} {}", member.node, member.standing.label());
    receipt.members.iter().map(label).collect()
}

/// A version by another member, newer than anything written at the start of a test.
fn newer(by_millis: u64) -> Version {
    let origin = Origin { node: peer("n9"), incarnation: Incarnation::from_bytes([9; 8]) };
    Version { hlc: Hlc::from_millis(1_700_000_000_000 + by_millis), origin }
}

#[test]
fn the_fan_out_begins_before_the_local_copy_is_durable() {
    let mesh = Mesh::new(2, [vec![Script::stored(ms(10))], vec![Script::stored(ms(20))]]);
    mesh.store.set_appends(Appends::Held);
    let mut executor = Executor::new(mesh.clock.clone());
    let commit =
        executor.spawn(mesh.writer.commit(KeyValue::new("k", "v"), CommitOptions::default()));
    executor.run_until_idle();
    assert_eq!(mesh.network.sent().len(), 1, "sent although the disk holds the append");
    assert!(mesh.store.frontier().is_empty());

    // Both peers have acked; a quorum without the coordinator's own copy is none.
    executor.advance(ms(50));
    assert!(commit.take().is_none());

    mesh.store.release();
    executor.run_until_idle();
    let receipt = commit.take().expect("ended").expect("committed");
    // The disk and the peers worked side by side: 50 ms, not 50 and 20.
    assert_eq!((receipt.elapsed, receipt.got, receipt.needed), (ms(50), 3, 2));
    assert_eq!(
        receipt.acked().map(|(node, after)| (node.to_string(), after)).collect::<Vec<_>>(),
        [("n1".into(), ms(50)), ("n2".into(), ms(10)), ("n3".into(), ms(20))]
    );
}

#[test]
fn a_met_quorum_is_told_at_once() {
    let mesh = Mesh::new(2, [vec![Script::stored(ms(10))], vec![Script::stored(ms(500))]]);
    let receipt = mesh.write().expect("committed");
    assert_eq!((mesh.elapsed(), receipt.got), (ms(10), 2));
    assert_eq!(labels(&receipt), ["n1 acked", "n2 acked", "n3 silent"]);
    assert_eq!(*mesh.notes.ended.lock(), [CommitResult::Committed]);
    assert!(mesh.notes.missed.lock().is_empty());
}

#[test]
fn an_impossible_quorum_is_told_at_once() {
    let refused = Script::refused(ms(10), Refusal::TooLarge);
    let mesh = Mesh::new(2, [vec![refused], vec![Script::drift(ms(20))]]);
    let (receipt, cause) = indeterminate(mesh.write());
    assert_eq!(cause, missed(1, 2, QuorumFailureReason::Refused));
    assert_eq!(mesh.elapsed(), ms(20));
    assert_eq!(labels(&receipt), ["n1 acked", "n2 refused:too_large", "n3 drifted"]);
    assert_eq!(*mesh.notes.ended.lock(), [CommitResult::Indeterminate]);
    assert_eq!(*mesh.notes.missed.lock(), [QuorumFailureReason::Refused]);
}

#[test]
fn silence_is_told_at_the_deadline_and_an_ack_exactly_then_counts() {
    let mesh = Mesh::new(2, [vec![Script::unreachable()], vec![Script::mute(ms(1))]]);
    let (receipt, cause) = indeterminate(mesh.write());
    assert_eq!(cause, missed(1, 2, QuorumFailureReason::Unreachable));
    assert_eq!((mesh.elapsed(), receipt.elapsed), (TIMEOUT, TIMEOUT));
    assert_eq!(labels(&receipt), ["n1 acked", "n2 silent", "n3 silent"]);

    let mesh = Mesh::new(2, [vec![Script::stored(TIMEOUT)], vec![Script::unreachable()]]);
    assert_eq!(mesh.write().expect("committed at the last moment").got, 2);

    let late = Script::stored(TIMEOUT + ms(1));
    let mesh = Mesh::new(2, [vec![late], vec![Script::busy(ms(5), Busy::Disk)]]);
    let (receipt, cause) = indeterminate(mesh.write());
    assert_eq!(cause, missed(1, 2, QuorumFailureReason::Timeout));
    assert_eq!(labels(&receipt), ["n1 acked", "n2 silent", "n3 busy:disk"]);
}

#[test]
fn busy_is_not_final_and_a_later_ack_saves_the_write() {
    let busy = Script::busy(ms(5), Busy::Overload).then(ms(900), crate::Reply::Stored);
    let mesh = Mesh::new(3, [vec![busy], vec![Script::stored(ms(1))]]);
    assert_eq!(mesh.write().expect("committed").got, 3);
    assert_eq!(mesh.elapsed(), ms(900));
}

/// The task was held up until long after the deadline; what arrived in time was in the queue all the while.
#[test]
fn an_ack_that_arrived_in_time_counts_however_late_it_is_looked_at() {
    let mesh = Mesh::new(3, [vec![Script::stored(ms(10))], vec![Script::stored(ms(20))]]);
    let mut executor = Executor::new(mesh.clock.clone());
    let commit =
        executor.spawn(mesh.writer.commit(KeyValue::new("k", "v"), CommitOptions::default()));
    executor.run_until_idle();
    mesh.clock.advance(TIMEOUT * 3);
    executor.run_until_idle();
    assert_eq!(commit.take().expect("ended").expect("committed").got, 3);
}

#[test]
fn a_store_that_commits_before_it_answers_needs_no_time_at_all() {
    let mesh = Mesh::new(1, [vec![Script::unreachable()], vec![Script::unreachable()]]);
    let options = CommitOptions { timeout: Some(Duration::ZERO), ..CommitOptions::default() };
    assert_eq!(mesh.commit(options).expect("the local copy is there").got, 1);
}

#[test]
fn only_the_local_copy_missing_is_pending_not_failed() {
    let mesh = Mesh::new(2, [vec![Script::stored(ms(1))], vec![Script::stored(ms(1))]]);
    mesh.store.set_appends(Appends::Held);
    let (receipt, cause) = indeterminate(mesh.write());
    assert_eq!(cause, missed(2, 2, QuorumFailureReason::LocalPending));
    assert_eq!(labels(&receipt), ["n1 silent", "n2 acked", "n3 acked"]);
}

#[test]
fn a_failed_local_append_is_indeterminate_because_peers_may_hold_the_record() {
    let mesh = Mesh::new(2, [vec![Script::stored(ms(1))], vec![Script::stored(ms(2))]]);
    mesh.store.set_appends(Appends::Failing);
    let (receipt, cause) = indeterminate(mesh.write());
    assert_eq!(cause, QuorumError::LocalWriteFailed { detail: "the disk failed".into() });
    assert_eq!(mesh.elapsed(), ms(0));
    assert_eq!(labels(&receipt), ["n1 failed", "n2 silent", "n3 silent"]);
    assert_eq!(*mesh.notes.missed.lock(), [QuorumFailureReason::LocalFailed]);
    mesh.clock.advance(ms(2));
    assert_eq!(mesh.network.delivered().len(), 2);
}

#[test]
fn a_w_outside_the_members_leaves_nothing_staged_and_nothing_sent() {
    let mesh = Mesh::new(2, [vec![Script::stored(ms(1))], vec![Script::stored(ms(1))]]);
    for w in [0, 4] {
        let options = CommitOptions { w: Some(w), ..CommitOptions::default() };
        let refused = mesh.commit(options);
        assert!(
            matches!(
                refused,
                Err(WriteError::NotApplied(NotApplied::Policy(QuorumError::InvalidPolicy { .. })))
            ),
            "w = {w}: {refused:?}"
        );
    }
    assert!(mesh.network.sent().is_empty() && mesh.store.frontier().is_empty());
    assert_eq!(*mesh.notes.ended.lock(), [CommitResult::NotApplied; 2]);
    assert!(mesh.notes.missed.lock().is_empty());
}

#[test]
fn a_write_may_ask_for_another_w_and_another_deadline() {
    let mesh = Mesh::new(2, [vec![Script::stored(ms(10))], vec![Script::unreachable()]]);
    let options = CommitOptions { w: Some(3), timeout: Some(ms(300)), ..CommitOptions::default() };
    let (receipt, cause) = indeterminate(mesh.commit(options));
    assert_eq!(cause, missed(2, 3, QuorumFailureReason::Timeout));
    assert_eq!(receipt.elapsed, ms(300));
}

#[test]
fn a_store_that_refuses_leaves_nothing_sent() {
    let mesh = Mesh::new(2, [vec![Script::stored(ms(1))], vec![Script::stored(ms(1))]]);
    mesh.store.set_read_only(true);
    let refused = mesh.write();
    let expected = MemoryStoreError::ReadOnly;
    assert!(
        matches!(&refused, Err(WriteError::NotApplied(NotApplied::Store(error))) if *error == expected),
        "{refused:?}"
    );
    assert!(mesh.network.sent().is_empty());
    assert_eq!(*mesh.notes.ended.lock(), [CommitResult::NotApplied]);
}

#[test]
fn a_caller_who_hangs_up_does_not_take_the_record_back() {
    let mesh = Mesh::new(3, [vec![Script::stored(ms(10))], vec![Script::stored(ms(800))]]);
    mesh.store.set_appends(Appends::Held);
    let mut executor = Executor::new(mesh.clock.clone());
    let commit =
        executor.spawn(mesh.writer.commit(KeyValue::new("k", "v"), CommitOptions::default()));
    executor.advance(ms(5));
    executor.cancel(&commit);
    executor.advance(TIMEOUT);
    mesh.store.release();
    assert!(commit.take().is_none(), "nobody was told a verdict");
    let reached: Vec<_> =
        mesh.network.delivered().into_iter().map(|arrival| arrival.peer).collect();
    assert_eq!(reached, [peer("n2"), peer("n3")]);
    assert_eq!(mesh.store.value("k"), Some("v".into()));
}

#[test]
fn what_comes_after_the_verdict_changes_nothing_and_reaches_everyone_all_the_same() {
    let mesh = Mesh::new(2, [vec![Script::stored(ms(10))], vec![Script::drift(ms(500))]]);
    let receipt = mesh.write().expect("committed");
    let told = receipt.clone();
    mesh.clock.advance(TIMEOUT);
    assert_eq!(receipt, told);
    assert_eq!(mesh.network.delivered_to(&peer("n3")).len(), 1);
    assert_eq!(*mesh.notes.ended.lock(), [CommitResult::Committed]);

    let mesh = Mesh::new(2, [vec![Script::stored(TIMEOUT * 2)], vec![Script::unreachable()]]);
    let (receipt, _) = indeterminate(mesh.write());
    mesh.clock.advance(TIMEOUT);
    assert_eq!(labels(&receipt), ["n1 acked", "n2 silent", "n3 silent"]);
    assert_eq!(mesh.network.delivered_to(&peer("n2")).len(), 1);
    assert_eq!(*mesh.notes.ended.lock(), [CommitResult::Indeterminate]);
}

#[test]
fn strangers_and_the_local_member_do_not_count_as_peers() {
    let mesh = Mesh::new(2, [vec![Script::unreachable()], vec![Script::unreachable()]]);
    for name in ["n1", "n7"] {
        let _same_network = mesh.network.clone().with(&peer(name), [Script::stored(ms(1))]);
    }
    let (receipt, cause) = indeterminate(mesh.write());
    assert_eq!(cause, missed(1, 2, QuorumFailureReason::Unreachable));
    assert_eq!(receipt.members.len(), 3);
}

#[test]
fn a_write_below_a_newer_version_is_stamped_above_it_and_sent_again() {
    let (first, second) = (newer(50), newer(70));
    let mesh = Mesh::new(
        2,
        [
            vec![Script::superseded(ms(10), first), Script::stored(ms(10))],
            vec![Script::superseded(ms(20), second.clone()), Script::unreachable()],
        ],
    );
    let receipt = mesh.write().expect("committed in the second round");

    let sent = mesh.network.sent();
    assert_eq!(sent.len(), 2);
    let (one, two) = (&sent[0].record, &sent[1].record);
    assert_eq!((one.write_id, one.digest), (two.write_id, two.digest));
    assert_ne!(one.dot, two.dot);
    assert!(two.version() > second, "above every version reported");
    assert_eq!((receipt.dot, receipt.version), (two.dot.clone(), two.version()));
    // As soon as the first round cannot succeed, not at its deadline.
    assert_eq!(mesh.elapsed(), ms(30));
    assert_eq!(*mesh.notes.ended.lock(), [CommitResult::Committed]);
}

#[test]
fn in_the_second_round_a_newer_version_counts() {
    let again = vec![Script::superseded(ms(10), newer(50)), Script::superseded(ms(10), newer(90))];
    let mesh = Mesh::new(3, [again.clone(), again]);
    let receipt = mesh.write().expect("committed");
    assert_eq!((receipt.got, mesh.elapsed()), (3, ms(20)));
    assert_eq!(labels(&receipt), ["n1 acked", "n2 superseded", "n3 superseded"]);
}

#[test]
fn a_write_is_stamped_anew_once_only_and_within_its_deadline() {
    let mesh = Mesh::new(
        3,
        [
            vec![Script::superseded(ms(10), newer(50))],
            vec![Script::stored(ms(10)), Script::unreachable()],
        ],
    );
    let (receipt, cause) = indeterminate(mesh.write());
    assert_eq!(cause, missed(2, 3, QuorumFailureReason::Timeout));
    assert_eq!(mesh.network.sent().len(), 2);
    assert_eq!((mesh.elapsed(), receipt.elapsed), (TIMEOUT, TIMEOUT));
    assert_eq!(labels(&receipt), ["n1 acked", "n2 superseded", "n3 silent"]);
    assert_eq!(*mesh.notes.ended.lock(), [CommitResult::Indeterminate]);
    assert_eq!(*mesh.notes.missed.lock(), [QuorumFailureReason::Timeout]);
}

/// The silent peer might still ack, so nothing is certain; but waiting for it until the deadline would leave no time
/// for a second round.
#[test]
fn with_a_silent_peer_the_write_is_stamped_anew_at_halftime() {
    let mesh = Mesh::new(
        2,
        [
            vec![Script::superseded(ms(10), newer(50)), Script::stored(ms(10))],
            vec![Script::unreachable()],
        ],
    );
    let receipt = mesh.write().expect("committed in the second round");
    assert_eq!(mesh.elapsed(), TIMEOUT / 2 + ms(10));
    assert_eq!(labels(&receipt), ["n1 acked", "n2 acked", "n3 silent"]);
    assert!(
        matches!(receipt.members[1].standing, Standing::Acked { after } if after == mesh.elapsed())
    );
}

#[test]
fn newer_versions_that_do_not_stand_in_the_way_cause_no_second_round() {
    let mesh =
        Mesh::new(2, [vec![Script::superseded(ms(10), newer(50))], vec![Script::stored(ms(20))]]);
    assert_eq!(mesh.write().expect("committed").got, 2);
    assert_eq!(mesh.network.sent().len(), 1);
}

#[test]
fn if_the_store_takes_no_second_stamp_the_first_verdict_stands() {
    let superseded = vec![Script::superseded(ms(10), newer(50))];
    let mesh = Mesh::new(2, [superseded.clone(), superseded]);
    let mut executor = Executor::new(mesh.clock.clone());
    let commit =
        executor.spawn(mesh.writer.commit(KeyValue::new("k", "v"), CommitOptions::default()));
    executor.run_until_idle();
    mesh.store.set_read_only(true);
    executor.advance(ms(10));
    let (_, cause) = indeterminate(commit.take().expect("ended"));
    assert_eq!(cause, missed(1, 2, QuorumFailureReason::Superseded));
    assert_eq!(mesh.network.sent().len(), 1);
}

/// Its client lost patience and had the write executed through another member, and others wrote the key since. Stamping it
/// anew would execute it a second time, above theirs.
#[test]
fn a_write_that_was_executed_elsewhere_is_not_stamped_anew() {
    let told = vec![Script::executed_elsewhere(ms(10), newer(50))];
    let other = vec![Script::superseded(ms(10), newer(60))];
    let mesh = Mesh::new(2, [told, other]);
    let (_, cause) = indeterminate(mesh.write());
    assert_eq!(cause, missed(1, 2, QuorumFailureReason::Superseded));
    assert_eq!(mesh.network.sent().len(), 1);
}

/// A store in which the id of every write names an earlier one.
struct KnowsAll(MemoryStore);

impl LocalStore for KnowsAll {
    type Op = KeyValue;
    type Error = MemoryStoreError;
    type Durable = <MemoryStore as LocalStore>::Durable;

    async fn stage(&self, op: KeyValue) -> Result<Staged<Self::Durable>, MemoryStoreError> {
        Ok(Staged { is_known: true, ..self.0.stage(op).await? })
    }

    async fn restamp(
        &self,
        record: &Record,
        above: &Version,
    ) -> Result<Staged<Self::Durable>, MemoryStoreError> {
        self.0.restamp(record, above).await
    }
}

/// A second request joins the first, which may be committed by now, and overwritten since.
#[test]
fn a_write_that_joins_an_earlier_one_is_not_stamped_anew() {
    let superseded = vec![Script::superseded(ms(10), newer(50))];
    let mesh = Mesh::new(2, [superseded.clone(), superseded]);
    let peers = ["n2", "n3"].map(peer).into();
    let (policy, store) = (mesh.writer.policy().clone(), KnowsAll(mesh.store.clone()));
    let parts = (mesh.network.clone(), mesh.clock.clone(), Arc::new(crate::Silent));
    let writer = QuorumWriter::new(policy, peer("n1"), peers, store, parts.0, parts.1, parts.2);
    let writer = writer.expect("a sound member list");
    let commit = writer.commit(KeyValue::new("key", "value"), CommitOptions::default());
    let (_, cause) = indeterminate(Executor::new(mesh.clock.clone()).block_on(commit));
    assert_eq!(cause, missed(1, 2, QuorumFailureReason::Superseded));
    assert_eq!(mesh.network.sent().len(), 1);
}

/// A store that never gives a write a second place: its disk hangs.
struct NeverAgain(MemoryStore);

impl LocalStore for NeverAgain {
    type Op = KeyValue;
    type Error = MemoryStoreError;
    type Durable = <MemoryStore as LocalStore>::Durable;

    async fn stage(&self, op: KeyValue) -> Result<Staged<Self::Durable>, MemoryStoreError> {
        self.0.stage(op).await
    }

    async fn restamp(
        &self,
        _record: &Record,
        _above: &Version,
    ) -> Result<Staged<Self::Durable>, MemoryStoreError> {
        std::future::pending().await
    }
}

#[test]
fn a_disk_that_hangs_while_a_write_is_stamped_anew_delays_the_verdict_to_the_deadline_at_most() {
    let superseded = vec![Script::superseded(ms(10), newer(50))];
    let mesh = Mesh::new(2, [superseded.clone(), superseded]);
    let peers = ["n2", "n3"].map(peer).into();
    let (policy, store) = (mesh.writer.policy().clone(), NeverAgain(mesh.store.clone()));
    let parts = (mesh.network.clone(), mesh.clock.clone(), Arc::new(crate::Silent));
    let writer = QuorumWriter::new(policy, peer("n1"), peers, store, parts.0, parts.1, parts.2);
    let writer = writer.expect("a sound member list");
    let commit = writer.commit(KeyValue::new("key", "value"), CommitOptions::default());
    let (_, cause) = indeterminate(Executor::new(mesh.clock.clone()).block_on(commit));
    assert_eq!(cause, missed(1, 2, QuorumFailureReason::Superseded));
    assert_eq!(mesh.elapsed(), TIMEOUT);
}

/// Drives the write of `mesh` that was found here by its id.
fn resume(mesh: &Mesh, overwritten: bool, options: CommitOptions) -> Outcome {
    let record = mesh.store.current("key").expect("written before");
    Executor::new(mesh.clock.clone()).block_on(mesh.writer.resume(record, overwritten, options))
}

#[test]
fn a_found_write_goes_out_again_under_its_old_name_and_is_not_executed_twice() {
    let scripts = vec![Script::unreachable(), Script::stored(ms(10))];
    let mesh = Mesh::new(2, [scripts, vec![Script::unreachable()]]);
    let (first, _) = indeterminate(mesh.write());
    let held = mesh.store.frontier();

    let receipt = resume(&mesh, false, CommitOptions::default()).expect("committed");

    assert_eq!((receipt.dot, receipt.version), (first.dot, first.version));
    assert_eq!((receipt.write_id, receipt.elapsed), (first.write_id, ms(10)));
    assert_eq!(mesh.network.sent()[0].record, mesh.network.sent()[1].record);
    assert_eq!(mesh.store.frontier(), held, "nothing was staged");
    let ended = [CommitResult::Indeterminate, CommitResult::Committed];
    assert_eq!(*mesh.notes.ended.lock(), ended);
}

#[test]
fn a_newer_version_counts_for_a_found_write_only_if_it_is_overwritten_here_too() {
    let scripts = vec![Script::unreachable(), Script::superseded(ms(10), newer(50))];
    for overwritten in [true, false] {
        let mesh = Mesh::new(3, [scripts.clone(), scripts.clone()]);
        let _undecided = indeterminate(mesh.write());
        let outcome = resume(&mesh, overwritten, CommitOptions::default());
        if overwritten {
            assert_eq!(outcome.expect("it took effect before the newer one").got, 3);
        } else {
            let (_, cause) = indeterminate(outcome);
            assert_eq!(cause, missed(1, 3, QuorumFailureReason::Superseded));
        }
        assert_eq!(mesh.network.sent().len(), 2, "a found write is never stamped anew");
    }
}

#[test]
fn a_found_write_that_asks_for_an_impossible_w_is_not_sent_and_is_reported() {
    let mesh = Mesh::new(1, [vec![Script::unreachable()], vec![Script::unreachable()]]);
    mesh.write().expect("committed");
    let options = CommitOptions { w: Some(4), ..CommitOptions::default() };
    assert!(matches!(resume(&mesh, false, options), Err(WriteError::NotApplied(_))));
    assert_eq!(mesh.network.sent().len(), 1);
    assert_eq!(*mesh.notes.ended.lock(), [CommitResult::Committed, CommitResult::NotApplied]);
}

#[test]
fn the_members_of_a_writer_must_fit_its_rule() {
    let clock = ManualClock::new();
    let build = |peers: &[&str]| {
        let store = MemoryStore::new(peer("n1"), Incarnation::from_bytes([1; 8]), clock.clone());
        let peers = peers.iter().map(|name| peer(name)).collect();
        let network = ScriptedPeers::new(clock.clone());
        let policy = QuorumPolicy::majority(3).expect("a sound rule");
        let observer = Arc::new(crate::Silent);
        QuorumWriter::new(policy, peer("n1"), peers, store, network, clock.clone(), observer).err()
    };
    for bad in [&["n2"][..], &["n2", "n2"], &["n1", "n2"], &["n2", "n3", "n4"]] {
        assert!(matches!(build(bad), Some(QuorumError::InvalidMembers { .. })), "{bad:?}");
    }
    assert!(build(&["n2", "n3"]).is_none());
}
