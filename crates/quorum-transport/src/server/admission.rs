//! Whether a member's first word lets it in. (pure)

use quorum_core::{
    Frontier, HandshakeFault, HandshakeRefusal, Lineage, Origin, PeerId, check_hello,
};

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
        match check_hello(&hello.lineage, self.frontier, self.forgotten, self.served) {
            Err(HandshakeFault::Theirs { reason, detail }) => refuse(reason, detail),
            _ => Ok(()),
        }
    }
}
