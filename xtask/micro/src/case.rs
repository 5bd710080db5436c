//! What can be measured: an operation that can be done any number of times, under a name.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Does an operation so many times, and says how long that took; what it needs in between is left out.
pub(crate) type Repeat = Box<dyn FnMut(u64) -> Duration>;

/// One operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Part and operation. Baselines know it by this name.
    pub(crate) name: &'static str,
    /// Over how many repetitions its instructions are counted; `None` if it needs a different number every time.
    pub(crate) counted_over: Option<u64>,
    /// Everything that comes before the operation.
    pub(crate) prepare: fn() -> Repeat,
}

impl Case {
    /// A case that takes the same instructions every time.
    pub(crate) const fn counted(name: &'static str, over: u64, prepare: fn() -> Repeat) -> Self {
        Self { name, counted_over: Some(over), prepare }
    }

    /// A case in which disk, network or the meeting of threads decide what is done.
    pub(crate) const fn timed(name: &'static str, prepare: fn() -> Repeat) -> Self {
        Self { name, counted_over: None, prepare }
    }
}

/// An operation that needs nothing in between. Dropping what it returns is part of it.
pub(crate) fn each<T>(mut operation: impl FnMut() -> T + 'static) -> Repeat {
    Box::new(move |count| {
        let began = Instant::now();
        for _ in 0..count {
            black_box(operation());
        }
        began.elapsed()
    })
}
