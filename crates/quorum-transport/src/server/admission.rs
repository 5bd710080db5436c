//! Whether a member's first word lets it in. (pure)

use quorum_core::{Frontier, HandshakeRefusal, Lineage, Origin, PeerId, rolled_back};

use crate::error::TransportError;
use crate::identity::Roster;
use crate::wire::message::Hello;

/// What this side knows when a member says Hello.
pub(crate) struct Known<'a> {
    pub(crate) roster: &'a Roster,
    /// Lives that were declared gone.
    pub(crate) forgotten: &'a [Origin],
    /// The lineage that the member's present connection named.
    pub(crate) served: Option<&'a Lineage>,
    /// What this side holds.
    pub(crate) frontier: &'a Frontier,
}

impl Known<'_> {
    /// Whether the Hello fits the certificate for `name`, this mesh, and what is remembered of the member.
    pub(crate) fn admits(&self, name: &PeerId, hello: &Hello) -> Result<(), TransportError> {
        let refuse = |reason, detail: String| Err(TransportError::refused(reason, detail));
        if hello.node != *name || hello.lineage.origin.node != *name {
            let detail = format!("certificate is for {name}, hello says {}", hello.node);
            return refuse(HandshakeRefusal::WrongName, detail);
        }
        if hello.cluster != self.roster.cluster() {
            return refuse(
                HandshakeRefusal::WrongCluster,
                format!("{name} belongs to cluster {}", hello.cluster),
            );
        }
        if hello.to != *self.roster.local() {
            let detail = format!("{name} looks for {}, this is {}", hello.to, self.roster.local());
            return refuse(HandshakeRefusal::WrongName, detail);
        }
        if hello.members != self.roster.digest() {
            let detail = format!("{name} has another member list");
            return refuse(HandshakeRefusal::MembersDiffer, detail);
        }
        if self.forgotten.contains(&hello.lineage.origin) {
            let detail = format!("this life of {name} was declared gone");
            return refuse(HandshakeRefusal::Forgotten, detail);
        }
        let is_older = self.served.is_some_and(|served| {
            served.origin == hello.lineage.origin && served.epoch > hello.lineage.epoch
        });
        if is_older || rolled_back(&hello.lineage, self.frontier) {
            let detail =
                format!("{name} says epoch {}, a later one is remembered", hello.lineage.epoch);
            return refuse(HandshakeRefusal::RolledBack, detail);
        }
        Ok(())
    }
}
