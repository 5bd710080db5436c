//! The hybrid logical clock.

use std::hint::black_box;

use quorum_core::{Hlc, HlcClock};

use crate::case::{Case, Repeat, each};

pub(crate) const CASES: &[Case] = &[
    Case::counted("hlc/tick-still", 10_000, tick_still),
    Case::counted("hlc/tick-moving", 10_000, tick_moving),
    Case::counted("hlc/observe-and-tick", 10_000, observe_and_tick),
];

const WALL_MILLIS: u64 = 1_700_000_000_000;

/// With more reserved than anybody uses up.
fn clock() -> HlcClock {
    let mut clock = HlcClock::resume(Hlc::ZERO);
    clock.raise_ceiling(Hlc::from_millis(u64::MAX));
    clock
}

/// The wall clock stands still, as it does between two writes of a millisecond.
fn tick_still() -> Repeat {
    let mut clock = clock();
    each(move || clock.tick(black_box(WALL_MILLIS)).expect("reserved"))
}

/// The wall clock moves on before every write.
fn tick_moving() -> Repeat {
    let (mut clock, mut wall) = (clock(), WALL_MILLIS);
    each(move || {
        wall += 1;
        clock.tick(black_box(wall)).expect("reserved")
    })
}

/// A record comes from another node, then a write is stamped.
fn observe_and_tick() -> Repeat {
    let mut clock = clock();
    each(move || {
        clock.observe(black_box(clock.last().next()));
        clock.tick(black_box(WALL_MILLIS)).expect("reserved")
    })
}
