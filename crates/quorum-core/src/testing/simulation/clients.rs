//! Clients: write through any member, hear the verdict or lose their connection, ask again, read.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::program::{ClientOutcome, ClientWrite, Program, Subject};
use super::rng::SeededRandom;
use super::run::Run;
use super::tasks::{Once, first};
use crate::id::WriteId;
use crate::ports::{Clock, Random};

/// The number under which reads are told.
const READER: u64 = 2_000;

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Committed,
    NotApplied,
    Nothing,
}

/// Works until the mesh is healed.
pub(super) async fn work<S: Subject>(run: Run<S>, client: u64, random: SeededRandom) {
    let shared = &run.shared;
    let longest = random.between(Duration::from_millis(500), Duration::from_secs(10));
    let mut number = 0;
    while shared.clock.now() < shared.heal_at {
        number += 1;
        let key = usize::try_from(random.below(shared.keys.len() as u64)).unwrap_or(0);
        if random.happens(250) {
            read(&run, key, any(shared.names.len(), &random)).await;
        } else {
            write(&run, (client, number), key, None, &random).await;
        }
        // Bursts, and pauses in between.
        let pause = if random.happens(300) { Duration::ZERO } else { longest };
        shared.clock.sleep_until(shared.clock.now() + random.between(Duration::ZERO, pause)).await;
    }
}

/// Writes one key through a member, which has so long; or through any.
pub(super) async fn write<S: Subject>(
    run: &Run<S>,
    (client, number): (u64, u64),
    key: usize,
    at: Option<(usize, Duration)>,
    random: &SeededRandom,
) {
    let shared = &run.shared;
    let n = shared.names.len();
    let majority = n / 2 + 1;
    let is_delete = shared.subject.deletes() && random.happens(250);
    // Long and short ones: some frames fill the queues.
    let filler = "-".repeat(usize::try_from(random.below(300)).unwrap_or(0));
    let value = (!is_delete).then(|| format!("c{client}-{number}{filler}"));
    let digest = shared.subject.digest(&shared.keys[key], value.as_deref());
    let is_strict = shared.subject.is_linearizable(&shared.keys[key]);
    let mut w = random.happens(150).then(|| 1 + random.below(n as u64) as usize);
    w = w.filter(|_| !is_strict);
    if shared.losses_max > 0 {
        w = w.map(|w| w.max(majority));
    }
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random.next_u64().to_le_bytes());
    id[8..].copy_from_slice(&(client << 32 | number).to_le_bytes());
    // No UUID of version 7: its time is not looked at.
    id[6] = 0x40;
    let timeout = random.between(Duration::from_millis(100), Duration::from_secs(3));
    let (at, timeout) = at.map_or((None, timeout), |(at, timeout)| (Some(at), timeout));
    let mut write = ClientWrite {
        key: shared.keys[key].clone(),
        value,
        write_id: WriteId::from_bytes(id),
        w,
        timeout,
        is_retry: false,
    };
    shared.history.submitted(digest, key, is_delete);
    let operation = is_strict.then(|| {
        let of = (client, &*shared.keys[key]);
        shared.operations.write(of, digest, is_delete, shared.clock.now())
    });
    let mut is_clean = true;
    for _attempt in 0..3 {
        match attempt(run, (key, at), write.clone(), random).await {
            Heard::Committed => {
                if let Some(operation) = operation {
                    shared.operations.committed(operation, shared.clock.now());
                }
                return;
            }
            Heard::NotApplied => {
                if let Some(operation) = operation.filter(|_| is_clean) {
                    shared.operations.not_applied(operation);
                }
                if is_clean && !is_delete {
                    shared.history.not_applied(&digest);
                }
                return;
            }
            Heard::Nothing => is_clean = false,
        }
        // A retry may execute a write anew that was left at a member out of reach; where order is judged, each is one.
        if !shared.subject.retries() || is_strict || random.happens(500) {
            return;
        }
        write.is_retry = true;
    }
}

async fn attempt<S: Subject>(
    run: &Run<S>,
    (key, at): (usize, Option<usize>),
    write: ClientWrite,
    random: &SeededRandom,
) -> Heard {
    let shared = &run.shared;
    let n = shared.names.len();
    let index = at.unwrap_or_else(|| any(n, random));
    let Some(member) = run.running(index) else {
        // Nobody is there: nothing was sent.
        let pause = shared.clock.now() + Duration::from_millis(200);
        shared.clock.sleep_until(pause).await;
        return if write.is_retry { Heard::Nothing } else { Heard::NotApplied };
    };
    let died = Arc::clone(&shared.slots.borrow()[index].died);
    let (heard, done) = (Rc::new(RefCell::new(None)), Arc::new(Once::default()));
    let (told, over, of) = (Rc::clone(&heard), Arc::clone(&done), run.clone());
    shared.trace.event("write", (index as u64, key as u64), || {
        let what = if write.value.is_some() { "key" } else { "delete key" };
        format!("{} at {} w={:?} {what} {key}", write.write_id, member.name, write.w)
    });
    shared.tasks.spawn(member.owner(), async move {
        // Counted here by hand: the policy is under test as well.
        let w = write.w.unwrap_or(n / 2 + 1);
        // A member that is frozen begins when it is thawed.
        let deadline = of.shared.clock.now() + write.timeout;
        let outcome = member.program.write(write).await;
        let of = &of.shared;
        let said = match outcome {
            ClientOutcome::Committed(receipt) => {
                of.history.count("committed");
                of.trace.event("committed", (index as u64, receipt.version.hlc.as_u64()), || {
                    format!("{} {} got {}", receipt.dot, receipt.version, receipt.got)
                });
                let run = Run { shared: Rc::clone(of) };
                let holds = |member: &crate::id::PeerId, key: usize| run.held_by(member, key);
                of.history.committed(&receipt, (w, n), &member.name, deadline, holds);
                Heard::Committed
            }
            ClientOutcome::NotApplied => {
                of.history.count("not applied");
                Heard::NotApplied
            }
            ClientOutcome::Indeterminate => {
                of.history.count("indeterminate");
                Heard::Nothing
            }
        };
        *told.borrow_mut() = Some(said);
        over.happen();
    });
    super::nemesis::touched(run, index, key, random);
    let lost = async {
        died.happened().await;
    };
    first::<()>(vec![Box::pin(done.happened()), Box::pin(lost)]).await;
    let said = heard.borrow_mut().take();
    said.unwrap_or_else(|| {
        shared.history.count("connection lost");
        Heard::Nothing
    })
}

/// One member of `n`.
fn any(n: usize, random: &SeededRandom) -> usize {
    usize::try_from(random.below(n as u64)).unwrap_or(0)
}

/// Reads one key at a quorum, through one member.
pub(super) async fn read<S: Subject>(run: &Run<S>, key: usize, index: usize) {
    let shared = &run.shared;
    let Some(member) = run.running(index) else { return };
    let died = Arc::clone(&shared.slots.borrow()[index].died);
    let (done, of) = (Arc::new(Once::default()), run.clone());
    let over = Arc::clone(&done);
    shared.tasks.spawn(member.owner(), async move {
        let shared = &of.shared;
        let (floor, began) = (shared.history.floor(key), shared.clock.now());
        if let Some(found) = member.program.read(&shared.keys[key]).await {
            shared.history.count("quorum reads");
            let hlc = found.as_ref().map_or(0, |(version, _)| version.hlc.as_u64());
            shared.trace.event("read", (index as u64, hlc), || {
                format!("key {key} at {}: {:?}", member.name, found.as_ref().map(|f| &f.0))
            });
            shared.history.read(key, floor, &found);
            if shared.subject.is_linearizable(&shared.keys[key]) {
                let (of, digest) = ((READER, &*shared.keys[key]), found.as_ref().map(|f| &f.1));
                shared.operations.read(of, digest, (began, shared.clock.now()));
            }
        }
        over.happen();
    });
    first::<()>(vec![Box::pin(done.happened()), Box::pin(died.happened())]).await;
}
