//! What other members may ask this store.

use bytes::Bytes;
use quorum_core::{Answer, KnownWrite, Newest, Question, Unavailable, WriteId};

use super::Store;
use super::error::StoreError;
use super::read::WriteLookup;
use super::schema::RecordKey;
use super::scrub::RangeSum;

impl Store {
    /// The answer to another member's question, out of the synced state.
    pub(crate) async fn answer(&self, question: Question) -> Answer {
        let failed = Answer::Unavailable(Unavailable::Failed);
        if matches!(question, Question::Write { .. }) && self.settle().await.is_err() {
            return failed;
        }
        let read = move |store: &Self| store.answer_now(question);
        self.reading("answer a question", read).await.unwrap_or(failed)
    }

    /// What is known here of a write id; nothing at all if this store cannot vouch for knowing nothing.
    fn known_write(&self, write_id: &WriteId) -> Result<Option<KnownWrite>, StoreError> {
        // Asked first: what is staged is found by the lookup once it no longer is.
        let is_staged = self.is_staged(write_id);
        Ok(Some(match self.lookup(write_id)? {
            WriteLookup::Unknown if is_staged => KnownWrite::UnderWay,
            WriteLookup::Unknown if !self.knows_all_of(write_id) => return Ok(None),
            WriteLookup::Unknown => KnownWrite::Unknown,
            WriteLookup::Expired => KnownWrite::Expired,
            WriteLookup::Known(found) => KnownWrite::Held {
                dot: found.dot,
                version: found.version,
                digest: found.digest,
                key: RecordKey::new(&found.namespace, &found.key).bytes().clone(),
                newest: found.newest,
            },
        }))
    }

    fn answer_now(&self, question: Question) -> Result<Answer, StoreError> {
        match question {
            Question::Newest { key, with_record } => {
                Ok(Answer::Newest(self.newest(key, with_record)?))
            }
            Question::Write { write_id } => Ok(match self.known_write(&write_id)? {
                Some(known) => Answer::Write(known),
                None => Answer::Unavailable(Unavailable::Recovering),
            }),
            Question::RangeDigest { after, through, ignore_tombstones_through } => {
                let (after, through) = (after.as_deref(), through.as_deref());
                let RangeSum { records, digest, is_complete } =
                    self.range_digest(after, through, ignore_tombstones_through)?;
                Ok(Answer::RangeDigest { records, digest, is_complete })
            }
            Question::Range { after, through } => {
                let (entries, is_complete) = self.range(after.as_deref(), through.as_deref())?;
                Ok(Answer::Range { entries, is_complete })
            }
            _ => Ok(Answer::Unavailable(Unavailable::Unsupported)),
        }
    }

    /// The current record of a key, in the store's own bytes. One that is damaged is not given out.
    fn newest(&self, key: Bytes, with_record: bool) -> Result<Option<Newest>, StoreError> {
        let key = RecordKey::from_bytes(key);
        let record = self.record_at(&*self.shared.view()?, &key)?;
        let Some(record) = record else { return Ok(None) };
        let record = self.undamaged(&key, record)?;
        Ok(Some(Newest {
            version: record.version(),
            digest: record.digest,
            record: with_record.then(|| (*record).clone()),
        }))
    }
}
