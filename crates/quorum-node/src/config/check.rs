//! The rules that no section can check alone. (pure)

use quorum_core::QuorumPolicy;
use tracing_subscriber::EnvFilter;

pub use super::bounds::ACK_TIMEOUT_MAX;
use super::bounds::check_bounds;
use super::error::ConfigError;
use super::policies::Policies;
use super::sections::{Config, Member};
use crate::pki::authority::check_cluster_name;
use crate::pki::check_node_name;

/// Most members a mesh may have.
pub const MEMBERS_MAX: usize = 64;

/// Largest value: with its key and envelope it must fit into the 4 MiB of a frame between peers.
pub const BODY_BYTES_MAX: u64 = 3 << 20;

/// Checks everything that can be checked without looking at files, and returns the write rule
/// of the namespaces that have no rule of their own.
///
/// # Errors
///
/// A variant of [`ConfigError`] per rule; its message names the key.
pub fn check(config: &Config) -> Result<QuorumPolicy, ConfigError> {
    policies(config).map(|policies| policies.default_policy().write().clone())
}

/// Checks what [`check`] checks, and returns the policy of every namespace.
///
/// # Errors
///
/// As [`check`].
pub fn policies(config: &Config) -> Result<Policies, ConfigError> {
    check_members(config)?;
    check_bounds(config)?;
    check_clock(config)?;
    check_http(config)?;
    check_observation(config)?;
    Policies::new(config)
}

fn check_members(config: &Config) -> Result<(), ConfigError> {
    let Config { node, members, .. } = config;
    if members.is_empty() {
        return Err(ConfigError::NoMembers);
    }
    if members.len() > MEMBERS_MAX {
        return Err(ConfigError::TooManyMembers { n: members.len(), n_max: MEMBERS_MAX });
    }
    for (index, member) in members.iter().enumerate() {
        check_member(index, member, &members[..index])?;
    }
    let cluster_fits = check_cluster_name(&node.cluster).is_ok();
    if !cluster_fits {
        return Err(ConfigError::Cluster { cluster: node.cluster.clone() });
    }
    if members.iter().any(|member| member.name == node.name) {
        Ok(())
    } else {
        Err(ConfigError::NotAMember { name: node.name.to_string() })
    }
}

fn check_member(index: usize, member: &Member, before: &[Member]) -> Result<(), ConfigError> {
    let Member { name, address } = member;
    check_node_name(name.as_str())
        .map_err(|rule| ConfigError::Name { key: format!("member[{index}].name"), rule })?;
    if !is_host_and_port(address) {
        return Err(ConfigError::Address { index, address: address.clone() });
    }
    if let Some(first) = before.iter().position(|other| other.name == *name) {
        return Err(ConfigError::DuplicateName { index, first, name: name.to_string() });
    }
    let same_address = |other: &Member| other.address.eq_ignore_ascii_case(address);
    if let Some(first) = before.iter().position(same_address) {
        return Err(ConfigError::DuplicateAddress { index, first, address: address.clone() });
    }
    Ok(())
}

/// Whether a text looks like `host:port`; whether the host exists shows when it is dialled.
fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let port_is_real = port.parse::<u16>().is_ok_and(|port| port != 0);
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_real = match bracketed {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            !host.is_empty() && host.bytes().all(plain)
        }
    };
    port_is_real && host_is_real
}

fn check_clock(config: &Config) -> Result<(), ConfigError> {
    let (skew_warn, skew_max) = (config.clock.skew_warn, config.clock.skew_max);
    if skew_warn > skew_max {
        return Err(ConfigError::SkewOrder { skew_warn, skew_max });
    }
    Ok(())
}

fn check_http(config: &Config) -> Result<(), ConfigError> {
    let http = &config.http;
    let (cert, key) = ("http.tls_cert", "http.tls_key");
    match (&http.tls_cert, &http.tls_key) {
        (Some(_), None) => return Err(ConfigError::HalfPair { set: cert, missing: key }),
        (None, Some(_)) => return Err(ConfigError::HalfPair { set: key, missing: cert }),
        _ => {}
    }
    let bytes = http.body_bytes_max.bytes();
    if bytes > BODY_BYTES_MAX {
        return Err(ConfigError::BodyTooLarge { bytes, bytes_max: BODY_BYTES_MAX });
    }
    let in_flight = config.quorum.in_flight_bytes_max.bytes();
    if in_flight < bytes {
        return Err(ConfigError::InFlightTooSmall { in_flight, body: bytes });
    }
    let guarded = http.tls_cert.is_some() || http.tokens_file.is_some();
    if !http.listen.ip().is_loopback() && !guarded {
        return Err(ConfigError::PublicHttp { listen: http.listen });
    }
    Ok(())
}

fn check_observation(config: &Config) -> Result<(), ConfigError> {
    let (log, otlp) = (&config.log, &config.otlp);
    if let Err(error) = EnvFilter::try_new(&log.filter) {
        let (filter, detail) = (log.filter.clone(), error.to_string());
        return Err(ConfigError::LogFilter { filter, detail });
    }
    let is_url = |text: &&String| text.starts_with("http://") || text.starts_with("https://");
    if let Some(endpoint) = otlp.endpoint.as_ref().filter(|endpoint| !is_url(endpoint)) {
        return Err(ConfigError::OtlpEndpoint { endpoint: endpoint.clone() });
    }
    if !(0.0..=1.0).contains(&otlp.trace_ratio) {
        return Err(ConfigError::TraceRatio { ratio: otlp.trace_ratio });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorum_core::PeerId;

    use super::super::{ByteSize, WriteQuorum};
    use super::*;

    fn member(name: &str, address: &str) -> Member {
        Member::new(PeerId::new(name).expect("a name"), address)
    }

    fn config() -> Config {
        let members = (1..=3).map(|i| member(&format!("n{i}"), &format!("10.0.0.{i}:7400")));
        Config::new(PeerId::new("n1").expect("a name"), members.collect())
    }

    /// Breaks one thing and expects a message that starts with the key to look at.
    #[track_caller]
    fn refused(start: &str, break_it: impl FnOnce(&mut Config)) {
        let mut config = config();
        break_it(&mut config);
        let message = check(&config).expect_err("a broken rule").to_string();
        assert!(message.starts_with(start), "{message:?} should start with {start:?}");
    }

    #[test]
    fn the_defaults_are_a_majority_of_the_members() {
        let policy = check(&config()).expect("sound");
        assert_eq!((policy.n(), policy.w(), policy.tolerated_failures()), (3, 2, 1));
        assert_eq!(policy.ack_timeout(), Duration::from_secs(2));
    }

    #[test]
    fn a_write_quorum_that_cannot_be_met_is_refused_not_clamped() {
        refused("quorum.w = 0 is outside 1..=3, the number of members", |config| {
            config.quorum.w = WriteQuorum::Exactly(0);
        });
        refused("quorum.w = 4 is outside 1..=3, the number of members", |config| {
            config.quorum.w = WriteQuorum::Exactly(4);
        });
    }

    #[test]
    fn all_means_every_member() {
        let mut config = config();
        config.quorum.w = WriteQuorum::All;
        assert_eq!(check(&config).expect("sound").w(), 3);
    }

    #[test]
    fn a_mesh_has_members_and_not_too_many() {
        refused("member: no [[member]]", |config| config.members.clear());
        refused("member: 65 members are more than 64", |config| {
            config.members =
                (1..=65).map(|i| member(&format!("n{i}"), &format!("h:{i}"))).collect();
        });
    }

    #[test]
    fn members_differ_in_name_and_address() {
        refused("member[2].name = \"n1\" is already the name of member[0]", |config| {
            config.members[2].name = config.members[0].name.clone();
        });
        refused("member[1].address = \"10.0.0.1:7400\" is already", |config| {
            config.members[1].address = config.members[0].address.clone();
        });
        refused("member[1].address = \"HOST:1\" is already", |config| {
            config.members[0].address = "host:1".into();
            config.members[1].address = "HOST:1".into();
        });
    }

    #[test]
    fn a_member_name_fits_a_certificate() {
        for name in ["N2", "n_2", "n.2", "2"] {
            refused("member[1].name: invalid node name", |config| {
                config.members[1] = member(name, "h:1");
            });
        }
    }

    #[test]
    fn a_member_address_is_host_and_port() {
        for address in ["", "host", "host:", ":7400", "host:0", "host:70000", "::1:7400", "a b:1"] {
            refused(&format!("member[1].address = {address:?}"), |config| {
                config.members[1].address = address.into();
            });
        }
        for address in ["db-1.example.org:7400", "10.0.0.9:1", "[::1]:7400"] {
            let mut config = config();
            config.members[1].address = address.into();
            assert!(check(&config).is_ok(), "{address}");
        }
    }

    #[test]
    fn this_node_is_a_member() {
        refused("node.name = \"n9\" is not the name of any [[member]]", |config| {
            config.node.name = PeerId::new("n9").expect("a name");
        });
    }

    #[test]
    fn a_cluster_name_fits_a_certificate() {
        for cluster in ["", " x", "ü", &"x".repeat(65)] {
            refused("node.cluster = ", |config| config.node.cluster = cluster.into());
        }
    }

    #[test]
    fn a_value_fits_into_a_frame_between_peers() {
        refused("http.body_bytes_max = 3145729 is above 3145728", |c| {
            c.http.body_bytes_max = ByteSize::new(BODY_BYTES_MAX + 1);
        });
    }

    #[test]
    fn the_largest_value_can_be_under_way() {
        refused("quorum.in_flight_bytes_max = 1048575 is below", |c| {
            c.quorum.in_flight_bytes_max = ByteSize::new((1 << 20) - 1);
        });
    }

    #[test]
    fn a_clock_is_warned_about_before_it_is_rejected() {
        refused("clock.skew_warn = 10m is above clock.skew_max = 5m", |config| {
            config.clock.skew_warn = Duration::from_secs(600);
        });
    }

    #[test]
    fn public_http_needs_tls_or_tokens() {
        let public = "0.0.0.0:7480".parse().expect("an address");
        refused("http.listen = 0.0.0.0:7480 is reachable", |c| c.http.listen = public);
        let mut config = config();
        config.http.listen = public;
        config.http.tokens_file = Some("tokens".into());
        assert!(check(&config).is_ok());
        config.http.tokens_file = None;
        config.http.tls_cert = Some("http.pem".into());
        config.http.tls_key = Some("http.key".into());
        assert!(check(&config).is_ok());
    }

    #[test]
    fn http_has_a_certificate_and_a_key_or_neither() {
        refused("http.tls_cert is set but http.tls_key is not", |config| {
            config.http.tls_cert = Some("http.pem".into());
        });
        refused("http.tls_key is set but http.tls_cert is not", |config| {
            config.http.tls_key = Some("http.key".into());
        });
    }

    #[test]
    fn logs_and_traces_can_be_set_up() {
        refused("log.filter = \"quorum=loud\"", |c| c.log.filter = "quorum=loud".into());
        refused("otlp.endpoint = \"localhost:4318\"", |config| {
            config.otlp.endpoint = Some("localhost:4318".into());
        });
        refused("otlp.trace_ratio = 1.5 is outside 0..=1", |c| c.otlp.trace_ratio = 1.5);
        refused("otlp.trace_ratio = NaN is outside 0..=1", |c| c.otlp.trace_ratio = f64::NAN);
    }
}
