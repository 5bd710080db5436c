//! The writer over a stranger's store and a stranger's network: a journal of bookings in a file, peers on threads.
//!
//! ```text
//! cargo run -p quorum-core --example own_store
//! ```
//!
//! Nothing here comes from the node or the transport. The store syncs its file before `stage` returns, as an SQL
//! database does, so its durability future is ready at once. The exit code is 0 only if every peer booked everything.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the outside world: it owns clock and threads"
)]
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::future::{Ready, ready};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use futures_core::Stream;
use quorum_core::testing::block_on;
use quorum_core::{
    Clock, CommitOptions, Digest, Dot, Durability, Epoch, Hlc, HlcClock, HlcError, Incarnation,
    Lineage, LocalStore, Origin, Outgoing, PeerId, PeerReply, QuorumPolicy, QuorumWriter, Record,
    Refusal, Replicator, Reply, Silent, Sleep, Staged, Version, WriteId, wall_millis,
};

/// The application's own write.
struct Booking {
    account: &'static str,
    cents: i64,
}

impl Booking {
    fn line(&self) -> String {
        format!("{} {}", self.account, self.cents)
    }
}

/// A journal that is synced line by line, and beside it the start counter and the ceiling of the clock.
struct Journal {
    lineage: Lineage,
    writing: Mutex<Writing>,
}

struct Writing {
    journal: File,
    ceiling_path: PathBuf,
    hlc: HlcClock,
    seq: u64,
}

/// Replaces a small file so that a crash leaves the old or the new one.
fn replace_synced(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn read_number(path: &Path) -> io::Result<u64> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

impl Journal {
    /// Opens the journal in `folder`. The new epoch is durable before the first dot of it is given out.
    fn open(folder: &Path, node: PeerId) -> io::Result<Self> {
        let (starts, ceiling_path) = (folder.join("starts"), folder.join("ceiling"));
        let start = read_number(&starts)? + 1;
        replace_synced(&starts, &start.to_string())?;
        // A store that may be restored from a backup draws this at random when the folder is made.
        let incarnation = Incarnation::from_bytes(*b"bookings");
        let origin = Origin { node, incarnation };
        let journal = OpenOptions::new().create(true).append(true).open(folder.join("journal"))?;
        let hlc = HlcClock::resume(Hlc::from_u64(read_number(&ceiling_path)?));
        let writing = Mutex::new(Writing { journal, ceiling_path, hlc, seq: 0 });
        Ok(Self { lineage: Lineage { origin, epoch: Epoch::new(start, 0) }, writing })
    }

    fn append(
        &self,
        write_id: WriteId,
        payload: Vec<u8>,
        above: Option<&Version>,
    ) -> io::Result<Staged<Ready<io::Result<Instant>>>> {
        let mut writing = locked(&self.writing);
        let hlc = writing.tick_above(above)?;
        writing.journal.write_all(&[&payload[..], b"\n"].concat())?;
        writing.journal.sync_data()?;
        writing.seq += 1;
        let dot = Dot { lineage: self.lineage.clone(), seq: writing.seq };
        let record = Record::new(write_id, dot, hlc, Durability::Fsync, payload.into());
        Ok(Staged { record: Arc::new(record), durable: ready(Ok(Instant::now())), is_known: false })
    }
}

impl Writing {
    fn tick_above(&mut self, above: Option<&Version>) -> io::Result<Hlc> {
        let (floor, wall) = (above.map_or(Hlc::ZERO, |above| above.hlc), wall_millis(&RealClock));
        self.hlc.observe(floor);
        loop {
            match self.hlc.tick(wall) {
                Err(HlcError::CeilingReached) => {
                    let ceiling = self.hlc.ceiling_for(wall, Duration::from_secs(10));
                    replace_synced(&self.ceiling_path, &ceiling.as_u64().to_string())?;
                    self.hlc.raise_ceiling(ceiling);
                }
                ticked => return ticked.map_err(io::Error::other),
            }
        }
    }
}

impl LocalStore for Journal {
    type Op = Booking;
    type Error = io::Error;
    type Durable = Ready<io::Result<Instant>>;

    async fn stage(&self, op: Booking) -> io::Result<Staged<Self::Durable>> {
        let payload = op.line().into_bytes();
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(&payload).as_bytes()[..16]);
        self.append(WriteId::from_bytes(id), payload, None)
    }

    async fn restamp(&self, record: &Record, above: &Version) -> io::Result<Staged<Self::Durable>> {
        self.append(record.write_id, record.payload.to_vec(), Some(above))
    }
}

/// Peers on threads, each with its own book. They stand for machines that never fail: their memory is their disk.
struct Threads {
    peers: Vec<Sender<Parcel>>,
}

/// A record on its way, and where its replies go.
type Parcel = (Outgoing, Arc<Mutex<Inbox>>);

#[derive(Default)]
struct Inbox {
    replies: VecDeque<PeerReply>,
    listener: Option<Waker>,
}

struct Replies(Arc<Mutex<Inbox>>);

impl Threads {
    /// Starts a thread per peer; each ends with the network and returns its book.
    fn start(names: &[PeerId]) -> (Self, Vec<JoinHandle<BTreeMap<String, i64>>>) {
        names
            .iter()
            .map(|name| {
                let (sender, parcels) = mpsc::channel::<Parcel>();
                let name = name.clone();
                let peer = thread::spawn(move || {
                    let mut book = BTreeMap::new();
                    for (outgoing, inbox) in parcels {
                        let reply = book_in(&mut book, &outgoing.record);
                        let (peer, at) = (name.clone(), Instant::now());
                        let mut inbox = locked(&inbox);
                        inbox.replies.push_back(PeerReply { peer, reply, at });
                        if let Some(listener) = inbox.listener.take() {
                            listener.wake();
                        }
                    }
                    book
                });
                (sender, peer)
            })
            .fold((Self { peers: Vec::new() }, Vec::new()), |(mut network, mut all), (to, peer)| {
                network.peers.push(to);
                all.push(peer);
                (network, all)
            })
    }
}

fn book_in(book: &mut BTreeMap<String, i64>, record: &Record) -> Reply {
    let malformed = Reply::Refused { reason: Refusal::Malformed };
    let text = String::from_utf8_lossy(&record.payload).into_owned();
    let Some((account, cents)) = text.split_once(' ') else { return malformed };
    let Ok(cents) = cents.parse::<i64>() else { return malformed };
    *book.entry(account.to_owned()).or_default() += cents;
    Reply::Stored
}

impl Replicator for Threads {
    type Replies = Replies;

    fn fan_out(&self, outgoing: Outgoing) -> Replies {
        let inbox = Arc::<Mutex<Inbox>>::default();
        for peer in &self.peers {
            // A peer whose thread is gone is a silent one.
            let _gone = peer.send((outgoing.clone(), Arc::clone(&inbox)));
        }
        Replies(inbox)
    }
}

impl Stream for Replies {
    type Item = PeerReply;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerReply>> {
        let mut inbox = locked(&self.0);
        match inbox.replies.pop_front() {
            Some(reply) => Poll::Ready(Some(reply)),
            None => {
                inbox.listener = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The machine's clocks. A sleep is a thread: dear, but enough for an example.
struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        let mut started = false;
        Box::pin(std::future::poll_fn(move |context| {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut started, true) {
                let waker = context.waker().clone();
                thread::spawn(move || {
                    thread::sleep(left);
                    waker.wake();
                });
            }
            Poll::Pending
        }))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let here = PeerId::new("here")?;
    let peers = vec![PeerId::new("a")?, PeerId::new("b")?];
    let bookings = || [("rent", -90_000), ("wages", 250_000), ("rent", -1_500)];

    let (network, books) = Threads::start(&peers);
    let store = Journal::open(folder.path(), here.clone())?;
    let policy = QuorumPolicy::majority(3)?;
    let writer =
        QuorumWriter::new(policy, here, peers, store, network, RealClock, Arc::new(Silent))?;
    for (account, cents) in bookings() {
        let commit = writer.commit(Booking { account, cents }, CommitOptions::default());
        let receipt = block_on(commit)?;
        println!("{account:<6} {cents:>8}  committed: {} copies, {}", receipt.got, receipt.dot);
    }

    // The network goes with the writer; the peers work off what was sent, and say what they have.
    drop(writer);
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for (account, cents) in bookings() {
        *expected.entry(account.into()).or_default() += cents;
    }
    let mut same = true;
    for book in books {
        let book = book.join().map_err(|_| "a peer panicked")?;
        println!("a peer's book: {book:?}");
        same &= book == expected;
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
