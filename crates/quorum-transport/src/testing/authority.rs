//! A certificate authority that lives as long as a test.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::error::TransportError;
use crate::identity::NodeIdentity;

/// A throwaway authority (ECDSA P-256). Two of them are strangers to each other.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers choose one")]
pub enum Validity {
    /// Throughout any test.
    Now,
    /// No longer.
    Ended,
    /// Not yet.
    NotBegun,
}

/// A certificate and its key, as PEM texts.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Credentials {
    /// The certificate.
    pub chain_pem: String,
    /// Its private key.
    pub key_pem: String,
}

impl Authority {
    /// A new authority.
    ///
    /// # Panics
    ///
    /// If no key can be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let (from, until) = years(Validity::Now);
        (params.not_before, params.not_after) =
            (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().expect("a P-256 key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key);
        Self { issuer: issuer.expect("a key can sign its own certificate") }
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A valid certificate for the member `name`.
    #[must_use]
    pub fn issue(&self, name: &str) -> Credentials {
        self.issue_with(name, Validity::Now)
    }

    /// A certificate for the member `name` that is valid as asked.
    ///
    /// # Panics
    ///
    /// If `name` is not a DNS name.
    #[must_use]
    pub fn issue_with(&self, name: &str, validity: Validity) -> Credentials {
        let params = CertificateParams::new(vec![name.to_owned()]);
        let mut params = params.expect("a member name is a DNS name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (from, until) = years(validity);
        (params.not_before, params.not_after) =
            (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().expect("a P-256 key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority can sign");
        Credentials { chain_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

impl Credentials {
    /// A node with this certificate that accepts what any of `authorities` has signed.
    ///
    /// # Errors
    ///
    /// As [`NodeIdentity::from_pem`].
    pub fn identity(&self, authorities: &[&Authority]) -> Result<NodeIdentity, TransportError> {
        let bundle: String = authorities.iter().map(|authority| authority.pem()).collect();
        NodeIdentity::from_pem(
            self.chain_pem.as_bytes(),
            self.key_pem.as_bytes(),
            bundle.as_bytes(),
        )
    }
}

/// The years at whose beginnings a certificate begins and ends.
const fn years(validity: Validity) -> (i32, i32) {
    match validity {
        Validity::Now => (2020, 2120),
        Validity::Ended => (2019, 2020),
        Validity::NotBegun => (2119, 2120),
    }
}
