//! What was sent on one lane and not yet answered.

use std::collections::VecDeque;
use std::time::Instant;

use crate::planted::{self, Bug};
use crate::ports::{Incoming, Reply};
use crate::replication::LaneHash;

/// An item under way. `note` is whatever the sender keeps with it until it is answered.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "networks build it")]
pub struct Sent<T = ()> {
    /// The item.
    pub item: Incoming,
    /// When it was handed to the network.
    pub handed_over: Instant,
    /// The sender's own.
    pub note: T,
}

/// A cumulative answer to the items of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "networks build it")]
pub struct AckOfLane {
    /// Items of this lane answered so far, counted from its start.
    pub upto: u64,
    /// The [`LaneHash`] up to there.
    pub hash: [u8; 16],
    /// Newly answered items, by their number from 1, whose answer is not [`Reply::Stored`].
    pub exceptions: Vec<(u64, Reply)>,
}

/// Items of one lane in order of sending. A cumulative ack answers a prefix of them.
#[derive(Debug)]
pub struct Ledger<T = ()> {
    unanswered: VecDeque<Sent<T>>,
    answered: u64,
    hash: LaneHash,
    bytes: usize,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { unanswered: VecDeque::new(), answered: 0, hash: LaneHash::new(), bytes: 0 }
    }
}

/// An ack that does not fit what was sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It answers what was answered before, or what was never sent.
    #[error("ack up to item {upto}, of which {answered} were answered and {sent} sent")]
    OutOfRange {
        /// What it answers.
        upto: u64,
        /// What was answered before.
        answered: u64,
        /// What was sent.
        sent: u64,
    },
    /// It is about other records.
    #[error("ack up to item {0} echoes another hash: the two sides disagree about what was sent")]
    Hash(u64),
    /// It names an item that it does not answer.
    #[error("exception for item {0} is out of order")]
    Exception(u64),
}

impl<T> Ledger<T> {
    /// An item was sent.
    pub fn push(&mut self, sent: Sent<T>) {
        self.bytes += payload_bytes(&sent);
        self.unanswered.push_back(sent);
    }

    /// Payload bytes sent and not yet answered.
    #[must_use]
    pub const fn unanswered_bytes(&self) -> usize {
        self.bytes
    }

    /// Items sent and not yet answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Takes out what an ack answers, each with its reply. An ack that does not fit changes nothing that matters: the
    /// connection must be closed.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the ack does not fit what was sent.
    pub fn settle(&mut self, ack: AckOfLane) -> Result<Vec<(Sent<T>, Reply)>, LedgerError> {
        let sent = self.answered + self.unanswered.len() as u64;
        if ack.upto <= self.answered || ack.upto > sent {
            return Err(LedgerError::OutOfRange { upto: ack.upto, answered: self.answered, sent });
        }
        let count = usize::try_from(ack.upto - self.answered).unwrap_or(usize::MAX);
        let mut exceptions = ack.exceptions.into_iter().peekable();
        let mut settled = Vec::with_capacity(count);
        for sent in self.unanswered.drain(..count) {
            self.answered += 1;
            self.bytes -= payload_bytes(&sent);
            self.hash.update(sent.item.record.as_deref());
            let exception = exceptions.next_if(|(number, _)| *number == self.answered);
            let exception = exception.filter(|_| !planted::is(Bug::ExceptionsIgnored));
            settled.push((sent, exception.map_or(Reply::Stored, |(_, reply)| reply)));
        }
        if let Some((number, _)) = exceptions.next() {
            return Err(LedgerError::Exception(number));
        }
        if self.hash.value() != ack.hash {
            return Err(LedgerError::Hash(ack.upto));
        }
        Ok(settled)
    }
}

fn payload_bytes<T>(sent: &Sent<T>) -> usize {
    sent.item.record.as_ref().map_or(0, |record| record.payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::lineage;
    use crate::testing::epoch;
    use crate::{Dot, Durability, Hlc, Record, WriteId};

    fn record(seq: u64) -> Record {
        let dot = Dot { lineage: lineage("n1", 1), seq };
        let payload = format!("payload {seq}").into_bytes().into();
        let id = WriteId::from_bytes([9; 16]);
        Record::new(id, dot, Hlc::from_millis(seq), Durability::Fsync, payload)
    }

    fn ledger_of(count: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for seq in 1..=count {
            let item = Incoming { record: Some(record(seq).into()), ..Incoming::default() };
            ledger.push(Sent { item, handed_over: epoch(), note: () });
        }
        ledger
    }

    fn hash_upto(count: u64) -> [u8; 16] {
        let mut hash = LaneHash::new();
        (1..=count).for_each(|seq| hash.update(Some(&record(seq))));
        hash.value()
    }

    const fn ack(upto: u64, hash: [u8; 16], exceptions: Vec<(u64, Reply)>) -> AckOfLane {
        AckOfLane { upto, hash, exceptions }
    }

    #[test]
    fn a_cumulative_ack_means_stored_except_where_it_says_otherwise() {
        let mut ledger = ledger_of(3);
        let settled = ledger.settle(ack(3, hash_upto(3), vec![(2, Reply::Drift)])).expect("fits");
        let replies: Vec<Reply> = settled.into_iter().map(|(_, reply)| reply).collect();
        assert_eq!(replies, [Reply::Stored, Reply::Drift, Reply::Stored]);
        assert_eq!((ledger.unanswered(), ledger.unanswered_bytes()), (0, 0));
    }

    #[test]
    fn an_ack_for_other_records_than_were_sent_counts_nothing() {
        assert_eq!(
            ledger_of(3).settle(ack(2, hash_upto(3), Vec::new())).unwrap_err(),
            LedgerError::Hash(2)
        );
        assert_eq!(
            ledger_of(3).settle(ack(3, [0; 16], Vec::new())).unwrap_err(),
            LedgerError::Hash(3)
        );
    }

    #[test]
    fn an_ack_outside_what_was_sent_is_refused() {
        for upto in [0, 4, u64::MAX] {
            let error = ledger_of(3).settle(ack(upto, [0; 16], Vec::new())).unwrap_err();
            assert!(matches!(error, LedgerError::OutOfRange { .. }), "{upto}");
        }
        let error = ledger_of(2).settle(ack(1, hash_upto(1), vec![(2, Reply::Drift)])).unwrap_err();
        assert_eq!(error, LedgerError::Exception(2));
    }
}
