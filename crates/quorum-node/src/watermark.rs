//! What members say of their clocks and of what they have purged, shared by the door that hears it and the chore that
//! acts on it.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use quorum_core::{Announcement, Close, Frontier, Heard, Hlc, Origin, PeerId, Stability};
use quorum_transport::PeerStatus;

/// Up to where nothing older can come any more; see [`Stability`]. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watermark {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    stability: Stability,
    /// What this node's clock has closed last, and the life in which it did.
    close: Option<(Origin, Close)>,
}

impl Watermark {
    /// Takes in what a member says.
    pub(crate) fn heard(&self, from: &Origin, said: &Announcement) {
        self.state.lock().stability.heard(from, said);
    }

    /// This node has closed its clock.
    pub(crate) fn closed(&self, us: &Origin, close: Close) {
        let mut state = self.state.lock();
        state.stability.closed(us, &close);
        state.close = Some((us.clone(), close));
    }

    /// What to tell others of this node's clock in its present life.
    pub(crate) fn close_of(&self, us: &Origin) -> Option<Close> {
        let state = self.state.lock();
        state.close.as_ref().filter(|(origin, _)| origin == us).map(|(_, close)| close.clone())
    }

    /// Up to where this node holds everything of `members`. A first claim is made only once it reaches beyond everything
    /// that is purged anywhere: from then on, a member that has purged more than this node claims has purged without it.
    pub(crate) fn stable(
        &self,
        ours: &Frontier,
        members: &[PeerId],
        is_first: bool,
    ) -> Option<Hlc> {
        let mut state = self.state.lock();
        state.stability.look(ours);
        let purged = state.stability.purged();
        state.stability.stable(members).filter(|stable| !is_first || *stable >= purged)
    }

    /// Up to where tombstones may go, if this node claims `own` and `others` are all others that count.
    pub(crate) fn settled(&self, own: Hlc, others: &[PeerStatus], now: Instant) -> Option<Hlc> {
        let mut state = self.state.lock();
        let reached = state.stability.watermark(own, others.iter().map(|peer| &peer.peer))?;
        Some(state.stability.settled(reached, others.iter().map(heard), now))
    }

    /// Up to where some member has purged tombstones, as far as it was heard.
    pub(crate) fn purged(&self) -> Hlc {
        self.state.lock().stability.purged()
    }

    /// Above what this node must stamp while it has claimed nothing, in a mesh of so many; `None` if too few were heard.
    pub(crate) fn told(&self, us: &PeerId, members: usize) -> Option<Hlc> {
        self.state.lock().stability.told(us, members / 2)
    }

    /// The life in which a member was heard last.
    pub(crate) fn origin(&self, member: &PeerId) -> Option<Origin> {
        self.state.lock().stability.origin(member).cloned()
    }
}

fn heard(peer: &PeerStatus) -> Heard<'_> {
    let life = peer.lineage.as_ref().map(|lineage| &lineage.origin);
    let answered = peer.connected_since.and_then(|_| life.zip(peer.asked_at));
    Heard { member: &peer.peer, answered }
}
