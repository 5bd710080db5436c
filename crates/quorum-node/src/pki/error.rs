//! What can go wrong with certificates and their files.

use std::io;
use std::path::PathBuf;

use super::name::InvalidNodeName;

/// Why a certificate could not be made, read or stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The name cannot be a node's name.
    #[error(transparent)]
    Name(#[from] InvalidNodeName),
    /// The name cannot be a cluster's name.
    #[error("invalid cluster name {name:?}: expected 1 to 64 printable ASCII characters")]
    Cluster {
        /// The offending name.
        name: String,
    },
    /// The asked lifetime is zero or absurd.
    #[error("a validity of {days} days is outside 1..={days_max}")]
    Days {
        /// What was asked.
        days: u32,
        /// The longest lifetime allowed.
        days_max: u32,
    },
    /// The authority has expired: nothing it signs would be accepted.
    #[error("the certificate authority expired on {not_after}; make a new one and distribute both")]
    AuthorityExpired {
        /// When it expired, as an RFC 3339 time.
        not_after: String,
    },
    /// The certificate is not one that may sign others.
    #[error("the certificate is not a certificate authority: {subject}")]
    NotAnAuthority {
        /// Whose certificate it is.
        subject: String,
    },
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The text holds no certificate, or a damaged one.
    #[error("not a certificate: {detail}")]
    Malformed {
        /// What the parser found.
        detail: String,
    },
    /// Key generation or signing failed.
    #[error("cannot make a key or certificate")]
    Crypto(#[from] rcgen::Error),
    /// A file that would be written is already there. Nothing was changed.
    #[error("{} already exists and is never overwritten; choose another directory or move it away", path.display())]
    Exists {
        /// The file in the way.
        path: PathBuf,
    },
    /// A private key can be read by others than its owner.
    #[error("{} can be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file was read, but what it holds is wrong.
    #[error("{}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Self>,
    },
}

impl PkiError {
    /// The same error, naming the file whose content caused it.
    pub(super) fn in_file(self, path: impl Into<PathBuf>) -> Self {
        Self::Content { path: path.into(), source: Box::new(self) }
    }
}
