//! Hostile input at a peer port: bounded in memory, closed with a code, and members are served afterwards.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorum_core::{HandshakeRefusal, ReplicaStore};
use quorum_transport::testing::by_hand::{self, ByHand};
use quorum_transport::testing::{Loopback, SeededRandom, eventually};
use quorum_transport::{NodeIdentity, PROTOCOL};

use crate::overload::resident_bytes;
use crate::support::{Levers, Node};

/// One member that runs, and one that is played by the test.
struct Scene {
    mesh: Loopback,
    victim: Node,
    identity: NodeIdentity,
    store: Arc<Levers>,
}

impl Scene {
    fn new() -> Self {
        Self::with(Loopback::new(2).expect("loopback sockets"))
    }

    fn with(mesh: Loopback) -> Self {
        let victim = Node::start(&mesh, 1, 2);
        let identity = mesh.authority.issue("n1").identity(&[&mesh.authority]).expect("usable");
        let store = Levers::new(mesh.name(0));
        Self { mesh, victim, identity, store }
    }

    async fn dial(&self) -> ByHand {
        let (to, name) = (self.mesh.address(1), self.mesh.name(1));
        ByHand::dial(to, name, &self.identity, true, PROTOCOL).await.expect("a member gets in")
    }

    fn hello(&self) -> bytes::Bytes {
        by_hand::hello(&self.mesh.roster(0), self.mesh.name(1), &self.store.lineage())
    }

    /// A member that has been welcomed.
    async fn welcomed(&self) -> (ByHand, quinn::SendStream, quinn::RecvStream) {
        let member = self.dial().await;
        let (control, mut answers) = member.open(&self.hello()).await.expect("open");
        answers.read_chunk(1, true).await.expect("welcomed").expect("a welcome");
        (member, control, answers)
    }

    /// The real member comes and is served.
    async fn serves_a_member(self) {
        let Self { mesh, victim, store, .. } = self;
        let member = Node::over(&mesh, 0, 2, store);
        member.commit("k", "v", 2).await.expect("committed");
        assert!(victim.store.has("k"));
    }
}

#[tokio::test]
async fn garbage_datagrams_are_ignored() {
    use quorum_core::Random;
    let (scene, random) = (Scene::new(), SeededRandom::new(1));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    for length in 0..1_400 {
        let mut datagram: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        if let Some(first) = datagram.first_mut().filter(|_| length % 2 == 0) {
            // Half of them look like the first packet of a connection.
            *first |= 0xc0;
        }
        let _dropped = socket.send_to(&datagram, scene.mesh.address(1));
    }
    scene.serves_a_member().await;
}

#[tokio::test]
async fn an_oversized_length_is_refused_before_it_is_believed() {
    let scene = Scene::new();
    let (member, mut control, _answers) = scene.welcomed().await;
    let before = resident_bytes();
    control.write_all(&u32::MAX.to_le_bytes()).await.expect("sent");
    assert_eq!(member.refusal().await, Some(HandshakeRefusal::Protocol));
    assert!(resident_bytes().saturating_sub(before) < 64 << 20);
    assert!(scene.victim.heard.refusals(HandshakeRefusal::Protocol) > 0);
    scene.serves_a_member().await;
}

#[tokio::test]
async fn garbage_in_the_place_of_a_hello_is_refused() {
    let scene = Scene::new();
    let member = scene.dial().await;
    let _streams = member.open(&[5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).await.expect("open");
    assert_eq!(member.refusal().await, Some(HandshakeRefusal::Protocol));
    scene.serves_a_member().await;
}

#[tokio::test]
async fn garbage_on_a_lane_is_refused() {
    let scene = Scene::new();
    let lineage = scene.store.lineage();
    for garbage in [&[3, 0, 0, 0, 9, 9, 9][..], &[0, 0, 0, 0], &[0xff; 64]] {
        let (member, _control, _answers) = scene.welcomed().await;
        let lane = [&by_hand::open_lane(&lineage)[..], garbage].concat();
        let _streams = member.open(&lane).await.expect("open");
        assert_eq!(member.refusal().await, Some(HandshakeRefusal::Protocol), "{garbage:?}");
    }
    scene.serves_a_member().await;
}

#[tokio::test]
async fn a_lane_of_another_life_is_refused() {
    let scene = Scene::new();
    let (member, _control, _answers) = scene.welcomed().await;
    let other = Levers::with_incarnation(scene.mesh.name(0), 9).lineage();
    let _streams = member.open(&by_hand::open_lane(&other)).await.expect("open");
    assert_eq!(member.refusal().await, Some(HandshakeRefusal::Protocol));
    scene.serves_a_member().await;
}

#[tokio::test]
async fn a_truncated_frame_and_then_silence_does_not_keep_the_member_out() {
    let scene = Scene::new();
    let (member, _control, _answers) = scene.welcomed().await;
    let lane = [&by_hand::open_lane(&scene.store.lineage())[..], &[200, 0, 0, 0, 1, 2]].concat();
    let _streams = member.open(&lane).await.expect("open");
    // The half-open connection is still there: the real member replaces it.
    scene.serves_a_member().await;
    assert!(member.connection.close_reason().is_some(), "replaced");
}

#[tokio::test]
async fn a_stream_that_ends_within_a_frame_is_refused() {
    let scene = Scene::new();
    let (member, _control, _answers) = scene.welcomed().await;
    let lane = [&by_hand::open_lane(&scene.store.lineage())[..], &[200, 0, 0, 0, 1, 2]].concat();
    let (mut send, _receive) = member.open(&lane).await.expect("open");
    send.finish().expect("finished");
    assert_eq!(member.refusal().await, Some(HandshakeRefusal::Protocol));
    scene.serves_a_member().await;
}

#[tokio::test]
async fn probes_without_end_are_refused() {
    let scene = Scene::new();
    let (member, mut control, mut answers) = scene.welcomed().await;
    let reading = tokio::spawn(async move {
        while let Ok(Some(_)) = answers.read_chunk(usize::MAX, true).await {}
    });
    let probes = by_hand::probe().repeat(1_000);
    while control.write_all(&probes).await.is_ok() {}
    assert_eq!(member.refusal().await, Some(HandshakeRefusal::Protocol));
    reading.await.expect("the reader ends with the connection");
    scene.serves_a_member().await;
}

#[tokio::test]
async fn a_lane_whose_answers_nobody_reads_holds_bounded_memory() {
    let scene = Scene::new();
    let (member, _control, _answers) = scene.welcomed().await;
    let (mut lane, _unread) =
        member.open(&by_hand::open_lane(&scene.store.lineage())).await.expect("open");
    let before = resident_bytes();
    let items = by_hand::nothing().repeat(50_000);
    let started = Instant::now();
    let mut sent = 0;
    // Until flow control stops it, or long enough.
    while started.elapsed() < Duration::from_secs(3) {
        match tokio::time::timeout(Duration::from_millis(500), lane.write_all(&items)).await {
            Ok(written) => written.expect("still served"),
            Err(_stopped) => break,
        }
        sent += items.len();
    }
    let grown = resident_bytes().saturating_sub(before);
    eprintln!("{} KiB of items sent, {} KiB grown", sent >> 10, grown >> 10);
    assert!(grown < 128 << 20, "{grown} bytes grown");
    scene.serves_a_member().await;
}

#[tokio::test]
async fn a_member_may_not_open_many_streams() {
    let scene = Scene::new();
    let (member, _control, _answers) = scene.welcomed().await;
    let mut streams = Vec::new();
    loop {
        let opened =
            tokio::time::timeout(Duration::from_millis(300), member.connection.open_bi()).await;
        let Ok(Ok(stream)) = opened else { break };
        streams.push(stream);
        assert!(streams.len() < 20, "no limit on streams");
    }
    scene.serves_a_member().await;
}

#[tokio::test]
async fn a_connection_without_a_hello_is_closed_with_a_code() {
    let mut mesh = Loopback::new(2).expect("loopback sockets");
    mesh.config.handshake_timeout = Duration::from_millis(300);
    let scene = Scene::with(mesh);
    let member = scene.dial().await;
    assert_eq!(member.refusal().await, Some(HandshakeRefusal::Overload));
    assert!(scene.victim.heard.refusals(HandshakeRefusal::Overload) > 0);
    scene.serves_a_member().await;
}

/// First packets of connections that are never continued, from many ports: the slowest of handshakes, and many of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_attempts_at_connecting_leave_the_node_serving() {
    const ATTEMPTS: usize = 10_000;
    // Of these few are held at a time, so a packet that comes again is another attempt.
    const DIFFERENT: usize = 400;
    let scene = Scene::new();
    let packets = by_hand::first_packets(DIFFERENT, scene.mesh.name(1), &scene.identity).await;
    let before = resident_bytes();
    let target = scene.mesh.address(1);
    let flood = tokio::task::spawn_blocking(move || {
        let sockets: Vec<UdpSocket> = (0..100)
            .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket"))
            .collect();
        for (attempt, packet) in packets.iter().cycle().take(ATTEMPTS).enumerate() {
            let _dropped = sockets[attempt % sockets.len()].send_to(packet, target);
            if attempt % 50 == 49 {
                // A bounded rate, so that the kernel's buffer does not swallow most of it.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    flood.await.expect("sent");
    let grown = resident_bytes().saturating_sub(before);
    eprintln!("{ATTEMPTS} attempts, {} KiB grown", grown >> 10);
    assert!(grown < 128 << 20, "{grown} bytes grown");
    eventually("some were refused or timed out", || {
        scene.victim.heard.refusals(HandshakeRefusal::Overload) > 0
    })
    .await;
    scene.serves_a_member().await;
}
