//! When a write id was made, if it says so. (pure)

use quorum_core::WriteId;

/// Milliseconds since the Unix epoch at which the id was made, if it is a UUID of version 7 (RFC 9562, section 5.7).
pub(super) fn write_id_millis(write_id: &WriteId) -> Option<u64> {
    let bytes = write_id.as_bytes();
    let is_version_7 = bytes[6] >> 4 == 7 && bytes[8] >> 6 == 0b10;
    is_version_7.then(|| bytes[..6].iter().fold(0, |millis, byte| (millis << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_example_in_the_rfc_is_read() {
        // RFC 9562, appendix A.6: 017F22E2-79B0-7CC3-98C4-DC0C0C07398F.
        let bytes = 0x017f_22e2_79b0_7cc3_98c4_dc0c_0c07_398f_u128.to_be_bytes();
        assert_eq!(write_id_millis(&WriteId::from_bytes(bytes)), Some(1_645_557_742_000));
    }

    #[test]
    fn other_ids_tell_no_time() {
        let random = 0x919f_08f4_7b2d_4f6a_98c4_dc0c_0c07_398f_u128.to_be_bytes();
        assert_eq!(write_id_millis(&WriteId::from_bytes(random)), None);
        assert_eq!(write_id_millis(&WriteId::from_bytes([0x77; 16])), None, "no UUID at all");
    }
}
