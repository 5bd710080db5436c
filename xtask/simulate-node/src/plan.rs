//! What will happen to a mesh in one run, decided by the seed alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::socket::Rates;

/// Faults begin no earlier: the members have met by then, and clients have begun.
const CALM: Duration = Duration::from_secs(1);

/// What is done to the mesh. Members go by their place from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Two members hear nothing of each other.
    Cut { one: usize, other: usize },
    /// Nothing gets through in one direction.
    CutOneWay { from: usize, to: usize },
    /// A member hears nobody and is heard by nobody.
    Isolate { member: usize },
    /// Packets between two members stand still, and arrive all at once afterwards.
    Hold { one: usize, other: usize },
    /// The network treats all packets worse.
    Storm { rates: Rates },
    /// A member's process is killed; with `power`, its machine goes down and forgets what was not synced.
    Kill { member: usize, power: bool },
    /// A member is shut down in order.
    Stop { member: usize },
    /// A member is killed and its disk is lost.
    LoseDisk { member: usize },
    /// A member's next sync fails; it is killed at the end of that.
    FailSync { member: usize },
    /// A member's disk is slow: commits take up to so many milliseconds.
    SlowDisk { member: usize, millis: u64 },
    /// A member's wall clock is wrong by so many milliseconds.
    Skew { member: usize, millis: i64 },
}

impl Fault {
    /// The kind of it, for counting.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Cut { .. } => "cut",
            Self::CutOneWay { .. } => "one-way cut",
            Self::Isolate { .. } => "isolation",
            Self::Hold { .. } => "hold",
            Self::Storm { .. } => "storm",
            Self::Kill { power: false, .. } => "kill",
            Self::Kill { power: true, .. } => "power cut",
            Self::Stop { .. } => "orderly restart",
            Self::LoseDisk { .. } => "lost disk",
            Self::FailSync { .. } => "failed sync",
            Self::SlowDisk { .. } => "slow disk",
            Self::Skew { .. } => "clock step",
        }
    }

    /// The member that it takes down, if it does.
    pub(crate) const fn takes_down(self) -> Option<usize> {
        match self {
            Self::Kill { member, .. }
            | Self::Stop { member }
            | Self::LoseDisk { member }
            | Self::FailSync { member } => Some(member),
            _ => None,
        }
    }
}

/// A fault with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) begins: Duration,
    pub(crate) ends: Duration,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) members: usize,
    pub(crate) clients: u32,
    /// The longest that a packet takes.
    pub(crate) latency_max: Duration,
    pub(crate) commit_millis_max: u64,
    /// What the network does to packets all the time, until it is healed.
    pub(crate) rates: Rates,
    /// In the order of their beginnings.
    pub(crate) faults: Vec<Planned>,
    /// When everything is healed.
    pub(crate) healed: Duration,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let random = &mut StdRng::seed_from_u64(seed);
        let members = [3, 3, 3, 4, 5][random.random_range(0..5)];
        let latency_max = Duration::from_millis([2, 10, 40, 120][random.random_range(0..4)]);
        let commit_millis_max = [1, 3, 10][random.random_range(0..3)];
        let rates = rates(random, 30);
        let healed = Duration::from_millis(random.random_range(6_000..10_000));
        let mut faults = Vec::new();
        let (mut now, mut disks_left) = (CALM, members / 2);
        loop {
            now += Duration::from_millis(random.random_range(50..1_200));
            if now >= healed {
                break;
            }
            let lasts = Duration::from_millis(random.random_range(100..3_000));
            let fault = fault(random, members, &mut disks_left);
            faults.push(Planned { fault, begins: now, ends: (now + lasts).min(healed) });
        }
        let clients = random.random_range(3..6);
        Self { members, clients, latency_max, commit_millis_max, rates, faults, healed }
    }
}

fn rates(random: &mut StdRng, most: u32) -> Rates {
    let mut rate = || if random.random_bool(0.5) { random.random_range(1..=most) } else { 0 };
    Rates { lost: rate(), repeated: rate(), damaged: rate() }
}

fn fault(random: &mut StdRng, members: usize, disks_left: &mut usize) -> Fault {
    let member = random.random_range(0..members);
    let other = (member + random.random_range(1..members)) % members;
    match random.random_range(0..20) {
        0..3 => Fault::Cut { one: member, other },
        3..6 => Fault::CutOneWay { from: member, to: other },
        6..8 => Fault::Isolate { member },
        8 => Fault::Hold { one: member, other },
        9 => Fault::Storm { rates: rates(random, 200) },
        10..12 => Fault::Kill { member, power: false },
        12..14 => Fault::Kill { member, power: true },
        14 => Fault::Stop { member },
        15 if *disks_left > 0 => {
            *disks_left -= 1;
            Fault::LoseDisk { member }
        }
        15 | 16 => Fault::FailSync { member },
        17 => Fault::SlowDisk { member, millis: random.random_range(20..400) },
        // Two clocks are never further apart than members accept.
        _ => Fault::Skew { member, millis: random.random_range(-120_000..120_000) },
    }
}
