//! What became of a write: asked at any later time, of all members.

use std::time::{Duration, Instant};

use quorum_core::{Answer, Digest, KnownWrite, PeerId, Question, Version, WriteId};

use crate::record::{Key, Namespace};
use crate::store::{RecordKey, StoreError, WriteLookup};
use crate::write::Writes;

/// How often members are asked again while somebody waits for copies.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// How far a write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a write ends in one of three ways, or is too old to tell"
)]
pub enum WriteOutcome {
    /// So many members hold it, or something newer of its key, as its namespace asks for.
    Committed,
    /// No member knows it, and all were heard.
    NotApplied,
    /// Too few members hold it, or too few were heard.
    Indeterminate,
    /// The id was used longer ago than ids are told apart.
    Expired,
}

impl WriteOutcome {
    /// The stable name used in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::NotApplied => "not_applied",
            Self::Indeterminate => "indeterminate",
            Self::Expired => "expired",
        }
    }
}

/// What the members say of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteStatus {
    /// Its name.
    pub write_id: WriteId,
    /// How far it has come.
    pub outcome: WriteOutcome,
    /// Members that hold it, or something newer of its key.
    pub copies: usize,
    /// Copies that its namespace asks for; zero while the namespace is not known.
    pub needed: usize,
    /// Where it was written, once some member knows it.
    pub found: Option<FoundAt>,
    /// What each member says: `held`, `overwritten`, `unknown`, `expired`, or why it does not say.
    pub members: Vec<(PeerId, &'static str)>,
}

/// A write that some member knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundAt {
    /// Where its key lives.
    pub namespace: Namespace,
    /// What it wrote.
    pub key: Key,
    /// Its version; of a write that was stamped again, the largest.
    pub version: Version,
    /// The digest of its content.
    pub digest: Digest,
}

impl Writes {
    /// Asks every member about a write, at most until the timeout. With `copies`, asks again until so many members hold
    /// it or the timeout has come.
    pub(crate) async fn status(
        &self,
        write_id: WriteId,
        copies: Option<usize>,
        timeout: Duration,
    ) -> Result<WriteStatus, StoreError> {
        let deadline = self.clock.now() + timeout;
        loop {
            let status = self.ask_status(write_id, deadline).await?;
            let now = self.clock.now();
            if copies.is_none_or(|copies| status.copies >= copies) || now >= deadline {
                return Ok(status);
            }
            self.clock.sleep_until((now + ASK_EVERY).min(deadline)).await;
        }
    }

    async fn ask_status(
        &self,
        write_id: WriteId,
        deadline: Instant,
    ) -> Result<WriteStatus, StoreError> {
        let own = self.known_here(&write_id)?;
        let mut known = vec![(self.members.local.clone(), own)];
        let question = Question::Write { write_id };
        let silent = self.members.ask_all(question, deadline, |peer, answer| {
            if let Answer::Write(answer) = answer {
                known.push((peer.clone(), answer));
            }
        });
        let silent = silent.await;
        Ok(self.judged(write_id, &known, &silent))
    }

    /// What this node knows of a write id, as it would tell a peer.
    pub(crate) fn known_here(&self, write_id: &WriteId) -> Result<KnownWrite, StoreError> {
        Ok(match self.writer.store().lookup(write_id)? {
            WriteLookup::Unknown => KnownWrite::Unknown,
            WriteLookup::Expired => KnownWrite::Expired,
            WriteLookup::Known(found) => KnownWrite::Held {
                key: RecordKey::new(&found.namespace, &found.key).bytes().clone(),
                is_current: found.record.is_some(),
                dot: found.dot,
                version: found.version,
                digest: found.digest,
            },
        })
    }

    fn judged(
        &self,
        write_id: WriteId,
        known: &[(PeerId, KnownWrite)],
        silent: &[(PeerId, &'static str)],
    ) -> WriteStatus {
        let mut members: Vec<(PeerId, &'static str)> =
            known.iter().map(|(member, known)| (member.clone(), standing(known))).collect();
        members.extend(silent.iter().cloned());
        members.sort_unstable();
        let copies =
            members.iter().filter(|(_, said)| ["held", "overwritten"].contains(said)).count();
        let found = newest_of(known);
        let needed = found.as_ref().map_or(0, |at| self.policies.of(&at.namespace).write().w());
        let is_expired = known.iter().any(|(_, known)| *known == KnownWrite::Expired);
        let outcome = match &found {
            Some(_) if copies >= needed => WriteOutcome::Committed,
            Some(_) => WriteOutcome::Indeterminate,
            None if is_expired => WriteOutcome::Expired,
            None if known.len() == self.members.count() => WriteOutcome::NotApplied,
            None => WriteOutcome::Indeterminate,
        };
        WriteStatus { write_id, outcome, copies, needed, found, members }
    }
}

fn standing(known: &KnownWrite) -> &'static str {
    match known {
        KnownWrite::Unknown => "unknown",
        KnownWrite::Expired => "expired",
        KnownWrite::Held { is_current: true, .. } => "held",
        KnownWrite::Held { .. } => "overwritten",
    }
}

fn newest_of(known: &[(PeerId, KnownWrite)]) -> Option<FoundAt> {
    let found = known.iter().filter_map(|(_, known)| match known {
        KnownWrite::Held { version, digest, key, .. } => {
            let (namespace, key) = RecordKey::from_bytes(key.clone()).split().ok()?;
            Some(FoundAt { namespace, key, version: version.clone(), digest: *digest })
        }
        _ => None,
    });
    found.max_by(|one, other| one.version.cmp(&other.version))
}
