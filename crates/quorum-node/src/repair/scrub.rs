//! The scrub: reads everything that is stored, slowly, again and again; finds what does not hash to its digest and what
//! differs from a peer; puts right what can be put right.
//!
//! Each page of records is checked by itself and then compared, as a range of keys, with one peer, another one at every
//! page and in every pass. A difference is one only if this member claims the dot of the peer's record: anything else is
//! still on its way. What is put over a local record was checked against its digest, so damage never spreads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::{
    Answer, Clock, Hlc, Newest, PeerId, Question, Recovery, ScrubFinding, wall_millis,
};
use serde::{Deserialize, Serialize};

use super::compare::{Difference, differences, further};
use crate::service::Service;
use crate::store::{RangeSum, ScrubPage, Store, StoreError};

/// How long a peer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers for the range of one page, at most: a peer may hold more there than this member does, without end if it likes. The
/// next pass finds what is beyond.
const ANSWERS_MAX: usize = 64;
/// How often keys are looked at that somebody found damaged.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after a vain attempt a damaged record is tried again: whoever has it intact may be back.
const MEND_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Damaged records that are tried again, at most, and at most at once. The next pass finds those beyond.
const UNREPAIRED_MAX: usize = 65_536;
const MEND_AGAIN_MAX: usize = 16;

/// What the scrub has done since the node started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Passes over everything that were finished.
    pub passes: u64,
    /// Records checked in the pass that is under way; 0 between two passes.
    pub records_checked: u64,
    /// When the last pass ended, in milliseconds since the Unix epoch; 0 before the first has.
    pub last_pass_ended_ms: u64,
    /// Records that did not hash to their digests.
    pub corrupt: u64,
    /// Records that were missing here, or older than a peer's, although this node claims to have them.
    pub missing: u64,
    /// Records of which a peer holds other content under the same version.
    pub drift: u64,
    /// Records that were put right.
    pub repaired: u64,
    /// Damaged records that no peer could replace when they were last looked at.
    pub unrepaired: u64,
}

/// The scrub's figures. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScrubWatch {
    report: Arc<Mutex<ScrubReport>>,
}

impl ScrubWatch {
    pub(crate) fn report(&self) -> ScrubReport {
        self.report.lock().clone()
    }
}

/// Scrubs until it is dropped.
pub(crate) async fn run(service: Service, clock: Arc<dyn Clock>) {
    let interval = service.config().repair.scrub_interval;
    let mut scrub = Scrub { service, clock, pass: 0, unrepaired: BTreeMap::new() };
    if interval.is_zero() {
        scrub.mend_until(None).await;
    }
    // Soon after the start, so that a node which is restarted every day is scrubbed all the same.
    scrub.mend_until(Some(interval / 1_440)).await;
    loop {
        let began = scrub.clock.now();
        scrub.pass().await;
        let left = interval.saturating_sub(scrub.clock.now().saturating_duration_since(began));
        scrub.mend_until(Some(left)).await;
    }
}

struct Scrub {
    service: Service,
    clock: Arc<dyn Clock>,
    pass: usize,
    /// Damaged records that nobody could replace, and when that was last tried.
    unrepaired: BTreeMap<Bytes, Instant>,
}

impl Scrub {
    fn store(&self) -> &Store {
        self.service.store()
    }

    /// Looks at what others come upon; for so long, or for ever.
    async fn mend_until(&mut self, pause: Option<Duration>) {
        let end = pause.map(|pause| self.clock.now() + pause);
        loop {
            self.mend_damaged().await;
            let next = self.clock.now() + LOOK_EVERY;
            if let Some(end) = end.filter(|end| *end <= next) {
                return self.clock.sleep_until(end).await;
            }
            self.clock.sleep_until(next).await;
        }
    }

    async fn mend_damaged(&mut self) {
        for key in self.store().take_damaged() {
            self.come_upon(&key).await;
        }
        let now = self.clock.now();
        let is_due = |tried: &Instant| now.saturating_duration_since(*tried) >= MEND_AGAIN_AFTER;
        let due = self.unrepaired.iter().filter(|(_, tried)| is_due(tried));
        let mut due: Vec<(Instant, Bytes)> =
            due.map(|(key, tried)| (*tried, key.clone())).collect();
        // Those first that have waited longest: each gets its turn, however long an attempt takes.
        due.sort_unstable();
        for (_, key) in due.iter().take(MEND_AGAIN_MAX) {
            self.mend(key).await;
        }
    }

    /// Looks at a damaged record, unless it is known and waits for its next attempt.
    async fn come_upon(&mut self, key: &Bytes) {
        if !self.unrepaired.contains_key(key) {
            self.found(ScrubFinding::Corrupt);
            self.mend(key).await;
        }
    }

    /// One pass over everything.
    async fn pass(&mut self) {
        let (mut after, mut pages): (Option<Bytes>, usize) = (None, 0);
        loop {
            let from = after.clone();
            let reading = self.store().aside(move |store| store.scrub_page(from.as_deref())).await;
            let page = match reading {
                Some(Ok(page)) => page,
                Some(Err(StoreError::Closed)) | None => return,
                Some(Err(error)) => {
                    tracing::error!(%error, "the scrub cannot read on; if the disk is damaged, move the data directory away and let the node refill from its peers");
                    self.found(ScrubFinding::Corrupt);
                    return;
                }
            };
            self.service.scrub().report.lock().records_checked += page.records;
            for key in &page.damaged {
                self.come_upon(key).await;
            }
            self.mend_damaged().await;
            self.compare(after.as_ref(), &page, self.pass + pages).await;
            self.pace(page.bytes).await;
            pages += 1;
            after = page.last;
            if after.is_none() {
                break;
            }
        }
        self.pass += 1;
        let mut report = self.service.scrub().report.lock();
        report.passes += 1;
        report.records_checked = 0;
        report.last_pass_ended_ms = wall_millis(&*self.clock);
    }

    /// Waits so that reading stays within its rate.
    async fn pace(&self, bytes: usize) {
        let rate = self.service.config().repair.scrub_bytes_per_second.bytes();
        let seconds = if rate == 0 { 0.0 } else { bytes as f64 / rate as f64 };
        self.clock.sleep_until(self.clock.now() + Duration::from_secs_f64(seconds)).await;
    }

    /// Replaces a damaged record by a peer's copy, if it is still damaged and somebody has one.
    async fn mend(&mut self, key: &Bytes) {
        let (is_known, name) = (self.unrepaired.contains_key(key), key.escape_ascii().to_string());
        match self.replaced(key).await {
            Some(peer) => {
                tracing::error!(key = name, from = %peer, "a damaged record was repaired");
                self.unrepaired.remove(key);
            }
            None if self.is_sound(key).await => {
                self.unrepaired.remove(key);
            }
            None => {
                if !is_known {
                    tracing::error!(
                        key = name,
                        "a damaged record was found, and no peer could replace it now"
                    );
                }
                if is_known || self.unrepaired.len() < UNREPAIRED_MAX {
                    self.unrepaired.insert(key.clone(), self.clock.now());
                }
            }
        }
        self.service.scrub().report.lock().unrepaired = self.unrepaired.len() as u64;
    }

    /// The peer whose copy was put over the local one.
    async fn replaced(&self, key: &Bytes) -> Option<PeerId> {
        for peer in self.service.endpoint().peers() {
            if peer.connected_since.is_some() && self.take_over(&peer.peer, key).await {
                return Some(peer.peer);
            }
        }
        None
    }

    /// Whether what is stored under a key is no longer damaged: another write may have taken its place.
    async fn is_sound(&self, key: &Bytes) -> bool {
        let key = key.clone();
        let reading = self.store().aside(move |store| store.is_sound_at(&key));
        reading.await.is_some_and(|read| read.unwrap_or(false))
    }

    /// Compares a range with a peer.
    async fn compare(&self, after: Option<&Bytes>, page: &ScrubPage, turn: usize) {
        if self.store().recovery() != Recovery::Complete {
            return;
        }
        let mut peers = self.service.endpoint().peers();
        peers.retain(|peer| peer.connected_since.is_some() && peer.counts);
        let Some(peer) = (!peers.is_empty()).then(|| peers.swap_remove(turn % peers.len())) else {
            return;
        };
        let (after, through) = (after.cloned(), page.last.clone());
        let ignored = self.store().purged().max(self.service.watermark().purged());
        let question = Question::RangeDigest {
            after: after.clone(),
            through: through.clone(),
            ignore_tombstones_through: ignored,
        };
        let Answer::RangeDigest { records, digest, is_complete } =
            self.ask(&peer.peer, question).await
        else {
            return;
        };
        if is_complete {
            let theirs = RangeSum { records, digest, is_complete };
            let (from, to) = (after.clone(), through.clone());
            let ours = self
                .store()
                .aside(move |store| store.range_digest(from.as_deref(), to.as_deref(), ignored));
            if ours.await.is_some_and(|ours| ours.is_ok_and(|ours| ours == theirs)) {
                return;
            }
        }
        self.settle(&peer.peer, after, through, ignored).await;
    }

    /// Looks at a range in which a peer differs, key by key.
    async fn settle(
        &self,
        peer: &PeerId,
        mut after: Option<Bytes>,
        through: Option<Bytes>,
        ignored: Hlc,
    ) {
        for _ in 0..ANSWERS_MAX {
            let question = Question::Range { after: after.clone(), through: through.clone() };
            let Answer::Range { entries: theirs, is_complete } = self.ask(peer, question).await
            else {
                return;
            };
            let last = theirs.last().map(|entry| entry.key.clone());
            let to = if is_complete { through.clone() } else { last.clone() };
            let from = after.clone();
            let ours = self.store().aside(move |store| store.range(from.as_deref(), to.as_deref()));
            let Some(Ok((ours, _))) = ours.await else { return };
            for difference in differences(&ours, &theirs, ignored) {
                self.settle_one(peer, difference).await;
            }
            match further(after.as_ref(), last) {
                Some(next) if !is_complete => after = Some(next),
                _ => return,
            }
        }
    }

    async fn settle_one(&self, peer: &PeerId, difference: Difference) {
        match difference {
            Difference::Newer(key) => {
                if self.take_over(peer, &key).await {
                    let key = key.escape_ascii().to_string();
                    tracing::error!(key, %peer, "a record was missing here although it was claimed, and was taken over");
                    self.found(ScrubFinding::Missing);
                }
            }
            Difference::Drift { key, theirs_wins } => {
                let name = key.escape_ascii().to_string();
                tracing::error!(key = name, %peer, theirs_wins, "a peer holds the same version with other content");
                self.found(ScrubFinding::Drift);
                self.service.writes().observer.id_drift(peer);
                if theirs_wins {
                    self.take_over(peer, &key).await;
                }
            }
        }
    }

    /// Puts a peer's record over the one that is here, if that is called for. Tells whether it was put.
    async fn take_over(&self, peer: &PeerId, key: &Bytes) -> bool {
        let question = Question::Newest { key: key.clone(), with_record: true };
        let Answer::Newest(Some(Newest { record: Some(record), .. })) =
            self.ask(peer, question).await
        else {
            return false;
        };
        if !record.is_intact() || !self.store().frontier().contains(&record.dot) {
            return false;
        }
        let is_put = self.store().repair(Arc::new(record)).await.unwrap_or(false);
        if is_put {
            self.found(ScrubFinding::Repaired);
        }
        is_put
    }

    async fn ask(&self, peer: &PeerId, question: Question) -> Answer {
        let deadline = self.clock.now() + ANSWER_TIMEOUT;
        self.service.writes().members.ask_one(peer, question, deadline).await
    }

    fn found(&self, finding: ScrubFinding) {
        let mut report = self.service.scrub().report.lock();
        match finding {
            ScrubFinding::Corrupt => report.corrupt += 1,
            ScrubFinding::Missing => report.missing += 1,
            ScrubFinding::Drift => report.drift += 1,
            _ => report.repaired += 1,
        }
        drop(report);
        self.service.writes().observer.scrubbed(finding);
    }
}
