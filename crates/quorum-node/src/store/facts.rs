//! What the store remembers about members, durably: who was seen in which life, and how complete this one is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use quorum_core::{
    Announcement, Hlc, Incarnation, Known, Occasion, Origin, PeerId, Recovery, Repute, Stability,
    WriteId, wall_millis,
};

use super::Store;
use super::error::StoreError;
use super::intake::Job;
use super::schema::{Corrupt, decode_node, decode_u64, encode_u64};
use super::write_id_age::write_id_millis;

const RECOVERY: &[u8] = b"recovery";
const KNOWN: &[u8] = b"remembered/";
const STABLE: &[u8] = b"stable";
const PURGED: &[u8] = b"purged";
const RECOVERED_AT: &[u8] = b"recovered_at";
const FORGOTTEN: &[u8] = b"forgotten/";
const MET: &[u8] = b"met/";

/// Everything that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    recovery: Recovery,
    known: BTreeMap<PeerId, Known>,
    met: BTreeMap<PeerId, Met>,
    /// When a recovery ended last, in milliseconds since the Unix epoch; 0 if none ever did.
    recovered_at: u64,
    stable: Hlc,
    pub(super) purged: Hlc,
    pub(super) forgotten: BTreeSet<Origin>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            recovery: Recovery::New,
            known: BTreeMap::new(),
            met: BTreeMap::new(),
            recovered_at: 0,
            stable: Hlc::ZERO,
            purged: Hlc::ZERO,
            forgotten: BTreeSet::new(),
        }
    }
}

/// A member as it was when it was first heard in the life in which it was heard last, however complete that life is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) life: Origin,
    /// Up to where it had purged tombstones.
    pub(crate) purged: Hlc,
    /// Up to where it claimed to hold everything, that life or an earlier one, when it first answered this member and had claimed
    /// anything; zero if it did not yet.
    pub(crate) claimed: Hlc,
}

impl Met {
    /// A member as it is to be remembered that lives as `life` and says this, if it is remembered as `former`.
    fn again(former: Option<Self>, life: &Origin, (said, when): (&Announcement, Occasion)) -> Self {
        let purged = former.as_ref().filter(|met| met.life == *life).map(|met| met.purged);
        let claimed = former.map(|met| met.claimed).filter(|claimed| *claimed > Hlc::ZERO);
        // What it said before it knew of this life may be less than what it went on to claim without it.
        let is_claim = when == Occasion::Answer && said.stable > Stability::LEAST_CLAIM;
        Self {
            life: life.clone(),
            purged: purged.unwrap_or(said.purged),
            claimed: claimed.unwrap_or(if is_claim { said.stable } else { Hlc::ZERO }),
        }
    }
}

/// What is known of losses at a moment, to be compared with another moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Losses {
    is_recovering: bool,
    recovered_at: u64,
}

/// A decision on facts that is under way; whoever drops it halfway leaves it unfinished.
pub(super) struct Turn<'a> {
    unfinished: tokio::sync::MutexGuard<'a, bool>,
}

impl Turn<'_> {
    /// What was decided is durable.
    pub(super) fn over(mut self) {
        *self.unfinished = false;
    }
}

/// One thing to be remembered from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    Recovery(Recovery),
    Known(Known),
    Met(Met),
    /// The recovery ended at this time. Ids of writes that were overwritten by then may be missing.
    RecoveredAt(u64),
    /// Up to here everything that any member wrote is held.
    Stable(Hlc),
    /// Up to here tombstones are purged, or about to be.
    Purged(Hlc),
    /// Nobody waits any more for what this life of a member holds.
    Forgotten(Origin),
}

impl Fact {
    /// Key and value among the store's own.
    pub(super) fn encode(&self) -> (Bytes, Bytes) {
        match self {
            Self::Recovery(recovery) => {
                let number = match recovery {
                    Recovery::New => 0,
                    Recovery::Recovering => 1,
                    Recovery::Complete => 2,
                };
                (Bytes::from_static(RECOVERY), Bytes::copy_from_slice(&[number]))
            }
            Self::Known(Known { life, repute }) => {
                let mut value = BytesMut::with_capacity(9);
                value.put_slice(life.incarnation.as_bytes());
                value.put_u8(match repute {
                    Repute::Vouched => 0,
                    Repute::Contested => 1,
                    Repute::Complete => 2,
                });
                (key_of(KNOWN, &life.node), value.freeze())
            }
            Self::Met(Met { life, purged, claimed }) => {
                let mut value = BytesMut::with_capacity(24);
                value.put_slice(life.incarnation.as_bytes());
                value.put_u64(purged.as_u64());
                value.put_u64(claimed.as_u64());
                (key_of(MET, &life.node), value.freeze())
            }
            Self::RecoveredAt(millis) => (Bytes::from_static(RECOVERED_AT), encode_u64(*millis)),
            Self::Stable(hlc) => (Bytes::from_static(STABLE), encode_u64(hlc.as_u64())),
            Self::Purged(hlc) => (Bytes::from_static(PURGED), encode_u64(hlc.as_u64())),
            Self::Forgotten(origin) => {
                let name = origin.node.as_str().as_bytes();
                let mut key = BytesMut::with_capacity(FORGOTTEN.len() + 8 + name.len());
                key.put_slice(FORGOTTEN);
                key.put_slice(origin.incarnation.as_bytes());
                key.put_slice(name);
                (key.freeze(), Bytes::new())
            }
        }
    }
}

/// The key of what is remembered of one member.
fn key_of(prefix: &[u8], node: &PeerId) -> Bytes {
    [prefix, node.as_str().as_bytes()].concat().into()
}

/// The life of a member with which such an entry begins, and what follows it.
fn life_of<'a>(
    name: &[u8],
    value: &'a [u8],
    corrupt: Corrupt,
) -> Result<(Origin, &'a [u8]), Corrupt> {
    let (incarnation, rest) = value.split_first_chunk().ok_or(corrupt)?;
    let incarnation = Incarnation::from_bytes(*incarnation);
    Ok((Origin { node: decode_node(name)?, incarnation }, rest))
}

impl Facts {
    /// Takes in an entry of the store's own, if it is a fact.
    pub(super) fn read(&mut self, key: &[u8], value: &[u8]) -> Result<(), Corrupt> {
        if key == RECOVERY {
            self.recovery = match value {
                [0] => Recovery::New,
                [1] => Recovery::Recovering,
                [2] => Recovery::Complete,
                _ => return Err(Corrupt { what: "recovery" }),
            };
        } else if let Some(name) = key.strip_prefix(KNOWN) {
            let corrupt = Corrupt { what: "how a member is known" };
            let (life, repute) = life_of(name, value, corrupt)?;
            let repute = match repute {
                // As 0.1.0 wrote it, which knew no other.
                [] | [0] => Repute::Vouched,
                [1] => Repute::Contested,
                [2] => Repute::Complete,
                _ => return Err(corrupt),
            };
            self.known.insert(life.node.clone(), Known { life, repute });
        } else if let Some(name) = key.strip_prefix(MET) {
            let corrupt = Corrupt { what: "how a member was met" };
            let (life, times) = life_of(name, value, corrupt)?;
            let (purged, claimed) = times.split_first_chunk::<8>().ok_or(corrupt)?;
            let purged = Hlc::from_u64(u64::from_be_bytes(*purged));
            let claimed = match claimed {
                // Stores did not remember it at first.
                [] => Hlc::ZERO,
                claimed => Hlc::from_u64(decode_u64(claimed)?),
            };
            self.met.insert(life.node.clone(), Met { life, purged, claimed });
        } else if key == RECOVERED_AT {
            self.recovered_at = decode_u64(value)?;
        } else if key == STABLE {
            self.stable = Hlc::from_u64(decode_u64(value)?);
        } else if key == PURGED {
            self.purged = Hlc::from_u64(decode_u64(value)?);
        } else if let Some(rest) = key.strip_prefix(FORGOTTEN) {
            let corrupt = Corrupt { what: "forgotten life" };
            let (incarnation, name) = rest.split_first_chunk().ok_or(corrupt)?;
            let incarnation = Incarnation::from_bytes(*incarnation);
            self.forgotten.insert(Origin { node: decode_node(name)?, incarnation });
        }
        Ok(())
    }

    pub(super) fn take(&mut self, fact: &Fact) {
        match fact {
            Fact::Recovery(recovery) => self.recovery = *recovery,
            Fact::Known(known) => {
                self.known.insert(known.life.node.clone(), known.clone());
            }
            Fact::Met(met) => {
                self.met.insert(met.life.node.clone(), met.clone());
            }
            Fact::RecoveredAt(millis) => self.recovered_at = *millis,
            Fact::Stable(hlc) => self.stable = self.stable.max(*hlc),
            Fact::Purged(hlc) => self.purged = self.purged.max(*hlc),
            Fact::Forgotten(origin) => {
                self.forgotten.insert(origin.clone());
            }
        }
    }

    /// As whom others are told that this member knows everybody. One that is known in a forgotten life only, and was met in
    /// another one since, may hold there what nobody else has: whoever hears of the forgotten one alone takes it for gone.
    fn told(&self) -> Vec<Known> {
        let is_gone = |life: &Origin| self.forgotten.contains(life);
        let is_next_life = |met: &&Met| {
            let known = self.known.get(&met.life.node);
            known.is_none_or(|known| is_gone(&known.life))
                && self.forgotten.iter().any(|gone| gone.node == met.life.node)
                && !is_gone(&met.life)
        };
        let mut told = self.known.clone();
        for Met { life, .. } in self.met.values().filter(is_next_life) {
            let known = Known { life: life.clone(), repute: Repute::Contested };
            told.insert(life.node.clone(), known);
        }
        told.into_values().collect()
    }

    fn has(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Recovery(recovery) => self.recovery == *recovery,
            Fact::Known(known) => self.known.get(&known.life.node) == Some(known),
            Fact::Met(met) => self.met.get(&met.life.node) == Some(met),
            Fact::RecoveredAt(millis) => self.recovered_at == *millis,
            Fact::Stable(hlc) => self.stable >= *hlc,
            Fact::Purged(hlc) => self.purged >= *hlc,
            Fact::Forgotten(origin) => self.forgotten.contains(origin),
        }
    }
}

impl Store {
    /// Whether this store holds what its member once acknowledged.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.shared.facts.read().recovery
    }

    /// How often this store is known to have lost what its member acknowledged. If it is more often after an answer than
    /// before, the answer was given without knowing.
    pub(crate) fn losses(&self) -> Losses {
        let facts = self.shared.facts.read();
        let is_recovering = facts.recovery == Recovery::Recovering;
        Losses { is_recovering, recovered_at: facts.recovered_at }
    }

    /// Says durably how complete the store is.
    ///
    /// # Errors
    ///
    /// As for a write.
    pub async fn set_recovery(&self, recovery: Recovery) -> Result<(), StoreError> {
        let turn = self.turn().await?;
        self.recovery_is(recovery).await?;
        turn.over();
        Ok(())
    }

    /// Says durably that the store is complete, if it is still as incomplete, and lives the same life, as when that was seen.
    /// Tells whether it was.
    pub(crate) async fn complete(&self, us: &Origin, from: Recovery) -> Result<bool, StoreError> {
        self.becomes(us, from, Recovery::Complete).await
    }

    /// Says durably that a disk which began empty is that of a member that lived before. Tells whether that is news.
    pub(crate) async fn began_with_a_loss(&self, us: &Origin) -> Result<bool, StoreError> {
        self.becomes(us, Recovery::New, Recovery::Recovering).await
    }

    async fn becomes(&self, us: &Origin, from: Recovery, to: Recovery) -> Result<bool, StoreError> {
        let turn = self.turn().await?;
        let is_so = (self.recovery(), &self.lineage().origin) == (from, us);
        if is_so {
            self.recovery_is(to).await?;
        }
        turn.over();
        Ok(is_so)
    }

    /// Waits until no other decision on facts is under way. What one that was dropped halfway has left in the queue is
    /// durable then.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, StoreError> {
        let mut unfinished = self.shared.turn.lock().await;
        if *unfinished {
            self.ask(|done| Job::Sync { done }).await?;
        }
        *unfinished = true;
        Ok(Turn { unfinished })
    }

    async fn recovery_is(&self, recovery: Recovery) -> Result<(), StoreError> {
        if (self.recovery(), recovery) == (Recovery::Recovering, Recovery::Complete) {
            let now = wall_millis(&self.shared.clock);
            self.establish(Fact::RecoveredAt(now)).await?;
        }
        self.establish(Fact::Recovery(recovery)).await
    }

    /// Whether an id that is unknown here names no write that this store ever took.
    ///
    /// Whoever refilled after a loss got the current records with their ids, not those of writes that were overwritten by
    /// then. So for as long as ids are told apart it vouches only for those that were made later.
    #[must_use]
    pub fn knows_all_of(&self, write_id: &WriteId) -> bool {
        let recovered_at = self.shared.facts.read().recovered_at;
        let skew_max = u64::try_from(self.shared.config.clock_skew_max.as_millis());
        let surely_later = recovered_at.saturating_add(skew_max.unwrap_or(u64::MAX));
        recovered_at == 0
            || self.is_expired(recovered_at)
            || write_id_millis(write_id).is_some_and(|made| made > surely_later)
    }

    /// How a member is known.
    #[must_use]
    pub fn known(&self, node: &PeerId) -> Option<Known> {
        self.shared.facts.read().known.get(node).cloned()
    }

    /// How all members are known that are, as it is to be told to others.
    pub(crate) fn everybody_known(&self) -> Vec<Known> {
        self.shared.facts.read().told()
    }

    /// A member as it was met, if it ever was.
    pub(crate) fn met(&self, node: &PeerId) -> Option<Met> {
        self.shared.facts.read().met.get(node).cloned()
    }

    /// The least of what members that were met claimed to hold then, if one had claimed anything.
    pub(crate) fn least_claim_met(&self) -> Option<Hlc> {
        let facts = self.shared.facts.read();
        facts.met.values().map(|met| met.claimed).filter(|claimed| *claimed > Hlc::ZERO).min()
    }

    /// Takes in durably, in one sync, that a member said this of itself on that occasion, and how it knows these others.
    pub(crate) async fn meet(
        &self,
        from: &Origin,
        (said, when): (&Announcement, Occasion),
        may_vouch: bool,
        told: impl IntoIterator<Item = &Known>,
    ) -> Result<(), StoreError> {
        let turn = self.turn().await?;
        let mut news = BTreeMap::new();
        {
            let known = &self.shared.facts.read().known;
            if let Some(met) = Known::met(known.get(&from.node), from, said.recovery, may_vouch) {
                news.insert(from.node.clone(), met);
            }
            for told in told {
                let node = &told.life.node;
                let joined = Known::joined(news.get(node).or_else(|| known.get(node)), told);
                news.insert(node.clone(), joined);
            }
        }
        let met = Met::again(self.met(&from.node), from, (said, when));
        let news = news.into_values().map(Fact::Known).chain([Fact::Met(met)]);
        try_join_all(news.map(|fact| self.establish(fact))).await?;
        turn.over();
        Ok(())
    }

    /// Up to here everything that any member wrote is durably held.
    #[must_use]
    pub fn stable(&self) -> Hlc {
        self.shared.facts.read().stable
    }

    /// Whether that was ever said of what is here.
    pub(crate) fn has_claimed(&self) -> bool {
        self.stable() > Stability::LEAST_CLAIM
    }

    /// Says durably up to where everything is held.
    ///
    /// # Errors
    ///
    /// As for a write.
    pub async fn set_stable(&self, stable: Hlc) -> Result<(), StoreError> {
        self.establish(Fact::Stable(stable)).await
    }

    /// Up to here tombstones are purged, or about to be.
    #[must_use]
    pub fn purged(&self) -> Hlc {
        self.shared.facts.read().purged
    }

    /// Lives of members whose data nobody waits for any more.
    #[must_use]
    pub fn forgotten(&self) -> BTreeSet<Origin> {
        self.shared.facts.read().forgotten.clone()
    }

    /// Says durably that nobody waits any more for what a life of a member holds.
    ///
    /// # Errors
    ///
    /// As for a write.
    pub async fn forget(&self, life: Origin) -> Result<(), StoreError> {
        self.establish(Fact::Forgotten(life)).await
    }

    /// Makes a fact durable; nothing is written if it is known.
    pub(super) async fn establish(&self, fact: Fact) -> Result<(), StoreError> {
        if self.shared.facts.read().has(&fact) {
            return Ok(());
        }
        self.ask(|done| Job::Establish { fact, done }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_read_back_as_they_were_written() {
        let node = PeerId::new("n2").expect("a name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([7; 8]) };
        let known = Known { life: origin.clone(), repute: Repute::Complete };
        let facts = [
            Fact::Recovery(Recovery::Complete),
            Fact::Known(known),
            Fact::Met(Met {
                life: origin.clone(),
                purged: Hlc::from_millis(4),
                claimed: Hlc::from_millis(3),
            }),
            Fact::RecoveredAt(5),
            Fact::Stable(Hlc::from_millis(7)),
            Fact::Purged(Hlc::from_millis(6)),
            Fact::Forgotten(origin),
        ];
        let (mut told, mut read) = (Facts::default(), Facts::default());
        for fact in &facts {
            assert!(!read.has(fact));
            told.take(fact);
            let (key, value) = fact.encode();
            read.read(&key, &value).expect("readable");
            assert!(read.has(fact));
        }
        assert_eq!(told, read);
        assert!(read.read(RECOVERY, &[9]).is_err());
        assert!(read.read(b"remembered/n1", &[1, 2]).is_err());
        assert!(read.read(b"remembered/n1", &[1, 1, 1, 1, 1, 1, 1, 1, 3]).is_err());
        read.read(b"remembered/n1", &[1; 8]).expect("as 0.1.0 wrote it");
        assert!(read.read(b"forgotten/short", &[]).is_err());
        assert!(read.read(b"met/n1", &[1; 23]).is_err());
        assert!(read.read(b"met/n1", &[1; 15]).is_err());
    }

    #[test]
    fn a_member_that_was_met_when_its_claim_was_not_remembered_yet_is_read() {
        let mut read = Facts::default();
        read.read(b"met/n1", &[1; 16]).expect("as stores wrote it before");
        let node = PeerId::new("n1").expect("a name");
        let met = Met {
            life: Origin { node: node.clone(), incarnation: Incarnation::from_bytes([1; 8]) },
            purged: Hlc::from_u64(u64::from_be_bytes([1; 8])),
            claimed: Hlc::ZERO,
        };
        assert_eq!(read.met.get(&node), Some(&met));
        let (key, value) = Fact::Met(met).encode();
        assert_eq!(value.len(), 24);
        read.read(&key, &value).expect("readable");
    }
}
