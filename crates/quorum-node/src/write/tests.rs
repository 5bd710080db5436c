//! What becomes of a write whose node is not what it took itself for, or has a disk that does not answer.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt};
use quorum_core::testing::{Executor, ManualClock};
use quorum_core::{
    ClusterId, Epoch, Incarnation, Lineage, LocalStore, Origin, Outgoing, PeerAnswer, PeerReply,
    Recovery, Silent,
};

use super::*;
use crate::config::{Config, Member};
use crate::local_mesh::LocalMesh;
use crate::receive::AdmissionLimits;
use crate::store::engine::memory::MemoryDisk;
use crate::store::{DrivenCommitter, RecordKey, StoreConfig, StoreIdentity, StoreSeams};
use crate::write_status::WriteOutcome;

fn request() -> WriteRequest {
    WriteRequest {
        namespace: Namespace::new("test").expect("a name"),
        key: Key::new("key").expect("a key"),
        value: Some(Bytes::from_static(b"value")),
        write_id: None,
        copies: None,
        timeout: None,
        durability: None,
        is_retry: false,
    }
}

/// The member's disk is empty, and it hears only from the peer whose ack completes the quorum that it had acknowledged
/// writes before: it may have stamped this one below one of those.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_a_member_that_learns_of_its_loss_meanwhile_is_not_confirmed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = LocalMesh::start(2, directory.path(), |_| {}).await;
    let mut mesh = mesh.expect("two members start");
    mesh.stop(1).await;
    let service = mesh.node(0).expect("it runs").service().clone();
    let before = service.store().issued();
    let request = WriteRequest { timeout: Some(Duration::from_secs(60)), ..request() };
    let writing = service.clone();
    let write = tokio::spawn(async move { writing.write(request).await });
    while service.store().issued() == before {
        tokio::task::yield_now().await;
    }
    service.store().set_recovery(Recovery::Recovering).await.expect("the disk works");
    mesh.restart(1).await.expect("it starts again");
    let outcome = write.await.expect("it does not panic");
    assert!(matches!(outcome, Err(WriteFailed::Unsettled { .. })), "{outcome:?}");
    mesh.stop_all().await;
}

const ID: WriteId = WriteId::from_bytes([7; 16]);
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a question is under way.
const ROUND_TRIP: Duration = Duration::from_millis(10);

fn name(name: &str) -> PeerId {
    PeerId::new(name).expect("a name")
}

/// Peers that say this to every question, and never take a record.
#[derive(Clone)]
struct Saying(Answer, ManualClock);

impl Replicator for Saying {
    type Replies = stream::Pending<PeerReply>;

    fn fan_out(&self, _outgoing: Outgoing) -> Self::Replies {
        stream::pending()
    }
}

impl Inquirer for Saying {
    type Answers = Pin<Box<dyn Stream<Item = PeerAnswer> + Send>>;

    fn ask(&self, peers: &[PeerId], _question: Question, _deadline: Instant) -> Self::Answers {
        let (peers, answer, at) = (peers.to_vec(), self.0.clone(), self.1.now() + ROUND_TRIP);
        let answers =
            peers.into_iter().map(move |peer| PeerAnswer { peer, answer: answer.clone(), at });
        let arrival = self.1.sleep_until(at);
        Box::pin(stream::once(arrival).flat_map(move |()| stream::iter(answers.clone())))
    }
}

/// The writes of one of three members, whose disk takes a step when it is told to.
fn member(peers_say: Answer, clock: &ManualClock) -> (Writes<Saying>, DrivenCommitter) {
    let names = ["n1", "n2", "n3"].map(name);
    let (us, peers) = (names[0].clone(), names[1..].to_vec());
    let members = names.iter().map(|name| Member::new(name.clone(), format!("{name}:1")));
    let config = Config::new(us.clone(), members.collect());
    let policies = Arc::new(Policies::new(&config).expect("the defaults are valid"));
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let clock_of_all: Arc<dyn Clock> = Arc::new(clock.clone());
    let guard = Arc::new(Mutex::new(ClockGuard::new(Duration::MAX)));
    let random: Arc<dyn Random> = Arc::new(crate::SystemRandom);
    let seams = StoreSeams {
        clock: Arc::clone(&clock_of_all),
        guard: Arc::clone(&guard),
        observer: Arc::clone(&observer),
        random: Arc::clone(&random),
    };
    let identity = StoreIdentity { cluster: ClusterId::from_bytes([1; 16]), node: us.clone() };
    let engine = MemoryDisk::new().engine();
    let opened = Store::open_driven(engine, &identity, StoreConfig::default(), seams, || {});
    let (store, committer) = opened.expect("memory opens");
    let limits = AdmissionLimits { value_bytes_max: 1 << 10, clock_skew_max: Duration::MAX };
    let receiver = Receiver::new(store.clone(), limits, names);
    let network = Saying(peers_say, clock.clone());
    let writer = QuorumWriter::new(
        policies.default_policy().write().clone(),
        us.clone(),
        peers.clone(),
        store,
        network.clone(),
        Arc::clone(&clock_of_all),
        Arc::clone(&observer),
    );
    let writes = Writes {
        writer: writer.expect("the members are those of the policy"),
        admission: Admission::new(64, 1 << 20, Arc::clone(&observer)),
        clock_guard: guard,
        clock: Arc::clone(&clock_of_all),
        random,
        observer,
        policies,
        read_timeout: TIMEOUT,
        members: Members { local: us, peers, network, clock: clock_of_all },
        under_way: receiver.under_way().clone(),
        receiver,
        hurry: CancellationToken::new(),
    };
    (writes, committer)
}

/// Such a member, with a relaxed record that is not synced, on a disk that does nothing any more.
fn member_with_a_hanging_disk(peers_say: Answer, clock: &ManualClock) -> Writes<Saying> {
    let (writes, committer) = member(peers_say, clock);
    let WriteRequest { namespace, key, value, .. } = request();
    let op = WriteOp {
        namespace,
        key,
        value,
        write_id: WriteId::from_bytes([8; 16]),
        durability: Durability::Relaxed,
        above: None,
        deadline: None,
    };
    let mut executor = Executor::new(clock.clone());
    let store = writes.writer.store();
    let staged = executor.spawn(async move { store.stage(op).await?.durable.await });
    let durable = loop {
        executor.run_until_idle();
        match staged.take() {
            Some(durable) => break durable,
            None => _ = committer.step(),
        }
    };
    durable.expect("the disk works");
    drop(executor);
    writes
}

/// The first attempt may be here, acknowledged and not to be seen yet.
#[test]
fn a_retry_at_a_node_whose_disk_does_not_answer_is_not_said_to_be_not_applied() {
    let clock = ManualClock::new();
    let unknown = Answer::Write(KnownWrite::Unknown);
    let writes = member_with_a_hanging_disk(unknown, &clock);
    let retry =
        WriteRequest { write_id: Some(ID), timeout: Some(TIMEOUT), is_retry: true, ..request() };
    let began = clock.now();
    let outcome = Executor::new(clock.clone()).block_on(writes.write(retry));
    assert!(matches!(outcome, Err(WriteFailed::Unsettled { .. })), "{outcome:?}");
    assert_eq!(clock.now(), began + TIMEOUT);
}

#[test]
fn what_became_of_a_write_is_told_by_the_others_while_the_own_disk_does_not_answer() {
    let clock = ManualClock::new();
    let WriteRequest { namespace, key, .. } = request();
    let origin = Origin { node: name("n2"), incarnation: Incarnation::from_bytes([1; 8]) };
    let version = Version { hlc: Hlc::from_millis(1), origin: origin.clone() };
    let held = Answer::Write(KnownWrite::Held {
        dot: Dot { lineage: Lineage { origin, epoch: Epoch::new(1, 0) }, seq: 1 },
        version: version.clone(),
        digest: Digest::of(b"payload"),
        key: RecordKey::new(&namespace, &key).bytes().clone(),
        newest: Some(version),
    });
    let writes = member_with_a_hanging_disk(held, &clock);
    let mut executor = Executor::new(clock.clone());
    let began = clock.now();
    let status = executor.block_on(writes.status(ID, Some(2), TIMEOUT));
    assert_eq!((status.copies, clock.now()), (2, began + ROUND_TRIP), "nobody else is needed");
    let status = executor.block_on(writes.status(ID, None, TIMEOUT));
    let expected = [(name("n1"), "timeout"), (name("n2"), "held"), (name("n3"), "held")];
    assert_eq!((status.outcome, &status.members[..]), (WriteOutcome::Committed, &expected[..]));
}
