//! Where nodes are, and how a namespace and a key become a path. (pure)

use std::fmt::{self, Write};
use std::str::FromStr;

use hyper::Uri;

use crate::record::{Key, Namespace};

/// The address of a node's HTTP interface: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl {
    /// Without a slash at the end.
    text: String,
    secure: bool,
}

/// A text that is not the address of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a node: expected http://HOST:PORT or https://HOST:PORT")]
pub struct InvalidUrl {
    /// What was given.
    text: String,
}

impl NodeUrl {
    /// Whether it is reached over TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Scheme, host and port, without a slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for NodeUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl { text: text.to_owned() };
        let uri: Uri = text.trim().parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        let plain = matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !authority.as_str().contains('@')
            && !authority.host().is_empty();
        match uri.scheme_str() {
            Some(scheme @ ("http" | "https")) if plain => {
                Ok(Self { text: format!("{scheme}://{authority}"), secure: scheme == "https" })
            }
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// One or more nodes, separated by commas where people write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrls(Vec<NodeUrl>);

impl NodeUrls {
    /// The nodes, at least one.
    #[must_use]
    pub fn as_slice(&self) -> &[NodeUrl] {
        &self.0
    }
}

impl FromStr for NodeUrls {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// The path of a key. Every byte that could mean something else is escaped, slashes included, so
/// that keys such as `a//b` or `../x` arrive as they are.
pub(crate) fn key_path(namespace: &Namespace, key: &Key) -> String {
    let mut path = format!("/v1/kv/{namespace}/");
    push_escaped(&mut path, key.as_bytes());
    path
}

/// Appends `name=value` to a path, behind `?` or `&` as needed.
pub(super) fn push_query(path: &mut String, name: &str, value: &[u8]) {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(name);
    path.push('=');
    push_escaped(path, value);
}

fn push_escaped(to: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            to.push(char::from(*byte));
        } else {
            write!(to, "%{byte:02X}").expect("a String takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_scheme_a_host_and_a_port() {
        let node: NodeUrl = "https://[::1]:7480/".parse().expect("an address");
        assert_eq!((node.as_str(), node.is_secure()), ("https://[::1]:7480", true));
        for bad in
            ["", "127.0.0.1:7480", "ftp://a", "http://", "http://a/v1", "http://a?x", "http://u@a"]
        {
            assert!(bad.parse::<NodeUrl>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn several_nodes_are_separated_by_commas() {
        let nodes: NodeUrls = "http://a:1, http://b:2".parse().expect("two");
        assert_eq!(nodes.as_slice().len(), 2);
        assert!("http://a:1,".parse::<NodeUrls>().is_err());
    }

    #[test]
    fn no_byte_of_a_key_means_anything_in_a_url() {
        let namespace = Namespace::new("ns").expect("a name");
        let path = |key: &[u8]| key_path(&namespace, &Key::new(key.to_vec()).expect("a key"));
        assert_eq!(path(b"../x"), "/v1/kv/ns/..%2Fx");
        assert_eq!(path(b"a?b#c%d e\xff"), "/v1/kv/ns/a%3Fb%23c%25d%20e%FF");
        assert_eq!(path("é~_-.9".as_bytes()), "/v1/kv/ns/%C3%A9~_-.9");
    }

    #[test]
    fn a_query_starts_with_a_question_mark_and_goes_on_with_ampersands() {
        let mut path = "/v1/kv/ns".to_owned();
        push_query(&mut path, "prefix", b"a&b");
        push_query(&mut path, "limit", b"10");
        assert_eq!(path, "/v1/kv/ns?prefix=a%26b&limit=10");
    }
}
