//! Counts answers to one read and says when the newest of them may be returned.
//!
//! [`ReadTracker`] is a plain value, as [`AckTracker`](crate::AckTracker) is for writes: tell it what members answered,
//! then ask for the [`ReadVerdict`]. Of R answers the largest version wins; on equal versions the larger digest does, as
//! in every store.

use std::collections::BTreeMap;

use crate::id::{Digest, PeerId};
use crate::planted::{self, Bug};
use crate::query::Unavailable;
use crate::version::Version;

/// What one member holds of a key: a record by its version and digest, or nothing.
pub type Held = Option<(Version, Digest)>;

/// What one member said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a reader must judge every case")]
pub enum ReadAnswer {
    /// What it durably holds.
    Held(Held),
    /// No answer that counts.
    Unavailable(Unavailable),
}

/// What can be said about a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "a verdict is one of these three, by definition")]
pub enum ReadVerdict {
    /// Too few have answered, and enough still may.
    Pending,
    /// R members have answered.
    Met,
    /// So many cannot answer that R never will.
    Missed,
}

/// The answers of all members to one read. Each counts once; its first answer stands.
#[derive(Debug, Clone)]
pub struct ReadTracker {
    r: usize,
    answers: BTreeMap<PeerId, Option<ReadAnswer>>,
}

impl ReadTracker {
    /// Starts counting: `r` of `members` must answer.
    #[must_use]
    pub fn new(r: usize, members: impl IntoIterator<Item = PeerId>) -> Self {
        Self { r, answers: members.into_iter().map(|member| (member, None)).collect() }
    }

    /// `member` has answered. Strangers and second answers are passed over.
    pub fn record(&mut self, member: &PeerId, answer: ReadAnswer) {
        if let Some(slot) = self.answers.get_mut(member) {
            slot.get_or_insert(answer);
        }
    }

    /// Whether enough have answered.
    pub fn verdict(&self) -> ReadVerdict {
        let unavailable =
            |answer: &&Option<ReadAnswer>| matches!(answer, Some(ReadAnswer::Unavailable(_)));
        let lost = self.answers.values().filter(unavailable).count();
        let enough = if planted::is(Bug::ReadOfTooFew) { self.r - 1 } else { self.r };
        if self.got() >= enough {
            ReadVerdict::Met
        } else if self.answers.len() - lost < self.r {
            ReadVerdict::Missed
        } else {
            ReadVerdict::Pending
        }
    }

    /// Answers needed.
    #[must_use]
    pub const fn needed(&self) -> usize {
        self.r
    }

    /// Answers that count.
    #[must_use]
    pub fn got(&self) -> usize {
        self.held().count()
    }

    /// The newest record that any member has named; `None` if none holds any.
    #[must_use]
    pub fn newest(&self) -> Held {
        self.held().filter_map(|(_, held)| held.clone()).max()
    }

    /// The members that hold exactly this.
    pub fn holders<'a>(&'a self, of: &'a Held) -> impl Iterator<Item = &'a PeerId> {
        self.held().filter(move |(_, held)| *held == of).map(|(member, _)| member)
    }

    /// Every member with its answer; `None` for one that is silent.
    pub fn answers(&self) -> impl Iterator<Item = (&PeerId, Option<&ReadAnswer>)> {
        self.answers.iter().map(|(member, answer)| (member, answer.as_ref()))
    }

    fn held(&self) -> impl Iterator<Item = (&PeerId, &Held)> {
        self.answers.iter().filter_map(|(member, answer)| match answer {
            Some(ReadAnswer::Held(held)) => Some((member, held)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::hlc::Hlc;
    use crate::replication::tests::{lineage, peer};

    fn held(millis: u64, content: &[u8]) -> Held {
        let version = Version { hlc: Hlc::from_millis(millis), origin: lineage("w", 1).origin };
        Some((version, Digest::of(content)))
    }

    fn tracker(r: usize) -> ReadTracker {
        ReadTracker::new(r, ["a", "b", "c"].map(peer))
    }

    #[test]
    fn the_newest_of_r_answers_is_the_one_to_return() {
        let mut read = tracker(2);
        read.record(&peer("a"), ReadAnswer::Held(held(1, b"old")));
        assert_eq!(read.verdict(), ReadVerdict::Pending);
        read.record(&peer("b"), ReadAnswer::Held(held(2, b"new")));
        assert_eq!(read.verdict(), ReadVerdict::Met);
        assert_eq!(read.newest(), held(2, b"new"));
        assert_eq!(read.holders(&held(2, b"new")).collect::<Vec<_>>(), [&peer("b")]);
    }

    #[test]
    fn absence_is_an_answer_and_loses_against_any_record() {
        let mut read = tracker(3);
        read.record(&peer("a"), ReadAnswer::Held(None));
        read.record(&peer("b"), ReadAnswer::Held(None));
        assert_eq!(read.newest(), None);
        read.record(&peer("c"), ReadAnswer::Held(held(1, b"v")));
        assert_eq!((read.verdict(), read.newest()), (ReadVerdict::Met, held(1, b"v")));
    }

    #[test]
    fn a_read_that_cannot_succeed_any_more_fails_at_once() {
        let mut read = tracker(2);
        read.record(&peer("a"), ReadAnswer::Unavailable(Unavailable::Recovering));
        assert_eq!(read.verdict(), ReadVerdict::Pending);
        read.record(&peer("b"), ReadAnswer::Unavailable(Unavailable::Unreachable));
        assert_eq!(read.verdict(), ReadVerdict::Missed);
    }

    #[test]
    fn strangers_and_second_answers_do_not_count() {
        let mut read = tracker(2);
        read.record(&peer("a"), ReadAnswer::Held(held(1, b"v")));
        read.record(&peer("a"), ReadAnswer::Held(held(9, b"w")));
        read.record(&peer("stranger"), ReadAnswer::Held(held(9, b"w")));
        assert_eq!((read.got(), read.newest()), (1, held(1, b"v")));
    }

    #[test]
    fn of_two_contents_of_one_version_the_larger_digest_wins_as_in_the_stores() {
        let (one, other) = (held(1, b"one"), held(1, b"other"));
        let mut read = tracker(2);
        read.record(&peer("a"), ReadAnswer::Held(one.clone()));
        read.record(&peer("b"), ReadAnswer::Held(other.clone()));
        assert_eq!(read.newest(), one.max(other));
    }
}
