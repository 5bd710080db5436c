//! What a member says of itself beside what it holds: whether it may be counted on, whom it knows, what its clock has
//! closed, what it has purged, whom it has forgotten. Told with every hello and welcome, and again when it changes.

use crate::acquaintance::Known;
use crate::clock::hlc::Hlc;
use crate::frontier::Frontier;
use crate::id::{Digest, PeerId};
use crate::planted::{self, Bug};
use crate::version::Origin;

/// Whether a member holds what it once acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[expect(clippy::exhaustive_enums, reason = "a peer must judge every case")]
pub enum Recovery {
    /// A data directory that began empty, in a member of which it is not known yet whether it lived before: its acks and
    /// answers do not count.
    New,
    /// The member lived before and lost its data: until it has it again, its acks and answers do not count.
    Recovering,
    /// It holds whatever it acknowledged.
    #[default]
    Complete,
}

impl Recovery {
    /// The stable name used in status and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Recovering => "recovering",
            Self::Complete => "complete",
        }
    }

    /// Whether the acks and answers of such a member count.
    #[must_use]
    pub fn counts(self) -> bool {
        self == Self::Complete || planted::is(Bug::RecoveringCounts)
    }
}

impl std::fmt::Display for Recovery {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// When a member says what it says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store must judge every case")]
pub enum Occasion {
    /// With its hello: it may not know yet in which life the listener lives.
    Hello,
    /// With its welcome, or in answer to a probe: it knows.
    Answer,
}

/// A member's word about its own clock: every version it will ever issue at or below `hlc` has a dot in `covers`.
///
/// `covers` names all lineages of the member, in all its lives, without gaps: what is missing there is void and will
/// never be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct Close {
    /// The time that is over for this member.
    pub hlc: Hlc,
    /// The dots that it has given out until then.
    pub covers: Frontier,
}

/// What one member says to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct Announcement {
    /// Whether the speaker holds what it acknowledged.
    pub recovery: Recovery,
    /// Whom the speaker knows.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::wary_list::deserialize"))]
    pub known: Vec<Known>,
    /// What the speaker's clock has closed; left out by a store that purges nothing.
    pub close: Option<Close>,
    /// Up to here the speaker durably holds every write of every member.
    pub stable: Hlc,
    /// Up to here the speaker has purged tombstones.
    pub purged: Hlc,
    /// Lives of members whose data nobody waits for any more.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::wary_list::deserialize"))]
    pub forgotten: Vec<Origin>,
    /// A digest of the settings that all members should share; left out if there are none.
    pub settings: Option<Digest>,
}

impl Announcement {
    /// How the speaker knows a member.
    #[must_use]
    pub fn known(&self, member: &PeerId) -> Option<&Known> {
        self.known.iter().find(|known| known.life.node == *member)
    }

    /// Whether the speaker vouches that the listener, which lives as `us` and began with an empty disk, never lived before.
    #[must_use]
    pub fn vouches_for(&self, us: &Origin) -> bool {
        let known = self.known(&us.node).filter(|_| self.recovery != Recovery::Recovering);
        known.is_some_and(|known| known.vouches_for(us))
    }

    /// Whether the speaker knows that the listener, which lives as `us` and began with an empty disk, lived before.
    #[must_use]
    pub fn knows_of_a_loss(&self, us: &Origin) -> bool {
        self.known(&us.node).is_some_and(|known| !known.vouches_for(us))
    }
}
