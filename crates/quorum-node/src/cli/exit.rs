//! What a command's exit code says. (pure)

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Exit {
    /// It did what was asked.
    Ok,
    /// It could not, and said why on standard error.
    Error,
    /// The command line made no sense.
    Usage,
    /// The write may or may not survive: too few members confirmed it in time.
    QuorumNotMet,
}

impl Exit {
    /// The number scripts see. Part of the public interface.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::QuorumNotMet => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
