//! Two programs, each with a SQLite table of its own, as one mesh of two: quorum writes both ways, one of them killed and
//! restarted, and what it missed. No quorum-node anywhere: the ports over the table are in `sqlite_table/store.rs`.
//!
//! `cargo run -p quorum-transport --example sqlite_table` starts itself twice more and tells the two what to do. It ends
//! with an error if anything is not as promised.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorum_core::{
    ClusterId, CommitOptions, Digest, PeerId, QuorumPolicy, QuorumWriter, ReplicaStore, Silent,
    WriteError, WriteId,
};
use quorum_transport::testing::{Authority, SeededRandom};
use quorum_transport::{
    Endpoint, Member, NodeIdentity, QuicPeers, Roster, Seams, TokioClock, TransportConfig, bind,
};

#[path = "sqlite_table/store.rs"]
mod store;

use store::{Contact, ContactStore};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NAMES: [&str; 2] = ["north", "south"];
/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [] => story(),
        [role, folder, index] if role == "member" => member(Path::new(folder), index),
        _ => Err("usage: sqlite_table".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("FAILED: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What the two programs are told to do, and what must come of it.
fn story() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    prepare(folder.path())?;
    let mut north = Program::start(folder.path(), 0)?;
    let mut south = Program::start(folder.path(), 1)?;

    say("two programs, two tables; a write is committed when both have it on disk");
    north.expect("put ada 1815 2", "committed by 2")?;
    south.expect("put alan 1912 2", "committed by 2")?;
    north.expect("get alan", "1912")?;
    south.expect("get ada", "1815")?;
    // Both ways on one contact: the later write wins in both tables.
    south.expect("put ada 1852 2", "committed by 2")?;
    north.expect("get ada", "1852")?;

    say("south is killed; north goes on alone, and says truthfully what it could not confirm");
    south.kill()?;
    for number in 0..20 {
        north.expect(&format!("put contact-{number} {number} 1"), "committed by 1")?;
    }
    north.expect("put ada 1815 2", "indeterminate: 1 of 2")?;

    say("south comes back on its table, and catches up from north's log");
    let mut south = Program::start(folder.path(), 1)?;
    let started = Instant::now();
    while north.ask("digest")? != south.ask("digest")? {
        check(started.elapsed() < PATIENCE, "the tables are still different")?;
        std::thread::sleep(Duration::from_millis(20));
    }
    south.expect("get contact-19", "19")?;
    south.expect("get ada", "1815")?;
    south.expect("put grace 1906 2", "committed by 2")?;
    north.expect("get grace", "1906")?;
    let (one, other) = (north.ask("digest")?, south.ask("digest")?);
    check(one == other, "the tables differ at the end")?;
    north.stop()?;
    south.stop()?;
    say(&format!("both tables hold the same: {one}"));
    Ok(())
}

/// Certificates, addresses and folders, as an operator would hand them out.
fn prepare(folder: &Path) -> Outcome<()> {
    let authority = Authority::new("sqlite_table");
    std::fs::write(folder.join("authority.pem"), authority.pem())?;
    let mut addresses = Vec::new();
    let mut kept_until_all_are_found = Vec::new();
    for name in NAMES {
        let credentials = authority.issue(name);
        std::fs::write(folder.join(format!("{name}.pem")), credentials.chain_pem)?;
        std::fs::write(folder.join(format!("{name}.key")), credentials.key_pem)?;
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        addresses.push(socket.local_addr()?.to_string());
        kept_until_all_are_found.push(socket);
    }
    std::fs::write(folder.join("addresses"), addresses.join("\n"))?;
    Ok(())
}

/// One of the two programs: reads what to do line by line, answers each with a line.
fn member(folder: &Path, index: &str) -> Outcome<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let index: usize = index.parse()?;
    let (store, endpoint) = runtime.block_on(async { start(folder, index) })?;
    let clock = TokioClock::new();
    let writer = QuorumWriter::new(
        QuorumPolicy::majority(NAMES.len())?,
        PeerId::new(NAMES[index])?,
        vec![PeerId::new(NAMES[1 - index])?],
        store.clone(),
        endpoint.replicator(),
        clock,
        Arc::new(Silent),
    )?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let answer = match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["put", name, phone, w] => runtime.block_on(put(&writer, name, phone, w.parse()?)),
            ["get", name] => {
                let contacts = store.contacts()?;
                let found = contacts.into_iter().find(|(known, _)| known == name);
                found.map_or_else(|| "nobody".into(), |(_, phone)| phone)
            }
            ["digest"] => format!("{} {}", digest(&store)?, store.frontier().len()),
            _ => return Err(format!("what is {line:?}?").into()),
        };
        say(&answer);
    }
    runtime.block_on(endpoint.shutdown(Duration::from_secs(1)));
    Ok(())
}

fn start(folder: &Path, index: usize) -> Outcome<(ContactStore, Endpoint)> {
    let read = |file: String| std::fs::read(folder.join(file));
    let name = NAMES[index];
    let identity = NodeIdentity::from_pem(
        &read(format!("{name}.pem"))?,
        &read(format!("{name}.key"))?,
        &read("authority.pem".into())?,
    )?;
    let addresses = String::from_utf8(read("addresses".into())?)?;
    let members = NAMES.iter().zip(addresses.lines()).map(|(name, address)| {
        Ok(Member { name: PeerId::new(name)?, address: address.to_owned() })
    });
    let members = members.collect::<Outcome<Vec<Member>>>()?;
    let local = members[index].clone();
    let roster = Roster::new(ClusterId::from_bytes([1; 16]), local.name.clone(), members)?;

    let entropy = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let entropy = entropy as u64 ^ u64::from(std::process::id()).rotate_left(32);
    let path: PathBuf = folder.join(format!("{name}.sqlite"));
    let store = ContactStore::open(&path, &local.name, entropy, Arc::new(TokioClock::new()))?;

    let socket = bind(local.address.parse()?)?;
    let seams = Seams::real(socket, Arc::new(SeededRandom::new(entropy)), Arc::new(Silent));
    let config = TransportConfig::default();
    let endpoint = Endpoint::start(roster, &identity, config, seams, Arc::new(store.clone()))?;
    Ok((store, endpoint))
}

async fn put(
    writer: &QuorumWriter<ContactStore, QuicPeers, TokioClock>,
    name: &str,
    phone: &str,
    w: usize,
) -> String {
    let mut write_id = [0; 16];
    write_id.copy_from_slice(&Digest::of(&Contact::payload(name, phone)).as_bytes()[..16]);
    let write_id = WriteId::from_bytes(write_id);
    let contact = Contact { write_id, name: name.to_owned(), phone: phone.to_owned() };
    let mut options = CommitOptions::default();
    options.w = Some(w);
    match writer.commit(contact, options).await {
        Ok(receipt) => format!("committed by {}", receipt.got),
        Err(WriteError::NotApplied(cause)) => format!("not applied: {cause}"),
        Err(WriteError::Indeterminate { receipt, .. }) => {
            format!("indeterminate: {} of {}", receipt.got, receipt.needed)
        }
    }
}

/// Every contact with the version under which it competes.
fn digest(store: &ContactStore) -> Outcome<Digest> {
    let mut lines = String::new();
    for (name, phone) in store.contacts()? {
        let record = store.current(&name)?.ok_or("a contact without its record")?;
        lines += &format!("{name} {phone} {:?}\n", record.version());
    }
    Ok(Digest::of(lines.as_bytes()))
}

/// One of the two programs, as the first one sees it.
struct Program {
    name: &'static str,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Program {
    fn start(folder: &Path, index: usize) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("member")
            .arg(folder)
            .arg(index.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no answers")?);
        Ok(Self { name: NAMES[index], child, orders, answers })
    }

    fn ask(&mut self, order: &str) -> Outcome<String> {
        let orders = self.orders.as_mut().ok_or("it has been told to stop")?;
        writeln!(orders, "{order}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }

    fn expect(&mut self, order: &str, expected: &str) -> Outcome<()> {
        let answer = self.ask(order)?;
        say(&format!("  {}: {order} -> {answer}", self.name));
        check(answer == expected, &format!("{}: expected {expected:?}", self.name))
    }

    /// As `kill -9` does.
    fn kill(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The end of its orders tells it to stop.
    fn stop(mut self) -> Outcome<()> {
        drop(self.orders.take());
        let status = self.child.wait()?;
        check(status.success(), &format!("{} ended with {status}", self.name))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already, unless the story broke off.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn check(holds: bool, otherwise: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    // Nobody may be listening any more.
    let _unheard = writeln!(out, "{line}").and_then(|()| out.flush());
}
