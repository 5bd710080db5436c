//! What was sent on one stream and not yet answered.

use std::collections::VecDeque;
use std::time::Instant;

use quorum_core::{Incoming, LaneHash, Reply};

use crate::wire::message::Ack;

/// An item under way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) item: Incoming,
    pub(crate) handed_over: Instant,
    /// Open while a sampled write is on its way to this peer.
    #[expect(dead_code, reason = "held open until the item is answered")]
    pub(crate) span: Option<tracing::Span>,
}

/// Items of one stream in order of sending. A cumulative ack answers a prefix of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    unanswered: VecDeque<Sent>,
    answered: u64,
    hash: LaneHash,
    bytes: usize,
}

/// An ack that does not fit what was sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("ack up to item {upto}, of which {answered} were answered and {sent} sent")]
    OutOfRange { upto: u64, answered: u64, sent: u64 },
    #[error("ack up to item {0} echoes another hash: the two sides disagree about what was sent")]
    Hash(u64),
    #[error("exception for item {0} is out of order")]
    Exception(u64),
}

impl Ledger {
    /// An item was sent.
    pub(crate) fn push(&mut self, sent: Sent) {
        self.bytes += payload_bytes(&sent);
        self.unanswered.push_back(sent);
    }

    /// Payload bytes sent and not yet answered.
    pub(crate) fn unanswered_bytes(&self) -> usize {
        self.bytes
    }

    /// Items sent and not yet answered.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Takes out what an ack answers, each with its reply. An ack that does not fit changes nothing that matters: the
    /// connection must be closed.
    pub(crate) fn settle(&mut self, ack: Ack) -> Result<Vec<(Sent, Reply)>, LedgerError> {
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

fn payload_bytes(sent: &Sent) -> usize {
    sent.item.record.as_ref().map_or(0, |record| record.payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::tests::record;

    fn ledger_of(count: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for seq in 1..=count {
            let item = Incoming { record: Some(record(seq).into()), ..Incoming::default() };
            ledger.push(Sent { item, handed_over: Instant::now(), span: None });
        }
        ledger
    }

    fn hash_upto(count: u64) -> [u8; 16] {
        let mut hash = LaneHash::new();
        (1..=count).for_each(|seq| hash.update(Some(&record(seq))));
        hash.value()
    }

    fn ack(upto: u64, hash: [u8; 16], exceptions: Vec<(u64, Reply)>) -> Ack {
        Ack { upto, hash, synced: true, exceptions }
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
