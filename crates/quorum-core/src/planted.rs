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
    /// The frontier of a snapshot is claimed although some records were not taken.
    ClaimDespiteUntaken,
    /// A member does not want back what it wrote in earlier starts and lost.
    OwnWritesNotWanted,
    /// A peer that comes back is owed only what it asks for.
    OwnWritesNotOwed,
    /// A record is left out of a replay although the receiver does not have it, and that takes its dots for held.
    RecordLeftOut,
    /// A dot is void although a member has not said what it holds.
    VoidTooEarly,
    /// A member that has said nothing holds no watermark back.
    SilentMemberIgnored,
    /// A read ends one answer too early.
    ReadOfTooFew,
    /// Acks and answers of a member that has lost its data count.
    RecoveringCounts,
    /// A member whose data is new counts although nobody vouches that it never lived before.
    NewUnvouched,
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
    /// A value that too few members hold is returned and not written back.
    NotWrittenBack,
    /// A linearizable write does not ask first which version of its key there is.
    FirstPhaseSkipped,
}

impl Bug {
    /// The name by which it is planted.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Every bug.
    pub const ALL: [Self; 28] = [
        Self::HalfIsMajority,
        Self::DriftCounts,
        Self::LateAckCounts,
        Self::StrangerCounts,
        Self::DuplicateCounts,
        Self::LocalCopyNotNeeded,
        Self::ExceptionsIgnored,
        Self::ClaimBeforeSnapshot,
        Self::ClaimDespiteUntaken,
        Self::OwnWritesNotWanted,
        Self::OwnWritesNotOwed,
        Self::RecordLeftOut,
        Self::VoidTooEarly,
        Self::SilentMemberIgnored,
        Self::ReadOfTooFew,
        Self::RecoveringCounts,
        Self::NewUnvouched,
        Self::AckBeforeSync,
        Self::UnsyncedShown,
        Self::EpochNotBumped,
        Self::EpochNotSynced,
        Self::FrontierPastGap,
        Self::LastComerWins,
        Self::OverwrittenIsVoid,
        Self::CeilingForgotten,
        Self::PurgedByClock,
        Self::NotWrittenBack,
        Self::FirstPhaseSkipped,
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
