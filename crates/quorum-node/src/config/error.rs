//! Why a configuration is refused; every message names the key or the file to look at.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The configuration file, and the line if it is known.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from one.
        line: Option<usize>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A command-line flag.
    Flag,
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(out, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(out, "{}", path.display()),
            Self::Environment { variable } => write!(out, "environment variable {variable}"),
            Self::Flag => out.write_str("command line"),
            Self::Default => out.write_str("configuration"),
        }
    }
}

/// A configuration that the node refuses to start with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    // What is written cannot be read.
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The configuration file is not TOML.
    #[error("{origin}: not valid TOML: {detail}")]
    Syntax {
        /// The file and line.
        origin: Origin,
        /// What the parser found.
        detail: String,
    },
    /// A key is unknown, missing, or has a value of the wrong kind.
    #[error("{origin}: {key}: {detail}")]
    Value {
        /// Where it was set.
        origin: Origin,
        /// The key, e.g. `http.listen` or `member[1].name`.
        key: String,
        /// What is wrong with it.
        detail: String,
    },

    // What is written contradicts itself.
    /// No member is configured.
    #[error("member: no [[member]] is configured; list every node, this one included")]
    NoMembers,
    /// Too many members are configured.
    #[error("member: {n} members are more than {n_max}")]
    TooManyMembers {
        /// How many there are.
        n: usize,
        /// How many there may be.
        n_max: usize,
    },
    /// A name that no certificate can carry.
    #[error("{key}: {rule}")]
    Name {
        /// The key.
        key: String,
        /// The rule it breaks.
        rule: crate::pki::InvalidNodeName,
    },
    /// Two members have the same name.
    #[error("member[{index}].name = {name:?} is already the name of member[{first}]")]
    DuplicateName {
        /// Position of the second of the two.
        index: usize,
        /// Position of the first.
        first: usize,
        /// The name.
        name: String,
    },
    /// Two members have the same address.
    #[error("member[{index}].address = {address:?} is already the address of member[{first}]")]
    DuplicateAddress {
        /// Position of the second of the two.
        index: usize,
        /// Position of the first.
        first: usize,
        /// The address.
        address: String,
    },
    /// An address that is not `host:port`.
    #[error("member[{index}].address = {address:?} is not host:port with a port from 1 to 65535")]
    Address {
        /// Position of the member.
        index: usize,
        /// The address.
        address: String,
    },
    /// This node is not one of the members.
    #[error("node.name = {name:?} is not the name of any [[member]]")]
    NotAMember {
        /// This node's name.
        name: String,
    },
    /// The cluster name does not fit a certificate.
    #[error("node.cluster = {cluster:?} is not 1 to 64 printable ASCII characters")]
    Cluster {
        /// The offending name.
        cluster: String,
    },
    /// The policy of a namespace contradicts itself or the members.
    #[error(transparent)]
    Policy(#[from] super::policy_error::PolicyError),
    /// A wait or a horizon that is longer than anybody means.
    #[error("{key} = {} is longer than {}", text(*value), text(*max))]
    TooLong {
        /// The key.
        key: String,
        /// What was set.
        value: Duration,
        /// The longest allowed.
        max: Duration,
    },
    /// A horizon that is too short to be of use.
    #[error("{key} = {} is shorter than {}", text(*value), text(*min))]
    TooShort {
        /// The key.
        key: String,
        /// What was set.
        value: Duration,
        /// The shortest allowed.
        min: Duration,
    },
    /// A size, count or duration that must not be zero.
    #[error("{key} must not be zero")]
    Zero {
        /// The key.
        key: String,
    },
    /// Values could be taken that do not fit into a frame between peers.
    #[error(
        "http.body_bytes_max = {bytes} is above {bytes_max}, the largest value that fits into a frame between peers"
    )]
    BodyTooLarge {
        /// What was set.
        bytes: u64,
        /// The most that is possible.
        bytes_max: u64,
    },
    /// The largest value could never be under way.
    #[error(
        "quorum.in_flight_bytes_max = {in_flight} is below http.body_bytes_max = {body}: the largest value would always be refused"
    )]
    InFlightTooSmall {
        /// What was set, in bytes.
        in_flight: u64,
        /// The largest value, in bytes.
        body: u64,
    },
    /// A clock would be rejected before it is warned about.
    #[error("clock.skew_warn = {} is above clock.skew_max = {}", text(*skew_warn), text(*skew_max))]
    SkewOrder {
        /// The warning level.
        skew_warn: Duration,
        /// The hard level.
        skew_max: Duration,
    },
    /// The HTTP interface would be open to the network.
    #[error(
        "http.listen = {listen} is reachable from other hosts; set http.tls_cert and http.tls_key, or http.tokens_file, or listen on 127.0.0.1"
    )]
    PublicHttp {
        /// The address.
        listen: SocketAddr,
    },
    /// One half of a certificate and key pair is missing.
    #[error("{set} is set but {missing} is not")]
    HalfPair {
        /// The key that is there.
        set: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// The log filter cannot be understood.
    #[error("log.filter = {filter:?}: {detail}")]
    LogFilter {
        /// The filter.
        filter: String,
        /// What the parser found.
        detail: String,
    },
    /// The collector's address is not a URL.
    #[error("otlp.endpoint = {endpoint:?} is not an http:// or https:// URL")]
    OtlpEndpoint {
        /// The address.
        endpoint: String,
    },
    /// A share that is not between none and all.
    #[error("otlp.trace_ratio = {ratio} is outside 0..=1")]
    TraceRatio {
        /// The share.
        ratio: f64,
    },

    // What is written is fine, but the files it names are not.
    /// A file is missing or cannot be read.
    #[error("{key}: cannot read {}", path.display())]
    File {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A secret can be read by others than its owner.
    #[error(
        "{key}: {} can be read by others (mode {mode:04o}); run: chmod 600 {}",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what its key says.
    #[error("{key}: {}: {detail}", path.display())]
    Content {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The certificate is for another node.
    #[error("tls.cert: {} is for {found:?}, but node.name = {name:?}", path.display())]
    ForeignCertificate {
        /// The certificate.
        path: PathBuf,
        /// The names in it.
        found: Vec<String>,
        /// This node's name.
        name: String,
    },
}

fn text(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}
