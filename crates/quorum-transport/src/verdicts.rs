//! What peers have found out about this node: things it cannot know by itself, and must act upon.

use quorum_core::HandshakeRefusal;
use tokio::sync::watch;

use crate::error::TransportError;

/// Each turns `true` when a peer says so.
#[derive(Debug)]
pub(crate) struct Verdicts {
    /// This node's disk has gone back in time.
    pub(crate) rolled_back: watch::Sender<bool>,
    /// This life of the node was declared gone.
    pub(crate) forgotten: watch::Sender<bool>,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { rolled_back: watch::Sender::new(false), forgotten: watch::Sender::new(false) }
    }
}

impl Verdicts {
    /// Takes in why a peer ended a connection.
    pub(crate) fn hear(&self, error: &TransportError) {
        if error.is_refusal(HandshakeRefusal::RolledBack) {
            self.rolled_back.send_replace(true);
        } else if error.is_refusal(HandshakeRefusal::Forgotten) {
            self.forgotten.send_replace(true);
        }
    }
}
