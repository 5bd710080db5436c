//! What goes wrong: drawn from the seed, one thing after the other, often several at once.

use std::time::Duration;

use super::clients;
use super::program::{DiskMood, Subject};
use super::rng::SeededRandom;
use super::run::Run;
use crate::ports::Clock;

const SECOND: Duration = Duration::from_secs(1);
/// The number of the client that writes whatever a fault needs.
const INTRUDER: u64 = 1_000;

/// What may be done to a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Kill,
    CutPower,
    Wipe,
    CutOneWay,
    CutPair,
    Isolate,
    Partition,
    SlowPath,
    Loss,
    Reset,
    SlowDisk,
    FailDisk,
    LyingDisk,
    StepClock,
    Freeze,
    Trap,
}

/// Does things until the mesh is healed.
pub(super) async fn work<S: Subject>(run: Run<S>, random: SeededRandom) {
    let shared = &run.shared;
    let mut deeds = deeds(&run);
    // A run is either busy or quiet.
    let longest = random.between(shared.faults.pause.0 * 4, shared.faults.pause.1);
    let mut sufferers: Vec<(usize, Deed)> = Vec::new();
    let relentless = random.branch(20).happens(500) && shared.losses_max > 0;
    if relentless {
        deeds.extend([Deed::Wipe; 6]);
    }
    while !deeds.is_empty() {
        let pause = random.between(shared.faults.pause.0, longest);
        shared.clock.sleep_until(shared.clock.now() + pause).await;
        if shared.clock.now() >= shared.heal_at {
            return;
        }
        let deed = deeds[usize::try_from(random.below(deeds.len() as u64)).unwrap_or(0)];
        let victim = usize::try_from(random.below(shared.names.len() as u64)).unwrap_or(0);
        if matches!(deed, Deed::Wipe | Deed::LyingDisk) {
            if relentless {
                // Whoever counts again bears another loss, and so do the others.
                sufferers.retain(|(member, deed)| *deed != Deed::Wipe || !run.counts(*member));
            }
            let suffers = sufferers.iter().any(|(member, _)| *member == victim);
            if suffers || sufferers.len() == shared.losses_max {
                continue;
            }
            if deed == Deed::LyingDisk {
                shared.history.forgo_reads();
            }
            sufferers.push((victim, deed));
        }
        commit(&run, deed, victim, &random);
    }
}

fn deeds<S: Subject>(run: &Run<S>) -> Vec<Deed> {
    let (faults, subject) = (&run.shared.faults, &run.shared.subject);
    let mut deeds = Vec::new();
    if faults.crashes {
        deeds.extend([Deed::Kill, Deed::CutPower, Deed::Freeze, Deed::Trap, Deed::Trap]);
    }
    if faults.cuts {
        deeds.extend([Deed::CutOneWay, Deed::CutPair, Deed::Isolate, Deed::Partition]);
    }
    if faults.bad_network {
        deeds.extend([Deed::SlowPath, Deed::Loss, Deed::Reset, Deed::Reset]);
    }
    if faults.bad_disks {
        deeds.extend([Deed::SlowDisk, Deed::FailDisk]);
    }
    if faults.lost_disks && subject.bears_lost_disks() {
        deeds.extend([Deed::Wipe, Deed::LyingDisk]);
    }
    if !faults.clock_step_max.is_zero() {
        deeds.push(Deed::StepClock);
    }
    deeds
}

fn commit<S: Subject>(run: &Run<S>, deed: Deed, victim: usize, random: &SeededRandom) {
    let shared = &run.shared;
    let n = shared.names.len();
    let other = (victim + 1 + usize::try_from(random.below(n as u64 - 1)).unwrap_or(0)) % n;
    let now = shared.clock.now();
    // What is on its way then is not kept up any longer by a way that is well again.
    let until = (now + random.between(SECOND / 5, 15 * SECOND)).min(shared.heal_at);
    shared.trace.event("fault", (deed as u64, victim as u64), || {
        format!("{deed:?} {} (and {})", shared.names[victim], shared.names[other])
    });
    shared.history.count(name(deed));
    match deed {
        Deed::Freeze => {
            shared.tasks.freeze(victim);
            let of = run.clone();
            let until = now + random.between(SECOND / 50, 4 * SECOND);
            after(run, until, move || of.shared.tasks.thaw(victim));
        }
        Deed::Trap => shared.slots.borrow_mut()[victim].is_trapped = true,
        Deed::Kill => crash(run, victim, Crash::Kill, random),
        Deed::CutPower => crash(run, victim, Crash::Power, random),
        Deed::Wipe => crash(run, victim, Crash::Wipe, random),
        Deed::CutOneWay => shared.net.cut(victim, other, until),
        Deed::CutPair => {
            shared.net.cut(victim, other, until);
            shared.net.cut(other, victim, until);
        }
        Deed::Isolate => {
            let ways = random.below(3);
            for peer in (0..n).filter(|peer| *peer != victim) {
                if ways != 0 {
                    shared.net.cut(victim, peer, until);
                }
                if ways != 1 {
                    shared.net.cut(peer, victim, until);
                }
            }
        }
        Deed::Partition => {
            let sides: Vec<bool> = (0..n).map(|_| random.happens(500)).collect();
            for from in 0..n {
                for to in (0..n).filter(|to| sides[from] != sides[*to]) {
                    shared.net.cut(from, to, until);
                }
            }
        }
        Deed::SlowPath => {
            let longest = random.between(SECOND / 100, SECOND);
            shared.net.set_latency(victim, other, (longest / 4, longest));
            let net = std::sync::Arc::clone(&shared.net);
            after(run, until, move || {
                net.set_latency(victim, other, (SECOND / 5_000, SECOND / 300));
            });
        }
        Deed::Loss => {
            shared.net.set_loss(random.below(300));
            let net = std::sync::Arc::clone(&shared.net);
            after(run, until, move || net.set_loss(0));
        }
        Deed::Reset => {
            let connections = shared.net.connections();
            if let Some(place) = random.below(u64::MAX).checked_rem(connections.len() as u64) {
                connections[usize::try_from(place).unwrap_or(0)].reset();
            }
        }
        Deed::SlowDisk => {
            let longest = random.between(SECOND / 20, 2 * SECOND);
            shared.slots.borrow_mut()[victim].disk_delay = (longest / 4, longest);
            let of = run.clone();
            after(run, until, move || {
                let fast = (SECOND / 10_000, SECOND / 500);
                of.shared.slots.borrow_mut()[victim].disk_delay = fast;
            });
        }
        Deed::FailDisk => shared.slots.borrow_mut()[victim].disk_mood = DiskMood::Failing,
        Deed::LyingDisk => {
            shared.history.excuse(victim, &shared.names[victim]);
            shared.slots.borrow_mut()[victim].disk_mood = DiskMood::Lying;
            let of = run.clone();
            let random = random.branch(7);
            after(run, until, move || {
                of.shared.slots.borrow_mut()[victim].disk_mood = DiskMood::Honest;
                crash(&of, victim, Crash::Lied, &random);
            });
        }
        Deed::StepClock => {
            let furthest = shared.faults.clock_step_max.as_millis();
            // Mostly small steps: large ones soon leave no clock to be trusted.
            let furthest = u64::try_from(furthest).unwrap_or(u64::MAX) >> (2 * random.below(5));
            let millis = i64::try_from(random.below(2 * furthest + 1)).unwrap_or(0)
                - i64::try_from(furthest).unwrap_or(0);
            let (slots, most) = (shared.slots.borrow(), shared.faults.clock_step_max);
            slots[victim].clock.step(millis, most);
            if random.happens(250) {
                // As far apart as can be: then one takes nothing of what the other writes.
                let far = i64::try_from(2 * most.as_millis()).unwrap_or(0);
                slots[victim].clock.step(far, most);
                slots[other].clock.step(-far, most);
                let of = run.clone();
                after(run, until, move || {
                    let slots = of.shared.slots.borrow();
                    [victim, other].iter().for_each(|index| slots[*index].clock.correct());
                });
            }
        }
    }
}

const fn name(deed: Deed) -> &'static str {
    match deed {
        Deed::Kill => "kills",
        Deed::CutPower => "power cuts",
        Deed::Wipe => "wiped disks",
        Deed::CutOneWay => "one-way cuts",
        Deed::CutPair => "cut pairs",
        Deed::Isolate => "isolations",
        Deed::Partition => "partitions",
        Deed::SlowPath => "slow paths",
        Deed::Loss => "times of loss",
        Deed::Reset => "broken connections",
        Deed::SlowDisk => "slow disks",
        Deed::FailDisk => "failing disks",
        Deed::LyingDisk => "lying disks",
        Deed::StepClock => "clock steps",
        Deed::Freeze => "frozen processes",
        Deed::Trap => "traps",
    }
}

/// A client has just handed a write of a key to a member: if that is trapped, something happens while the write is under
/// way.
pub(super) fn touched<S: Subject>(run: &Run<S>, victim: usize, key: usize, random: &SeededRandom) {
    let is_trapped = std::mem::take(&mut run.shared.slots.borrow_mut()[victim].is_trapped);
    // A write that is still under way when all is healed springs nothing any more.
    if !is_trapped || run.shared.clock.now() >= run.shared.heal_at {
        return;
    }
    let random = random.branch(8);
    match random.below(10) {
        0..3 => freeze_soon(run, victim, &random),
        3..6 => cut_power_soon(run, victim, random),
        6..8 => read_meanwhile(run, victim, key, &random),
        _ => leave_gap(run, victim, random),
    }
}

/// The member is frozen before peers have answered.
fn freeze_soon<S: Subject>(run: &Run<S>, victim: usize, random: &SeededRandom) {
    let (shared, of) = (&run.shared, run.clone());
    let at = shared.clock.now() + random.between(Duration::ZERO, SECOND / 500);
    let until = at + random.between(SECOND / 50, 4 * SECOND);
    shared.history.count("freezes in the middle of a write");
    let thawing = run.clone();
    after(run, at, move || of.shared.tasks.freeze(victim));
    after(run, until, move || thawing.shared.tasks.thaw(victim));
}

/// The member loses its power.
fn cut_power_soon<S: Subject>(run: &Run<S>, victim: usize, random: SeededRandom) {
    let (shared, of) = (&run.shared, run.clone());
    // The disk is slow just then, so that peers often have what is lost here.
    let usual = shared.slots.borrow()[victim].disk_delay;
    shared.slots.borrow_mut()[victim].disk_delay = (SECOND / 250, SECOND / 100);
    let at = shared.clock.now() + random.between(SECOND / 5_000, SECOND / 100);
    shared.history.count("power cuts in the middle of a write");
    after(run, at, move || {
        of.shared.slots.borrow_mut()[victim].disk_delay = usual;
        crash(&of, victim, Crash::Power, &random);
    });
}

/// The disks of all other members are slow, and somebody reads the key here, and then elsewhere: what too few members hold
/// must not be returned and then be gone.
fn read_meanwhile<S: Subject>(run: &Run<S>, victim: usize, key: usize, random: &SeededRandom) {
    let (shared, of) = (&run.shared, run.clone());
    let n = shared.names.len();
    let slow = (SECOND / 2, 2 * SECOND);
    let others = move || (0..n).filter(move |index| *index != victim);
    others().for_each(|index| shared.slots.borrow_mut()[index].disk_delay = slow);
    let elsewhere = (victim + 1 + usize::try_from(random.below(n as u64 - 1)).unwrap_or(0)) % n;
    let at = shared.clock.now() + random.between(SECOND / 500, SECOND / 50);
    shared.history.count("reads in the middle of a write");
    shared.tasks.spawn(None, async move {
        let shared = &of.shared;
        shared.clock.sleep_until(at).await;
        clients::read(&of, key, victim).await;
        clients::read(&of, key, elsewhere).await;
        let fast = (SECOND / 10_000, SECOND / 500);
        others().for_each(|index| shared.slots.borrow_mut()[index].disk_delay = fast);
    });
}

/// A write gets to one peer only, which is cut off then; the next one gets to others. The member loses both with its power,
/// and must not take the first for one that nobody has.
fn leave_gap<S: Subject>(run: &Run<S>, victim: usize, random: SeededRandom) {
    let (shared, of) = (&run.shared, run.clone());
    let n = shared.names.len();
    let keeper = (victim + 1 + usize::try_from(random.below(n as u64 - 1)).unwrap_or(0)) % n;
    let others = move || (0..n).filter(move |peer| *peer != keeper);
    let now = shared.clock.now();
    shared.slots.borrow_mut()[victim].disk_delay = (4 * SECOND, 5 * SECOND);
    for peer in others().filter(|peer| *peer != victim) {
        shared.net.cut(victim, peer, now + SECOND / 3);
        shared.net.cut(peer, victim, now + SECOND / 3);
    }
    for connection in shared.net.connections() {
        let ends = [connection.dialler, connection.server];
        if ends.contains(&victim) && !ends.contains(&keeper) {
            connection.reset();
        }
    }
    shared.history.count("gaps left");
    intrude(run, victim, SECOND / 10, &random);
    let until = (now + random.between(6 * SECOND, 16 * SECOND)).min(shared.heal_at);
    let (cutting, lagging) = (run.clone(), random.branch(10));
    after(run, now + SECOND / 25, move || {
        for peer in others() {
            cutting.shared.net.cut(keeper, peer, until);
            cutting.shared.net.cut(peer, keeper, until);
        }
    });
    let writing = run.clone();
    after(run, now + SECOND, move || intrude(&writing, victim, SECOND, &lagging));
    after(run, now + SECOND + SECOND / 20, move || {
        of.shared.slots.borrow_mut()[victim].disk_delay = (SECOND / 10_000, SECOND / 500);
        crash(&of, victim, Crash::Power, &random);
    });
}

/// A further client writes some key through a member.
fn intrude<S: Subject>(run: &Run<S>, member: usize, timeout: Duration, random: &SeededRandom) {
    let (of, random) = (run.clone(), random.branch(9));
    let key = usize::try_from(random.below(run.shared.keys.len() as u64)).unwrap_or(0);
    let number = random.below(u64::from(u32::MAX));
    run.shared.tasks.spawn(None, async move {
        clients::write(&of, (INTRUDER, number), key, Some((member, timeout)), &random).await;
    });
}

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    Kill,
    Power,
    /// A power cut that shows what a disk had only said to have synced.
    Lied,
    Wipe,
}

/// Ends the program of a member and starts it again after a while.
fn crash<S: Subject>(run: &Run<S>, victim: usize, crash: Crash, random: &SeededRandom) {
    let shared = &run.shared;
    if matches!(crash, Crash::Lied | Crash::Wipe) {
        shared.history.excuse(victim, &shared.names[victim]);
    }
    shared.tasks.thaw(victim);
    run.stop(victim);
    let last = shared.slots.borrow().get(victim).and_then(|slot| slot.last.clone());
    if let Some((seat, program)) = last {
        if crash != Crash::Kill {
            shared.subject.cut_power(&seat, &program);
        }
        if crash == Crash::Wipe {
            let _wiped = shared.subject.wipe(&seat);
        }
    }
    // Some peers learn of it at once, from a socket that answers for a dead process; others wait in vain.
    for connection in shared.net.connections() {
        let theirs = [(connection.dialler, 1), (connection.server, 0)];
        for (member, other_end) in theirs {
            let peer = [connection.dialler, connection.server][other_end];
            if member == victim && random.happens(500) && !shared.net.is_cut(victim, peer) {
                connection.over[other_end].happen();
            }
        }
    }
    let longest = if random.happens(600) { SECOND } else { 12 * SECOND };
    let at = shared.clock.now() + random.between(SECOND / 100, longest);
    let of = run.clone();
    after(run, at, move || {
        if of.running(victim).is_none() {
            of.start(victim);
        }
    });
    if crash == Crash::Wipe {
        // Writes need the word of a member that has nothing yet.
        for turn in 1..=8 {
            let (of, random) = (run.clone(), random.branch(u64::from(turn)));
            let member = usize::try_from(random.below(shared.names.len() as u64)).unwrap_or(0);
            let at = at + turn * SECOND / 16;
            after(run, at, move || intrude(&of, member, SECOND, &random));
        }
    }
}

/// Does something at a time, unless the mesh is healed before.
fn after<S: Subject>(run: &Run<S>, at: std::time::Instant, deed: impl FnOnce() + 'static) {
    let (clock, heal_at) = (run.shared.clock.clone(), run.shared.heal_at);
    run.shared.tasks.spawn(None, async move {
        clock.sleep_until(at).await;
        if clock.now() < heal_at {
            deed();
        }
    });
}
