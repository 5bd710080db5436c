//! Opening a store: check the directory before anything touches it, then begin a new epoch durably.
//!
//! No dot is given out and no frontier is announced before the new epoch is synced, and with it everything that was
//! read at the start.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use quorum_core::planted::{self, Bug};
use quorum_core::{
    Clock, ClockGuard, ClusterId, Epoch, Frontier, Hlc, Incarnation, Lineage, Observer, Origin,
    PeerId, Random, SeqSet,
};
use tokio::sync::watch;

use super::changes::first_change;
use super::commit::Committer;
use super::config::StoreConfig;
use super::directory::Directory;
use super::draft::{Draft, Held, gaps};
use super::engine::disk::DiskEngine;
use super::engine::{Batch, Engine, PageLimit, Space, Sync, View};
use super::error::{OpenError, StoreError};
use super::facts::Facts;
use super::heads::Heads;
use super::intake::Intake;
use super::lineages::Lineages;
use super::room::Room;
use super::schema::{
    Corrupt, FORMAT, FORMAT_MIN, FORMAT_WITHOUT_TOMBSTONES, Head, LineageNumber, decode_count,
    decode_floor, decode_lineage, decode_node, decode_seqs, decode_u64, meta, tombstone_key,
};
use super::sequencer::Sequencer;
use super::shared::{Published, Shared};
use super::upkeep::{epoch_salt, first_lineage};
use super::{CommitterHandle, Running, Store};

/// Entries read at once.
const PAGE: PageLimit = PageLimit::new(1_024, 4 << 20);

/// Whose data it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub node: PeerId,
}

/// What the store needs from the world.
pub struct StoreSeams {
    /// Stamps versions.
    pub clock: Arc<dyn Clock>,
    /// Whether it may. Asked with the very reading that a version is made of: a clock may jump at any moment.
    pub guard: Arc<Mutex<ClockGuard>>,
    /// Hears of syncs.
    pub observer: Arc<dyn Observer>,
    /// Makes incarnations and the salt of epochs.
    pub random: Arc<dyn Random>,
}

#[cfg(test)]
impl StoreSeams {
    /// The real world, for a store that trusts its clock whatever it says.
    pub(crate) fn trusting() -> Self {
        Self {
            clock: Arc::new(quorum_transport::TokioClock::new()),
            guard: Arc::new(Mutex::new(ClockGuard::new(std::time::Duration::MAX))),
            observer: Arc::new(quorum_core::Silent),
            random: Arc::new(crate::SystemRandom),
        }
    }
}

impl fmt::Debug for StoreSeams {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StoreSeams").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the data directory, or makes one if there is none.
    ///
    /// Blocks: puts what the log holds into the tables.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong with the directory and what to do.
    pub fn open(
        directory: &Path,
        identity: &StoreIdentity,
        config: StoreConfig,
        seams: StoreSeams,
    ) -> Result<Self, OpenError> {
        let (directory, engine) = open_engine(directory, &config)?;
        Self::start(Arc::new(engine), Some(directory), identity, config, seams)
    }

    /// Opens a store on an engine of the caller's.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), but for what concerns files.
    pub fn open_on(
        engine: impl Engine,
        identity: &StoreIdentity,
        config: StoreConfig,
        seams: StoreSeams,
    ) -> Result<Self, OpenError> {
        Self::start(Arc::new(engine), None, identity, config, seams)
    }

    /// Opens a store on an engine, and on the directory that it is in, if it is in one.
    pub(super) fn start(
        engine: Arc<dyn Engine>,
        directory: Option<Directory>,
        identity: &StoreIdentity,
        config: StoreConfig,
        seams: StoreSeams,
    ) -> Result<Self, OpenError> {
        let (shared, committer) = prepare(engine, directory, identity, config, seams)?;
        let handle = std::thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn(move || committer.run())
            .map_err(OpenError::io("start the committing thread for", Path::new("the store")))?;
        Ok(Self { committer: CommitterHandle::new(&shared, Running::Thread(handle)), shared })
    }
}

/// Reads what is kept, makes a new epoch durable, and builds a store whose committer does not run yet.
pub(super) fn prepare(
    engine: Arc<dyn Engine>,
    directory: Option<Directory>,
    identity: &StoreIdentity,
    config: StoreConfig,
    seams: StoreSeams,
) -> Result<(Arc<Shared>, Committer), OpenError> {
    let mut kept = Kept::read(engine.view().as_ref())?;
    kept.check(identity)?;
    if let Some(directory) = &directory {
        directory.remove_clean_mark()?;
    }
    if kept.format == Some(FORMAT_WITHOUT_TOMBSTONES) {
        list_tombstones(engine.as_ref())?;
    }
    let first_change = first_change(engine.view().as_ref()).map_err(|error| unreadable(&error))?;
    let first_change = first_change.unwrap_or(kept.changes + 1);
    let lineage = kept.next_lineage(&identity.node, seams.random.as_ref());
    let lineages = RwLock::new(std::mem::take(&mut kept.lineages));
    begin(engine.as_ref(), identity, &config, &lineages, &lineage)?;
    if let Some(directory) = &directory {
        directory.begun()?;
    }

    let is_forgotten = planted::is(Bug::CeilingForgotten);
    let floor = if is_forgotten { Hlc::ZERO } else { kept.floor };
    let sequencer = Sequencer::new(lineage, floor, config.clock_headroom);
    let frontier = {
        let lineages = lineages.read();
        let named = kept.frontier.iter().map(|(number, seqs)| {
            Ok::<_, Corrupt>((lineages.name(*number)?.clone(), seqs.clone()))
        });
        named.collect::<Result<Frontier, _>>()?
    };
    let room = Room::new(config.free_bytes_min);
    room.look(Some(&engine), seams.clock.now());
    let facts = kept.facts;
    let published = Published { view: Some(engine.view()), frontier, trimmed: kept.trimmed };
    let shared = Arc::new(Shared {
        config,
        clock: seams.clock,
        guard: seams.guard,
        observer: seams.observer,
        random: seams.random,
        intake: Intake::new(sequencer),
        room,
        published: RwLock::new(published),
        lineages,
        facts: RwLock::new(facts.clone()),
        turn: tokio::sync::Mutex::default(),
        damaged: Mutex::default(),
        unreadable: Mutex::default(),
        changes: watch::Sender::new(kept.changes),
        engine: RwLock::new(Some(engine.clone())),
        has_unsynced: AtomicBool::new(false),
        syncs: AtomicU64::new(0),
        synced_records: AtomicU64::new(0),
    });
    let frontier: HashMap<_, _> = kept.frontier.into_iter().collect();
    let held = Held {
        gaps: frontier.values().map(gaps).sum(),
        frontier,
        bound: kept.floor,
        heads: Heads::new(shared.config.heads_max),
        changes: kept.changes,
        first_change,
        purged: facts.purged,
        forgotten: facts.forgotten,
    };
    let committer = Committer::new(shared.clone(), engine, directory, held);
    Ok((shared, committer))
}

fn unreadable(error: &StoreError) -> OpenError {
    OpenError::Corrupt { detail: error.to_string() }
}

/// Locks the directory, checks what is in it, and opens the engine on it.
pub(super) fn open_engine(
    path: &Path,
    config: &StoreConfig,
) -> Result<(Directory, DiskEngine), OpenError> {
    let directory = Directory::open(path)?;
    directory.begin_if_new()?;
    let (at, mark) = (directory.engine_path(), directory.clean_mark()?);
    let engine = DiskEngine::open(&at, config, mark, Some(directory.lock()))?;
    Ok((directory, engine))
}

/// Lists the tombstones of a store of format 1, which has no list of them. Done again after a crash, it does no harm.
fn list_tombstones(engine: &dyn Engine) -> Result<(), OpenError> {
    let view = engine.view();
    let mut after: Option<Bytes> = None;
    loop {
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let page = view.page(Space::Records, (from, Bound::Unbounded), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        let mut batch = Batch::default();
        for (key, value) in &page {
            let head = Head::decode(value)?;
            if head.is_tombstone {
                batch.put(Space::Tombstones, tombstone_key(head.hlc, key), Bytes::new());
            }
        }
        if !batch.is_empty() {
            engine.commit(&batch, Sync::Data)?;
        }
    }
}

/// Makes the new epoch durable.
fn begin(
    engine: &dyn Engine,
    identity: &StoreIdentity,
    config: &StoreConfig,
    lineages: &RwLock<Lineages>,
    lineage: &Lineage,
) -> Result<(), OpenError> {
    let mut held = Held::default();
    let view = engine.view();
    let mut draft = Draft::new(&mut held, view.as_ref(), lineages, config);
    draft.begin(lineage);
    let mut batch = draft.finish().map_err(|error| unreadable(&error))?.batch;
    let format = Bytes::copy_from_slice(&FORMAT.to_be_bytes());
    batch.put(Space::Meta, meta::FORMAT, format);
    let cluster = Bytes::copy_from_slice(identity.cluster.as_bytes());
    batch.put(Space::Meta, meta::CLUSTER, cluster);
    let node = Bytes::copy_from_slice(identity.node.as_str().as_bytes());
    batch.put(Space::Meta, meta::NODE, node);
    let sync = if planted::is(Bug::EpochNotSynced) { Sync::Buffered } else { Sync::Data };
    Ok(engine.commit(&batch, sync)?)
}

/// What the store kept about itself.
#[derive(Default)]
pub(super) struct Kept {
    format: Option<u32>,
    cluster: Option<ClusterId>,
    node: Option<PeerId>,
    incarnation: Option<Incarnation>,
    starts: u64,
    /// At or above every timestamp issued or seen.
    floor: Hlc,
    /// The number of the last change.
    changes: u64,
    pub(super) lineages: Lineages,
    facts: Facts,
    pub(super) trimmed: BTreeMap<LineageNumber, u64>,
    pub(super) frontier: BTreeMap<LineageNumber, SeqSet>,
}

impl Kept {
    pub(super) fn read(view: &dyn View) -> Result<Self, OpenError> {
        let mut kept = Self::default();
        for_each(view, Space::Meta, |key, value| kept.read_meta(key, value))?;
        for_each(view, Space::Frontier, |key, value| {
            let (number, seqs) = (LineageNumber::from_key(key)?, decode_seqs(value)?);
            kept.lineages.name(number)?;
            kept.frontier.insert(number, seqs);
            Ok(())
        })?;
        Ok(kept)
    }

    /// Up to where tombstones are purged.
    pub(super) const fn purged(&self) -> Hlc {
        self.facts.purged
    }

    fn read_meta(&mut self, key: &Bytes, value: &Bytes) -> Result<(), Corrupt> {
        let array = |what| Corrupt { what };
        if *key == meta::FORMAT {
            let bytes = value.as_ref().try_into().map_err(|_| array("format"))?;
            self.format = Some(u32::from_be_bytes(bytes));
        } else if *key == meta::CLUSTER {
            let bytes = value.as_ref().try_into().map_err(|_| array("cluster id"))?;
            self.cluster = Some(ClusterId::from_bytes(bytes));
        } else if *key == meta::NODE {
            self.node = Some(decode_node(value)?);
        } else if *key == meta::INCARNATION {
            let bytes = value.as_ref().try_into().map_err(|_| array("incarnation"))?;
            self.incarnation = Some(Incarnation::from_bytes(bytes));
        } else if *key == meta::CHANGES {
            self.changes = decode_count(value)?;
        } else if *key == meta::STARTS {
            self.starts = decode_count(value)?;
        } else if *key == meta::CEILING || *key == meta::SEEN {
            self.floor = self.floor.max(decode_floor(value)?);
        } else if let Some(number) = meta::lineage_number(key) {
            // Keys come in the order of numbers, so each number is the next one.
            if self.lineages.add(decode_lineage(value)?) != number? {
                return Err(Corrupt { what: "list of lineages" });
            }
        } else if let Some(number) = meta::trimmed_number(key) {
            self.trimmed.insert(number?, decode_u64(value)?);
        } else {
            self.facts.read(key, value)?;
        }
        Ok(())
    }

    fn check(&self, identity: &StoreIdentity) -> Result<(), OpenError> {
        if let Some(found) = self.format.filter(|found| !(FORMAT_MIN..=FORMAT).contains(found)) {
            let detail = format!("the engine holds format {found}, the directory {FORMAT}");
            return Err(OpenError::Corrupt { detail });
        }
        match &self.cluster {
            Some(found) if *found != identity.cluster => {
                let expected = identity.cluster;
                return Err(OpenError::OtherCluster { found: *found, expected });
            }
            _ => {}
        }
        match &self.node {
            Some(found) if *found != identity.node => {
                let (found, expected) = (found.clone(), identity.node.clone());
                Err(OpenError::OtherNode { found, expected })
            }
            _ => Ok(()),
        }
    }

    /// The next start of the incarnation that is kept, or the first of a fresh one.
    fn next_lineage(&self, node: &PeerId, random: &dyn Random) -> Lineage {
        match self.incarnation {
            Some(incarnation) => {
                let is_same = planted::is(Bug::EpochNotBumped);
                let epoch = match is_same {
                    true => Epoch::new(1, 1),
                    false => Epoch::new(self.starts + 1, epoch_salt(random)),
                };
                Lineage { origin: Origin { node: node.clone(), incarnation }, epoch }
            }
            None => first_lineage(node.clone(), random),
        }
    }
}

/// Reads a whole space, page by page.
pub(super) fn for_each(
    view: &dyn View,
    space: Space,
    mut read: impl FnMut(&Bytes, &Bytes) -> Result<(), Corrupt>,
) -> Result<(), OpenError> {
    let mut after: Option<Bytes> = None;
    loop {
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let page = view.page(space, (from, Bound::Unbounded), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (key, value) in &page {
            read(key, value)?;
        }
    }
}
