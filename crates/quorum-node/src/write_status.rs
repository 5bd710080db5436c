//! What became of a write: asked at any later time, of all members.

use std::time::{Duration, Instant};

use quorum_core::{
    Answer, Digest, Inquirer, KnownWrite, PeerId, Question, Replicator, Version, WriteId,
    deadline_after,
};

use crate::record::{Key, Namespace};
use crate::store::RecordKey;
use crate::write::Writes;

/// How often members are asked again while somebody waits for copies.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long one round of asking lasts while somebody waits for copies.
const ROUND: Duration = Duration::from_secs(1);

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
    /// What each member says: `held`, `overwritten`, `earlier_version` (it knows the write from before it was stamped
    /// again, which is no copy), `under_way` (being executed there), `unknown`, `expired`, `conflict` (the id names another
    /// write there), or why it does not say.
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

impl<N: Replicator + Inquirer> Writes<N> {
    /// Asks every member about a write, at most until the timeout. With `copies`, asks again until so many members hold
    /// it or the timeout has come.
    pub(crate) async fn status(
        &self,
        write_id: WriteId,
        copies: Option<usize>,
        timeout: Duration,
    ) -> WriteStatus {
        let deadline = deadline_after(self.clock.now(), timeout);
        loop {
            let status = self.ask_status(write_id, copies, deadline).await;
            let now = self.clock.now();
            if copies.is_none_or(|copies| status.copies >= copies) || now >= deadline {
                return status;
            }
            self.clock.sleep_until((now + ASK_EVERY).min(deadline)).await;
        }
    }

    /// Asks everybody once, this node beside the others. With `copies`, one that does not answer holds nobody up: it is asked
    /// again.
    async fn ask_status(
        &self,
        write_id: WriteId,
        copies: Option<usize>,
        deadline: Instant,
    ) -> WriteStatus {
        let mut known = Vec::new();
        let until = match copies {
            Some(_) => deadline.min(self.clock.now() + ROUND),
            None => deadline,
        };
        let (question, own) = (Question::Write { write_id }, self.known_here(write_id));
        let asked = self.members.ask_all(question, own, until, |member, answer| {
            if let Answer::Write(answer) = answer {
                known.push((member.clone(), answer));
            }
            copies.is_some_and(|copies| holders(&known, newest_of(&known).as_ref()) >= copies)
        });
        let silent = asked.await;
        self.judged(write_id, &known, silent)
    }

    /// What this node says of a write id.
    async fn known_here(&self, write_id: WriteId) -> Answer {
        // Asked first: whatever ends meanwhile is found in the store.
        let is_executing = self.under_way.is_executing(&write_id);
        match self.writer.store().answer(Question::Write { write_id }).await {
            Answer::Write(KnownWrite::Unknown) if is_executing => {
                Answer::Write(KnownWrite::UnderWay)
            }
            answer => answer,
        }
    }

    fn judged(
        &self,
        write_id: WriteId,
        known: &[(PeerId, KnownWrite)],
        silent: Vec<(PeerId, &'static str)>,
    ) -> WriteStatus {
        let found = newest_of(known);
        let mut members: Vec<(PeerId, &'static str)> = known
            .iter()
            .map(|(member, known)| (member.clone(), standing(known, found.as_ref())))
            .collect();
        members.extend(silent);
        members.sort_unstable();
        let copies = holders(known, found.as_ref());
        let needed = found.as_ref().map_or(0, |at| self.policies.of(&at.namespace).write().w());
        let says = |what: &KnownWrite| known.iter().any(|(_, known)| known == what);
        let outcome = match &found {
            Some(_) if copies >= needed => WriteOutcome::Committed,
            Some(_) => WriteOutcome::Indeterminate,
            None if says(&KnownWrite::UnderWay) => WriteOutcome::Indeterminate,
            None if says(&KnownWrite::Expired) => WriteOutcome::Expired,
            None if known.len() == self.members.count() => WriteOutcome::NotApplied,
            None => WriteOutcome::Indeterminate,
        };
        WriteStatus { write_id, outcome, copies, needed, found, members }
    }
}

/// Members that hold the write, or something newer of its key.
fn holders(known: &[(PeerId, KnownWrite)], found: Option<&FoundAt>) -> usize {
    let is_copy = |known: &KnownWrite| ["held", "overwritten"].contains(&standing(known, found));
    known.iter().filter(|(_, known)| is_copy(known)).count()
}

fn standing(known: &KnownWrite, found: Option<&FoundAt>) -> &'static str {
    match known {
        KnownWrite::Unknown => "unknown",
        KnownWrite::Expired => "expired",
        KnownWrite::UnderWay => "under_way",
        // The id was used for two different writes, each at a member that did not know of the other.
        KnownWrite::Held { digest, .. } if found.is_some_and(|found| found.digest != *digest) => {
            "conflict"
        }
        KnownWrite::Held { version, newest, .. } => {
            let asked = found.map_or(version, |found| &found.version);
            if newest.as_ref() == Some(asked) {
                "held"
            } else if version == asked || newest.as_ref() > Some(asked) {
                "overwritten"
            } else {
                "earlier_version"
            }
        }
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

#[cfg(test)]
mod tests {
    use quorum_core::{Dot, Epoch, Hlc, Incarnation, Lineage, Origin};

    use super::*;

    fn version(millis: u64) -> Version {
        let node = PeerId::new("a").expect("a name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
        Version { hlc: Hlc::from_millis(millis), origin }
    }

    fn held(at: u64, newest: Option<u64>) -> KnownWrite {
        let lineage = Lineage { origin: version(at).origin, epoch: Epoch::new(1, 0) };
        let (namespace, key) =
            (Namespace::new("test").expect("a name"), Key::new("k").expect("a key"));
        KnownWrite::Held {
            dot: Dot { lineage, seq: at },
            version: version(at),
            digest: Digest::of(b"payload"),
            key: RecordKey::new(&namespace, &key).bytes().clone(),
            newest: newest.map(version),
        }
    }

    /// The write was stamped at 1 and, since something newer was there, again at 5. Who knows the first only, and something
    /// between the two, has no copy: a read there finds what the write has overwritten.
    #[test]
    fn an_earlier_version_of_a_write_is_no_copy() {
        let cases = [
            (held(5, Some(5)), "held"),
            (held(5, Some(9)), "overwritten"),
            (held(5, None), "overwritten"),
            (held(1, Some(1)), "earlier_version"),
            (held(1, Some(3)), "earlier_version"),
            (held(1, None), "earlier_version"),
            (held(1, Some(5)), "held"),
            (held(1, Some(9)), "overwritten"),
        ];
        let members = cases.iter().enumerate();
        let known: Vec<_> = members
            .map(|(at, (known, _))| (PeerId::new(format!("n{at}")).expect("a name"), known.clone()))
            .collect();
        let found = newest_of(&known);
        for (known, expected) in &cases {
            assert_eq!(standing(known, found.as_ref()), *expected, "{known:?}");
        }
        assert_eq!(holders(&known, found.as_ref()), 5);
    }
}
