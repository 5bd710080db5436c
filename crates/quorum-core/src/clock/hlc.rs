//! The hybrid logical clock that orders versions.
//!
//! Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks" (OPODIS 2014): a timestamp that stays
//! close to the wall clock and never runs backwards, whatever the wall clock does.

use std::fmt;
use std::time::Duration;

/// Bits of the logical counter below the milliseconds.
const LOGICAL_BITS: u32 = 16;

/// A point in hybrid logical time: 48 bits of milliseconds since the Unix epoch, 16 bits of logical counter.
///
/// Ordered as a number. A full counter carries into the milliseconds, so ticks never collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Hlc(u64);

impl Hlc {
    /// The smallest time.
    pub const ZERO: Self = Self(0);

    /// The first timestamp of a wall-clock millisecond, saturating at the largest representable one.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        const MILLIS_MAX: u64 = u64::MAX >> LOGICAL_BITS;
        let millis = if millis > MILLIS_MAX { MILLIS_MAX } else { millis };
        Self(millis << LOGICAL_BITS)
    }

    /// The timestamp that [`as_u64`](Self::as_u64) printed.
    #[must_use]
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// The timestamp as one number; numbers order as the timestamps do.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The wall-clock part, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// How far this timestamp lies ahead of a wall clock; zero if it does not.
    #[must_use]
    pub const fn ahead_of(self, wall_millis: u64) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(wall_millis))
    }

    /// The next timestamp above this one; saturates.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.millis(), self.0 & u64::from(u16::MAX))
    }
}

/// Why a clock gives no timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HlcError {
    /// The next timestamp lies at or above the durable ceiling: reserve more, then ask again.
    #[error("the reserved range of timestamps is used up")]
    CeilingReached,
}

/// A clock that issues strictly increasing timestamps below a ceiling that was made durable beforehand.
///
/// Because no timestamp above the ceiling is ever issued, a restart that continues at the ceiling cannot issue an old
/// timestamp twice, whatever the wall clock says by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HlcClock {
    last: Hlc,
    ceiling: Hlc,
}

impl HlcClock {
    /// A clock that continues above everything issued before a restart, with nothing reserved yet.
    #[must_use]
    pub const fn resume(durable_ceiling: Hlc) -> Self {
        Self { last: durable_ceiling, ceiling: durable_ceiling }
    }

    /// The largest timestamp issued or seen.
    #[must_use]
    pub const fn last(&self) -> Hlc {
        self.last
    }

    /// The bound below which timestamps may be issued.
    #[must_use]
    pub const fn ceiling(&self) -> Hlc {
        self.ceiling
    }

    /// Tells the clock that a higher ceiling is durable now. A lower one changes nothing.
    pub fn raise_ceiling(&mut self, durable: Hlc) {
        self.ceiling = self.ceiling.max(durable);
    }

    /// The ceiling that would give `headroom` of timestamps from now on, by the wall clock.
    ///
    /// Where this clock is ahead of the wall clock, as it is after a restart, a hundredth of that lies above what was issued:
    /// plenty for logical steps. The whole of it would add up from restart to restart, until peers take the versions of a
    /// process that crashes again and again for the future.
    #[must_use]
    pub fn ceiling_for(&self, wall_millis: u64, headroom: Duration) -> Hlc {
        let headroom = u64::try_from(headroom.as_millis()).unwrap_or(u64::MAX);
        let ahead = self.last.millis().saturating_add((headroom / 100).max(1));
        Hlc::from_millis(wall_millis.saturating_add(headroom).max(ahead))
    }

    /// Issues the next timestamp: the wall clock if it has moved on, else one logical step.
    ///
    /// # Errors
    ///
    /// [`HlcError::CeilingReached`] if that lies at or above the ceiling; the clock has not moved then.
    pub fn tick(&mut self, wall_millis: u64) -> Result<Hlc, HlcError> {
        self.tick_above(Hlc::ZERO, wall_millis)
    }

    /// As [`tick`](Self::tick), and above `floor` as well.
    ///
    /// # Errors
    ///
    /// [`HlcError::CeilingReached`] as for [`tick`](Self::tick).
    pub fn tick_above(&mut self, floor: Hlc, wall_millis: u64) -> Result<Hlc, HlcError> {
        let next = self.last.next().max(floor.next()).max(Hlc::from_millis(wall_millis));
        if next >= self.ceiling {
            return Err(HlcError::CeilingReached);
        }
        self.last = next;
        Ok(next)
    }

    /// Takes note of a timestamp received from elsewhere: later ticks lie above it.
    ///
    /// The caller has checked that it is not absurdly far in the future.
    pub fn observe(&mut self, seen: Hlc) {
        self.last = self.last.max(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(ceiling_millis: u64) -> HlcClock {
        let mut clock = HlcClock::resume(Hlc::ZERO);
        clock.raise_ceiling(Hlc::from_millis(ceiling_millis));
        clock
    }

    #[test]
    fn ticks_follow_the_wall_clock_and_never_run_backwards() {
        let mut clock = clock(10_000);
        let first = clock.tick(1_000).expect("below the ceiling");
        assert_eq!(first, Hlc::from_millis(1_000));
        let second = clock.tick(900).expect("below the ceiling");
        assert_eq!(second, first.next());
        assert_eq!(clock.tick(2_000), Ok(Hlc::from_millis(2_000)));
    }

    #[test]
    fn a_tick_lies_above_whatever_was_seen() {
        let mut clock = clock(10_000);
        clock.observe(Hlc::from_millis(5_000));
        assert_eq!(clock.tick(1), Ok(Hlc::from_millis(5_000).next()));
        assert_eq!(
            clock.tick_above(Hlc::from_millis(7_000), 1),
            Ok(Hlc::from_millis(7_000).next())
        );
    }

    #[test]
    fn nothing_is_issued_at_or_above_the_durable_ceiling() {
        let mut clock = clock(1_000);
        assert_eq!(clock.tick(1_000), Err(HlcError::CeilingReached));
        clock.raise_ceiling(clock.ceiling_for(1_000, Duration::from_secs(1)));
        assert_eq!(clock.tick(1_000), Ok(Hlc::from_millis(1_000)));
    }

    #[test]
    fn a_resumed_clock_continues_above_the_old_ceiling() {
        let mut before = clock(5_000);
        let issued = before.tick(4_999).expect("below the ceiling");
        let mut after = HlcClock::resume(before.ceiling());
        after.raise_ceiling(Hlc::from_millis(9_000));
        assert!(after.tick(1).expect("below the ceiling") > issued);
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        let last = Hlc::from_u64((7 << LOGICAL_BITS) | u64::from(u16::MAX));
        assert_eq!(last.next(), Hlc::from_millis(8));
    }
}
