//! Names and fixed-size identifiers, each a newtype that is valid if it exists.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest member name, in bytes.
pub const PEER_ID_BYTES_MAX: usize = 64;

/// A text that is not the identifier it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// A member name breaks the naming rule of [`PeerId`].
    #[error(
        "invalid member name {name:?}: expected 1 to 64 of [A-Za-z0-9._-], starting with a letter or digit"
    )]
    PeerId {
        /// The offending text, cut to a printable length.
        name: String,
    },
    /// A hexadecimal identifier has the wrong length or a foreign character.
    #[error("invalid {what}: expected {digits} hexadecimal digits")]
    Hex {
        /// Which identifier was being read.
        what: &'static str,
        /// How many digits it has.
        digits: usize,
    },
}

/// The name of a member, unique in its mesh.
///
/// 1 to 64 bytes of `[A-Za-z0-9._-]`, starting with a letter or a digit. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct PeerId(Arc<str>);

impl PeerId {
    /// Checks and wraps a member name.
    ///
    /// # Errors
    ///
    /// [`InvalidId::PeerId`] if the name breaks the naming rule.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidId> {
        let name = name.as_ref();
        let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if starts_well && name.len() <= PEER_ID_BYTES_MAX && name.bytes().all(plain) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidId::PeerId { name: name.chars().take(PEER_ID_BYTES_MAX).collect() })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for PeerId {
    type Err = InvalidId;

    fn from_str(name: &str) -> Result<Self, InvalidId> {
        Self::new(name)
    }
}

impl TryFrom<String> for PeerId {
    type Error = InvalidId;

    fn try_from(name: String) -> Result<Self, InvalidId> {
        Self::new(name)
    }
}

impl From<PeerId> for String {
    fn from(id: PeerId) -> Self {
        id.0.as_ref().to_owned()
    }
}

/// Declares a fixed-size identifier that reads and prints as hexadecimal.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Wraps raw bytes; every value is valid.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                from_hex(text)
                    .map(Self)
                    .ok_or(InvalidId::Hex { what: $what, digits: 2 * $bytes })
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() { to.collect_str(self) } else { self.0.serialize(to) }
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $bytes]>::deserialize(from).map(Self)
                }
            }
        }
    };
}

hex_id!(
    /// Names one write for its whole life: 128 bits, chosen by the caller or at random.
    ///
    /// Prints as a UUID; reads with or without hyphens.
    WriteId, 16, "write id"
);
hex_id!(
    /// The BLAKE3 hash of a record's payload: two replicas that hold the same version must agree on it.
    Digest, 32, "digest"
);
hex_id!(
    /// Names a mesh, so that nodes of two meshes never exchange records.
    ClusterId, 16, "cluster id"
);
hex_id!(
    /// Tells the lives of one member's data directory apart.
    ///
    /// Random, made when a store is created or restored: whoever lost data comes back as another incarnation.
    Incarnation, 8, "incarnation"
);

impl Digest {
    /// The digest of a payload.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        Self(*blake3::hash(payload).as_bytes())
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in [0..4, 4..6, 6..8, 8..10] {
            write_hex(&self.0[group], out)?;
            out.write_str("-")?;
        }
        write_hex(&self.0[10..], out)
    }
}

/// Writes bytes as lower-case hexadecimal. Every receipt has several ids in it, so not digit by digit.
fn write_hex(bytes: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    const AT_ONCE: usize = 32;
    let mut text = [0; 2 * AT_ONCE];
    for bytes in bytes.chunks(AT_ONCE) {
        for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
        let text = &text[..2 * bytes.len()];
        out.write_str(std::str::from_utf8(text).expect("digits are ASCII"))?;
    }
    Ok(())
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

/// Exactly `2 * N` hexadecimal digits, hyphens ignored, or nothing.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut digits = text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16));
    let mut bytes = [0; N];
    for byte in &mut bytes {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_name_is_plain_and_bounded() {
        for good in ["n1", "a", "db-3.eu_west", &"x".repeat(64)] {
            assert!(PeerId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-n1", "n 1", "n/1", "é", &"x".repeat(65)] {
            assert!(PeerId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_write_id_reads_what_it_prints() {
        let id = WriteId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string(), "30313233-3435-3637-3839-616263646566");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().replace('-', "").parse(), Ok(id));
    }

    #[test]
    fn hexadecimal_of_the_wrong_length_or_alphabet_is_refused() {
        for bad in ["", "30", "3031323334353637383961626364656", "zz313233343536373839616263646566"]
        {
            assert!(bad.parse::<WriteId>().is_err(), "{bad}");
        }
    }
}
