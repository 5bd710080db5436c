//! Says what a certificate says: whose it is, who signed it, when it ends. (pure)

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::error::PkiError;

/// What one certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// The owner's distinguished name.
    pub subject: String,
    /// The organisation in it: the cluster's name, or empty.
    pub organisation: String,
    /// The DNS names it is valid for, in the certificate's order. A node has exactly one: its own.
    pub names: Vec<String>,
    /// The signer's distinguished name.
    pub issuer: String,
    /// Whether it may sign other certificates.
    pub authority: bool,
    /// When it starts to count.
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub not_before: SystemTime,
    /// When it ceases to count.
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub not_after: SystemTime,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint_sha256: String,
    /// The public key as DER, to tell whether a private key belongs to it.
    #[serde(skip)]
    pub public_key: Vec<u8>,
}

impl Description {
    /// Whole days until the certificate ends, negative once it has.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> i64 {
        let days = |span: Duration| i64::try_from(span.as_secs() / 86_400).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => days(left),
            Err(past) => -1 - days(past.duration()),
        }
    }
}

/// Describes the first certificate of a PEM text.
///
/// # Errors
///
/// [`PkiError::Malformed`] if there is none or it is damaged.
pub fn describe(pem: &str) -> Result<Description, PkiError> {
    let first = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(malformed)?;
    describe_der(&first)
}

/// Describes every certificate of a PEM text, in order.
///
/// # Errors
///
/// [`PkiError::Malformed`] if there is none or one is damaged.
pub fn describe_bundle(pem: &str) -> Result<Vec<Description>, PkiError> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| describe_der(&certificate.map_err(malformed)?))
        .collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(PkiError::Malformed { detail: "no certificate in the text".into() });
    }
    Ok(certificates)
}

/// Describes one certificate in DER.
///
/// # Errors
///
/// [`PkiError::Malformed`] if it is damaged.
pub fn describe_der(der: &[u8]) -> Result<Description, PkiError> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(malformed)?;
    if !rest.is_empty() {
        return Err(PkiError::Malformed { detail: "bytes after the certificate".into() });
    }
    let subject = certificate.subject();
    let organisation = subject.iter_organization().find_map(|value| value.as_str().ok());
    let validity = certificate.validity();
    Ok(Description {
        subject: subject.to_string(),
        organisation: organisation.unwrap_or_default().to_owned(),
        names: dns_names(&certificate)?,
        issuer: certificate.issuer().to_string(),
        authority: certificate.is_ca(),
        not_before: system_time(validity.not_before.timestamp()),
        not_after: system_time(validity.not_after.timestamp()),
        serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        fingerprint_sha256: fingerprint(der),
        public_key: certificate.public_key().raw.to_vec(),
    })
}

fn dns_names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, PkiError> {
    let Some(extension) = certificate.subject_alternative_name().map_err(malformed)? else {
        return Ok(Vec::new());
    };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Ok(names.collect())
}

fn fingerprint(der: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn system_time(seconds: i64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::UNIX_EPOCH - span } else { SystemTime::UNIX_EPOCH + span }
}

fn malformed(error: impl std::fmt::Display) -> PkiError {
    PkiError::Malformed { detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::{Authority, Validity};
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn authority_pem() -> String {
        let validity = Validity::from_days(NOW + Duration::from_secs(7200), 10).expect("ten days");
        Authority::create("orchard", validity).expect("an authority").certificate_pem().to_owned()
    }

    #[test]
    fn a_bundle_describes_every_root_in_order() {
        let (old, new) = (authority_pem(), authority_pem());
        let both = describe_bundle(&format!("{old}{new}")).expect("two roots");
        assert_eq!(both, [describe(&old).expect("old"), describe(&new).expect("new")]);
    }

    #[test]
    fn a_text_without_a_certificate_is_refused() {
        let damaged = authority_pem().replace("MII", "AAA");
        for text in ["", "hello", damaged.as_str()] {
            assert!(matches!(describe_bundle(text), Err(PkiError::Malformed { .. })), "{text}");
            assert!(matches!(describe(text), Err(PkiError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn days_left_count_down_through_zero() {
        let description = describe(&authority_pem()).expect("readable");
        let end = description.not_after;
        let hour = Duration::from_secs(3600);
        assert_eq!(description.days_left(end - hour * 25), 1);
        assert_eq!(description.days_left(end - hour), 0);
        assert_eq!(description.days_left(end + hour), -1);
    }
}
