//! The engine on disk: a commit is appended to the log and entered into a layer in memory; full layers become tables.
//!
//! ```text
//! commit ─► log (synced) ─► layer ─► layer that is full ─► tables
//!                           └───────── view ──────────────────┘
//! ```
//!
//! One thread commits, another puts full layers into the tables and frees their part of the log. A view looks through
//! the layers, newest first, and then at the tables. A start puts whatever the log still holds into the tables before
//! anything else, so that nothing is trusted which exists in the page cache only.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::frame::{self, CommitNumber};
use super::layer::Layer;
use super::log::{Segment, Segments, Writer};
use super::tables::{Snapshot, Tables};
use super::{Batch, DiskSpace, Engine, EngineError, Page, PageLimit, Sizes, Space, Sync, View};
use crate::store::config::StoreConfig;
use crate::store::directory::{Lock, TABLES_DIRECTORY};
use crate::store::error::{OpenError, with_causes};

/// Full layers that may wait for the tables; beyond them commits wait.
const FULL_LAYERS_MAX: usize = 2;

/// A segment may be larger than the memory of its layer by this much: keys that are written again and again take
/// space in the log only.
const SEGMENT_PER_LAYER: u64 = 2;

/// How often it is looked whether compaction has caught up.
const BEHIND_PAUSE: Duration = Duration::from_millis(5);

/// How often at most, for one layer: after that reads get slower, and nothing else.
const BEHIND_PAUSES_MAX: u32 = 2_000;

/// How long after the tables had no room for a layer it is looked whether there is some.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// As many times its size a layer that had no room is given before it is tried again: what was written of it is left behind
/// each time, until the next start.
const ROOM_PER_LAYER: u64 = 2;

/// How often it is looked whether compaction goes on, at least.
const COMPACTION_LOOK_EVERY: Duration = Duration::from_secs(5);

/// An open engine on disk.
pub(crate) struct DiskEngine {
    shared: Arc<Shared>,
    writing: Mutex<Writing>,
    layer_bytes_max: usize,
    segment_bytes_max: u64,
    putting: Option<JoinHandle<()>>,
}

/// What only the committing thread touches.
struct Writing {
    writer: Writer,
    layer_bytes: usize,
    synced: u64,
}

/// What views, commits and the thread that puts layers share.
struct Shared {
    tables: Tables,
    log_directory: PathBuf,
    segments: Mutex<Segments>,
    state: Mutex<State>,
    /// A layer is full, or is put, or the engine is closing.
    changed: Condvar,
    /// Let go last, when the files are closed.
    _lock: Option<Lock>,
}

struct State {
    stack: Arc<Stack>,
    /// The last commit in the stack.
    committed: u64,
    /// Commits that views look at, and how many look at each.
    watched: BTreeMap<u64, usize>,
    /// Oldest first.
    full: VecDeque<FullLayer>,
    is_closing: bool,
    /// The disk has no room for a full layer.
    is_out_of_room: bool,
    /// Nothing is compacted any more.
    compaction_has_ended: bool,
    /// What failed first: nothing more is committed then.
    failed: Option<Arc<str>>,
}

/// A layer that waits for the tables.
#[derive(Clone)]
struct FullLayer {
    layer: Arc<Layer>,
    /// Its last commit.
    last: u64,
    /// Its part of the log.
    segment: Segment,
    /// About how large it is.
    bytes: u64,
}

/// Everything there is: layers, oldest first, and the tables beneath them.
struct Stack {
    layers: Vec<Arc<Layer>>,
    tables: Arc<Snapshot>,
}

impl Stack {
    /// The layer that commits are entered into.
    fn newest(&self) -> &Arc<Layer> {
        self.layers.last().expect("there is always one")
    }
}

impl DiskEngine {
    /// Opens the engine in `directory`, or creates it there. `closed_after` is the last commit of a store that was closed. The
    /// lock is let go with the last view.
    pub(crate) fn open(
        directory: &Path,
        config: &StoreConfig,
        closed_after: Option<u64>,
        lock: Option<Lock>,
    ) -> Result<Self, OpenError> {
        let tables = Tables::open(&directory.join(TABLES_DIRECTORY), config)?;
        let log_directory = directory.join("log");
        let segment_bytes_max = config.memtable_bytes.saturating_mul(SEGMENT_PER_LAYER);
        let mut segments = Segments::list(log_directory.clone(), segment_bytes_max)?;
        let committed = replay(&tables, &mut segments, closed_after)?;
        let writer = segments.begin(committed + 1)?;
        let stack = Stack { layers: vec![Arc::default()], tables: Arc::new(tables.snapshot()) };
        let state = State {
            stack: Arc::new(stack),
            committed,
            watched: BTreeMap::new(),
            full: VecDeque::new(),
            is_closing: false,
            is_out_of_room: false,
            compaction_has_ended: false,
            failed: None,
        };
        let shared = Arc::new(Shared {
            tables,
            log_directory,
            segments: Mutex::new(segments),
            state: Mutex::new(state),
            changed: Condvar::new(),
            _lock: lock,
        });
        let putting = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("store-tables".to_owned()).spawn(move || shared.put())
        };
        let putting = putting.map_err(OpenError::io("start a thread for", directory))?;
        Ok(Self {
            shared,
            writing: Mutex::new(Writing { writer, layer_bytes: 0, synced: committed }),
            layer_bytes_max: usize::try_from(config.memtable_bytes).unwrap_or(usize::MAX),
            segment_bytes_max,
            putting: Some(putting),
        })
    }
}

/// Puts what the log holds into the tables, and gives the last commit. All of it is read before anything is put, so that a
/// log with damage is left as it is; it holds no more than may be in memory at once.
fn replay(
    tables: &Tables,
    segments: &mut Segments,
    closed_after: Option<u64>,
) -> Result<u64, OpenError> {
    let mut layers: Vec<(Segment, Layer, u64)> = Vec::new();
    let last = segments.read(tables.applied()?, |segment, number, frame| {
        if layers.last().is_none_or(|(of, ..)| of != segment) {
            layers.push((segment.clone(), Layer::default(), number));
        }
        if let Some((_, layer, last)) = layers.last_mut() {
            enter(layer, number, number, &frame)?;
            *last = number;
        }
        Ok(())
    })?;
    if let Some(expected) = closed_after.filter(|expected| *expected != last) {
        let detail = format!(
            "the store was closed after commit {expected}, and commit {last} is the last that is there"
        );
        let file = segments.directory().to_owned();
        return Err(OpenError::Damaged { file, offset: 0, detail });
    }
    for (_, layer, last) in layers {
        tables.put(&layer, last)?;
    }
    for segment in std::mem::take(&mut segments.found) {
        segments.retire(&segment).map_err(OpenError::io("retire", segment.path()))?;
    }
    segments.sync()?;
    Ok(last)
}

/// Enters a frame into a layer. Tells how much more memory that takes.
pub(super) fn enter(
    layer: &Layer,
    commit: u64,
    oldest: u64,
    frame: &Bytes,
) -> Result<usize, EngineError> {
    let mut is_sound = true;
    let changes = frame::changes(frame).map_while(|change| {
        is_sound &= change.is_some();
        change
    });
    let more = layer.enter(commit, oldest, changes);
    if is_sound {
        Ok(more + frame.len())
    } else {
        Err(EngineError::new("read", "a malformed commit"))
    }
}

impl Engine for DiskEngine {
    fn view(&self) -> Arc<dyn View> {
        let mut state = self.shared.state.lock();
        let (stack, at) = (Arc::clone(&state.stack), state.committed);
        *state.watched.entry(at).or_default() += 1;
        Arc::new(DiskView { stack, shared: Arc::clone(&self.shared), at })
    }

    fn commit(&self, batch: &Batch, sync: Sync) -> Result<(), EngineError> {
        let mut writing = self.writing.lock();
        let writing = &mut *writing;
        let mut commit = || {
            self.make_room(writing)?;
            if !batch.is_empty() {
                self.append(writing, batch)?;
            }
            if sync == Sync::Data { writing.sync(self.last_commit()) } else { Ok(()) }
        };
        commit().inspect_err(|error| {
            if !error.is_full() {
                self.shared.fail(error);
            }
        })
    }

    fn sizes(&self) -> Sizes {
        let in_tables = self.shared.tables.sizes();
        let stack = Arc::clone(&self.shared.state.lock().stack);
        let in_layers: usize = stack.layers.iter().map(|layer| layer.len(Space::Records)).sum();
        Sizes {
            records: in_tables.records + in_layers as u64,
            bytes: in_tables.bytes + Segments::bytes(&self.shared.log_directory),
        }
    }

    fn last_commit(&self) -> u64 {
        self.shared.state.lock().committed
    }

    fn reads_block(&self) -> bool {
        true
    }

    fn compaction_has_ended(&self) -> bool {
        self.shared.state.lock().compaction_has_ended
    }

    fn space(&self) -> Option<DiskSpace> {
        self.shared.space()
    }
}

impl DiskEngine {
    /// Appends a commit to the log, and enters it where views will see it.
    fn append(&self, writing: &mut Writing, batch: &Batch) -> Result<(), EngineError> {
        let number = self.last_commit() + 1;
        let commit = CommitNumber { number, synced: writing.synced };
        let frame = frame::encode(commit, batch, writing.writer.generation());
        let frame = frame.ok_or_else(|| EngineError::new("commit", "the commit is too large"))?;
        // What of it was written before there was no room is written over.
        let appended = writing.writer.append(&frame);
        appended.map_err(|error| EngineError::before_it_began("append", error))?;
        let (layer, oldest) = {
            let state = self.shared.state.lock();
            let oldest = state.watched.first_key_value().map_or(number, |(oldest, _)| *oldest);
            (Arc::clone(state.stack.newest()), oldest)
        };
        writing.layer_bytes += enter(&layer, number, oldest, &frame)?;
        self.shared.state.lock().committed = number;
        Ok(())
    }

    /// Begins a new layer and segment if one of them is full. Waits while too many are.
    fn make_room(&self, writing: &mut Writing) -> Result<(), EngineError> {
        let is_full = writing.layer_bytes >= self.layer_bytes_max
            || writing.writer.end() >= self.segment_bytes_max;
        let mut state = self.shared.state.lock();
        while is_full && state.failed.is_none() && state.full.len() >= FULL_LAYERS_MAX {
            if state.is_out_of_room {
                let full = io::ErrorKind::StorageFull.into();
                return Err(EngineError::before_it_began("begin a layer", full));
            }
            self.shared.changed.wait(&mut state);
        }
        if let Some(reason) = &state.failed {
            return Err(EngineError::new("go on after a failure", reason.to_string()));
        }
        if !is_full {
            return Ok(());
        }
        let (last, full) = (state.committed, Arc::clone(state.stack.newest()));
        drop(state);
        // What is in a segment that others follow is always synced.
        writing.sync(last)?;
        let next = self.shared.segments.lock().begin(last + 1);
        let next = next.map_err(|error| match error {
            OpenError::Io { source, .. } => EngineError::before_it_began("begin a segment", source),
            other => EngineError::new("begin a segment", other),
        })?;
        let former = std::mem::replace(&mut writing.writer, next);
        let bytes = std::mem::take(&mut writing.layer_bytes) as u64;
        let next_layer = Arc::new(Layer::like(&full));
        let mut state = self.shared.state.lock();
        let segment = former.segment().clone();
        state.full.push_back(FullLayer { layer: full, last, segment, bytes });
        let mut layers = state.stack.layers.clone();
        layers.push(next_layer);
        state.stack = Arc::new(Stack { layers, tables: Arc::clone(&state.stack.tables) });
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Writing {
    fn sync(&mut self, last: u64) -> Result<(), EngineError> {
        if self.synced < last {
            self.writer.sync().map_err(|error| EngineError::new("sync", error))?;
            self.synced = last;
        }
        Ok(())
    }
}

impl Shared {
    /// Nothing more is committed.
    fn fail(&self, error: &EngineError) {
        let reason = with_causes(error);
        self.state.lock().failed.get_or_insert_with(|| reason.into());
        self.changed.notify_all();
    }

    /// Puts full layers into the tables until the engine closes.
    fn put(&self) {
        let _even_if_this_panics = FailIfPanicking(self);
        loop {
            let Some(full) = self.next_full() else { return };
            let put = self.tables.put(&full.layer, full.last).and_then(|()| {
                let retired = self.segments.lock().retire(&full.segment);
                retired.map_err(|error| EngineError::before_it_began("retire a segment", error))
            });
            match put {
                Ok(()) => {}
                Err(error) if error.is_full() => {
                    self.wait_for_room(&full);
                    continue;
                }
                Err(error) => return self.fail(&error),
            }
            let tables = Arc::new(self.tables.snapshot());
            let mut state = self.state.lock();
            state.is_out_of_room = false;
            let layers = state.stack.layers.iter();
            let layers = layers.filter(|other| !Arc::ptr_eq(other, &full.layer)).cloned().collect();
            state.stack = Arc::new(Stack { layers, tables });
            state.full.pop_front();
            self.changed.notify_all();
        }
    }

    /// Lets those who wait for room in the layers know that there is none on the disk, and waits until there is some, or the
    /// engine is closing.
    fn wait_for_room(&self, full: &FullLayer) {
        let mut state = self.state.lock();
        state.is_out_of_room = true;
        self.changed.notify_all();
        let has_room = |space: DiskSpace| space.free / ROOM_PER_LAYER >= full.bytes;
        while !state.is_closing {
            self.changed.wait_for(&mut state, ROOM_PAUSE);
            if MutexGuard::unlocked(&mut state, || self.space()).is_none_or(has_room) {
                return;
            }
        }
    }

    fn space(&self) -> Option<DiskSpace> {
        let found = rustix::fs::statvfs(&self.log_directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(DiskSpace { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }

    /// The oldest full layer, once the tables can take it; `None` when the engine is closing.
    fn next_full(&self) -> Option<FullLayer> {
        let (mut state, mut pauses) = (self.state.lock(), 0);
        loop {
            MutexGuard::unlocked(&mut state, || self.look_after_compaction());
            // Whoever closes it may have rung meanwhile.
            if state.is_closing {
                return None;
            }
            // Whoever waits for what has ended waits in vain.
            let is_in_vain = pauses >= BEHIND_PAUSES_MAX || state.compaction_has_ended;
            match state.full.front() {
                Some(full) if is_in_vain || !self.tables.are_behind() => {
                    return Some(full.clone());
                }
                Some(_) => {
                    self.changed.wait_for(&mut state, BEHIND_PAUSE);
                    pauses += 1;
                }
                None => {
                    self.changed.wait_for(&mut state, COMPACTION_LOOK_EVERY);
                }
            }
        }
    }

    /// Tells once that nothing is compacted any more.
    fn look_after_compaction(&self) {
        if !self.tables.compaction_has_ended() {
            return;
        }
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.compaction_has_ended, true) {
            tracing::error!(
                "the tables are no longer compacted after an error: look at the disk, and restart the node"
            );
            self.changed.notify_all();
        }
    }
}

/// Nobody may wait for a thread that is gone.
struct FailIfPanicking<'a>(&'a Shared);

impl Drop for FailIfPanicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&EngineError::new("put a layer into the tables", "the thread panicked"));
        }
    }
}

impl Drop for DiskEngine {
    fn drop(&mut self) {
        self.shared.state.lock().is_closing = true;
        self.shared.changed.notify_all();
        if let Some(putting) = self.putting.take() {
            let _has_panicked = putting.join();
        }
    }
}

/// The state after one commit.
struct DiskView {
    /// Let go before what is shared, which may be the last to hold the lock of the directory.
    stack: Arc<Stack>,
    shared: Arc<Shared>,
    at: u64,
}

impl View for DiskView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        for layer in self.stack.layers.iter().rev() {
            if let Some(found) = layer.get(space, key, self.at) {
                return Ok(found.as_ref().map(copied));
            }
        }
        self.stack.tables.get(space, key)
    }

    fn page(
        &self,
        space: Space,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        let (mut page, mut bytes) = (Page::new(), 0);
        let mut from = from.map(Bytes::copy_from_slice);
        while !is_empty((from.as_ref().map(Bytes::as_ref), to)) {
            let range = (from.as_ref().map(Bytes::as_ref), to);
            let (above, through) = self.above(space, range, limit.entries.max(1));
            // Where the layers were not read any further, the tables are not either.
            let range = (range.0, through.as_ref().map_or(to, |last| Bound::Included(last)));
            for entry in merged(above, self.stack.tables.range(space, range)) {
                let (key, value) = entry?;
                bytes += key.len() + value.len();
                page.push((key, value));
                if page.len() >= limit.entries || bytes >= limit.bytes {
                    return Ok(page);
                }
            }
            match through {
                Some(last) => from = Bound::Excluded(last),
                None => break,
            }
        }
        Ok(page)
    }
}

/// Whether no key can lie between two bounds.
fn is_empty((from, to): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
        _ => false,
    }
}

impl DiskView {
    /// What the layers say about a range, as far as each of them was read: through a key, if not to the end.
    fn above(
        &self,
        space: Space,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> (BTreeMap<Bytes, Option<Bytes>>, Option<Bytes>) {
        let (mut above, mut through) = (BTreeMap::new(), None::<Bytes>);
        for layer in &self.stack.layers {
            let (entries, is_more) = layer.range(space, range, self.at, limit);
            if let Some((last, _)) = entries.last().filter(|_| is_more) {
                through =
                    Some(through.map_or_else(|| last.clone(), |least| least.min(last.clone())));
            }
            // A newer layer has the last word.
            above.extend(entries);
        }
        if let Some(through) = &through {
            let beyond = (Bound::Excluded(through.clone()), Bound::Unbounded);
            above.extract_if(beyond, |_, _| true).for_each(drop);
        }
        (above, through)
    }
}

/// Entries of the tables with what lies above them, in order.
fn merged(
    above: BTreeMap<Bytes, Option<Bytes>>,
    tables: impl Iterator<Item = Result<(Bytes, Bytes), EngineError>>,
) -> impl Iterator<Item = Result<(Bytes, Bytes), EngineError>> {
    let (mut above, mut tables) = (above.into_iter().peekable(), tables.peekable());
    std::iter::from_fn(move || {
        loop {
            let is_above = match (above.peek(), tables.peek()) {
                (None, None) => return None,
                // What the tables have from here on is not known: no key beyond it may pass for the next one.
                (_, Some(Err(_))) | (None, Some(Ok(_))) => false,
                (Some((upper, _)), Some(Ok((lower, _)))) => upper <= lower,
                (Some(_), None) => true,
            };
            if !is_above {
                return tables.next();
            }
            let (key, value) = above.next()?;
            tables.next_if(|lower| lower.as_ref().is_ok_and(|(lower, _)| *lower == key));
            if let Some(value) = value {
                return Some(Ok((copied(&key), copied(&value))));
            }
        }
    })
}

/// Whoever keeps an entry must not keep the whole commit.
fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

impl Drop for DiskView {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(views) = state.watched.get_mut(&self.at) {
            *views -= 1;
            if *views == 0 {
                state.watched.remove(&self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;
    use proptest::prelude::*;

    type Model = BTreeMap<Bytes, Bytes>;

    /// Were it told last, a page could end before it, and whoever goes on behind the page would never hear of it.
    #[test]
    fn what_the_tables_cannot_read_is_told_before_any_key_behind_it() {
        let entry = |key: &'static str| (Bytes::from(key), Bytes::from("value"));
        let above = ["b", "y", "z"].map(|key| (Bytes::from(key), Some(Bytes::from("value"))));
        let damaged = EngineError::new("read", "a damaged block");
        let tables = [Ok(entry("a")), Ok(entry("c")), Err(damaged), Ok(entry("x"))];
        let mut merged = merged(above.into_iter().collect(), tables.into_iter());
        let keys = merged.by_ref().map_while(|entry| entry.ok().map(|(key, _)| key));
        assert_eq!(keys.collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    const SPACES: [Space; 2] = [Space::Records, Space::Log];

    /// Layers of a few commits each.
    fn open(directory: &Path) -> DiskEngine {
        let config = StoreConfig { memtable_bytes: 2_000, ..StoreConfig::default() };
        DiskEngine::open(directory, &config, None, None).expect("opens")
    }

    fn key(number: u8) -> Bytes {
        Bytes::from(format!("key {number:03}"))
    }

    /// Sets keys, or removes them, in both spaces and in the model.
    fn apply(changes: &[(u8, Option<u8>)], model: &mut Model) -> Batch {
        let mut batch = Batch::default();
        for (number, value) in changes {
            // Some are as large as those that lie in files of their own.
            let len = |value: u8| if value < 230 { usize::from(value) } else { 9_000 };
            let value = value.map(|value| Bytes::from(vec![value; len(value)]));
            match &value {
                Some(value) => model.insert(key(*number), value.clone()),
                None => model.remove(&key(*number)),
            };
            for space in SPACES {
                match &value {
                    Some(value) => batch.put(space, key(*number), value.clone()),
                    None => batch.remove(space, key(*number)),
                }
            }
        }
        batch
    }

    /// Everything in a view, read in pages of `limit` entries, is what the model says.
    fn check(view: &dyn View, model: &Model, limit: usize) {
        for space in SPACES {
            let (mut found, mut after) = (Page::new(), None::<Bytes>);
            loop {
                let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let range = (from, Bound::Unbounded);
                let page = view.page(space, range, PageLimit::new(limit, 1_000)).expect("readable");
                let Some((last, _)) = page.last() else { break };
                after = Some(last.clone());
                found.extend(page);
            }
            let expected: Page = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            assert_eq!(found, expected, "in pages of {limit}");
            for number in 0..=u8::MAX {
                let value = view.get(space, &key(number)).expect("readable");
                assert_eq!(value.as_ref(), model.get(&key(number)));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
        /// Whatever is committed, wherever it lies by then, and whoever looks at it as of when.
        #[test]
        fn views_show_what_was_committed_through_layers_tables_and_restarts(
            commits in prop::collection::vec(
                prop::collection::vec((0_u8..40, prop::option::of(any::<u8>())), 1..20),
                20..60,
            ),
            restart_at in 0_usize..60,
            limit in 1_usize..50,
        ) {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut engine = open(directory.path());
            let (mut model, mut views) = (Model::new(), Vec::new());
            for (turn, changes) in commits.iter().enumerate() {
                let sync = if turn % 3 == 0 { Sync::Buffered } else { Sync::Data };
                engine.commit(&apply(changes, &mut model), sync).expect("committed");
                if turn % 7 == 0 {
                    views.push((engine.view(), model.clone()));
                }
                if turn == restart_at {
                    for (view, then) in views.drain(..) {
                        check(view.as_ref(), &then, limit);
                    }
                    drop(engine);
                    engine = open(directory.path());
                    prop_assert_eq!(engine.last_commit(), turn as u64 + 1);
                }
            }
            check(engine.view().as_ref(), &model, limit);
            for (view, then) in &views {
                check(view.as_ref(), then, limit);
            }
            drop((views, engine));
            let engine = open(directory.path());
            check(engine.view().as_ref(), &model, limit);
        }
    }

    #[test]
    fn a_layer_that_was_put_in_part_is_put_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut model = Model::new();
        let engine = open(directory.path());
        engine
            .commit(&apply(&[(1, Some(1)), (2, None)], &mut model), Sync::Data)
            .expect("committed");
        drop(engine);
        {
            // As a start leaves it that was cut short: some spaces have it, and the log is as it was.
            let config = StoreConfig::default();
            let tables = Tables::open(&directory.path().join(TABLES_DIRECTORY), &config);
            let layer = Layer::default();
            let change = (Space::Records, key(1), Some(Bytes::from_static(&[1])));
            layer.enter(1, 1, std::iter::once(change));
            tables.expect("opens").put(&layer, 0).expect("put");
        }
        let engine = open(directory.path());
        assert_eq!(engine.last_commit(), 1);
        check(engine.view().as_ref(), &model, 10);
    }

    #[test]
    fn a_commit_for_which_there_was_no_room_succeeds_once_there_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (engine, mut model) = (open(directory.path()), Model::new());
        engine.commit(&apply(&[(1, Some(1))], &mut model), Sync::Data).expect("committed");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let file = engine.writing.lock().writer.replace_file(full);
        let batch = apply(&[(1, Some(2)), (2, Some(9))], &mut model);
        let error = engine.commit(&batch, Sync::Data).expect_err("no room");
        assert!(error.is_full(), "{error:?}");
        assert_eq!(engine.last_commit(), 1, "nothing has happened");
        engine.writing.lock().writer.replace_file(file);
        engine.commit(&batch, Sync::Data).expect("there is room");
        check(engine.view().as_ref(), &model, 10);
        drop(engine);
        check(open(directory.path()).view().as_ref(), &model, 10);
    }

    #[test]
    fn a_disk_that_fills_up_while_layers_are_put_is_full_and_not_the_end() {
        use std::sync::atomic::Ordering::Relaxed;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (engine, mut model) = (open(directory.path()), Model::new());
        engine.shared.tables.is_full.store(true, Relaxed);
        let mut refused = None;
        for turn in 0..100 {
            let before = model.clone();
            let batch = apply(&[(turn, Some(200))], &mut model);
            if let Err(error) = engine.commit(&batch, Sync::Data) {
                assert!(error.is_full(), "{error:?}");
                model = before;
                refused = Some(turn);
                break;
            }
        }
        let refused = refused.expect("layers fill up");
        check(engine.view().as_ref(), &model, 7);
        engine.shared.tables.is_full.store(false, Relaxed);
        {
            let shared = &engine.shared;
            let mut state = shared.state.lock();
            shared.changed.notify_all();
            let limit = Duration::from_secs(60);
            shared.changed.wait_while_for(&mut state, |state| state.is_out_of_room, limit);
        }
        let batch = apply(&[(refused, Some(200))], &mut model);
        engine.commit(&batch, Sync::Data).expect("there is room");
        check(engine.view().as_ref(), &model, 7);
        drop(engine);
        check(open(directory.path()).view().as_ref(), &model, 7);
    }

    /// What was written of it is left behind each time.
    #[test]
    fn a_layer_that_had_no_room_is_not_tried_again_before_there_is_enough() {
        use std::sync::atomic::Ordering::Relaxed;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (engine, mut model) = (open(directory.path()), Model::new());
        let shared = &engine.shared;
        shared.tables.is_full.store(true, Relaxed);
        engine.commit(&apply(&[(1, Some(1))], &mut model), Sync::Data).expect("committed");
        // As large as no disk.
        engine.writing.lock().layer_bytes = usize::MAX;
        engine.commit(&apply(&[(2, Some(2))], &mut model), Sync::Data).expect("committed");
        let limit = Duration::from_secs(60);
        let mut state = shared.state.lock();
        shared.changed.wait_while_for(&mut state, |state| !state.is_out_of_room, limit);
        assert_eq!(shared.tables.puts.load(Relaxed), 1);
        for _ in 0..100 {
            MutexGuard::unlocked(&mut state, || {
                shared.changed.notify_all();
                std::thread::yield_now();
            });
        }
        assert_eq!(shared.tables.puts.load(Relaxed), 1, "there is no room for twice as much");
        drop(state);
        // Whoever closes it does not wait for room.
        drop(engine);
        check(open(directory.path()).view().as_ref(), &model, 7);
    }

    /// Zeros take the place of the beginning of every table of the first space.
    fn damage_tables(directory: &Path) {
        let tables = directory.join(TABLES_DIRECTORY).join("keyspaces/1/tables");
        for entry in fs::read_dir(tables).expect("readable") {
            let path = entry.expect("readable").path();
            let file = fs::OpenOptions::new().write(true).open(path).expect("writable");
            file.write_all_at(&[0; 64], 0).expect("writable");
        }
    }

    /// Fills layers until compaction has met what is damaged.
    #[test]
    fn it_is_told_that_compaction_has_failed_and_commits_go_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (engine, mut model) = (open(directory.path()), Model::new());
        let mut fill = |engine: &DiskEngine, turns: std::ops::Range<usize>| {
            for turn in turns {
                let changes = [(u8::try_from(turn % 100).expect("small"), Some(200))];
                engine.commit(&apply(&changes, &mut model), Sync::Data).expect("committed");
            }
        };
        fill(&engine, 0..10);
        assert!(!engine.compaction_has_ended());
        drop(engine);
        damage_tables(directory.path());
        let engine = open(directory.path());
        fill(&engine, 10..300);
        {
            let mut state = engine.shared.state.lock();
            let limit = Duration::from_secs(60);
            engine.shared.changed.notify_all();
            engine.shared.changed.wait_while_for(
                &mut state,
                |state| !state.compaction_has_ended,
                limit,
            );
        }
        assert!(engine.compaction_has_ended());
        fill(&engine, 300..400);
    }

    #[test]
    fn files_are_used_again_and_few() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (engine, mut model) = (open(directory.path()), Model::new());
        for turn in 0..300_usize {
            let changes = [(u8::try_from(turn % 100).expect("small"), Some(200))];
            engine.commit(&apply(&changes, &mut model), Sync::Data).expect("committed");
        }
        let log = fs::read_dir(directory.path().join("log")).expect("there");
        let (files, bound) = (log.count(), FULL_LAYERS_MAX + 2 + 2);
        assert!(files <= bound, "{files} files");
        check(engine.view().as_ref(), &model, 7);
    }

    #[test]
    fn empty_ranges_show_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (engine, mut model) = (open(directory.path()), Model::new());
        engine.commit(&apply(&[(1, Some(1))], &mut model), Sync::Data).expect("committed");
        let (one, other) = (key(1), key(2));
        for range in [
            (Bound::Excluded(&one[..]), Bound::Excluded(&one[..])),
            (Bound::Included(&other[..]), Bound::Included(&one[..])),
            (Bound::Excluded(&other[..]), Bound::Included(&one[..])),
        ] {
            let page = engine.view().page(Space::Records, range, PageLimit::new(9, 999));
            assert_eq!(page.expect("readable"), Page::new());
        }
        let only = (Bound::Included(&one[..]), Bound::Included(&one[..]));
        let page = engine.view().page(Space::Records, only, PageLimit::new(9, 999));
        assert_eq!(page.expect("readable").len(), 1);
    }
}
