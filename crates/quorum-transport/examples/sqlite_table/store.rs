//! The three store ports over a SQLite table that an application has already.
//!
//! The application's table is `contacts`. Beside it stand three of quorum's: the envelope of each contact's current
//! record, which contact every dot was about, and ranges of dots that are covered without a contact. One transaction
//! changes them together, so they never contradict each other. SQLite commits first and replicates afterwards: a record
//! is durable when `stage` returns.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorum_core::{
    Applied, Busy, Clock, Digest, Dot, Durability, Epoch, Frontier, Hlc, HlcClock, Incarnation,
    Incoming, Lineage, LocalStore, LogSource, Origin, PeerId, QuerySource, Record, Refusal, Replay,
    ReplicaStore, Reply, SeqSet, SnapshotCursor, Staged, Version, WriteId, wall_millis,
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// How far ahead of this machine's clock a record may lie.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS contacts (name TEXT PRIMARY KEY, phone TEXT NOT NULL);

    CREATE TABLE IF NOT EXISTS quorum_life (incarnation BLOB NOT NULL, starts INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS quorum_current (
        name TEXT PRIMARY KEY, write_id BLOB NOT NULL,
        node TEXT NOT NULL, incarnation BLOB NOT NULL, epoch BLOB NOT NULL, seq BLOB NOT NULL,
        hlc BLOB NOT NULL, digest BLOB NOT NULL, relaxed INTEGER NOT NULL, payload BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS quorum_dots (
        node TEXT NOT NULL, incarnation BLOB NOT NULL, epoch BLOB NOT NULL, seq BLOB NOT NULL,
        name TEXT NOT NULL, PRIMARY KEY (node, incarnation, epoch, seq)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS quorum_dots_by_name ON quorum_dots (name);
    CREATE TABLE IF NOT EXISTS quorum_keyless (
        node TEXT NOT NULL, incarnation BLOB NOT NULL, epoch BLOB NOT NULL,
        first BLOB NOT NULL, last BLOB NOT NULL);
";

/// A contact to write.
#[derive(Debug, Clone)]
pub(crate) struct Contact {
    pub(crate) write_id: WriteId,
    pub(crate) name: String,
    pub(crate) phone: String,
}

impl Contact {
    /// What a record of it carries.
    pub(crate) fn payload(name: &str, phone: &str) -> Vec<u8> {
        [name.as_bytes(), b"\0", phone.as_bytes()].concat()
    }
}

/// The store. Clones are the same one.
#[derive(Clone)]
pub(crate) struct ContactStore {
    lineage: Lineage,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

struct State {
    database: Connection,
    hlc: HlcClock,
    /// The number of the last local write of this start.
    seq: u64,
    /// What the tables cover, so that nobody has to ask them.
    frontier: Frontier,
    /// A commit failed: whether it is there is unknown, and its number must not be given to another write.
    epoch_ended: bool,
}

/// Why a local write is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContactError {
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("a name must not contain NUL")]
    Name,
    #[error("a commit failed earlier: start anew")]
    EpochEnded,
}

impl ContactStore {
    /// Opens or creates the database of the member `node`. `entropy` makes a new database another incarnation, and tells
    /// two starts of a copied one apart.
    pub(crate) fn open(
        path: &Path,
        node: &PeerId,
        entropy: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, rusqlite::Error> {
        let mut database = Connection::open(path)?;
        database.execute_batch(SCHEMA)?;
        // The start is durable before its epoch is first used.
        let life = database.transaction()?;
        let known = life
            .query_row("SELECT incarnation, starts FROM quorum_life", [], |row| {
                Ok((row.get::<_, [u8; 8]>(0)?, row.get::<_, u32>(1)?))
            })
            .optional()?;
        let (incarnation, starts) = known.unwrap_or_else(|| (entropy.to_le_bytes(), 0));
        life.execute("DELETE FROM quorum_life", [])?;
        life.execute("INSERT INTO quorum_life VALUES (?, ?)", params![incarnation, starts + 1])?;
        life.commit()?;

        let incarnation = Incarnation::from_bytes(incarnation);
        let epoch = Epoch::new((starts + 1).into(), entropy as u16);
        let lineage = Lineage { origin: Origin { node: node.clone(), incarnation }, epoch };
        let state = State {
            hlc: resume_hlc(&database)?,
            frontier: read_frontier(&database)?,
            database,
            seq: 0,
            epoch_ended: false,
        };
        Ok(Self { lineage, clock, state: Arc::new(Mutex::new(state)) })
    }

    /// The application's own view: its table.
    pub(crate) fn contacts(&self) -> Result<Vec<(String, String)>, rusqlite::Error> {
        let state = self.state.lock();
        let mut query = state.database.prepare("SELECT name, phone FROM contacts ORDER BY name")?;
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    /// The envelope of a contact's current record.
    pub(crate) fn current(&self, name: &str) -> Result<Option<Record>, rusqlite::Error> {
        current(&self.state.lock().database, name)
    }

    fn write(
        &self,
        write_id: WriteId,
        payload: Vec<u8>,
        durability: Durability,
        above: Hlc,
    ) -> Result<Staged<Ready<Result<Instant, ContactError>>>, ContactError> {
        let mut state = self.state.lock();
        if state.epoch_ended {
            return Err(ContactError::EpochEnded);
        }
        let wall = wall_millis(&*self.clock);
        let hlc = state.hlc.tick_above(above, wall).expect("the ceiling is the end of time");
        let dot = Dot { lineage: self.lineage.clone(), seq: state.seq + 1 };
        let record = Arc::new(Record::new(write_id, dot, hlc, durability, payload.into()));
        let item = Incoming { record: Some(Arc::clone(&record)), ..Incoming::default() };
        state.commit(|tables| merge(tables, &item)).inspect_err(|_| state.epoch_ended = true)?;
        state.seq += 1;
        state.frontier.insert(&record.dot);
        Ok(Staged { record, durable: ready(Ok(self.clock.now())), is_known: false })
    }
}

impl State {
    /// One transaction, synced before this returns.
    fn commit<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, rusqlite::Error> {
        let transaction = self.database.transaction()?;
        let outcome = change(&transaction)?;
        transaction.commit()?;
        Ok(outcome)
    }
}

impl LocalStore for ContactStore {
    type Op = Contact;
    type Error = ContactError;
    type Durable = Ready<Result<Instant, ContactError>>;

    async fn stage(&self, contact: Contact) -> Result<Staged<Self::Durable>, ContactError> {
        if contact.name.contains('\0') {
            return Err(ContactError::Name);
        }
        let payload = Contact::payload(&contact.name, &contact.phone);
        self.write(contact.write_id, payload, Durability::Fsync, Hlc::ZERO)
    }

    async fn restamp(
        &self,
        record: &Record,
        above: &Version,
    ) -> Result<Staged<Self::Durable>, ContactError> {
        let above = above.hlc.max(record.hlc);
        self.write(record.write_id, record.payload.to_vec(), record.durability, above)
    }
}

impl ReplicaStore for ContactStore {
    async fn apply(&self, _from: &PeerId, batch: Vec<Incoming>) -> Applied {
        // A program with much to do would give this to a thread of its own; a transaction takes a millisecond or so.
        let mut state = self.state.lock();
        let wall = wall_millis(&*self.clock);
        let merged = state.commit(|tables| {
            let merge = |item| match refusal(item, wall) {
                Some(refusal) => Ok(refusal),
                None => merge(tables, item),
            };
            batch.iter().map(merge).collect::<Result<Vec<Reply>, _>>()
        });
        let Ok(replies) = merged else {
            // Nothing of the batch is there: all of it will be sent again.
            let replies = vec![Reply::Busy { reason: Busy::Disk }; batch.len()];
            return Applied { replies, synced: true };
        };
        for (item, reply) in batch.iter().zip(&replies) {
            if matches!(reply, Reply::Busy { .. } | Reply::Refused { .. }) {
                continue;
            }
            state.frontier.merge(&item.covered());
            if let Some(record) = &item.record {
                state.frontier.insert(&record.dot);
                state.hlc.observe(record.hlc);
            }
        }
        Applied { replies, synced: true }
    }

    fn frontier(&self) -> Frontier {
        self.state.lock().frontier.clone()
    }

    fn lineage(&self) -> Lineage {
        self.lineage.clone()
    }
}

/// It answers no questions: this program reads its own table only.
impl QuerySource for ContactStore {}

impl LogSource for ContactStore {
    async fn replay(&self, lineage: &Lineage, wanted: &SeqSet, bytes_max: usize) -> Replay {
        let state = self.state.lock();
        // A database that cannot be read now has nothing to give now.
        Replay::Items(replay(&state.database, lineage, wanted, bytes_max).unwrap_or_default())
    }

    async fn snapshot(
        &self,
        after: Option<SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Incoming>, Option<SnapshotCursor>) {
        let state = self.state.lock();
        let page = snapshot(&state.database, after.as_deref(), bytes_max);
        // Going on from the same place is the one answer that claims nothing.
        page.unwrap_or_else(|_| (Vec::new(), Some(after.unwrap_or_default())))
    }
}

/// Why an item is not taken, if so.
fn refusal(item: &Incoming, wall_millis: u64) -> Option<Reply> {
    let record = item.record.as_ref()?;
    if !record.is_intact() {
        return Some(Reply::Refused { reason: Refusal::Corrupt });
    }
    if contact_of(&record.payload).is_none() {
        return Some(Reply::Refused { reason: Refusal::Malformed });
    }
    let is_ahead = record.hlc.ahead_of(wall_millis) > CLOCK_SKEW_MAX;
    is_ahead.then_some(Reply::Busy { reason: Busy::Clock })
}

fn contact_of(payload: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(payload).ok()?.split_once('\0')
}

/// Merges an item: the larger version of a contact wins, of equal ones the larger digest, and that is drift.
fn merge(tables: &Transaction<'_>, item: &Incoming) -> Result<Reply, rusqlite::Error> {
    let Some(record) = &item.record else {
        cover_keyless(tables, &item.covers)?;
        return Ok(Reply::Stored);
    };
    let (name, phone) = contact_of(&record.payload).expect("checked, or made here");
    let current = current(tables, name)?;
    let offered = (record.version(), record.digest);
    let held = current.map(|current| (current.version(), current.digest));
    let (reply, wins) = match held {
        None => (Reply::Stored, true),
        Some(held) if held == offered => (Reply::Stored, false),
        Some(held) if held.0 == offered.0 => (Reply::Drift, offered > held),
        Some(held) if held > offered => {
            (Reply::Superseded { version: held.0, is_same_write: false }, false)
        }
        Some(_) => (Reply::Stored, true),
    };
    if wins {
        replace(tables, name, phone, record)?;
    }
    cover(tables, &record.dot.lineage, record.dot.seq, name)?;
    for (lineage, set) in &item.covers {
        for seq in set.intervals().flat_map(|(first, last)| first..=last) {
            cover(tables, lineage, seq, name)?;
        }
    }
    Ok(reply)
}

fn replace(
    tables: &Transaction<'_>,
    name: &str,
    phone: &str,
    record: &Record,
) -> Result<(), rusqlite::Error> {
    let Dot { lineage, seq } = &record.dot;
    tables
        .prepare_cached("INSERT OR REPLACE INTO contacts VALUES (?, ?)")?
        .execute(params![name, phone])?;
    tables
        .prepare_cached(
            "INSERT OR REPLACE INTO quorum_current VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            name,
            record.write_id.as_bytes(),
            lineage.origin.node.as_str(),
            lineage.origin.incarnation.as_bytes(),
            lineage.epoch.as_u64().to_be_bytes(),
            seq.to_be_bytes(),
            record.hlc.as_u64().to_be_bytes(),
            record.digest.as_bytes(),
            record.durability == Durability::Relaxed,
            &record.payload[..],
        ])?;
    Ok(())
}

fn cover(
    tables: &Transaction<'_>,
    lineage: &Lineage,
    seq: u64,
    name: &str,
) -> Result<(), rusqlite::Error> {
    let Lineage { origin, epoch } = lineage;
    tables.prepare_cached("INSERT OR REPLACE INTO quorum_dots VALUES (?, ?, ?, ?, ?)")?.execute(
        params![
            origin.node.as_str(),
            origin.incarnation.as_bytes(),
            epoch.as_u64().to_be_bytes(),
            seq.to_be_bytes(),
            name,
        ],
    )?;
    Ok(())
}

fn cover_keyless(
    tables: &Transaction<'_>,
    covers: &[(Lineage, SeqSet)],
) -> Result<(), rusqlite::Error> {
    let mut insert = tables.prepare_cached("INSERT INTO quorum_keyless VALUES (?, ?, ?, ?, ?)")?;
    for (Lineage { origin, epoch }, set) in covers {
        for (first, last) in set.intervals() {
            insert.execute(params![
                origin.node.as_str(),
                origin.incarnation.as_bytes(),
                epoch.as_u64().to_be_bytes(),
                first.to_be_bytes(),
                last.to_be_bytes(),
            ])?;
        }
    }
    Ok(())
}

fn current(database: &Connection, name: &str) -> Result<Option<Record>, rusqlite::Error> {
    let mut query = database.prepare_cached(
        "SELECT node, incarnation, epoch, seq, write_id, hlc, digest, relaxed, payload
         FROM quorum_current WHERE name = ?",
    )?;
    let record = |row: &Row<'_>| {
        let durability = if row.get(7)? { Durability::Relaxed } else { Durability::Fsync };
        Ok(Record {
            write_id: WriteId::from_bytes(row.get(4)?),
            dot: Dot { lineage: lineage(row)?, seq: number(row, 3)? },
            hlc: Hlc::from_u64(number(row, 5)?),
            digest: Digest::from_bytes(row.get(6)?),
            durability,
            payload: row.get::<_, Vec<u8>>(8)?.into(),
        })
    };
    query.query_row([name], record).optional()
}

/// The lineage in the first three columns.
fn lineage(row: &Row<'_>) -> Result<Lineage, rusqlite::Error> {
    let node: String = row.get(0)?;
    let node = PeerId::new(node).expect("only valid names were stored");
    let incarnation = Incarnation::from_bytes(row.get(1)?);
    Ok(Lineage { origin: Origin { node, incarnation }, epoch: Epoch::from_u64(number(row, 2)?) })
}

/// Big-endian bytes sort as numbers do, over all 64 bits.
fn number(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    row.get(column).map(u64::from_be_bytes)
}

fn resume_hlc(database: &Connection) -> Result<HlcClock, rusqlite::Error> {
    let last: Option<[u8; 8]> =
        database.query_row("SELECT max(hlc) FROM quorum_current", [], |row| row.get(0))?;
    let mut hlc =
        HlcClock::resume(last.map_or(Hlc::ZERO, |last| Hlc::from_u64(u64::from_be_bytes(last))));
    // What is committed before it is sent needs no reserve: no timestamp is known elsewhere that is not in the table.
    hlc.raise_ceiling(Hlc::from_u64(u64::MAX));
    Ok(hlc)
}

fn read_frontier(database: &Connection) -> Result<Frontier, rusqlite::Error> {
    let mut frontier = Frontier::new();
    let mut dots = database.prepare("SELECT node, incarnation, epoch, seq FROM quorum_dots")?;
    let mut rows = dots.query([])?;
    while let Some(row) = rows.next()? {
        frontier.insert(&Dot { lineage: lineage(row)?, seq: number(row, 3)? });
    }
    frontier.merge(&keyless(database)?);
    Ok(frontier)
}

fn keyless(database: &Connection) -> Result<Frontier, rusqlite::Error> {
    let mut frontier = Frontier::new();
    let mut ranges = database
        .prepare_cached("SELECT node, incarnation, epoch, first, last FROM quorum_keyless")?;
    let mut rows = ranges.query([])?;
    while let Some(row) = rows.next()? {
        frontier.insert_range(&lineage(row)?, number(row, 3)?, number(row, 4)?);
    }
    Ok(frontier)
}

/// The wanted dots in their order, each as the current record of its contact.
fn replay(
    database: &Connection,
    lineage: &Lineage,
    wanted: &SeqSet,
    bytes_max: usize,
) -> Result<Vec<Incoming>, rusqlite::Error> {
    let mut query = database.prepare_cached(
        "SELECT seq, name FROM quorum_dots
         WHERE node = ? AND incarnation = ? AND epoch = ? AND seq BETWEEN ? AND ? ORDER BY seq",
    )?;
    let (mut items, mut place_of, mut bytes) = (Vec::<Incoming>::new(), BTreeMap::new(), 0);
    for (first, last) in wanted.intervals() {
        let Lineage { origin, epoch } = lineage;
        let mut rows = query.query(params![
            origin.node.as_str(),
            origin.incarnation.as_bytes(),
            epoch.as_u64().to_be_bytes(),
            first.to_be_bytes(),
            last.to_be_bytes(),
        ])?;
        while let Some(row) = rows.next()? {
            let (seq, name) = (u64::from_be_bytes(row.get(0)?), row.get::<_, String>(1)?);
            let place = match place_of.get(&name) {
                Some(place) => *place,
                None if bytes > 0 && bytes >= bytes_max => return Ok(items),
                None => {
                    let Some(record) = current(database, &name)? else { continue };
                    bytes += record.payload.len();
                    let record = Some(Arc::new(record));
                    items.push(Incoming { record, ..Incoming::default() });
                    place_of.insert(name, items.len() - 1);
                    items.len() - 1
                }
            };
            stand_for(&mut items[place], lineage, seq);
        }
    }
    let sent: Frontier = items.iter().flat_map(|item| item.covers.iter().cloned()).collect();
    let own = |item: &Incoming| item.record.as_ref().map(|record| record.dot.clone());
    let rest = keyless(database)?.of(lineage).map(|set| set.minus(&set.minus(wanted)));
    if let Some(mut rest) = rest {
        rest = rest.minus(sent.of(lineage).unwrap_or(&SeqSet::new()));
        for dot in items.iter().filter_map(own).filter(|dot| dot.lineage == *lineage) {
            rest.remove(dot.seq);
        }
        if !rest.is_empty() {
            let covers = vec![(lineage.clone(), rest)];
            items.push(Incoming { record: None, covers, ..Incoming::default() });
        }
    }
    Ok(items)
}

/// The item covers one more dot, unless that is its record's own.
fn stand_for(item: &mut Incoming, lineage: &Lineage, seq: u64) {
    let own = item.record.as_ref().map(|record| &record.dot);
    if own.is_some_and(|own| own.seq == seq && own.lineage == *lineage) {
        return;
    }
    match item.covers.iter_mut().find(|(of, _)| of == lineage) {
        Some((_, set)) => {
            set.insert(seq);
        }
        None => item.covers.push((lineage.clone(), SeqSet::from(vec![(seq, seq)]))),
    }
}

/// A page of contacts in the order of their names, each with every dot that it stands for.
fn snapshot(
    database: &Connection,
    after: Option<&[u8]>,
    bytes_max: usize,
) -> Result<(Vec<Incoming>, Option<SnapshotCursor>), rusqlite::Error> {
    let after = after.map(|after| String::from_utf8_lossy(after).into_owned());
    let mut names = database.prepare_cached(
        "SELECT name FROM quorum_current WHERE ?1 IS NULL OR name > ?1 ORDER BY name",
    )?;
    let mut dots = database
        .prepare_cached("SELECT node, incarnation, epoch, seq FROM quorum_dots WHERE name = ?")?;
    let mut rows = names.query([after])?;
    let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        if bytes >= bytes_max && last.is_some() {
            return Ok((items, last.map(String::into_bytes)));
        }
        let name: String = row.get(0)?;
        let Some(record) = current(database, &name)? else { continue };
        bytes += record.payload.len();
        let mut item = Incoming { record: Some(Arc::new(record)), ..Incoming::default() };
        let mut covered = dots.query([&name])?;
        while let Some(row) = covered.next()? {
            stand_for(&mut item, &lineage(row)?, number(row, 3)?);
        }
        items.push(item);
        last = Some(name);
    }
    Ok((items, None))
}
