//! What a running node can be asked: by its HTTP interface, by `demo`, by a program that embeds it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use quorum_core::{Clock, ClockFault, ClockGuard, ClockOffset, PeerId, Receipt, WriteId};
use quorum_metrics::Metrics;
use quorum_transport::{Endpoint, NodeIdentity, PeerStatus, TransportError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Policies};
use crate::exposed::{self, ExposureReport};
use crate::forget::{self, ForgetFailed, Forgotten};
use crate::read::{ReadFailed, ReadFound, ReadRequest};
use crate::record::{Key, Namespace};
use crate::repair::recovery::RecoveryWatch;
use crate::repair::scrub::ScrubWatch;
use crate::status::{NodeStatus, PeerReport};
use crate::store::{
    Changes, Export, ExportCursor, Scan, Store, StoreError, StoreState, StoredRecord,
};
use crate::watermark::Watermark;
use crate::write::{WriteFailed, WriteRequest, Writes};
use crate::write_status::WriteStatus;

/// A handle on a running node. Cloning is cheap.
#[derive(Clone)]
pub struct Service {
    parts: Arc<Parts>,
}

struct Parts {
    config: Config,
    store: Store,
    endpoint: Arc<Endpoint>,
    writes: Writes,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    started: Instant,
    recovery: RecoveryWatch,
    scrub: ScrubWatch,
    stopping: CancellationToken,
    /// What the log last said of the clock.
    clock_trusted: AtomicBool,
    /// Peers whose clocks are off by more than the warning limit.
    skewed: Mutex<BTreeSet<PeerId>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Service")
            .field("node", &self.parts.config.node.name)
            .finish_non_exhaustive()
    }
}

impl Service {
    pub(crate) fn new(
        config: Config,
        store: Store,
        endpoint: Arc<Endpoint>,
        writes: Writes,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (started, skewed) = (clock.now(), Mutex::default());
        let (recovery, scrub) = (RecoveryWatch::default(), ScrubWatch::default());
        let stopping = CancellationToken::new();
        let parts = Parts {
            config,
            store,
            endpoint,
            writes,
            metrics,
            clock,
            started,
            recovery,
            scrub,
            stopping,
            clock_trusted: AtomicBool::new(true),
            skewed,
        };
        Self { parts: Arc::new(parts) }
    }

    /// The configuration the node runs with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// Writes, and waits for the verdict.
    ///
    /// # Errors
    ///
    /// [`WriteFailed`], which says whether anything happened and whether a retry is safe.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the verdict, not the write.
    pub async fn write(&self, request: WriteRequest) -> Result<Receipt, WriteFailed> {
        self.parts.writes.write(request).await
    }

    /// Whether a write asks for something that its namespace or this node does not allow, before anything is done.
    ///
    /// # Errors
    ///
    /// [`WriteFailed::Forbidden`], or [`WriteFailed::Refused`] for a value that is too large.
    pub fn check(&self, request: &WriteRequest) -> Result<(), WriteFailed> {
        self.parts.writes.check(request)
    }

    /// The key's current record on this node, a tombstone included: durable here, perhaps not the newest elsewhere.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    pub fn read(
        &self,
        namespace: &Namespace,
        key: &Key,
    ) -> Result<Option<StoredRecord>, StoreError> {
        self.parts.store.get(namespace, key)
    }

    /// Reads one key as the request or its namespace asks: from this node, or from a quorum of members.
    ///
    /// # Errors
    ///
    /// [`ReadFailed`]: nothing that could be taken for the newest value is returned.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves at most a record at more members than before.
    pub async fn read_as(&self, request: ReadRequest) -> Result<ReadFound, ReadFailed> {
        self.parts.writes.read(request).await
    }

    /// What became of a write, as all members tell; with `copies`, once so many hold it or at the timeout.
    ///
    /// # Cancellation
    ///
    /// It changes nothing.
    pub async fn write_status(
        &self,
        write_id: WriteId,
        copies: Option<usize>,
        timeout: Duration,
    ) -> WriteStatus {
        self.parts.writes.status(write_id, copies, timeout).await
    }

    /// Takes an operator's word that a member's data will not come back: nobody waits for it any more, and if it comes all
    /// the same, it is not merged.
    ///
    /// # Errors
    ///
    /// [`ForgetFailed`].
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, it may be forgotten or not.
    pub async fn forget(&self, peer: &PeerId) -> Result<Forgotten, ForgetFailed> {
        forget::forget(self, peer).await
    }

    /// The number of the last change on this node, and a ring when there is a later one.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.parts.store.subscribe_changes()
    }

    /// Changes behind a place, at most `limit` looked at.
    pub(crate) async fn changes_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        blocking(&self.parts.store, move |store| store.changes(after, limit)).await
    }

    /// Cancelled when the node begins to shut down.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.parts.stopping
    }

    /// The policy of every namespace.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        &self.parts.writes.policies
    }

    /// Live records of a namespace on this node in the order of their keys: those whose key starts with `prefix` and
    /// lies behind `after`. Looks at no more than `limit`, so a page may be short; [`Scan::next`] says where to go on.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    pub async fn list(
        &self,
        namespace: Namespace,
        prefix: Bytes,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Scan, StoreError> {
        blocking(&self.parts.store, move |store| {
            store.scan(&namespace, &prefix, after.as_ref(), limit)
        })
        .await
    }

    /// Live records of all namespaces on this node, in order, page by page.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    pub async fn export(
        &self,
        after: Option<ExportCursor>,
        limit: usize,
    ) -> Result<Export, StoreError> {
        blocking(&self.parts.store, move |store| store.export(after.as_ref(), limit)).await
    }

    /// What the node says about itself. With `with_digest`, everything it holds is read.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read; only with `with_digest`.
    pub async fn status(&self, with_digest: bool) -> Result<NodeStatus, StoreError> {
        let parts = &self.parts;
        let policy = parts.writes.writer.policy();
        let reachable = self.reachable();
        let (lineage, stats) = (parts.store.lineage(), parts.store.stats());
        let not_ready = self.not_ready();
        let exposure = self.exposure().await?;
        let content_digest = match with_digest {
            true => Some(blocking(&parts.store, |store| store.content_digest()).await?.to_string()),
            false => None,
        };
        Ok(NodeStatus {
            node: parts.config.node.name.clone(),
            cluster: parts.config.node.cluster_id().to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            incarnation: lineage.origin.incarnation.to_string(),
            epoch: lineage.epoch.to_string(),
            members: policy.n(),
            write_quorum: policy.w(),
            reachable,
            quorum: reachable >= policy.w(),
            ready: not_ready.is_empty(),
            not_ready,
            exposure,
            recovery: parts.store.recovery().to_string(),
            policies_differ: self.policies_differ(),
            forgotten: self.forgotten_peers(),
            purged_up_to_ms: parts.store.purged().millis(),
            scrub: parts.scrub.report(),
            writes_issued: parts.store.issued(),
            writes_in_flight: parts.writes.admission.in_flight(),
            log_entries: parts.store.frontier().minus(&parts.store.trimmed()).len(),
            records: stats.records,
            store_bytes: stats.disk_bytes,
            uptime_seconds: parts.clock.now().saturating_duration_since(parts.started).as_secs(),
            content_digest,
        })
    }

    /// Every peer as this node sees it, by name.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerReport> {
        let now = self.parts.clock.now();
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        let offset = |offset: ClockOffset| offset.as_micros() as f64 / 1_000.0;
        let report = |peer: PeerStatus| PeerReport {
            connected: peer.connected_since.is_some(),
            connected_seconds: peer
                .connected_since
                .map(|since| now.saturating_duration_since(since).as_secs()),
            round_trip_ms: peer.round_trip.map(millis),
            clock_offset_ms: peer.clock_offset.map(offset),
            lag_writes: self.lag(&peer),
            missing_writes: self.missing(&peer),
            queued_bytes: peer.queued_bytes,
            deferred: peer.deferred,
            wanted_writes: peer.wanted,
            repaired_records: peer.repaired_records,
            repaired_bytes: peer.repaired_bytes,
            counts: peer.counts,
            last_error: peer.last_error,
            node: peer.peer,
            address: peer.address,
        };
        self.parts.endpoint.peers().into_iter().map(report).collect()
    }

    /// How many writes of this node `peer` does not durably hold, as far as it told.
    fn lag(&self, peer: &PeerStatus) -> Option<u64> {
        let theirs = peer.frontier.as_ref()?;
        let ours = self.parts.store.frontier().of_member(&self.parts.config.node.name);
        Some(ours.minus(theirs).len())
    }

    /// How many writes that are held here `peer` does not durably hold, as far as it told.
    fn missing(&self, peer: &PeerStatus) -> Option<u64> {
        Some(self.parts.store.frontier().minus(peer.frontier.as_ref()?).len())
    }

    /// Which writes have too few copies, and since when.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the log cannot be read.
    pub async fn exposure(&self) -> Result<ExposureReport, StoreError> {
        let peers = self.parts.endpoint.peers();
        let w = self.policies().default_policy().write().w();
        let lost = self.forgotten_peers();
        blocking(&self.parts.store, move |store| exposed::report(store, &peers, &lost, w)).await
    }

    /// Everything that keeps this node from taking writes or committing them, and what somebody must look at although writes are
    /// taken: a store that no longer compacts, policies that differ. Nothing if it is ready.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let parts = &self.parts;
        let mut reasons = Vec::new();
        if parts.writes.admission.is_closed() {
            reasons.push("shutting down".to_owned());
        }
        match parts.store.state() {
            StoreState::Running => reasons.extend(parts.store.troubles().map(str::to_owned)),
            StoreState::Failed { reason } => reasons.push(format!("store failed: {reason}")),
            StoreState::Closed => reasons.push("store closed".to_owned()),
        }
        if *parts.writes.receiver.outdated().borrow() {
            reasons.push("outdated: this node's data is to be set aside".to_owned());
        } else {
            match parts.writes.stamps_above() {
                Ok(_) => {}
                Err(WriteFailed::NoContact | WriteFailed::Recovering) => {
                    reasons.push(parts.recovery.progress().to_string());
                }
                Err(failed) => reasons.push(format!("contact: {failed}")),
            }
        }
        let differing = self.policies_differ();
        if !differing.is_empty() {
            let names: Vec<&str> = differing.iter().map(PeerId::as_str).collect();
            reasons.push(format!("policies: {} has other policies", names.join(", ")));
        }
        if let Some(fault) = parts.writes.clock_guard.lock().fault() {
            reasons.push(format!("clock: {fault}"));
        }
        let (reachable, needed) = (self.reachable(), parts.writes.writer.policy().w());
        if reachable < needed {
            reasons.push(format!("quorum: {reachable} of {needed} needed members reachable"));
        }
        reasons
    }

    /// Members that can be counted on now, this one included.
    fn reachable(&self) -> usize {
        let counts = |peer: &&PeerStatus| peer.connected_since.is_some() && peer.counts;
        1 + self.parts.endpoint.peers().iter().filter(counts).count()
    }

    /// Connected members whose effective policies are others than this node's.
    fn policies_differ(&self) -> Vec<PeerId> {
        let ours = self.policies().digest();
        let differs = |peer: &PeerStatus| {
            let said = peer.announcement.as_ref().and_then(|said| said.settings);
            peer.connected_since.is_some() && said.is_some_and(|theirs| theirs != ours)
        };
        self.parts.endpoint.peers().into_iter().filter(differs).map(|peer| peer.peer).collect()
    }

    /// All metrics in the Prometheus text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        self.parts.metrics.prometheus_text()
    }

    /// Uses another certificate for handshakes from now on.
    ///
    /// # Errors
    ///
    /// [`TransportError`] if it cannot be used; the old one stays in use then.
    pub fn reload_identity(&self, identity: &NodeIdentity) -> Result<(), TransportError> {
        self.parts.endpoint.reload(identity)?;
        self.certificate_in_use(identity.not_after());
        Ok(())
    }

    // For the node that owns this service.

    pub(crate) fn store(&self) -> &Store {
        &self.parts.store
    }

    pub(crate) fn scrub(&self) -> &ScrubWatch {
        &self.parts.scrub
    }

    /// What members say of their clocks.
    pub(crate) fn watermark(&self) -> &Watermark {
        self.parts.writes.receiver.watermark()
    }

    /// Turns `true` when what is stored here must not be used any more.
    pub(crate) fn outdated(&self) -> watch::Receiver<bool> {
        self.parts.writes.receiver.outdated()
    }

    /// The peers whose data is waited for: all but those that are forgotten.
    pub(crate) fn counted_peers(&self) -> Vec<PeerStatus> {
        let mut peers = self.parts.endpoint.peers();
        let forgotten = self.forgotten_among(&peers);
        // One that is still being served may yet bring something.
        peers.retain(|peer| peer.served.is_some() || !forgotten.contains(&peer.peer));
        peers
    }

    /// The peers that are forgotten.
    pub(crate) fn forgotten_peers(&self) -> Vec<PeerId> {
        self.forgotten_among(&self.parts.endpoint.peers())
    }

    fn forgotten_among(&self, peers: &[PeerStatus]) -> Vec<PeerId> {
        forget::forgotten_among(peers, &self.parts.store, self.watermark())
    }

    pub(crate) fn recovery(&self) -> &RecoveryWatch {
        &self.parts.recovery
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.parts.endpoint
    }

    pub(crate) fn writes(&self) -> &Writes {
        &self.parts.writes
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    pub(crate) fn certificate_in_use(&self, not_after: Option<i64>) {
        if let Some(seconds) = not_after.and_then(|seconds| u64::try_from(seconds).ok()) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            self.parts.metrics.gauges().set_certificate_expiry(at);
        }
    }

    /// Feeds the clock guard, and says so when its opinion, or that about a peer's clock, changes.
    pub(crate) fn watch_clock(&self, now: Instant, wall_millis: u64) {
        let peers = self.parts.endpoint.peers();
        for peer in &peers {
            if let Some(offset) = peer.clock_offset {
                self.warn_of_skew(&peer.peer, offset);
            }
        }
        let after = compare_clocks(&self.parts.writes.clock_guard, &peers, now, wall_millis);
        self.parts.metrics.gauges().set_clock_healthy(after.is_none());
        match (self.parts.clock_trusted.swap(after.is_none(), Ordering::Relaxed), after) {
            (true, Some(fault)) => {
                tracing::error!(%fault, "the clock is not trusted; new writes are refused")
            }
            (false, None) => tracing::info!("the clock is trusted again; new writes are taken"),
            _ => {}
        }
    }

    /// Warns once when a peer's clock is off, not at every look.
    fn warn_of_skew(&self, peer: &PeerId, offset: ClockOffset) {
        let offset_seconds = offset.as_micros() as f64 / 1e6;
        let is_off = offset.magnitude() > self.parts.config.clock.skew_warn;
        let mut skewed = self.parts.skewed.lock();
        if is_off && skewed.insert(peer.clone()) {
            tracing::warn!(%peer, offset_seconds, "the peer's clock is off");
        } else if !is_off && skewed.remove(peer) {
            tracing::info!(%peer, offset_seconds, "the peer's clock is right again");
        }
    }

    pub(crate) async fn show_gauges(&self) {
        let gauges = self.parts.metrics.gauges();
        if let Ok(exposure) = self.exposure().await {
            let age = |seconds: Option<f64>| seconds.unwrap_or(0.0);
            gauges.set_exposed("w", exposure.below_w, age(exposure.oldest_below_w_seconds));
            gauges.set_exposed("n", exposure.below_n, age(exposure.oldest_below_n_seconds));
        }
        for peer in &self.parts.endpoint.peers() {
            if let Some(lag) = self.lag(peer) {
                gauges.set_frontier_lag(&peer.peer, lag);
            }
            if let Some(missing) = self.missing(peer) {
                gauges.set_missing_writes(&peer.peer, missing);
            }
        }
        let stats = self.parts.store.stats();
        gauges.set_store_bytes(stats.disk_bytes);
        gauges.set_store_records(stats.records);
        gauges.set_store_compacting(!self.parts.store.compaction_has_ended());
        gauges.set_store_readable(!self.parts.store.is_unreadable());
        gauges.set_writes_in_flight(self.parts.writes.admission.in_flight() as u64);
    }

    /// Returns once no write is under way, or after `limit`.
    pub(crate) async fn until_no_write_is_under_way(&self, limit: Duration) {
        const LOOK_EVERY: Duration = Duration::from_millis(5);
        let clock = &self.parts.clock;
        let deadline = clock.now() + limit;
        while self.parts.writes.admission.in_flight() > 0 && clock.now() < deadline {
            clock.sleep_until(clock.now() + LOOK_EVERY).await;
        }
    }
}

/// Tells the guard what this node's clocks say and how far those of its peers are off. Returns its opinion.
pub(crate) fn compare_clocks(
    guard: &Mutex<ClockGuard>,
    peers: &[PeerStatus],
    now: Instant,
    wall_millis: u64,
) -> Option<ClockFault> {
    let mut guard = guard.lock();
    for peer in peers {
        match peer.clock_offset.zip(peer.clock_measured_at) {
            Some((offset, (at, wall))) => {
                let wall_millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
                guard.record_offset(peer.peer.clone(), offset, at, wall_millis);
            }
            None => guard.forget(&peer.peer),
        }
    }
    guard.record_reading(now, wall_millis);
    guard.fault()
}

/// Runs work that may wait for the disk where it holds up nobody else.
async fn blocking<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> T + Send + 'static,
) -> T {
    store.aside(work).await.expect("reading the store does not panic")
}
