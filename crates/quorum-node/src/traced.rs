//! Carries a sampled write's trace from its coordinator into this node's apply.

use quorum_core::{
    Announcement, Answer, Applied, Frontier, Incoming, Lineage, LogSource, Occasion, PeerId,
    QuerySource, Question, Replay, ReplicaStore, SeqSet, SnapshotCursor,
};
use quorum_metrics::adopt_remote_parent;
use tracing::{Instrument, Span};

/// A replica store that opens a span for every batch with a sampled write in it.
#[derive(Debug)]
pub(crate) struct Traced<S> {
    inner: S,
}

impl<S> Traced<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner }
    }
}

/// One span for each sampled write of the batch, each in the trace of its own write.
fn spans_of(from: &PeerId, batch: &[Incoming]) -> Vec<Span> {
    let sampled = batch.iter().filter_map(|item| item.trace);
    let span = |trace| {
        let span = tracing::debug_span!("quorum.apply", %from, records = batch.len());
        adopt_remote_parent(&span, trace);
        span
    };
    sampled.map(span).collect()
}

impl<S: ReplicaStore> ReplicaStore for Traced<S> {
    async fn apply(&self, from: &PeerId, batch: Vec<Incoming>) -> Applied {
        let spans = spans_of(from, &batch);
        // Each write's own trace shows the batch; the first one is current meanwhile.
        let current = spans.first().cloned().unwrap_or_else(Span::none);
        let applied = self.inner.apply(from, batch).instrument(current).await;
        drop(spans);
        applied
    }

    fn frontier(&self) -> Frontier {
        self.inner.frontier()
    }

    fn has_failed(&self) -> bool {
        self.inner.has_failed()
    }

    fn lineage(&self) -> Lineage {
        self.inner.lineage()
    }

    fn announcement(&self, to: &PeerId) -> Announcement {
        self.inner.announcement(to)
    }

    async fn announced(&self, from: &Lineage, said: &Announcement, when: Occasion) {
        self.inner.announced(from, said, when).await;
    }
}

impl<S: QuerySource> QuerySource for Traced<S> {
    async fn answer(&self, from: &PeerId, question: Question) -> Answer {
        self.inner.answer(from, question).await
    }
}

impl<S: LogSource> LogSource for Traced<S> {
    async fn replay(&self, lineage: &Lineage, wanted: &SeqSet, bytes_max: usize) -> Replay {
        self.inner.replay(lineage, wanted, bytes_max).await
    }

    async fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        self.inner.snapshot(after, bytes_max).await
    }
}
