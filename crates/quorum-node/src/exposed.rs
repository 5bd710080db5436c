//! Which writes have too few copies, and for how long: the figures of [`Exposure`] with times from the log.

use quorum_core::{Dot, Exposure, Frontier, PeerId, wall_millis};
use quorum_transport::PeerStatus;
use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};

/// The writes held here that have too few copies.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExposureReport {
    /// Writes on fewer members than the default policy's W.
    pub below_w: u64,
    /// Seconds since the oldest of them was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_below_w_seconds: Option<f64>,
    /// Writes that some member lacks.
    pub below_n: u64,
    /// Seconds since the oldest of them was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_below_n_seconds: Option<f64>,
    /// Writes by the number of members that hold them: on one, on two, and so on.
    pub by_copies: Vec<u64>,
    /// Whether every member has said what it holds. One that has not since this node started counts as holding only
    /// what everybody was known to hold.
    pub exact: bool,
}

/// What can be said now. Reads the log for the times. What a member in `lost` held is given up.
pub(crate) fn report(
    store: &Store,
    peers: &[PeerStatus],
    lost: &[PeerId],
    w: usize,
) -> Result<ExposureReport, StoreError> {
    let (held, everywhere) = (store.frontier(), store.trimmed());
    let known = |peer: &PeerStatus| {
        if lost.contains(&peer.peer) {
            return Frontier::new();
        }
        peer.frontier.clone().unwrap_or_else(|| everywhere.clone())
    };
    let others: Vec<Frontier> = peers.iter().map(known).collect();
    let exposure = Exposure::of(&held, &others.iter().collect::<Vec<_>>());
    let n = peers.len() + 1;
    Ok(ExposureReport {
        below_w: exposure.below(w),
        oldest_below_w_seconds: oldest(store, exposure.first_below(w))?,
        below_n: exposure.below(n),
        oldest_below_n_seconds: oldest(store, exposure.first_below(n))?,
        by_copies: exposure.by_copies().to_vec(),
        exact: peers.iter().all(|peer| peer.frontier.is_some() || lost.contains(&peer.peer)),
    })
}

/// Seconds since the oldest of these writes was made.
fn oldest<'a>(
    store: &Store,
    dots: impl Iterator<Item = &'a Dot>,
) -> Result<Option<f64>, StoreError> {
    let mut oldest: Option<u64> = None;
    for dot in dots {
        if let Some(hlc) = store.logged_at(dot)? {
            let millis = hlc.millis();
            oldest = Some(oldest.map_or(millis, |oldest| oldest.min(millis)));
        }
    }
    let now = wall_millis(store.clock());
    Ok(oldest.map(|millis| now.saturating_sub(millis) as f64 / 1_000.0))
}
