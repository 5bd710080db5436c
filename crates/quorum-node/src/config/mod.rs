//! What an operator may set, where the settings come from, and which of them contradict.
//!
//! [`sections`] is the configuration as a plain value; [`layers`] puts flags over environment over
//! file; [`check()`] holds every rule across sections; [`load`] and [`files`] touch the disk. Most
//! callers want [`Sources::load`], then [`check()`], then [`check_files`].

pub mod byte_size;
pub mod check;
pub mod error;
pub mod files;
pub mod layers;
pub mod load;
pub mod sections;
pub mod starter;
pub mod tokens;
pub mod write_quorum;

pub use byte_size::ByteSize;
pub use check::check;
pub use error::{ConfigError, Origin};
pub use files::check_files;
pub use load::Sources;
pub use sections::{
    ClockSection, Config, HttpSection, LogFormat, LogSection, Member, NodeSection, OtlpSection,
    PeerSection, QuorumSection, StoreSection, TlsSection,
};
pub use starter::{Starter, local_members};
pub use tokens::Tokens;
pub use write_quorum::WriteQuorum;
