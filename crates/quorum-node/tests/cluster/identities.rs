//! Whoever is not the member it should be is refused: the accepting side counts it under its reason, the dialling side
//! learns the reason.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use quorum_core::{HandshakeRefusal, PeerId};
use quorum_node::config::{Config, Member};
use quorum_node::pki::files::{read_authority, renew_node};
use quorum_node::pki::{Authority, Validity};
use quorum_node::{Node, World};
use quorum_transport::NodeIdentity;
use tempfile::TempDir;

use crate::harness::metrics::sample;
use crate::harness::process::Cluster;
use crate::harness::until;

const CLUSTER: &str = "orchard";

/// Two nodes that were told that they are members of one mesh, the first of them sound.
struct Pair {
    accepting: Node,
    dialling: Node,
    _directory: TempDir,
}

/// What is wrong with the second.
struct Wrong {
    authority: Authority,
    certificate_for: &'static str,
    validity: Validity,
    cluster: &'static str,
    /// The member that it says it is; it is always reached where `n2` should be.
    name: &'static str,
}

fn a_year() -> Validity {
    Validity::from_days(SystemTime::now(), 365).expect("a year")
}

fn authority() -> Authority {
    Authority::create(CLUSTER, a_year()).expect("an authority")
}

impl Wrong {
    /// Nothing yet.
    fn not(authority: &Authority) -> Self {
        let credentials = authority.credentials();
        let authority = Authority::from_pem(&credentials.certificate_pem, &credentials.key_pem);
        Self {
            authority: authority.expect("the same authority"),
            certificate_for: "n2",
            validity: a_year(),
            cluster: CLUSTER,
            name: "n2",
        }
    }
}

impl Pair {
    async fn start(trusted: &Authority, wrong: Wrong) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let loopback = || World::real((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
        let worlds = [loopback(), loopback()];
        let address = |world: &World| world.peer_addr().expect("an address").to_string();
        // Nobody is ever at the third address.
        let addresses = [address(&worlds[0]), address(&worlds[1]), "127.0.0.1:1".to_owned()];
        let members: Vec<Member> = ["n1", "n2", "n3"]
            .into_iter()
            .zip(addresses)
            .map(|(name, at)| Member::new(id(name), at))
            .collect();
        let config = |name: &str, cluster: &str| {
            let mut config = Config::new(id(name), members.clone());
            config.node.cluster = cluster.into();
            config.node.data_dir = directory.path().join(name);
            config.node.shutdown_grace = Duration::from_secs(5);
            config
        };
        let sound = trusted.issue("n1", a_year()).expect("a certificate");
        let other = wrong.authority.issue(wrong.certificate_for, wrong.validity).expect("one");
        let identity = |credentials: quorum_node::pki::Credentials| {
            let root = trusted.certificate_pem().as_bytes();
            let (chain, key) = (credentials.certificate_pem, credentials.key_pem);
            NodeIdentity::from_pem(chain.as_bytes(), key.as_bytes(), root).expect("an identity")
        };
        let [first, second] = worlds;
        let accepting =
            Node::start(config("n1", CLUSTER), identity(sound), first, None, None).await;
        let dialling =
            Node::start(config(wrong.name, wrong.cluster), identity(other), second, None, None)
                .await;
        Self {
            accepting: accepting.expect("a node"),
            dialling: dialling.expect("a node"),
            _directory: directory,
        }
    }

    /// Returns once the reason shows where `at` accepts, in its metrics.
    async fn counted(at: &Node, reason: HandshakeRefusal) {
        let series =
            format!(r#"replication_handshakes_refused_total{{reason="{}"}}"#, reason.as_str());
        until("the refusal is counted", async || {
            sample(&at.service().metrics_text(), &series).is_some_and(|count| count > 0.0)
        })
        .await;
    }

    /// Returns once the reason shows where `at` dials `peer`, in its last error.
    async fn told(at: &Node, peer: &str, reason: HandshakeRefusal) {
        until("the refusal is told", async || {
            let peers = at.service().peers();
            let peer = peers.iter().find(|report| report.node.as_str() == peer).expect("a peer");
            let error = peer.last_error.as_deref().unwrap_or_default();
            !peer.connected && error.contains(reason.as_str())
        })
        .await;
    }

    async fn end(self) {
        assert!(self.accepting.service().peers().iter().all(|peer| !peer.connected));
        self.dialling.shutdown().await;
        self.accepting.shutdown().await;
    }
}

fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("a name")
}

/// Without this, the refusals below might have any cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_member_is_let_in() {
    let trusted = authority();
    let pair = Pair::start(&trusted, Wrong::not(&trusted)).await;
    until("the link is up", async || {
        pair.accepting.service().peers().iter().any(|peer| peer.connected)
            && pair.dialling.service().peers().iter().any(|peer| peer.connected)
    })
    .await;
    pair.dialling.shutdown().await;
    pair.accepting.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_a_strangers() {
    let trusted = authority();
    let wrong = Wrong { authority: authority(), ..Wrong::not(&trusted) };
    let pair = Pair::start(&trusted, wrong).await;
    Pair::counted(&pair.accepting, HandshakeRefusal::Stranger).await;
    Pair::told(&pair.dialling, "n1", HandshakeRefusal::Stranger).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_refused() {
    let trusted = authority();
    let long_ago = SystemTime::now() - Duration::from_secs(10 * 86_400);
    let validity = Validity::from_days(long_ago, 1).expect("a day");
    let pair = Pair::start(&trusted, Wrong { validity, ..Wrong::not(&trusted) }).await;
    Pair::counted(&pair.accepting, HandshakeRefusal::Expired).await;
    Pair::told(&pair.dialling, "n1", HandshakeRefusal::Expired).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_refused() {
    let trusted = authority();
    let wrong = Wrong { cluster: "meadow", ..Wrong::not(&trusted) };
    let pair = Pair::start(&trusted, wrong).await;
    Pair::counted(&pair.accepting, HandshakeRefusal::WrongCluster).await;
    Pair::told(&pair.dialling, "n1", HandshakeRefusal::WrongCluster).await;
    pair.end().await;
}

/// Here the sound node dials: where it looks for `n2` it finds `n3`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_under_another_members_address_is_refused() {
    let trusted = authority();
    let wrong = Wrong { name: "n3", certificate_for: "n3", ..Wrong::not(&trusted) };
    let pair = Pair::start(&trusted, wrong).await;
    Pair::told(&pair.accepting, "n2", HandshakeRefusal::WrongName).await;
    Pair::counted(&pair.dialling, HandshakeRefusal::WrongName).await;
    pair.dialling.shutdown().await;
    pair.accepting.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_used_without_a_restart() {
    const EXPIRY: &str = "replication_certificate_expiry_seconds";
    let mut cluster = Cluster::start(2, &[]).await;
    let authority = read_authority(&cluster.authority()).expect("the authority of init");
    let validity = Validity::from_days(SystemTime::now(), 30).expect("a month");
    // The first is told by a signal, the second finds out.
    for (index, is_told) in [(0, true), (1, false)] {
        let node = &cluster.nodes[index];
        let before = sample(&node.metrics().await, EXPIRY).expect("an expiry");
        let renewed = renew_node(&node.directory, &authority, validity).expect("renewed");
        let expiry = renewed.not_after.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        if is_told {
            node.signal("HUP");
        }
        until("the new certificate is in use", async || {
            let now = sample(&node.metrics().await, EXPIRY).expect("an expiry");
            assert!(now == before || now == expiry.as_secs_f64().floor(), "{now}");
            now != before
        })
        .await;
    }
    // And peers take it: everything is dialled anew.
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.linked().await;
}
