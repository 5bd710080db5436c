//! The codes with which connections are closed, and what a closed connection says about its cause.

use quinn::{ConnectionError, VarInt};
use quorum_core::HandshakeRefusal;

use crate::error::TransportError;

/// The node shuts down or replaces the connection; dial again.
pub(crate) const GOODBYE: VarInt = VarInt::from_u32(0);
/// Codes of refusals begin here, in the order of [`HandshakeRefusal::ALL`].
const REFUSAL_BASE: u32 = 0x100;

/// TLS alerts (RFC 8446, section 6.2) that say something about an identity.
const ALERT_BAD_CERTIFICATE: u64 = 42;
const ALERT_UNSUPPORTED_CERTIFICATE: u64 = 43;
const ALERT_CERTIFICATE_EXPIRED: u64 = 45;
const ALERT_CERTIFICATE_UNKNOWN: u64 = 46;
const ALERT_UNKNOWN_CA: u64 = 48;
const ALERT_ACCESS_DENIED: u64 = 49;
const ALERT_DECRYPT_ERROR: u64 = 51;
const ALERT_CERTIFICATE_REQUIRED: u64 = 116;
const ALERT_NO_APPLICATION_PROTOCOL: u64 = 120;
/// QUIC carries alerts in this range of transport error codes (RFC 9001, section 4.8).
const CRYPTO_ERRORS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// The close code of a refusal.
pub(crate) fn code_of(reason: HandshakeRefusal) -> VarInt {
    let index = HandshakeRefusal::ALL.iter().position(|known| *known == reason);
    VarInt::from_u32(REFUSAL_BASE + u32::try_from(index.unwrap_or(0)).unwrap_or(0))
}

fn refusal_of_code(code: VarInt) -> Option<HandshakeRefusal> {
    let index = code.into_inner().checked_sub(u64::from(REFUSAL_BASE))?;
    HandshakeRefusal::ALL.get(usize::try_from(index).ok()?).copied()
}

fn refusal_of_alert(code: u64) -> Option<HandshakeRefusal> {
    if !CRYPTO_ERRORS.contains(&code) {
        return None;
    }
    Some(match code - CRYPTO_ERRORS.start() {
        ALERT_CERTIFICATE_EXPIRED => HandshakeRefusal::Expired,
        ALERT_NO_APPLICATION_PROTOCOL => HandshakeRefusal::Version,
        // What webpki answers to a certificate that does not carry the name that was dialled.
        ALERT_BAD_CERTIFICATE => HandshakeRefusal::WrongName,
        ALERT_UNSUPPORTED_CERTIFICATE
        | ALERT_CERTIFICATE_UNKNOWN
        | ALERT_UNKNOWN_CA
        | ALERT_ACCESS_DENIED
        | ALERT_DECRYPT_ERROR
        | ALERT_CERTIFICATE_REQUIRED => HandshakeRefusal::Stranger,
        _ => HandshakeRefusal::Protocol,
    })
}

/// What the end of a connection means: a refusal with its reason, or a loss.
pub(crate) fn explain(error: &ConnectionError) -> TransportError {
    let reason = match error {
        ConnectionError::ApplicationClosed(close) => refusal_of_code(close.error_code),
        ConnectionError::ConnectionClosed(close) => refusal_of_alert(u64::from(close.error_code)),
        ConnectionError::TransportError(error) => refusal_of_alert(u64::from(error.code)),
        ConnectionError::VersionMismatch => Some(HandshakeRefusal::Version),
        _ => None,
    };
    match reason {
        Some(reason) => TransportError::refused(reason, error.to_string()),
        None => TransportError::Lost(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_trip_over_a_close_code() {
        for reason in HandshakeRefusal::ALL {
            assert_eq!(refusal_of_code(code_of(reason)), Some(reason));
        }
        assert_eq!(refusal_of_code(GOODBYE), None);
    }
}
