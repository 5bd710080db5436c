//! An operator's word that a member's data will not come back: nobody waits for it any more.

use quorum_core::{Origin, PeerId};
use serde::{Deserialize, Serialize};

use crate::service::Service;
use crate::store::StoreError;

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
    let frontier = store.frontier();
    let written = frontier.iter().map(|(lineage, _)| lineage.origin.clone());
    let heard = peer.lineage.map(|lineage| lineage.origin);
    let known = store.known(name).map(|known| known.life);
    let met = store.met(name).map(|met| met.life);
    let mut lives: Vec<Origin> = written.filter(|life| life.node == *name).collect();
    let heard = heard.into_iter().chain(service.watermark().origin(name));
    lives.extend(heard.chain(known).chain(met));
    lives.sort_unstable();
    lives.dedup();
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
