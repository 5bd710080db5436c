//! The log of the store, by dot: what a peer that lacks these dots must be sent.
//!
//! The log says which key a dot was about, never what the record was: the key's current record stands for all dots it
//! has overwritten. Only what the frontier covers is replayed, from a view that was published before the frontier.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use quorum_core::planted::{self, Bug};
use quorum_core::{
    Digest, Dot, Hlc, Incoming, Lineage, LogSource, Record, Replay, SeqSet, SnapshotCursor, StandIn,
};

use super::Store;
use super::engine::{PageLimit, Space, View};
use super::error::StoreError;
use super::read::behind;
use super::schema::{LineageNumber, LogEntry, RecordKey};

/// Log entries read at once.
const LOG_PAGE: PageLimit = PageLimit::new(512, 256 << 10);

/// What an item costs beyond its payload, in bytes, so that a replay of tiny records ends as well.
const ITEM_OVERHEAD_BYTES: usize = 128;

/// What a further dot of an item costs, in bytes, so that a replay of one busy key ends as well, and so that no item
/// names more intervals than a receiver may hold gaps.
const DOT_BYTES: usize = 64;

/// Most looks of one replay at what cannot be had: each may wait for a disk that fails.
const VAIN_LOOKS_MAX: usize = 1_024;

/// Most records of one snapshot page.
pub(super) const SNAPSHOT_RECORDS_MAX: usize = 8_192;

impl LogSource for Store {
    async fn replay(&self, lineage: &Lineage, wanted: &SeqSet, bytes_max: usize) -> Replay {
        let (lineage, wanted) = (lineage.clone(), wanted.clone());
        let read = move |store: &Self| store.replay_now(&lineage, &wanted, bytes_max);
        self.reading("replay the log", read).await.unwrap_or(Replay::Items(Vec::new()))
    }

    async fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        let resume = after.clone();
        let read = move |store: &Self| {
            let page = store.snapshot_now(after.as_deref(), bytes_max);
            page.inspect_err(|error| store.shared.found_unreadable(error))
        };
        // What cannot be read now may be readable later: the same cursor again, never a claim that this was the end.
        let retry = || (Vec::new(), Some(resume.unwrap_or_default()));
        self.reading("page through a snapshot", read).await.unwrap_or_else(retry)
    }
}

impl Store {
    /// Reads where reading may wait for the disk; an error is logged.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let outcome = self.aside(read).await?;
        outcome.inspect_err(|error| tracing::warn!(%error, "could not {doing}")).ok()
    }

    fn replay_now(
        &self,
        lineage: &Lineage,
        wanted: &SeqSet,
        bytes_max: usize,
    ) -> Result<Replay, StoreError> {
        let Some(number) = self.shared.lineages.read().number(lineage) else {
            return Ok(Replay::Items(Vec::new()));
        };
        let (available, trimmed, view) = {
            let published = self.shared.published.read();
            let held = published.frontier.of(lineage).cloned().unwrap_or_default();
            let trimmed = published.trimmed.get(&number).copied().unwrap_or(0);
            // What is wanted and held: what is wanted without what is wanted and not held.
            let available = wanted.minus(&wanted.minus(&held));
            (available, trimmed, published.view.clone().ok_or(StoreError::Closed)?)
        };
        let known = available.minus(&SeqSet::up_to(trimmed));
        let mut is_partly = known != available;
        let mut gathering = Gathering::new(self, lineage, view.as_ref(), bytes_max);
        // Everything before it has been looked for.
        let mut next = Some(0);
        for (first, last) in known.intervals() {
            next = next.map(|next| next.max(first));
            while let Some(from) = next.filter(|next| *next <= last && !gathering.is_full()) {
                next = match gathering.read(number, from, last) {
                    Ok(Reached::Dot(reached)) => reached.checked_add(1),
                    Ok(Reached::Unknown { next }) => {
                        is_partly = true;
                        next
                    }
                    Err(error) => {
                        is_partly = true;
                        gathering.looked_in_vain(&error);
                        break;
                    }
                };
            }
        }
        is_partly |= gathering.is_vain();
        Ok(match gathering.finish() {
            None if is_partly => Replay::Trimmed,
            Some(items) if is_partly => Replay::Partly(items),
            items => Replay::Items(items.unwrap_or_default()),
        })
    }

    /// The time of the write with this dot, if the log still knows it; of one that was brought up together with others,
    /// that of the newest of them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`], or [`StoreError::Closed`].
    pub fn logged_at(&self, dot: &Dot) -> Result<Option<Hlc>, StoreError> {
        let Some(number) = self.shared.lineages.read().number(&dot.lineage) else {
            return Ok(None);
        };
        let (from, to) = (LogEntry::key(number, dot.seq), LogEntry::key(number, u64::MAX));
        let range = (Bound::Included(from.as_ref()), Bound::Included(to.as_ref()));
        let page = self.shared.view()?.page(Space::Log, range, PageLimit::new(1, usize::MAX))?;
        let Some((key, value)) = page.first() else { return Ok(None) };
        let (_, run) = LogEntry::decode_run(key, value)?;
        let entry = run.into_iter().find(|entry| (entry.first..=entry.last).contains(&dot.seq));
        Ok(entry.and_then(|entry| entry.hlc))
    }

    fn snapshot_now(
        &self,
        after: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<(Vec<Incoming>, Option<SnapshotCursor>), StoreError> {
        let limit = PageLimit::new(SNAPSHOT_RECORDS_MAX, bytes_max);
        let page = self.shared.view()?.page(Space::Records, behind(after), limit)?;
        let cursor = page.last().map(|(key, _)| key.to_vec());
        let incoming = |(key, value): (Bytes, Bytes)| {
            let mut record = self.record_of(&value)?;
            if !RecordKey::from_bytes(key.clone()).has(&record) {
                self.note_damaged(&key);
                // The receiver refuses it, so that it does not take the claim that follows: not even if it is an intact
                // record of another key.
                record =
                    Arc::new(Record { digest: Digest::from_bytes([0; 32]), ..(*record).clone() });
            }
            Ok(Incoming { record: Some(record), ..Incoming::default() })
        };
        let items = page.into_iter().map(incoming).collect::<Result<Vec<_>, StoreError>>()?;
        Ok((items, cursor))
    }
}

/// Dots about one key, with its current record; or about nothing.
struct Gathered {
    record: Option<Arc<Record>>,
    key: Option<RecordKey>,
    dots: SeqSet,
}

/// How far reading the log came.
enum Reached {
    /// To this dot.
    Dot(u64),
    /// Nowhere: the log does not know the first one. The next that it knows, if there is one.
    Unknown { next: Option<u64> },
}

/// Dots gathered by the key they were about.
struct Gathering<'a> {
    store: &'a Store,
    lineage: &'a Lineage,
    view: &'a dyn View,
    bytes_left: usize,
    /// Records and pages of the log that could not be had.
    vain_looks: usize,
    /// Records that are not there.
    missing: usize,
    /// In order of each key's first dot.
    items: Vec<Gathered>,
    /// Where in `items` a key is; dots about nothing share one place.
    places: HashMap<Option<RecordKey>, usize>,
}

impl<'a> Gathering<'a> {
    fn new(store: &'a Store, lineage: &'a Lineage, view: &'a dyn View, bytes_max: usize) -> Self {
        let (bytes_left, vain_looks, missing) = (bytes_max.max(1), 0, 0);
        let (items, places) = (Vec::new(), HashMap::new());
        Self { store, lineage, view, bytes_left, vain_looks, missing, items, places }
    }

    fn is_full(&self) -> bool {
        self.bytes_left == 0 || self.vain_looks + self.missing >= VAIN_LOOKS_MAX
    }

    /// Whether so much cannot be had that the next replay would not get beyond it either. What is missing does not count: a
    /// snapshot would pass it over, and claim its dots, where it ends at what cannot be read.
    fn is_vain(&self) -> bool {
        self.vain_looks >= VAIN_LOOKS_MAX && self.items.is_empty()
    }

    fn looked_in_vain(&mut self, error: &StoreError) {
        self.vain_looks += 1;
        self.store.shared.found_unreadable(error);
    }

    /// Reads entries from `first` on, not beyond `last`.
    fn read(
        &mut self,
        number: LineageNumber,
        first: u64,
        last: u64,
    ) -> Result<Reached, StoreError> {
        // An entry stands under its last dot: the one that covers `last` may lie behind it.
        let from = LogEntry::key(number, first);
        let to = LogEntry::key(number, u64::MAX);
        let entries = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
        let limit = PageLimit::new(entries.min(LOG_PAGE.entries), LOG_PAGE.bytes);
        let range = (Bound::Included(from.as_ref()), Bound::Included(to.as_ref()));
        let mut reached = None;
        for (key, value) in self.view.page(Space::Log, range, limit)? {
            for entry in LogEntry::decode_run(&key, &value)?.1 {
                let next = reached.map_or(first, |reached: u64| reached.saturating_add(1));
                if entry.last < next {
                    continue;
                }
                if entry.first > next || next > last || self.is_full() {
                    let unknown = Reached::Unknown { next: Some(entry.first) };
                    return Ok(reached.map_or(unknown, Reached::Dot));
                }
                let end = entry.last.min(last);
                self.add(entry.key, entry.hlc, next, end);
                reached = Some(end);
            }
        }
        Ok(reached.map_or(Reached::Unknown { next: None }, Reached::Dot))
    }

    fn add(&mut self, key: Option<RecordKey>, hlc: Option<Hlc>, first: u64, last: u64) {
        let place = match self.places.get(&key) {
            Some(place) => {
                self.bytes_left = self.bytes_left.saturating_sub(DOT_BYTES);
                *place
            }
            None => {
                let Some(record) = self.current(key.as_ref(), hlc, first) else { return };
                let payload = record.as_ref().map_or(0, |record| record.payload.len());
                self.bytes_left = self.bytes_left.saturating_sub(payload + ITEM_OVERHEAD_BYTES);
                self.items.push(Gathered { record, key: key.clone(), dots: SeqSet::new() });
                self.places.insert(key, self.items.len() - 1);
                self.items.len() - 1
            }
        };
        self.items[place].dots.insert_range(first, last);
    }

    /// What a dot about this key is replayed as: its current record, or nothing (`Some(None)`). `None` if that is not to be
    /// had: the dot stays open there until the record is repaired here, and those behind it do not wait.
    fn current(
        &mut self,
        key: Option<&RecordKey>,
        hlc: Option<Hlc>,
        first: u64,
    ) -> Option<Option<Arc<Record>>> {
        let Some(key) = key else { return Some(None) };
        match self.store.record_at(self.view, key) {
            Ok(Some(record)) if key.has(&record) => return Some(Some(record)),
            Ok(None) if self.is_purged(hlc) => return Some(None),
            // Never passed on.
            Ok(Some(_)) => {
                self.vain_looks += 1;
                self.store.note_damaged(key.bytes());
                tracing::error!(lineage = %self.lineage, first, "a damaged record was not sent");
            }
            Ok(None) => {
                self.missing += 1;
                tracing::error!(lineage = %self.lineage, first, "a record is missing and was not sent");
            }
            Err(error) => self.looked_in_vain(&error),
        }
        None
    }

    /// Whether a key of this time that has no record was deleted, and its tombstone purged: its dots are void then.
    fn is_purged(&self, hlc: Option<Hlc>) -> bool {
        let purged = self.store.purged();
        hlc.is_none_or(|hlc| hlc <= purged) && purged > Hlc::ZERO
    }

    /// The items, if there are any.
    fn finish(self) -> Option<Vec<Incoming>> {
        let lineage = self.lineage;
        let incoming = |Gathered { record, key, mut dots }: Gathered| {
            let is_own = |record: &Arc<Record>| {
                record.dot.lineage == *lineage && dots.contains(record.dot.seq)
            };
            let is_lost = planted::is(Bug::OverwrittenIsVoid);
            let record = record.filter(|record| !is_lost || is_own(record));
            // A record's own dot goes without saying.
            if let Some(dot) = record.as_ref().map(|record| &record.dot)
                && dot.lineage == *lineage
            {
                dots.remove(dot.seq);
            }
            let covers = if dots.is_empty() { Vec::new() } else { vec![(lineage.clone(), dots)] };
            let void = record.is_none();
            let stand_in = record.as_ref().zip(key).map(|(record, key)| StandIn {
                dot: record.dot.clone(),
                hlc: record.hlc,
                key: key.bytes().clone(),
            });
            Incoming { record, covers, void, stand_in, ..Incoming::default() }
        };
        (!self.items.is_empty()).then(|| self.items.into_iter().map(incoming).collect())
    }
}
