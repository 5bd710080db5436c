//! The policy and the tracker alone, in somebody else's event loop: threads, a channel, no async.
//!
//! ```text
//! cargo run -p quorum-core --example drive_by_hand
//! ```
//!
//! Three writes in a mesh of three with W = 2: one that commits, one that its peers refuse, one that nobody answers.
//! The exit code is 0 only if each ends as it must.

#![expect(
    clippy::disallowed_methods,
    reason = "this loop is the outside world: it owns clock and threads"
)]
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use quorum_core::{
    AckTracker, PeerId, QuorumError, QuorumFailureReason, QuorumPolicy, Refusal, Reply, Verdict,
};

/// What the loop hears. Every line carries the moment at which it arrived.
enum Event {
    Synced { at: Instant },
    Reply { peer: PeerId, reply: Reply, at: Instant },
}

/// One write: ask the peers, listen, stop as soon as the verdict is final.
fn write(
    peers: Vec<(PeerId, Option<Reply>)>,
    timeout: Duration,
) -> Result<AckTracker, Box<dyn Error>> {
    let policy = QuorumPolicy::majority(3)?.with_ack_timeout(timeout);
    let names = peers.iter().map(|(name, _)| name.clone());
    let mut tracker = AckTracker::new(policy, PeerId::new("here")?, names, Instant::now())?;

    let (events, heard) = mpsc::channel();
    for (peer, reply) in peers {
        let events = events.clone();
        // A peer without a reply says nothing, and keeps the channel open.
        thread::spawn(move || match reply {
            Some(reply) => drop(events.send(Event::Reply { peer, reply, at: Instant::now() })),
            None => thread::park(),
        });
    }
    // The local copy is written beside the sending, not before it.
    thread::spawn(move || drop(events.send(Event::Synced { at: Instant::now() })));

    // `poll_timeout` is the only timer a write needs.
    while let Some(until) = tracker.poll_timeout() {
        match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Synced { at }) => tracker.record_local(at),
            Ok(Event::Reply { peer, reply, at }) => tracker.record_reply(&peer, reply, at),
            // Nobody is left who could speak: what remains is to wait for the deadline.
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(until.saturating_duration_since(Instant::now()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Asking is what freezes the verdict, and what makes `poll_timeout` return nothing.
        let _pending_or_final: Verdict = tracker.verdict(Instant::now());
    }
    Ok(tracker)
}

fn tell(title: &str, tracker: &mut AckTracker) -> Result<usize, QuorumError> {
    let result = tracker.finalise(Instant::now());
    match &result {
        Ok(copies) => println!("{title}: committed with {copies} copies"),
        Err(cause) => println!("{title}: {cause}"),
    }
    for member in tracker.standings() {
        println!("    {:<6} {}", member.node, member.standing.label());
    }
    result
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (a, b) = (PeerId::new("a")?, PeerId::new("b")?);
    let (long, short) = (Duration::from_secs(60), Duration::from_millis(50));

    let peers = vec![(a.clone(), Some(Reply::Stored)), (b.clone(), None)];
    let committed = tell("a acks, b is away", &mut write(peers, long)?);

    let refused = Reply::Refused { reason: Refusal::TooLarge };
    let peers = vec![(a.clone(), Some(Reply::Drift)), (b.clone(), Some(refused))];
    let hopeless = tell("a drifts, b refuses", &mut write(peers, long)?);

    let silent = tell("nobody answers", &mut write(vec![(a, None), (b, None)], short)?);

    let ended = |result, why| {
        // Whether the local copy was there first is up to the threads, so only the reason is certain.
        matches!(result, Err(QuorumError::QuorumNotMet { needed: 2, reason, .. }) if reason == why)
    };
    let as_it_must = committed == Ok(2)
        && ended(hopeless, QuorumFailureReason::Refused)
        && ended(silent, QuorumFailureReason::Unreachable);
    println!("{}", if as_it_must { "as it must be" } else { "WRONG" });
    Ok(if as_it_must { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
