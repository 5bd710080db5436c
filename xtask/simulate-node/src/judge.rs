//! What must be true of a run, looked at from outside once everything is healed.

use std::sync::Arc;
use std::time::Duration;

use quorum_core::PeerId;
use quorum_core::testing::history::{self, History};
use quorum_node::config::Consistency;
use quorum_node::status::PeerReport;

use crate::clients::{Clients, KEYS, PLAIN, STRICT, Seen};
use crate::member::Member;

/// How long members may take, after healing, until all of them hold the same.
pub(crate) const CONVERGED_WITHIN: Duration = Duration::from_secs(10);
/// How long the judge waits for that before it gives up, to tell slow from never.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Who reads in the end.
const JUDGE: u32 = 1000;

/// Waits until all members hold the same and miss nothing; tells how long that took, or what still differed.
pub(crate) async fn converged(members: &[Arc<Member>]) -> Result<Duration, String> {
    let began = tokio::time::Instant::now();
    loop {
        let difference = difference(members).await;
        let took = began.elapsed();
        match difference {
            None => return Ok(took),
            Some(difference) if took > PATIENCE => {
                return Err(format!("not converged {took:?} after healing: {difference}"));
            }
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// In what the members differ, if they do.
async fn difference(members: &[Arc<Member>]) -> Option<String> {
    let (mut differences, mut digests) = (Vec::new(), Vec::new());
    for member in members {
        let name = &member.name;
        let asked = member.ask(async |service| (service.status(true).await, service.peers()));
        let (status, peers) = match asked.await {
            Some((Ok(status), peers)) => (status, peers),
            Some((Err(error), _)) => return Some(format!("{name}: {error}")),
            None => return Some(format!("{name} is down")),
        };
        if !status.not_ready.is_empty() {
            differences.push(format!("{name} is not ready: {}", status.not_ready.join(", ")));
        }
        differences.extend(peers.iter().filter_map(|peer| behind(peer, name)));
        digests.push((name, status.content_digest, status.records));
    }
    if digests.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        differences.push(format!("digests differ: {digests:?}"));
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

/// What a peer lacks of what `name` holds, as far as `name` knows.
fn behind(peer: &PeerReport, name: &PeerId) -> Option<String> {
    if peer.connected && peer.missing_writes == Some(0) {
        return None;
    }
    let PeerReport { node, connected, missing_writes, deferred, wanted_writes, last_error, .. } =
        peer;
    Some(format!(
        "{name} sees {node} connected: {connected}, lacking {missing_writes:?}, {deferred} put off, \
         {wanted_writes} wanted of it, last error {last_error:?}"
    ))
}

/// Reads every register at every member once more, and every mark; the registers go into the history.
pub(crate) async fn last_look(clients: &Clients) -> Vec<String> {
    let mut findings = Vec::new();
    for place in 0..clients.members.len() {
        for key in (0..KEYS).map(|key| format!("k{key}")) {
            clients.read(JUDGE, place, STRICT, key.clone(), Consistency::Linearizable).await;
            clients.read(JUDGE, place, PLAIN, key, Consistency::Local).await;
        }
        findings.extend(marks(clients, place).await);
    }
    findings
}

/// Marks that one member should have and has not, and those that it has and nobody wrote.
async fn marks(clients: &Clients, place: usize) -> Vec<String> {
    let name = &clients.members[place].name;
    let expected = clients.seen().marks.clone();
    let mut findings = Vec::new();
    for (key, (value, is_acknowledged)) in &expected {
        match clients.value(place, PLAIN, key, Consistency::Local).await {
            None => findings.push(format!("{name} does not say what is at {key}")),
            Some(None) if *is_acknowledged => {
                findings.push(format!("LOST: {name} lacks {key}={value}, which was acknowledged"));
            }
            Some(Some(found)) if found != *value => {
                findings.push(format!("PHANTOM: {name} holds {key}={found}, written was {value}"));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Whether what clients saw is what registers may show.
pub(crate) fn histories(seen: &Seen) -> Vec<String> {
    let of = |namespace| History::new(seen.operations.get(namespace).cloned().unwrap_or_default());
    let mut findings = Vec::new();
    if let Err(violation) = history::linearizable(&of(STRICT)) {
        findings.push(format!("not linearizable: {violation}"));
    }
    if let Err(violation) = history::regular(&of(PLAIN)) {
        findings.push(format!("not regular: {violation}"));
    }
    findings
}
