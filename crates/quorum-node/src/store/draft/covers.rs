//! What the frontier comes to cover: dots of records and the dots they stand for, claims, and dots that nobody holds.
//!
//! A frontier must fit into a frame, so gaps are bounded. What there is no room for is looked at once more when everything else
//! of the commit is covered, in order: what arrives key by key leaves gaps that the next key fills. Whatever is left then is
//! promised by nobody, and comes again.

use std::collections::BTreeMap;

use quorum_core::planted::{self, Bug};
use quorum_core::{Busy, Hlc, Lineage, Refusal, Reply, SeqSet, StandIn};

use super::Draft;
use crate::store::error::StoreError;
use crate::store::schema::{Head, LineageNumber, LogEntry, RecordKey};

/// Dots that there is no room for yet.
pub(super) struct Left {
    lineage: LineageNumber,
    first: u64,
    last: u64,
    about: Option<(RecordKey, Hlc)>,
    /// Of which item of the commit.
    item: usize,
    /// What its sender is told if there is none in the end.
    reason: Busy,
}

impl Draft<'_> {
    /// Covers dots for which there is no record: those of a snapshot, which the log knows nothing about.
    pub(crate) fn adopt(&mut self, covers: &[(Lineage, SeqSet)]) -> Reply {
        if let Some(reply) = self.refuse_covers(covers) {
            return reply;
        }
        self.finished.wants_sync = true;
        let mut is_all = true;
        for (lineage, seqs) in covers {
            let lineage = self.number(lineage).expect("checked above");
            for (first, last) in self.lacking(lineage, seqs) {
                let has_room = self.has_room(Some(lineage), first, last);
                if has_room {
                    self.hold(lineage, first, last);
                }
                is_all &= has_room;
            }
        }
        if is_all { Reply::Stored } else { Reply::Busy { reason: Busy::Gaps } }
    }

    /// Covers dots that no member holds; the log says so to whoever asks for them.
    pub(crate) fn cover_void(&mut self, dots: &[(Lineage, SeqSet)]) {
        self.finished.wants_sync = true;
        for (lineage, seqs) in dots {
            let Some(lineage) = self.number(lineage) else { continue };
            for (first, last) in self.lacking(lineage, seqs) {
                self.cover(lineage, first, last, None);
            }
        }
    }

    /// Covers dots that no member holds, as a peer says.
    pub(crate) fn adopt_void(&mut self, dots: &[(Lineage, SeqSet)]) -> Reply {
        if let Some(reply) = self.refuse_covers(dots) {
            return reply;
        }
        self.finished.wants_sync = true;
        self.cover_where_room(dots, None);
        Reply::Stored
    }

    /// Covers dots for which a record stands that is here already, or a newer one of its key.
    pub(crate) fn adopt_held(
        &mut self,
        covers: &[(Lineage, SeqSet)],
        stand_in: &StandIn,
    ) -> Result<Reply, StoreError> {
        let key = RecordKey::from_bytes(stand_in.key.clone());
        if !self.has(stand_in, &key)? && !planted::is(Bug::RecordLeftOut) {
            return Ok(Reply::Busy { reason: Busy::Gaps });
        }
        if let Some(reply) = self.refuse_covers(covers) {
            return Ok(reply);
        }
        self.finished.wants_sync = true;
        self.cover_where_room(covers, Some((&key, stand_in.hlc)));
        Ok(Reply::Stored)
    }

    /// Whether a record is here, or a newer one of its key: as its dot says, or, where that is kept without a promise, what is
    /// there.
    fn has(&mut self, stand_in: &StandIn, key: &RecordKey) -> Result<bool, StoreError> {
        let Some(lineage) = self.lineages.read().number(&stand_in.dot.lineage) else {
            return Ok(false);
        };
        let held = self.held.frontier.get(&lineage);
        if held.is_some_and(|held| held.contains(stand_in.dot.seq)) {
            return Ok(true);
        }
        let is_it = |head: &Head| head.lineage == lineage && head.seq == stand_in.dot.seq;
        let head = self.head(key)?;
        Ok(head.is_some_and(|head| head.hlc > stand_in.hlc || is_it(&head)))
    }

    /// Why covers cannot be taken, if so: there is no number left for a lineage.
    pub(super) fn refuse_covers(&mut self, covers: &[(Lineage, SeqSet)]) -> Option<Reply> {
        let are_numbered = covers.iter().all(|(lineage, _)| self.number(lineage).is_some());
        (!are_numbered).then_some(Reply::Refused { reason: Refusal::Policy })
    }

    /// Whether dots that are not held, one interval of them, may be covered. What begins a lineage or touches what is held
    /// always may: so whatever comes in order is taken, and gaps close however many there are. Anything else leaves one gap
    /// more, of which there is a bound for each lineage, and one for all: a frontier must fit into a frame.
    pub(super) fn has_room(&self, lineage: Option<LineageNumber>, first: u64, last: u64) -> bool {
        let held = lineage.and_then(|lineage| self.held.frontier.get(&lineage));
        let touches = |held: &SeqSet| {
            [first - 1, first, last.saturating_add(1)].iter().any(|seq| held.contains(*seq))
        };
        first <= 1
            || held.is_some_and(touches)
            || held.map_or(0, gaps) < self.config.gaps_max
                && self.held.gaps < self.config.gaps_in_all_max
    }

    /// Covers what there is room for, and remembers what is left.
    pub(super) fn cover_where_room(
        &mut self,
        covers: &[(Lineage, SeqSet)],
        about: Option<(&RecordKey, Hlc)>,
    ) {
        for (lineage, seqs) in covers {
            let Some(lineage) = self.number(lineage) else { continue };
            for (first, last) in self.lacking(lineage, seqs) {
                self.cover_if_room(lineage, (first, last), about, Busy::Gaps);
            }
        }
    }

    /// Covers the dot of a record, if there is room; that of a local write always is the next one. Else the record is kept
    /// without a promise: a snapshot brings as many scattered dots as there are keys, and once all its records are here, its
    /// claim covers every one of them.
    pub(super) fn cover_dot(
        &mut self,
        lineage: LineageNumber,
        seq: u64,
        about: Option<(&RecordKey, Hlc)>,
        is_local: bool,
    ) {
        let first = if planted::is(Bug::FrontierPastGap) { 1 } else { seq };
        if is_local {
            self.cover(lineage, first, seq, about);
        } else {
            self.cover_if_room(lineage, (first, seq), about, Busy::Kept);
        }
    }

    fn cover_if_room(
        &mut self,
        lineage: LineageNumber,
        (first, last): (u64, u64),
        about: Option<(&RecordKey, Hlc)>,
        reason: Busy,
    ) {
        if self.has_room(Some(lineage), first, last) {
            self.cover(lineage, first, last, about);
        } else {
            let (about, item) = (about.map(|(key, hlc)| (key.clone(), hlc)), self.items);
            self.left.push(Left { lineage, first, last, about, item, reason });
        }
    }

    /// Covers what there is room for by now, in order, and tells of which items something is left, and why.
    pub(super) fn cover_what_is_left(&mut self) -> BTreeMap<usize, Busy> {
        let mut left = std::mem::take(&mut self.left);
        left.sort_unstable_by_key(|left| (left.lineage, left.first));
        let mut untaken = BTreeMap::new();
        for Left { lineage, first, last, about, item, reason } in left {
            if self.has_room(Some(lineage), first, last) {
                self.cover(lineage, first, last, about.as_ref().map(|(key, hlc)| (key, *hlc)));
            } else if reason == Busy::Gaps {
                untaken.insert(item, reason);
            } else {
                untaken.entry(item).or_insert(reason);
            }
        }
        untaken
    }

    fn lacking(&mut self, lineage: LineageNumber, seqs: &SeqSet) -> Vec<(u64, u64)> {
        let held = self.held.frontier.entry(lineage).or_default();
        seqs.minus(held).intervals().collect()
    }

    /// Covers dots and says in the log which key they were about, so that whoever asks for one gets that key's current
    /// record.
    fn cover(
        &mut self,
        lineage: LineageNumber,
        first: u64,
        last: u64,
        about: Option<(&RecordKey, Hlc)>,
    ) {
        let (key, hlc) = (about.map(|(key, _)| key.clone()), about.map(|(_, hlc)| hlc));
        self.log.entry(lineage).or_default().push(LogEntry { first, last, key, hlc });
        self.hold(lineage, first, last);
    }

    fn hold(&mut self, lineage: LineageNumber, first: u64, last: u64) {
        let held = self.held.frontier.entry(lineage).or_default();
        let before = gaps(held);
        if first == last {
            held.insert(first);
        } else {
            held.insert_range(first, last);
        }
        self.held.gaps = self.held.gaps - before + gaps(held);
        self.touched.insert(lineage);
        match self.finished.covered.last_mut() {
            Some((at, _, end)) if *at == lineage && end.checked_add(1) == Some(first) => {
                *end = last
            }
            _ => self.finished.covered.push((lineage, first, last)),
        }
    }
}

/// How many intervals lie behind a gap.
pub(in crate::store) fn gaps(held: &SeqSet) -> usize {
    held.interval_count() - usize::from(held.contiguous() > 0)
}
