//! The cluster's own certificate authority: who may speak as which member.
//!
//! A node proves its name with a certificate signed by the cluster's authority. The certificate
//! carries exactly one name, as a DNS subject alternative name, and that name is the member name.
//! [`Authority`] and [`describe()`] work on values; only [`files`] and [`secret_file`] touch the
//! disk, and nothing here reads a clock.

pub mod authority;
pub mod describe;
pub mod error;
pub mod files;
pub mod name;
pub mod secret_file;
pub mod validity;

pub use authority::{Authority, Credentials};
pub use describe::{Description, describe, describe_bundle};
pub use error::PkiError;
pub use name::{InvalidNodeName, check_node_name};
pub use validity::Validity;
