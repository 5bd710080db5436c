//! Reads one key: from this node alone, or from as many members as the policy asks for.
//!
//! A quorum read asks every member for the version of what it holds; only one sends the value, this node if it has the
//! newest. What too few members hold is brought to a write quorum before it is returned, so that no later read goes
//! back behind it (Attiya, Bar-Noy and Dolev 1995).

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorum_core::planted::{self, Bug};
use quorum_core::{
    Answer, Busy, CommitOptions, Durability, Held, Incoming, Inquirer, Newest, PeerId, Question,
    ReadAnswer, ReadTracker, Record, ReplicaStore, Replicator, Reply, Unavailable, deadline_after,
    in_time,
};

use crate::config::{Consistency, ReadQuorum};
use crate::poll::TooFewAnswers;
use crate::record::{Content, Key, Namespace};
use crate::store::{RecordKey, StoreError, StoredRecord};
use crate::write::{WriteFailed, Writes};

/// One read as a client words it.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ReadRequest {
    /// Where.
    pub namespace: Namespace,
    /// Under which key.
    pub key: Key,
    /// What the read must promise; as the namespace is configured if left out.
    pub consistency: Option<Consistency>,
    /// Members that must answer; as the namespace is configured if left out.
    pub members: Option<ReadQuorum>,
    /// How long to wait for them; as configured if left out.
    pub timeout: Option<Duration>,
}

/// What a read has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadFound {
    /// The newest record of the key, a tombstone included.
    pub stored: Option<StoredRecord>,
    /// What the read promises.
    pub consistency: Consistency,
    /// Members that answered, of those that were needed.
    pub answers: (usize, usize),
    /// Whether every such read hears a member of every write quorum of the namespace.
    pub overlapping: bool,
}

/// A read without a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadFailed {
    /// The read asks for something that cannot be.
    #[error("{field}: {detail}")]
    Invalid {
        /// What of it.
        field: &'static str,
        /// Why.
        detail: String,
    },
    /// Too few members answered in time.
    #[error("read quorum not met: {0}")]
    TooFewAnswers(TooFewAnswers),
    /// The newest record is at too few members and could not be brought to more in time.
    #[error("the newest record is at too few members: {0}")]
    WriteBack(Box<WriteFailed>),
    /// The newest record is at too few members, and this one did not take it either.
    #[error("the newest record is at too few members, and this node does not take it: {reply:?}")]
    NotTaken {
        /// Why not.
        reply: Reply,
    },
    /// The local store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a quorum read of one key is made of.
struct Plan {
    consistency: Consistency,
    r: usize,
    /// Members at which the newest record must be before it is returned.
    w: usize,
    overlapping: bool,
    deadline: Instant,
}

impl<N: Replicator + Inquirer> Writes<N> {
    /// Reads one key.
    pub(crate) async fn read(&self, request: ReadRequest) -> Result<ReadFound, ReadFailed> {
        let policy = self.policies.of(&request.namespace);
        let consistency = request.consistency.unwrap_or_else(|| policy.consistency());
        if consistency == Consistency::Linearizable && !policy.is_linearizable() {
            let detail = "linearizable reads need a namespace that is configured so".to_owned();
            return Err(ReadFailed::Invalid { field: "consistency", detail });
        }
        if consistency == Consistency::Local {
            let stored = self.writer.store().get(&request.namespace, &request.key)?;
            let overlapping = policy.write().w() == self.members.count();
            return Ok(ReadFound { stored, consistency, answers: (1, 1), overlapping });
        }
        let r = match request.members {
            Some(asked) => self
                .policies
                .requested_r(&request.namespace, asked)
                .map_err(|detail| ReadFailed::Invalid { field: "r", detail })?,
            None => policy.r(),
        };
        let (n, mut w) = (self.members.count(), policy.write().w());
        if consistency == Consistency::Linearizable {
            if 2 * r <= n {
                let detail = format!("{r} of {n} is no majority, which this namespace needs");
                return Err(ReadFailed::Invalid { field: "r", detail });
            }
            w = n / 2 + 1;
        }
        let timeout = request.timeout.unwrap_or(self.read_timeout);
        let deadline = deadline_after(self.clock.now(), timeout);
        let plan = Plan { consistency, r, w, overlapping: r + w > n, deadline };
        loop {
            let losses = self.writer.store().losses();
            let outcome = self.read_quorum(&request.namespace, &request.key, &plan).await;
            // A member whose disk was rolled back hears from a peer that it had acknowledged something: then what it counted
            // of its own was no answer.
            if self.writer.store().losses() == losses {
                return outcome;
            }
        }
    }

    async fn read_quorum(
        &self,
        namespace: &Namespace,
        key: &Key,
        plan: &Plan,
    ) -> Result<ReadFound, ReadFailed> {
        let own = self.own(namespace, key)?;
        let tracker = self
            .newest(namespace, key, own.as_ref().map(Option::as_ref), plan.r, plan.deadline)
            .await
            .map_err(ReadFailed::TooFewAnswers)?;
        let found = |stored| ReadFound {
            stored,
            consistency: plan.consistency,
            answers: (tracker.got(), tracker.needed()),
            overlapping: plan.overlapping,
        };
        let newest = tracker.newest();
        let Some((version, digest)) = &newest else { return Ok(found(None)) };
        let is_newest = |record: &Record| record.version() == *version && record.digest == *digest;
        let at = tracker.holders(&newest).count();
        let (stored, is_written) = match own.flatten().filter(|own| is_newest(&own.record)) {
            Some(own) => (own, at >= plan.w),
            None => {
                let (from, record) = self.fetch(key, namespace, &tracker, &newest, plan).await?;
                let record = to_be_synced(record);
                let is_written = is_newest(&record) && at >= plan.w;
                let reply = self.take_in(&from, &record, plan.deadline).await;
                let is_here =
                    matches!(reply, Reply::Stored | Reply::Superseded { .. } | Reply::Drift);
                if !is_written && !is_here {
                    // Writing back counts this node's copy, so there must be one.
                    return Err(ReadFailed::NotTaken { reply });
                }
                (stored(record)?, is_written)
            }
        };
        if !is_written && plan.w > 1 && !planted::is(Bug::NotWrittenBack) {
            self.write_back(to_be_synced(stored.record.clone()), plan).await?;
        }
        Ok(found(Some(stored)))
    }

    /// The record of a key that this node holds; nothing at all if that cannot be read: others may have it intact.
    pub(crate) fn own(
        &self,
        namespace: &Namespace,
        key: &Key,
    ) -> Result<Option<Option<StoredRecord>>, StoreError> {
        match self.writer.store().get(namespace, key) {
            Ok(own) => Ok(Some(own)),
            Err(StoreError::Unreadable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks all members which version of a key they hold, until `r` have answered. `own` is what this node holds, if that
    /// can be read.
    pub(crate) async fn newest(
        &self,
        namespace: &Namespace,
        key: &Key,
        own: Option<Option<&StoredRecord>>,
        r: usize,
        deadline: Instant,
    ) -> Result<ReadTracker, TooFewAnswers> {
        let own = match own {
            _ if !self.counts() => ReadAnswer::Unavailable(Unavailable::Recovering),
            Some(own) => ReadAnswer::Held(own.map(|own| (own.record.version(), own.record.digest))),
            None => ReadAnswer::Unavailable(Unavailable::Failed),
        };
        let question = question(namespace, key, false);
        self.members
            .ask(question, own, r, deadline, |_, answer| match answer {
                Answer::Newest(newest) => {
                    ReadAnswer::Held(newest.map(|newest| (newest.version, newest.digest)))
                }
                _ => ReadAnswer::Unavailable(Unavailable::Failed),
            })
            .await
    }

    /// The record itself, from a member that holds it; or a newer one, if it holds that by now.
    async fn fetch(
        &self,
        key: &Key,
        namespace: &Namespace,
        tracker: &ReadTracker,
        newest: &Held,
        plan: &Plan,
    ) -> Result<(PeerId, Arc<Record>), ReadFailed> {
        let mut holders: Vec<&PeerId> = tracker.holders(newest).collect();
        holders.retain(|holder| **holder != self.members.local);
        for (index, holder) in holders.iter().enumerate() {
            // One that does not answer leaves time for the others.
            let now = self.clock.now();
            let turns = u32::try_from(holders.len() - index).unwrap_or(u32::MAX);
            let until = now + plan.deadline.saturating_duration_since(now) / turns;
            let answer = self.members.ask_one(holder, question(namespace, key, true), until).await;
            if let Answer::Newest(Some(Newest { record: Some(record), .. })) = answer
                && RecordKey::new(namespace, key).has(&record)
                && Some((record.version(), record.digest)) >= *newest
            {
                return Ok(((*holder).clone(), Arc::new(record)));
            }
        }
        // Whoever held it gives it out no more.
        let why = |member: &PeerId| holders.contains(&member).then_some("not_sent");
        let members = tracker.answers().map(|(member, _)| (member.clone(), why(member)));
        let members: Vec<_> = members.collect();
        let (got, needed) = (tracker.got() - holders.len().min(tracker.got()), tracker.needed());
        Err(ReadFailed::TooFewAnswers(TooFewAnswers { got, needed, members }))
    }

    /// Merges what a peer holds into this node's store, as if the peer had sent it. After the deadline it goes on, and nobody
    /// waits for it.
    pub(crate) async fn take_in(
        &self,
        from: &PeerId,
        record: &Arc<Record>,
        deadline: Instant,
    ) -> Reply {
        let record = Some(Arc::clone(record));
        let item = Incoming { record, ..Incoming::default() };
        let applied = self.receiver.apply(from, vec![item]);
        match in_time(&*self.clock, deadline, applied).await {
            Some(mut applied) => applied.replies.remove(0),
            None => Reply::Busy { reason: Busy::Overload },
        }
    }

    async fn write_back(&self, record: Arc<Record>, plan: &Plan) -> Result<(), ReadFailed> {
        let mut options = CommitOptions::default();
        let left = plan.deadline.saturating_duration_since(self.clock.now());
        (options.w, options.timeout) = (Some(plan.w), Some(left));
        let written = self.writer.write_back(record, options).await;
        written.map(drop).map_err(|error| ReadFailed::WriteBack(Box::new(error.into())))
    }
}

/// The record, to be synced before it counts whatever its writer asked for: only what is synced is shown to the next read.
fn to_be_synced(record: Arc<Record>) -> Arc<Record> {
    if record.durability == Durability::Fsync {
        return record;
    }
    Arc::new(Record { durability: Durability::Fsync, ..(*record).clone() })
}

fn question(namespace: &Namespace, key: &Key, with_record: bool) -> Question {
    Question::Newest { key: RecordKey::new(namespace, key).bytes().clone(), with_record }
}

fn stored(record: Arc<Record>) -> Result<StoredRecord, StoreError> {
    let content = Content::decode(&record.payload)
        .map_err(|error| StoreError::Unreadable { reason: error.to_string().into() })?;
    Ok(StoredRecord { record, content })
}

#[cfg(test)]
mod tests {
    use quorum_core::{Dot, Epoch, Hlc, Incarnation, Lineage, Origin, WriteId};

    use super::*;

    #[test]
    fn what_a_read_brings_to_more_members_is_synced_there_whatever_its_writer_asked_for() {
        let node = PeerId::new("a").expect("a name");
        let origin = Origin { node, incarnation: Incarnation::from_bytes([1; 8]) };
        let dot = Dot { lineage: Lineage { origin, epoch: Epoch::new(1, 0) }, seq: 1 };
        let (id, hlc) = (WriteId::from_bytes([7; 16]), Hlc::from_millis(1));
        let relaxed = Record::new(id, dot, hlc, Durability::Relaxed, b"payload"[..].into());
        let synced = to_be_synced(Arc::new(relaxed.clone()));
        assert_eq!(*synced, Record { durability: Durability::Fsync, ..relaxed });
    }
}
