//! From when to when a certificate counts. (pure)

use std::time::{Duration, SystemTime};

use super::error::PkiError;

/// Lifetime of a cluster authority unless asked otherwise.
pub const AUTHORITY_DAYS_DEFAULT: u32 = 3650;
/// Lifetime of a node certificate unless asked otherwise.
pub const NODE_DAYS_DEFAULT: u32 = 365;
/// Longest lifetime: beyond it a typing error is likelier than an intention.
pub const DAYS_MAX: u32 = 36_500;

/// How far before its making a certificate starts to count, so that a host whose clock is a little
/// behind accepts it at once.
const BACKDATE: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A span of time in which a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Validity {
    /// From an hour before `now` to `days` after it.
    ///
    /// # Errors
    ///
    /// [`PkiError::Days`] if `days` is outside `1..=`[`DAYS_MAX`].
    pub fn from_days(now: SystemTime, days: u32) -> Result<Self, PkiError> {
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(PkiError::Days { days, days_max: DAYS_MAX });
        }
        Ok(Self { not_before: now - BACKDATE, not_after: now + DAY * days })
    }

    /// The first moment at which the certificate counts.
    #[must_use]
    pub const fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The last moment at which the certificate counts.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The same span, ending no later than `end`.
    #[must_use]
    pub fn until_at_most(self, end: SystemTime) -> Self {
        Self { not_after: self.not_after.min(end), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_counts_a_little_before_it_is_made() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let validity = Validity::from_days(now, 1).expect("one day");
        assert_eq!(validity.not_before(), now - BACKDATE);
        assert_eq!(validity.not_after(), now + DAY);
    }

    #[test]
    fn a_lifetime_of_no_days_or_of_centuries_is_refused() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        for days in [0, DAYS_MAX + 1, u32::MAX] {
            assert!(matches!(Validity::from_days(now, days), Err(PkiError::Days { .. })));
        }
    }
}
