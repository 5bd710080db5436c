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

/// Why a member was not forgotten. Nothing has changed.
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
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Forgets every life of a peer that is known here, durably; the other members hear of it.
pub(crate) async fn forget(service: &Service, name: &PeerId) -> Result<Forgotten, ForgetFailed> {
    let peers = service.endpoint().peers();
    let Some(peer) = peers.into_iter().find(|peer| peer.peer == *name) else {
        return Err(ForgetFailed::NoPeer(name.clone()));
    };
    if peer.connected_since.is_some() || peer.served.is_some() {
        return Err(ForgetFailed::Connected(name.clone()));
    }
    let store = service.store();
    let lives = lives(store, service.watermark(), &peer);
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

/// Whether nobody waits for a peer's data: all lives of it that are known here were declared gone. Of one that was not,
/// whichever way it is known, something may yet come.
pub(crate) fn is_forgotten(store: &Store, watermark: &Watermark, peer: &PeerStatus) -> bool {
    let forgotten = store.forgotten();
    if forgotten.is_empty() {
        return false;
    }
    let lives = lives(store, watermark, peer);
    !lives.is_empty() && lives.is_subset(&forgotten)
}

/// Every life of a peer that is known here: it has written in it, or was heard, met or told of.
fn lives(store: &Store, watermark: &Watermark, peer: &PeerStatus) -> BTreeSet<Origin> {
    let written = store.frontier().of_member(&peer.peer);
    let written = written.iter().map(|(lineage, _)| lineage.origin.clone());
    let heard = peer.lineage.as_ref().map(|lineage| lineage.origin.clone());
    let heard = heard.into_iter().chain(watermark.origin(&peer.peer));
    let met = store.met(&peer.peer).map(|met| met.life);
    let known = store.known(&peer.peer).map(|known| known.life);
    written.chain(heard).chain(met).chain(known).collect()
}

#[cfg(test)]
mod tests {
    use quorum_core::{Announcement, Epoch, Incarnation, Lineage, Occasion};

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
        let mut peer = PeerStatus::unknown(life(1).node, String::new());
        assert!(!is_forgotten(store, watermark, &peer), "nothing is known of it");

        let said = Announcement::default();
        store.meet(&life(1), (&said, Occasion::Hello), true, []).await.expect("the disk works");
        store.meet(&life(2), (&said, Occasion::Hello), true, []).await.expect("the disk works");
        watermark.heard(&life(3), &said);
        peer.lineage = Some(Lineage { origin: life(4), epoch: Epoch::new(1, 0) });
        let known = lives(store, watermark, &peer);
        assert_eq!(known, BTreeSet::from([2, 3, 4].map(life)), "in the last life that was met");
        for life in [3, 4, 2].map(life) {
            assert!(!is_forgotten(store, watermark, &peer), "{life:?} may come back");
            store.forget(life).await.expect("the disk works");
        }
        assert!(is_forgotten(store, watermark, &peer));
        mesh.stop_all().await;
    }
}
