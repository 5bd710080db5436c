//! Who is let in. Each wrong identity has its own reason, seen on both sides.

use std::sync::Arc;

use quorum_core::{ClusterId, HandshakeRefusal, PeerId, ReplicaStore};
use quorum_transport::testing::by_hand::{self, ByHand};
use quorum_transport::testing::{Authority, Credentials, Loopback, Validity, eventually};
use quorum_transport::{Endpoint, Member, PROTOCOL, Roster};

use crate::support::{Heard, Levers, Node, running};

/// Starts member `index` with other credentials and another roster.
fn start(mesh: &Loopback, index: usize, credentials: &Credentials, roster: Roster) -> Node {
    let (store, heard) = (Levers::new(mesh.name(index)), Arc::new(Heard::default()));
    let identity = credentials.identity(&[&mesh.authority]).expect("usable");
    let seams = mesh.seams(index, heard.clone()).expect("a socket");
    let endpoint = Endpoint::start(roster, &identity, mesh.config.clone(), seams, store.clone());
    Node::around(mesh, index, 2, store, heard, endpoint.expect("the node starts"))
}

/// Both nodes of a mesh, the first a wrong one; both sides must say `reason` about its attempts to dial.
async fn refused(credentials: &Credentials, reason: HandshakeRefusal, mesh: &Loopback) {
    let first = start(mesh, 0, credentials, mesh.roster(0));
    let second = Node::start(mesh, 1, 2);
    let error = first.refused_by(&second.name, reason).await;
    eprintln!("{reason}: {error}");
    eventually("the accepting side counts it", || second.heard.refusals(reason) > 0).await;
    assert!(!first.is_linked_to(&second.name) && !second.is_linked_to(&first.name));
    // The other way the wrong certificate is shown by the node that is dialled.
    second.refused_by(&first.name, reason).await;
}

#[tokio::test]
async fn a_stranger() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let credentials = Authority::new("elsewhere").issue("n1");
    refused(&credentials, HandshakeRefusal::Stranger, &mesh).await;
}

#[tokio::test]
async fn an_expired_certificate() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let credentials = mesh.authority.issue_with("n1", Validity::Ended);
    refused(&credentials, HandshakeRefusal::Expired, &mesh).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let credentials = mesh.authority.issue_with("n1", Validity::NotBegun);
    refused(&credentials, HandshakeRefusal::Expired, &mesh).await;
}

#[tokio::test]
async fn no_certificate() {
    let (mesh, nodes) = running(2).await;
    let identity = mesh.authority.issue("n1").identity(&[&mesh.authority]).expect("usable");
    let reason = match dial(&mesh, &identity, false, PROTOCOL).await {
        Ok(connection) => connection.refusal().await,
        Err(reason) => reason,
    };
    assert_eq!(reason, Some(HandshakeRefusal::Stranger));
    eventually("counted", || nodes[1].heard.refusals(HandshakeRefusal::Stranger) > 0).await;
    nodes[0].commit("k", "v", 2).await.expect("members are served all the same");
}

async fn dial(
    mesh: &Loopback,
    identity: &quorum_transport::NodeIdentity,
    shows_certificate: bool,
    protocol: &[u8],
) -> Result<ByHand, Option<HandshakeRefusal>> {
    ByHand::dial(mesh.address(1), mesh.name(1), identity, shows_certificate, protocol)
        .await
        .map_err(|cause| by_hand::refusal(&cause))
}

#[tokio::test]
async fn another_protocol_version() {
    let (mesh, nodes) = running(2).await;
    let identity = mesh.authority.issue("n1").identity(&[&mesh.authority]).expect("usable");
    let reason = dial(&mesh, &identity, true, b"quorum/0").await.expect_err("no common version");
    assert_eq!(reason, Some(HandshakeRefusal::Version));
    eventually("counted", || nodes[1].heard.refusals(HandshakeRefusal::Version) > 0).await;
}

#[tokio::test]
async fn a_valid_certificate_of_no_member() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let outsider = PeerId::new("n9").expect("a name");
    let members = [(outsider.clone(), mesh.address(0)), (mesh.name(1).clone(), mesh.address(1))];
    let members = members.map(|(name, at)| Member { name, address: at.to_string() });
    let roster = Roster::new(mesh.cluster, outsider.clone(), members.into()).expect("valid");
    let identity = mesh.authority.issue("n9").identity(&[&mesh.authority]).expect("usable");
    let heard = Arc::new(Heard::default());
    let seams = mesh.seams(0, heard.clone()).expect("a socket");
    let store = Levers::new(&outsider);
    let outsider = Endpoint::start(roster, &identity, mesh.config.clone(), seams, store);
    let outsider = outsider.expect("the node starts");
    let member = Node::start(&mesh, 1, 2);
    eventually("both sides say so", || {
        let error = outsider.peers()[0].last_error.clone().unwrap_or_default();
        error.contains("(not_a_member)") && member.heard.refusals(HandshakeRefusal::NotAMember) > 0
    })
    .await;
    // The member meets another than it dialled: its certificate is valid, its name is not the one looked for.
    member.refused_by(mesh.name(0), HandshakeRefusal::WrongName).await;
}

#[tokio::test]
async fn a_member_under_the_name_of_another() {
    let mesh = Loopback::new(3).expect("loopback sockets");
    let (second, third) = (Node::start(&mesh, 1, 3), Levers::new(mesh.name(2)));
    let identity = mesh.authority.issue("n1").identity(&[&mesh.authority]).expect("usable");
    let connection = dial(&mesh, &identity, true, PROTOCOL).await.expect("the certificate is fine");
    let hello = by_hand::hello(&mesh.roster(2), &second.name, &third.lineage());
    let _streams = connection.open(&hello).await.expect("open");
    assert_eq!(connection.refusal().await, Some(HandshakeRefusal::WrongName));
    eventually("counted", || second.heard.refusals(HandshakeRefusal::WrongName) > 0).await;
}

#[tokio::test]
async fn a_member_at_the_address_of_another() {
    let mut mesh = Loopback::new(3).expect("loopback sockets");
    mesh.route(0, 1, mesh.address(2));
    let (first, third) = (Node::start(&mesh, 0, 3), Node::start(&mesh, 2, 3));
    first.refused_by(mesh.name(1), HandshakeRefusal::WrongName).await;
    eventually("the one that was reached counts it", || {
        third.heard.refusals(HandshakeRefusal::WrongName) > 0
    })
    .await;
}

#[tokio::test]
async fn another_cluster() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let members = mesh.roster(0).peers().cloned().chain(mesh.roster(1).peers().cloned()).collect();
    let elsewhere = ClusterId::from_bytes([8; 16]);
    let roster = Roster::new(elsewhere, mesh.name(0).clone(), members).expect("valid");
    differ(&mesh, roster, HandshakeRefusal::WrongCluster).await;
}

#[tokio::test]
async fn another_member_list() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let mut members: Vec<Member> =
        mesh.roster(0).peers().cloned().chain(mesh.roster(1).peers().cloned()).collect();
    let name = PeerId::new("n3").expect("a name");
    members.push(Member { name, address: mesh.address(1).to_string() });
    let roster = Roster::new(mesh.cluster, mesh.name(0).clone(), members).expect("valid");
    differ(&mesh, roster, HandshakeRefusal::MembersDiffer).await;
}

/// Two nodes that differ in their rosters: each refuses the other, for the same reason.
async fn differ(mesh: &Loopback, roster: Roster, reason: HandshakeRefusal) {
    let first = start(mesh, 0, &mesh.authority.issue("n1"), roster);
    let second = Node::start(mesh, 1, 2);
    first.refused_by(&second.name, reason).await;
    second.refused_by(&first.name, reason).await;
    eventually("both count it", || {
        first.heard.refusals(reason) > 0 && second.heard.refusals(reason) > 0
    })
    .await;
}

#[tokio::test]
async fn certificates_and_roots_are_replaced_without_a_restart() {
    let (mesh, nodes) = running(2).await;
    let (old, new) = (&mesh.authority, Authority::new("next"));
    // First everybody accepts both roots, then everybody shows certificates of the new one, then the old one goes.
    let steps = [(old, vec![old, &new]), (&new, vec![old, &new]), (&new, vec![&new])];
    for (step, (signer, accepted)) in steps.iter().enumerate() {
        for node in &nodes {
            let identity = signer.issue(node.name.as_str()).identity(accepted).expect("usable");
            node.endpoint.reload(&identity).expect("reloaded");
            // Every step holds for links that are made anew, one node after the other.
            nodes.iter().for_each(|node| node.endpoint.reconnect());
            let key = format!("step {step} of {}", node.name);
            nodes[0].commit(&key, "v", 2).await.expect("committed");
            nodes[1].commit(&key, "w", 2).await.expect("committed");
        }
    }
    let stranger = old.issue("n1").identity(&[&new]).expect("usable");
    let reason = match dial(&mesh, &stranger, true, PROTOCOL).await {
        Ok(connection) => connection.refusal().await,
        Err(reason) => reason,
    };
    assert_eq!(reason, Some(HandshakeRefusal::Stranger), "the old root is gone");
    let elsewhere = Authority::new("elsewhere").issue("n7").identity(&[&new]).expect("usable");
    nodes[0].endpoint.reload(&elsewhere).expect_err("another name");
    nodes[0].commit("after", "v", 2).await.expect("the last good identity stays in use");
}
