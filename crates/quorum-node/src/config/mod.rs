//! What an operator may set, where the settings come from, and which of them contradict.
//!
//! [`sections`] is the configuration as a plain value; [`layers`] puts flags over environment over
//! file; [`check()`] holds every rule across sections; [`policies`](mod@policies) says what holds for
//! which namespace; [`load`] and [`files`] touch the disk. Most callers want [`Sources::load`], then
//! [`policies()`], then [`check_files`].

mod bounds;
pub mod byte_size;
pub mod check;
pub mod consistency;
pub mod convergence;
pub mod error;
pub mod files;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
pub mod layers;
pub mod load;
mod number_or_word;
pub mod observation;
pub mod policies;
pub mod policy;
pub mod policy_error;
pub mod quorum;
pub mod read_quorum;
pub mod sections;
pub mod starter;
pub mod tokens;
pub mod write_quorum;

pub use byte_size::ByteSize;
pub use check::{check, policies};
pub use consistency::Consistency;
pub use convergence::{RepairSection, WatchSection};
pub use error::{ConfigError, Origin};
pub use files::check_files;
pub use load::Sources;
pub use observation::{LogFormat, LogSection, OtlpSection};
pub use policies::Policies;
pub use policy::{EffectivePolicy, PolicySource};
pub use policy_error::PolicyError;
pub use quorum::{NamespaceSection, QuorumSection};
pub use read_quorum::ReadQuorum;
pub use sections::{
    ClockSection, Config, HttpSection, Member, NodeSection, PeerSection, StoreSection, TlsSection,
};
pub use starter::{Starter, local_members};
pub use tokens::Tokens;
pub use write_quorum::WriteQuorum;
