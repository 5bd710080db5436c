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
const ALERT_CERTIFICATE_REVOKED: u64 = 44;
const ALERT_CERTIFICATE_EXPIRED: u64 = 45;
const ALERT_CERTIFICATE_UNKNOWN: u64 = 46;
const ALERT_UNKNOWN_CA: u64 = 48;
const ALERT_ACCESS_DENIED: u64 = 49;
const ALERT_DECRYPT_ERROR: u64 = 51;
const ALERT_PROTOCOL_VERSION: u64 = 70;
const ALERT_CERTIFICATE_REQUIRED: u64 = 116;
const ALERT_NO_APPLICATION_PROTOCOL: u64 = 120;
/// QUIC carries alerts in this range of transport error codes (RFC 9001, section 4.8).
const CRYPTO_ERRORS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// The close code of a refusal.
pub(crate) fn code_of(reason: HandshakeRefusal) -> VarInt {
    let index = HandshakeRefusal::ALL.iter().position(|known| *known == reason);
    VarInt::from_u32(REFUSAL_BASE + u32::try_from(index.unwrap_or(0)).unwrap_or(0))
}

/// The code and the words with which a connection is closed because of an error.
pub(crate) fn farewell(error: &TransportError) -> (VarInt, String) {
    match error {
        TransportError::Refused { reason, detail } => (code_of(*reason), detail.clone()),
        TransportError::Protocol(detail) => (code_of(HandshakeRefusal::Protocol), detail.clone()),
        TransportError::TimedOut(_) => (code_of(HandshakeRefusal::Overload), error.to_string()),
        _ => (GOODBYE, error.to_string()),
    }
}

fn refusal_of_code(code: VarInt) -> Option<HandshakeRefusal> {
    let index = code.into_inner().checked_sub(u64::from(REFUSAL_BASE))?;
    HandshakeRefusal::ALL.get(usize::try_from(index).ok()?).copied()
}

/// What a TLS alert says about an identity. `names_are_checked`: whether whoever raised it had dialled a name.
fn refusal_of_alert(code: u64, names_are_checked: bool) -> Option<HandshakeRefusal> {
    if !CRYPTO_ERRORS.contains(&code) {
        return None;
    }
    Some(match code - CRYPTO_ERRORS.start() {
        ALERT_CERTIFICATE_EXPIRED => HandshakeRefusal::Expired,
        ALERT_NO_APPLICATION_PROTOCOL | ALERT_PROTOCOL_VERSION => HandshakeRefusal::Version,
        // What rustls answers to a certificate that does not carry the name that was dialled. Nobody compares names on
        // the accepting side: there it means a certificate that cannot be read.
        ALERT_BAD_CERTIFICATE if names_are_checked => HandshakeRefusal::WrongName,
        ALERT_BAD_CERTIFICATE
        | ALERT_UNSUPPORTED_CERTIFICATE
        | ALERT_CERTIFICATE_REVOKED
        | ALERT_CERTIFICATE_UNKNOWN
        | ALERT_UNKNOWN_CA
        | ALERT_ACCESS_DENIED
        | ALERT_DECRYPT_ERROR
        | ALERT_CERTIFICATE_REQUIRED => HandshakeRefusal::Stranger,
        _ => HandshakeRefusal::Protocol,
    })
}

/// What the end of a connection that we dialled means, or of any connection after its handshake: a refusal with its
/// reason, or a loss.
pub(crate) fn explain(error: &ConnectionError) -> TransportError {
    explain_by(error, Dialler::Us)
}

/// As [`explain`], for a connection that a peer dials and whose handshake does not come to its end.
pub(crate) fn explain_inbound(error: &ConnectionError) -> TransportError {
    explain_by(error, Dialler::Them)
}

/// Whoever dials knows a name, and compares it with the certificate that it is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialler {
    Us,
    Them,
}

fn explain_by(error: &ConnectionError, dialler: Dialler) -> TransportError {
    let reason = match error {
        ConnectionError::ApplicationClosed(close) => refusal_of_code(close.error_code),
        ConnectionError::ConnectionClosed(close) => {
            refusal_of_alert(u64::from(close.error_code), dialler == Dialler::Them)
        }
        ConnectionError::TransportError(error) => {
            refusal_of_alert(u64::from(error.code), dialler == Dialler::Us)
        }
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

    #[test]
    fn a_bad_certificate_is_a_wrong_name_only_where_a_name_was_dialled() {
        let alert = |alert| CRYPTO_ERRORS.start() + alert;
        let named = refusal_of_alert(alert(ALERT_BAD_CERTIFICATE), true);
        assert_eq!(named, Some(HandshakeRefusal::WrongName));
        let unnamed = refusal_of_alert(alert(ALERT_BAD_CERTIFICATE), false);
        assert_eq!(unnamed, Some(HandshakeRefusal::Stranger));
        for names_are_checked in [true, false] {
            let expired = refusal_of_alert(alert(ALERT_CERTIFICATE_EXPIRED), names_are_checked);
            assert_eq!(expired, Some(HandshakeRefusal::Expired));
            assert_eq!(refusal_of_alert(0x0a, names_are_checked), None);
        }
    }
}
