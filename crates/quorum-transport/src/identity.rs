//! Who this node is, and who else belongs to the mesh.

use std::fmt;

use quorum_core::{ClusterId, Digest, PeerId};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::error::{InvalidRoster, TransportError};

/// A node's certificate chain and key, and the authorities whose certificates it accepts.
///
/// Several authorities may be accepted at once, so that a root can be replaced without a pause.
pub struct NodeIdentity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) roots: RootCertStore,
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("NodeIdentity").field("names", &self.names()).finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// An identity from PEM texts: the chain (leaf first), the key, and a bundle of authorities.
    ///
    /// # Errors
    ///
    /// [`TransportError::Identity`] naming the text that cannot be used.
    pub fn from_pem(chain: &[u8], key: &[u8], authorities: &[u8]) -> Result<Self, TransportError> {
        let chain = certificates("certificate", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| TransportError::Identity(format!("private key: {error}")))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates("certificate authority", authorities)? {
            roots.add(authority).map_err(|error| {
                TransportError::Identity(format!("certificate authority: {error}"))
            })?;
        }
        Ok(Self { chain, key, roots })
    }

    /// The DNS names in the leaf certificate.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.chain.first().map(names_in).unwrap_or_default()
    }

    /// When the leaf certificate ends, in seconds since the Unix epoch.
    #[must_use]
    pub fn not_after(&self) -> Option<i64> {
        let (_, leaf) = x509_parser::parse_x509_certificate(self.chain.first()?).ok()?;
        Some(leaf.validity().not_after.timestamp())
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| TransportError::Identity(format!("{what}: {error}")))?;
    if all.is_empty() {
        return Err(TransportError::Identity(format!("{what}: no PEM certificate found")));
    }
    Ok(all)
}

/// The DNS names in a certificate; none if it cannot be read.
pub(crate) fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &x509_parser::extensions::GeneralName<'_>| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}

/// A member and where to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Member {
    /// Its name, as in its certificate.
    pub name: PeerId,
    /// `host:port`; the host is looked up anew at every attempt to dial.
    pub address: String,
}

/// The members of a mesh, as one of them sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    cluster: ClusterId,
    local: PeerId,
    members: Vec<Member>,
}

impl Roster {
    /// A roster of `members`, `local` among them.
    ///
    /// # Errors
    ///
    /// [`InvalidRoster`] if the local member is missing, a name is there twice, or is not a DNS name.
    pub fn new(
        cluster: ClusterId,
        local: PeerId,
        mut members: Vec<Member>,
    ) -> Result<Self, InvalidRoster> {
        members.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = members.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(InvalidRoster::Twice(pair[0].name.clone()));
        }
        for member in &members {
            if !matches!(ServerName::try_from(member.name.as_str()), Ok(ServerName::DnsName(_))) {
                return Err(InvalidRoster::NotADnsName(member.name.clone()));
            }
        }
        if !members.iter().any(|member| member.name == local) {
            return Err(InvalidRoster::LocalMissing(local));
        }
        Ok(Self { cluster, local, members })
    }

    /// The mesh.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// This node.
    #[must_use]
    pub const fn local(&self) -> &PeerId {
        &self.local
    }

    /// All other members, by name.
    pub fn peers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.name != self.local)
    }

    /// Whether `name` belongs to the mesh.
    #[must_use]
    pub fn contains(&self, name: &PeerId) -> bool {
        self.members.iter().any(|member| member.name == *name)
    }

    /// The member that a certificate names, if it names one.
    #[must_use]
    pub(crate) fn member_named_in(&self, certificate: &CertificateDer<'_>) -> Option<PeerId> {
        let names = names_in(certificate);
        names.iter().filter_map(|name| PeerId::new(name).ok()).find(|name| self.contains(name))
    }

    /// A digest of the member names: two nodes that disagree about who counts refuse each other's links.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut names = Vec::new();
        for member in &self.members {
            names.extend_from_slice(member.name.as_str().as_bytes());
            names.push(0);
        }
        Digest::of(&names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member { name: PeerId::new(name).expect("a valid name"), address: "127.0.0.1:1".into() }
    }

    fn roster(local: &str, names: &[&str]) -> Result<Roster, InvalidRoster> {
        let local = PeerId::new(local).expect("a valid name");
        Roster::new(
            ClusterId::from_bytes([0; 16]),
            local,
            names.iter().map(|n| member(n)).collect(),
        )
    }

    #[test]
    fn a_roster_names_each_member_once_and_the_local_one() {
        assert!(matches!(roster("a", &["a", "b", "a"]), Err(InvalidRoster::Twice(_))));
        assert!(matches!(roster("c", &["a", "b"]), Err(InvalidRoster::LocalMissing(_))));
        assert!(matches!(roster("a", &["a", "10.0.0.1"]), Err(InvalidRoster::NotADnsName(_))));
        assert!(matches!(roster("a", &["a", "b..c"]), Err(InvalidRoster::NotADnsName(_))));
        assert_eq!(roster("a", &["b", "a"]).map(|r| r.peers().count()), Ok(1));
    }

    #[test]
    fn the_digest_depends_on_the_names_and_not_on_their_order() {
        let abc = roster("a", &["a", "b", "c"]).expect("valid").digest();
        assert_eq!(roster("b", &["c", "b", "a"]).expect("valid").digest(), abc);
        assert_ne!(roster("a", &["a", "b"]).expect("valid").digest(), abc);
    }
}
