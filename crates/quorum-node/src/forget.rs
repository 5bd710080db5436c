//! An operator's word that a member's data will not come back: nobody waits for it any more.

use std::collections::BTreeSet;

use quorum_core::{Origin, PeerId};
use quorum_transport::PeerStatus;
use serde::{Deserialize, Serialize};

use crate::service::Service;
use crate::store::{Store, StoreError};
use crate::watermark::Watermark;

/// A member was forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Forgotten {
    /// Which member.
    pub node: PeerId,
    /// Its lives whose data nobody waits for any more.
    pub incarnations: Vec<String>,
}

/// Why a member was not forgotten. Nothing has changed, unless it could not be written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetFailed {
    /// There is no such peer.
    #[error("{0} is no peer of this node")]
    NoPeer(PeerId),
    /// It is there, and whatever it holds with it.
    #[error("{0} is connected: only a member that is gone can be forgotten")]
    Connected(PeerId),
    /// It was never heard of, so there is nothing that anybody could wait for but its first start.
    #[error("nothing is known of {0}: it has no data that could be forgotten")]
    Unknown(PeerId),
    /// It could not be written down. Lives of it may be forgotten all the same, some or all of them, for good; while one is
    /// not, the member is waited for.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Forgets every life of a peer that is known here, durably; the other members hear of it.
pub(crate) async fn forget(service: &Service, name: &PeerId) -> Result<Forgotten, ForgetFailed> {
    let peers = service.endpoint().peers();
    let Some(peer) = peers.iter().find(|peer| peer.peer == *name) else {
        return Err(ForgetFailed::NoPeer(name.clone()));
    };
    if peer.connected_since.is_some() || peer.served.is_some() {
        return Err(ForgetFailed::Connected(name.clone()));
    }
    let store = service.store();
    let lives = lives(store, service.watermark(), peer, &peers);
    if lives.is_empty() {
        return Err(ForgetFailed::Unknown(name.clone()));
    }
    for life in &lives {
        store.forget(life.clone()).await?;
    }
    tracing::warn!(member = %name, "declared gone by an operator: nobody waits for its data");
    let incarnations = lives.iter().map(|life| life.incarnation.to_string()).collect();
    Ok(Forgotten { node: name.clone(), incarnations })
}

/// The peers whose data nobody waits for: all their lives that are known here were declared gone. Of a life that was not,
/// whichever way it is known, something may yet come.
pub(crate) fn forgotten_among(
    peers: &[PeerStatus],
    store: &Store,
    watermark: &Watermark,
) -> Vec<PeerId> {
    let forgotten = store.forgotten();
    if forgotten.is_empty() {
        return Vec::new();
    }
    let is_forgotten = |peer: &&PeerStatus| {
        let lives = lives(store, watermark, peer, peers);
        !lives.is_empty() && lives.is_subset(&forgotten)
    };
    peers.iter().filter(is_forgotten).map(|peer| peer.peer.clone()).collect()
}

/// Every life of a peer that is known here: it has written in it, was heard or met in it, or one of `peers` knows it so.
fn lives(
    store: &Store,
    watermark: &Watermark,
    peer: &PeerStatus,
    peers: &[PeerStatus],
) -> BTreeSet<Origin> {
    let written = store.frontier().of_member(&peer.peer);
    let written = written.iter().map(|(lineage, _)| lineage.origin.clone());
    let heard = peer.lineage.as_ref().map(|lineage| lineage.origin.clone());
    let heard = heard.into_iter().chain(watermark.origin(&peer.peer));
    let met = store.met(&peer.peer).map(|met| met.life);
    let known = store.known(&peer.peer).map(|known| known.life);
    let told = peers.iter().filter_map(|other| other.announcement.as_ref()?.known(&peer.peer));
    let told = told.map(|known| known.life.clone());
    written.chain(heard).chain(met).chain(known).chain(told).collect()
}

#[cfg(test)]
mod tests {
    use quorum_core::{Announcement, Epoch, Incarnation, Known, Lineage, Occasion, Repute};

    use super::*;
    use crate::local_mesh::LocalMesh;

    fn life(number: u8) -> Origin {
        let node = PeerId::new("n2").expect("a name");
        Origin { node, incarnation: Incarnation::from_bytes([number; 8]) }
    }

    /// Whichever way one of its lives is known here, it is listed, and waited for until it is forgotten as well.
    #[tokio::test]
    async fn a_member_is_waited_for_while_any_life_of_it_is_not_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let mesh = LocalMesh::start(1, directory.path(), |_| {}).await;
        let mut mesh = mesh.expect("a mesh of one starts");
        let service = mesh.node(0).expect("it runs").service().clone();
        let (store, watermark) = (service.store(), service.watermark());
        let third = PeerId::new("n3").expect("a name");
        let mut peers = [life(1).node, third].map(|name| PeerStatus::unknown(name, String::new()));
        let is_forgotten =
            |peers: &[PeerStatus]| forgotten_among(peers, store, watermark).contains(&life(1).node);

        let said = Announcement::default();
        store.meet(&life(1), (&said, Occasion::Hello), true, []).await.expect("the disk works");
        store.meet(&life(2), (&said, Occasion::Hello), true, []).await.expect("the disk works");
        watermark.heard(&life(3), &said);
        peers[0].lineage = Some(Lineage { origin: life(4), epoch: Epoch::new(1, 0) });
        let known = vec![Known { life: life(5), repute: Repute::Complete }];
        peers[1].announcement = Some(Announcement { known, ..Announcement::default() });
        let known = lives(store, watermark, &peers[0], &peers);
        assert_eq!(known, BTreeSet::from([2, 3, 4, 5].map(life)), "in the last life that was met");
        for life in [3, 4, 2, 5].map(life) {
            assert!(!is_forgotten(&peers), "{life:?} may come back");
            store.forget(life).await.expect("the disk works");
        }
        assert!(is_forgotten(&peers));
        peers[0] = PeerStatus::unknown(PeerId::new("n4").expect("a name"), String::new());
        assert!(forgotten_among(&peers, store, watermark).is_empty(), "nothing is known of them");
        mesh.stop_all().await;
    }
}
