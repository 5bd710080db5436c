//! Makes the cluster's authority and signs node certificates with it, in memory.
//!
//! Keys are ECDSA over P-256, which every TLS stack speaks. Making one draws on the operating
//! system's randomness; time comes in with the [`Validity`].

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    date_time_ymd,
};

use super::describe::{Description, describe};
use super::error::PkiError;
use super::name::check_node_name;
use super::validity::Validity;

/// Longest cluster name: what X.509 allows an organisation.
const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// A certificate and its private key, both as PEM text.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key. Whoever reads it can speak under the certificate's name.
    pub key_pem: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key in a log is a key lost.
        out.debug_struct("Credentials")
            .field("certificate_pem", &self.certificate_pem)
            .field("key_pem", &"[elided]")
            .finish()
    }
}

/// The cluster's certificate authority, ready to sign.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    cluster: String,
    not_after: SystemTime,
}

impl Authority {
    /// A new authority for `cluster`, with a new key.
    ///
    /// # Errors
    ///
    /// [`PkiError::Cluster`] if the name is empty, longer than 64 bytes or not printable ASCII;
    /// [`PkiError::Crypto`] if the key cannot be made.
    pub fn create(cluster: &str, validity: Validity) -> Result<Self, PkiError> {
        check_cluster_name(cluster)?;
        let serial: [u8; 16] = random_serial();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // The tail of the serial tells two authorities of one cluster apart while both are in use.
        let common_name = format!("quorum authority {:02x}{:02x}", serial[14], serial[15]);
        let mut params = params(cluster, &common_name, &serial, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate_pem,
            cluster: cluster.to_owned(),
            not_after: validity.not_after(),
        })
    }

    /// An authority from its certificate and key, both PEM.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`] if either text is damaged, [`PkiError::NotAnAuthority`] if the
    /// certificate may not sign others, [`PkiError::KeyMismatch`] if the key is another's.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let description = describe(certificate_pem)?;
        if !description.authority {
            return Err(PkiError::NotAnAuthority { subject: description.subject });
        }
        let key = KeyPair::from_pem(key_pem)
            .map_err(|error| PkiError::Malformed { detail: format!("private key: {error}") })?;
        if description.public_key != key.subject_public_key_info() {
            return Err(PkiError::KeyMismatch);
        }
        let Description { organisation: cluster, not_after, .. } = description;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key)?;
        Ok(Self { issuer, certificate_pem: certificate_pem.to_owned(), cluster, not_after })
    }

    /// A certificate and a new key for the node called `name`, valid for both ends of a peer
    /// connection.
    ///
    /// The certificate never outlives the authority: a longer `validity` is cut to its end.
    ///
    /// # Errors
    ///
    /// [`PkiError::Name`] if the name is not a lower-case DNS label,
    /// [`PkiError::AuthorityExpired`] if nothing would be left of the validity,
    /// [`PkiError::Crypto`] if the key cannot be made.
    pub fn issue(&self, name: &str, validity: Validity) -> Result<Credentials, PkiError> {
        check_node_name(name)?;
        let validity = validity.until_at_most(self.not_after);
        if validity.not_after() <= validity.not_before() {
            let not_after = humantime::format_rfc3339_seconds(self.not_after).to_string();
            return Err(PkiError::AuthorityExpired { not_after });
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(&self.cluster, name, &random_serial(), validity);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Credentials { certificate_pem, key_pem: key.serialize_pem() })
    }

    /// The cluster's name: the organisation in every certificate it signs.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The certificate that every node trusts, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate with its private key. Whoever reads the key can admit members.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials {
            certificate_pem: self.certificate_pem.clone(),
            key_pem: self.issuer.key().serialize_pem(),
        }
    }
}

/// Checks that `name` fits the organisation field of a certificate.
///
/// # Errors
///
/// [`PkiError::Cluster`] if it is empty, longer than 64 bytes or not printable ASCII.
pub fn check_cluster_name(name: &str) -> Result<(), PkiError> {
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if (1..=CLUSTER_NAME_BYTES_MAX).contains(&name.len()) && printable && name.trim() == name {
        Ok(())
    } else {
        Err(PkiError::Cluster { name: name.chars().take(CLUSTER_NAME_BYTES_MAX).collect() })
    }
}

fn params(
    cluster: &str,
    common_name: &str,
    serial: &[u8],
    validity: Validity,
) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, cluster);
    subject.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(validity.not_before());
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(validity.not_after());
    params
}

/// Times before 1970 come from a broken clock; the certificate then starts in 1970.
fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn random_serial() -> [u8; 16] {
    let mut serial: [u8; 16] = rand::random();
    // Serials are positive and, by custom, of full length: the top bit clear, the next one set.
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validity(days: u32) -> Validity {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Validity::from_days(now, days).expect("a sensible lifetime")
    }

    fn authority() -> Authority {
        Authority::create("orchard", validity(3650)).expect("an authority")
    }

    #[test]
    fn a_node_certificate_carries_its_name_once_and_the_cluster() {
        let node = authority().issue("n1", validity(365)).expect("a certificate");
        let description = describe(&node.certificate_pem).expect("readable");
        assert_eq!(description.names, ["n1"]);
        assert_eq!(description.organisation, "orchard");
        assert_eq!(description.not_after, validity(365).not_after());
        assert_eq!(description.not_before, validity(365).not_before());
        assert!(!description.authority);
    }

    #[test]
    fn a_reloaded_authority_signs_like_the_first() {
        let first = authority();
        let credentials = first.credentials();
        let again = Authority::from_pem(&credentials.certificate_pem, &credentials.key_pem)
            .expect("its own credentials");
        assert_eq!(again.cluster(), "orchard");
        let node = again.issue("n2", validity(10)).expect("a certificate");
        let description = describe(&node.certificate_pem).expect("readable");
        assert_eq!(
            description.issuer,
            describe(first.certificate_pem()).expect("readable").subject
        );
    }

    #[test]
    fn a_foreign_key_or_a_node_certificate_makes_no_authority() {
        let (one, other) = (authority().credentials(), authority().credentials());
        assert!(matches!(
            Authority::from_pem(&one.certificate_pem, &other.key_pem),
            Err(PkiError::KeyMismatch)
        ));
        let node = authority().issue("n1", validity(10)).expect("a certificate");
        assert!(matches!(
            Authority::from_pem(&node.certificate_pem, &node.key_pem),
            Err(PkiError::NotAnAuthority { .. })
        ));
    }

    #[test]
    fn no_certificate_outlives_its_authority() {
        let short = Authority::create("orchard", validity(5)).expect("an authority");
        let node = short.issue("n1", validity(365)).expect("a certificate");
        let description = describe(&node.certificate_pem).expect("readable");
        assert_eq!(description.not_after, validity(5).not_after());
    }

    #[test]
    fn an_expired_authority_signs_nothing() {
        let old = Validity::from_days(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400), 1);
        let old = Authority::create("orchard", old.expect("a day")).expect("an authority");
        assert!(matches!(old.issue("n1", validity(1)), Err(PkiError::AuthorityExpired { .. })));
    }

    #[test]
    fn debug_output_shows_no_key() {
        let credentials = authority().credentials();
        assert!(!format!("{credentials:?}").contains("PRIVATE"));
    }
}
