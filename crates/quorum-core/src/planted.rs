//! Bugs that can be planted, to prove that the checks find them.
//!
//! A build without the feature `planted-bugs` contains none: [`is`] is the constant `false` there. With the feature, a build
//! without debug assertions, as every release is, does not compile.

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("planted bugs must not reach a release");

/// A bug that stands at one place in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Bug {
    /// Half of an even number of members counts as a majority.
    HalfIsMajority = 1,
    /// A peer that holds the version with another content counts as a copy.
    DriftCounts,
    /// An ack counts whenever it came.
    LateAckCounts,
    /// An ack of somebody who is no peer counts for one who is silent.
    StrangerCounts,
    /// A second ack of one peer counts for another one.
    DuplicateCounts,
    /// W copies commit even if none of them is the local one.
    LocalCopyNotNeeded,
    /// What a peer does not take is settled as if it had been stored.
    ExceptionsIgnored,
    /// The frontier of a snapshot is claimed before its records are sent.
    ClaimBeforeSnapshot,
    /// A member does not want back what it wrote in earlier starts and lost.
    OwnWritesNotWanted,
    /// A peer that comes back is owed only what it asks for.
    OwnWritesNotOwed,
    /// A member that has said nothing holds no watermark back.
    SilentMemberIgnored,
    /// A read ends one answer too early.
    ReadOfTooFew,
    /// Records are answered as stored before they are synced.
    AckBeforeSync,
    /// Unsynced state is shown, and the frontier covers it.
    UnsyncedShown,
    /// A start uses the epoch of the one before.
    EpochNotBumped,
    /// A start uses its epoch before it is durable.
    EpochNotSynced,
    /// The frontier covers what lies before a record, whether it is held or not.
    FrontierPastGap,
    /// The record that comes last wins, whatever its version.
    LastComerWins,
    /// A dot whose record was overwritten is replayed as if nobody had one.
    OverwrittenIsVoid,
    /// A start continues its clock from nothing.
    CeilingForgotten,
    /// Tombstones are purged by age alone.
    PurgedByClock,
}

impl Bug {
    /// The name by which it is planted.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Every bug.
    pub const ALL: [Self; 21] = [
        Self::HalfIsMajority,
        Self::DriftCounts,
        Self::LateAckCounts,
        Self::StrangerCounts,
        Self::DuplicateCounts,
        Self::LocalCopyNotNeeded,
        Self::ExceptionsIgnored,
        Self::ClaimBeforeSnapshot,
        Self::OwnWritesNotWanted,
        Self::OwnWritesNotOwed,
        Self::SilentMemberIgnored,
        Self::ReadOfTooFew,
        Self::AckBeforeSync,
        Self::UnsyncedShown,
        Self::EpochNotBumped,
        Self::EpochNotSynced,
        Self::FrontierPastGap,
        Self::LastComerWins,
        Self::OverwrittenIsVoid,
        Self::CeilingForgotten,
        Self::PurgedByClock,
    ];
}

/// Whether this bug is planted.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn is(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Whether this bug is planted.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Plants a bug in this process, in the place of the one before; `None` takes it out.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), std::sync::atomic::Ordering::Relaxed);
}
