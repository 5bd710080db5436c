//! Which member names a certificate can carry. (pure)
//!
//! Peers look a name up through TLS, which knows DNS names only. A member name therefore has to be
//! one DNS label in lower case: what the certificate says and what the member list says are then
//! the same bytes.

/// Longest node name, in bytes: the limit of a DNS label.
pub const NODE_NAME_BYTES_MAX: usize = 63;

/// A name that no certificate can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid node name {name:?}: expected 1 to 63 of [a-z0-9-], not only digits, starting and ending with a letter or digit"
)]
#[non_exhaustive]
pub struct InvalidNodeName {
    /// The offending name, cut to a printable length.
    pub name: String,
}

/// Checks that `name` is one lower-case DNS label.
///
/// # Errors
///
/// [`InvalidNodeName`] if it is empty, longer than 63 bytes, holds anything but `[a-z0-9-]`, starts
/// or ends with a hyphen, or is a number: TLS takes numbers for the start of an IP address.
pub fn check_node_name(name: &str) -> Result<(), InvalidNodeName> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let valid = (1..=NODE_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.bytes().all(|byte| byte.is_ascii_digit());
    if valid {
        Ok(())
    } else {
        Err(InvalidNodeName { name: name.chars().take(NODE_NAME_BYTES_MAX).collect() })
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::ServerName;

    use super::*;

    #[test]
    fn every_valid_name_is_a_dns_name_for_tls() {
        for name in ["n1", "a", "db-eu-3", "3a", "a3", &"x".repeat(63)] {
            assert!(check_node_name(name).is_ok(), "{name}");
            let server_name = ServerName::try_from(name).expect("TLS takes the name");
            assert!(matches!(server_name, ServerName::DnsName(_)), "{name}");
        }
    }

    #[test]
    fn names_that_tls_or_peers_would_read_differently_are_refused() {
        let long = "x".repeat(64);
        for name in ["", "N1", "n_1", "n.1", "-n", "n-", "7", "2026", "n 1", "ñ", &long] {
            assert!(check_node_name(name).is_err(), "{name}");
        }
    }
}
