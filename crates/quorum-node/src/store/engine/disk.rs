//! The engine on disk: a commit is appended to the log and entered into a layer in memory; full layers become tables.
//!
//! ```text
//! commit ─► log (synced) ─► layer ─► layer that is full ─► tables
//!                           └───────── view ──────────────────┘
//! ```
//!
//! One thread commits, another puts full layers into the tables and frees their part of the log. A view looks through
//! the layers, newest first, and then at the tables. A start puts whatever the log still holds into the tables before
//! anything else, so that nothing is trusted which exists in the page cache only. The thread is in [`putting`], the view in
//! [`view`].

mod putting;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::frame::{self, CommitNumber};
use super::layer::Layer;
use super::log::{Segment, Segments, Writer};
use super::tables::{Snapshot, Tables};
use super::{Batch, DiskSpace, Engine, EngineError, Sizes, Space, Sync, View};
use crate::store::config::StoreConfig;
use crate::store::directory::{Lock, TABLES_DIRECTORY};
use crate::store::error::{OpenError, with_causes};
use view::DiskView;

/// Full layers that may wait for the tables; beyond them commits wait.
const FULL_LAYERS_MAX: usize = 2;

/// A segment may be larger than the memory of its layer by this much: keys that are written again and again take
/// space in the log only.
const SEGMENT_PER_LAYER: u64 = 2;

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
    /// How large the tables and the log were when the thread that puts layers looked last.
    on_disk: Sizes,
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

impl State {
    /// Whether nothing has failed so far.
    fn check(&self) -> Result<(), EngineError> {
        let Some(reason) = &self.failed else { return Ok(()) };
        Err(EngineError::new("go on after a failure", reason.to_string()))
    }
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
            on_disk: on_disk(&tables, &log_directory),
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

/// How large the tables and the log are. Waits for the disk, and for whoever holds the tables' locks while it syncs.
fn on_disk(tables: &Tables, log_directory: &Path) -> Sizes {
    let in_tables = tables.sizes();
    Sizes { bytes: in_tables.bytes + Segments::bytes(log_directory), ..in_tables }
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
            if batch.is_empty() {
                self.shared.state.lock().check()?;
            } else if let Err(error) = self.append(writing, batch) {
                if error.is_full() {
                    // It may be long until there is room, and what was committed before must not wait for it.
                    writing.sync(self.last_commit())?;
                }
                return Err(error);
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
        let (stack, on_disk) = {
            let state = self.shared.state.lock();
            (Arc::clone(&state.stack), state.on_disk)
        };
        let in_layers: usize = stack.layers.iter().map(|layer| layer.len(Space::Records)).sum();
        Sizes { records: on_disk.records + in_layers as u64, ..on_disk }
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
    /// Appends a commit to the log, where there is room, and enters it where views will see it.
    fn append(&self, writing: &mut Writing, batch: &Batch) -> Result<(), EngineError> {
        self.make_room(writing)?;
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
        state.check()?;
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

    fn space(&self) -> Option<DiskSpace> {
        let found = rustix::fs::statvfs(&self.log_directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(DiskSpace { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
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
