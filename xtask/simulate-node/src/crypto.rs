//! Cryptography whose randomness comes from the seed, so that the same run sends the same bytes.
//!
//! Everything is aws-lc-rs, as in production, but for where random bytes come from: those of the handshake and the keys
//! of the key exchange, which is plain X25519. Certificates are Ed25519, whose signatures need no randomness.

use std::cell::RefCell;
use std::sync::Arc;

use ::aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber, date_time_ymd,
};
use rustls::NamedGroup;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup, aws_lc_rs,
};
use rustls_pki_types::PrivatePkcs8KeyDer;

use quorum_transport::NodeIdentity;

thread_local! {
    /// The random bytes of all handshakes of the run that this thread carries out.
    static BYTES: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(0));
}

/// What comes before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
const ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A provider whose randomness is determined by `seed`, for nodes that run on this thread.
pub(crate) fn provider(seed: u64) -> Arc<CryptoProvider> {
    BYTES.set(StdRng::seed_from_u64(seed));
    Arc::new(CryptoProvider {
        kx_groups: vec![&Seeded],
        secure_random: &Seeded,
        ..aws_lc_rs::default_provider()
    })
}

#[derive(Debug)]
struct Seeded;

impl SecureRandom for Seeded {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        BYTES.with_borrow_mut(|bytes| bytes.fill_bytes(buf));
        Ok(())
    }
}

impl SupportedKxGroup for Seeded {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        let mut key = [0; 32];
        BYTES.with_borrow_mut(|bytes| bytes.fill_bytes(&mut key));
        let failed = |what: &str| rustls::Error::General(what.to_owned());
        let private =
            PrivateKey::from_private_key(&X25519, &key).map_err(|_| failed("no private key"))?;
        let public = private.compute_public_key().map_err(|_| failed("no public key"))?;
        Ok(Box::new(Exchange { private, public: public.as_ref().to_vec() }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    private: PrivateKey,
    public: Vec<u8>,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, rustls::Error> {
        let peer = UnparsedPublicKey::new(&X25519, peer_pub_key);
        let refused = rustls::Error::General("no shared secret".to_owned());
        agreement::agree(&self.private, peer, refused, |secret| Ok(SharedSecret::from(secret)))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// The authority of every simulated mesh.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut params = params("simulated authority", 0);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self(CertifiedIssuer::self_signed(params, key(0)?)?))
    }

    /// The identity of a member, by its place from 0.
    pub(crate) fn identity(&self, name: &str, place: usize) -> anyhow::Result<NodeIdentity> {
        let number = u8::try_from(place + 1)?;
        let mut params = params(name, number);
        params.subject_alt_names = CertificateParams::new(vec![name.to_owned()])?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = key(number)?;
        let certificate = params.signed_by(&key, &self.0)?;
        let (chain, key, authority) = (certificate.pem(), key.serialize_pem(), self.0.pem());
        Ok(NodeIdentity::from_pem(chain.as_bytes(), key.as_bytes(), authority.as_bytes())?)
    }
}

fn params(name: &str, number: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&[number + 1]));
    // The machine's clock judges certificates, whatever the simulated one says.
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1));
    params
}

/// A key that is nobody's secret.
fn key(number: u8) -> anyhow::Result<KeyPair> {
    let mut der = ED25519_PREFIX.to_vec();
    der.extend([number; 32]);
    let der = PrivatePkcs8KeyDer::from(der);
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)?)
}
