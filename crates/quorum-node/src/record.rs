//! What this node replicates: values and tombstones under a key in a namespace, and the bytes they travel in.
//!
//! The core treats a record's payload as opaque. This file gives it its meaning, and one encoding only: equal contents
//! have equal bytes, therefore equal digests, on every node. Reading never panics and never allocates more than the
//! input is long, because the input may come from a peer.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use quorum_core::{Durability, Version, WriteId};

/// Longest namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 64;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Longest value unless the configuration says otherwise, in bytes.
pub const VALUE_BYTES_MAX_DEFAULT: usize = 1 << 20;

/// What a payload may be longer than its value: its fixed fields, the longest namespace and the longest key.
pub const PAYLOAD_OVERHEAD_MAX: usize = FIXED_BYTES + NAMESPACE_BYTES_MAX + KEY_BYTES_MAX;

/// Version, flags, the length of the namespace and the length of the key.
const FIXED_BYTES: usize = 1 + 1 + 1 + 2;

const PAYLOAD_VERSION: u8 = 1;
const FLAG_TOMBSTONE: u8 = 1;

/// Bytes or text that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// A namespace breaks its naming rule.
    #[error("invalid namespace {name:?}: expected 1 to 64 of [a-z0-9._-]")]
    Namespace {
        /// The offending text, cut to a printable length.
        name: String,
    },
    /// A key is empty or too long.
    #[error("invalid key of {len} bytes: expected 1 to 1024")]
    Key {
        /// Its length in bytes.
        len: usize,
    },
    /// A payload was written by a later version of this program.
    #[error("unknown payload version {found}")]
    Version {
        /// The version it claims.
        found: u8,
    },
    /// A payload is cut short, or not in the one form that its content has.
    #[error("malformed payload: {detail}")]
    Payload {
        /// What is wrong with it.
        detail: &'static str,
    },
}

/// A set of keys with a policy of its own.
///
/// 1 to 64 bytes of `[a-z0-9._-]`. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Checks and wraps a name.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord::Namespace`] if the name breaks the naming rule.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidRecord> {
        let name = name.as_ref();
        if is_namespace(name.as_bytes()) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidRecord::Namespace { name: name.chars().take(NAMESPACE_BYTES_MAX).collect() })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_namespace(name: &[u8]) -> bool {
    let plain =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
    (1..=NAMESPACE_BYTES_MAX).contains(&name.len()) && name.iter().all(plain)
}

impl fmt::Display for Namespace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for Namespace {
    type Err = InvalidRecord;

    fn from_str(name: &str) -> Result<Self, InvalidRecord> {
        Self::new(name)
    }
}

/// What a value is found under: 1 to 1024 bytes of any kind. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// Checks and wraps a key.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord::Key`] if it is empty or too long.
    pub fn new(key: impl Into<Bytes>) -> Result<Self, InvalidRecord> {
        let key = key.into();
        if (1..=KEY_BYTES_MAX).contains(&key.len()) {
            Ok(Self(key))
        } else {
            Err(InvalidRecord::Key { len: key.len() })
        }
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Key {
    /// As text where it is text, with the rest escaped.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_ascii(), out)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{self}\"")
    }
}

/// A write as a caller words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOp {
    /// Where the key lives.
    pub namespace: Namespace,
    /// What is written.
    pub key: Key,
    /// The new value, or `None` to delete the key.
    pub value: Option<Bytes>,
    /// The write's name, kept over retries.
    pub write_id: WriteId,
    /// When a copy counts.
    pub durability: Durability,
    /// Its version must lie above this one: the newest that the first phase of a two-phase write was told of.
    pub above: Option<Version>,
    /// How long it may wait for its place, if the disk must make room for later times first; for ever if left out.
    pub deadline: Option<Instant>,
}

/// What a payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Where the key lives.
    pub namespace: Namespace,
    /// What was written.
    pub key: Key,
    /// The value, or `None` for a tombstone.
    pub value: Option<Bytes>,
}

impl Content {
    /// Reads a payload; key and value share its memory.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord`] if the payload is not exactly what [`encode`](Self::encode) would have written.
    pub fn decode(payload: &Bytes) -> Result<Self, InvalidRecord> {
        let parts = ContentRef::parse(payload)?;
        Ok(Self {
            namespace: Namespace(parts.namespace.into()),
            key: Key(payload.slice_ref(parts.key)),
            value: parts.value.map(|value| payload.slice_ref(value)),
        })
    }

    /// The payload of this content.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(&self.namespace, &self.key, self.value.as_deref())
    }
}

/// The payload that says: this key of this namespace has this value, or none.
#[must_use]
pub(crate) fn encode(namespace: &Namespace, key: &Key, value: Option<&[u8]>) -> Bytes {
    let (namespace, key) = (namespace.as_str().as_bytes(), key.as_bytes());
    let len = FIXED_BYTES + namespace.len() + key.len() + value.map_or(0, <[u8]>::len);
    let mut payload = BytesMut::with_capacity(len);
    payload.put_u8(PAYLOAD_VERSION);
    payload.put_u8(if value.is_none() { FLAG_TOMBSTONE } else { 0 });
    payload.put_u8(u8::try_from(namespace.len()).expect("a namespace has at most 64 bytes"));
    payload.put_slice(namespace);
    payload.put_u16(u16::try_from(key.len()).expect("a key has at most 1024 bytes"));
    payload.put_slice(key);
    payload.put_slice(value.unwrap_or_default());
    payload.freeze()
}

/// A payload taken apart, without a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRef<'a> {
    /// Where the key lives: a valid name.
    pub namespace: &'a str,
    /// What was written: of valid length.
    pub key: &'a [u8],
    /// The value, or `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

impl<'a> ContentRef<'a> {
    /// Takes a payload apart.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord`] if the payload is not in the one form that its content has.
    pub fn parse(payload: &'a [u8]) -> Result<Self, InvalidRecord> {
        let malformed = |detail| InvalidRecord::Payload { detail };
        let cut_short = || malformed("cut short");
        let (&[version, flags, namespace_len], rest) =
            payload.split_first_chunk().ok_or_else(cut_short)?;
        if version != PAYLOAD_VERSION {
            return Err(InvalidRecord::Version { found: version });
        }
        if flags & !FLAG_TOMBSTONE != 0 {
            return Err(malformed("unknown flags"));
        }
        let (namespace, rest) =
            rest.split_at_checked(usize::from(namespace_len)).ok_or_else(cut_short)?;
        if !is_namespace(namespace) {
            return Err(malformed("invalid namespace"));
        }
        let namespace = std::str::from_utf8(namespace).map_err(|_| malformed("not text"))?;
        let (key_len, rest) = rest.split_first_chunk().ok_or_else(cut_short)?;
        let key_len = usize::from(u16::from_be_bytes(*key_len));
        let (key, value) = rest.split_at_checked(key_len).ok_or_else(cut_short)?;
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(malformed("invalid key length"));
        }
        let is_tombstone = flags & FLAG_TOMBSTONE != 0;
        if is_tombstone && !value.is_empty() {
            return Err(malformed("a tombstone with a value"));
        }
        Ok(Self { namespace, key, value: (!is_tombstone).then_some(value) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(namespace: &str, key: &[u8], value: Option<&[u8]>) -> Content {
        Content {
            namespace: Namespace::new(namespace).expect("a valid namespace"),
            key: Key::new(key.to_vec()).expect("a valid key"),
            value: value.map(Bytes::copy_from_slice),
        }
    }

    #[test]
    fn names_and_keys_are_bounded() {
        for good in ["a", "users.v2_x-1", &"n".repeat(64)] {
            assert!(Namespace::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a/b", "é", "a\0", &"n".repeat(65)] {
            assert!(Namespace::new(bad).is_err(), "{bad}");
        }
        assert!(Key::new(vec![0_u8; 1_024]).is_ok());
        assert!(Key::new(vec![0_u8; 1_025]).is_err() && Key::new(Bytes::new()).is_err());
    }

    #[test]
    fn the_bytes_of_a_payload_are_fixed_for_ever() {
        let payload = content("ns", b"k\xff", Some(b"value")).encode();
        assert_eq!(payload.as_ref(), b"\x01\x00\x02ns\x00\x02k\xffvalue");
        let tombstone = content("ns", b"k", None).encode();
        assert_eq!(tombstone.as_ref(), b"\x01\x01\x02ns\x00\x01k");
    }

    #[test]
    fn an_empty_value_is_not_a_tombstone() {
        let (empty, gone) = (content("ns", b"k", Some(b"")), content("ns", b"k", None));
        assert_ne!(empty.encode(), gone.encode());
        assert_eq!(Content::decode(&empty.encode()), Ok(empty));
        assert_eq!(Content::decode(&gone.encode()), Ok(gone));
    }

    #[test]
    fn every_shortened_payload_is_refused_or_means_a_shorter_value() {
        let whole = content("ns", b"key", Some(b"value")).encode();
        for len in 0..whole.len() {
            let cut = whole.slice(..len);
            match Content::decode(&cut) {
                Ok(shorter) => assert_eq!(shorter.encode(), cut),
                Err(error) => assert!(matches!(error, InvalidRecord::Payload { .. }), "{error}"),
            }
        }
    }

    #[test]
    fn a_later_version_and_unknown_flags_are_refused() {
        let later = Bytes::from_static(b"\x02\x00\x02ns\x00\x01k");
        assert_eq!(Content::decode(&later), Err(InvalidRecord::Version { found: 2 }));
        let flags = Bytes::from_static(b"\x01\x02\x02ns\x00\x01k");
        assert!(matches!(Content::decode(&flags), Err(InvalidRecord::Payload { .. })));
        let both = Bytes::from_static(b"\x01\x01\x02ns\x00\x01kv");
        assert!(matches!(Content::decode(&both), Err(InvalidRecord::Payload { .. })));
    }

    proptest! {
        #[test]
        fn a_payload_reads_back_as_it_was_written(
            namespace in "[a-z0-9._-]{1,64}",
            key in prop::collection::vec(any::<u8>(), 1..64),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
        ) {
            let content = content(&namespace, &key, value.as_deref());
            prop_assert_eq!(Content::decode(&content.encode()), Ok(content));
        }

        #[test]
        fn hostile_bytes_never_panic_and_what_they_mean_has_one_form(
            bytes in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>(), Just(b'a')], 0..96),
        ) {
            let bytes = Bytes::from(bytes);
            if let Ok(content) = Content::decode(&bytes) {
                prop_assert_eq!(content.encode(), bytes);
            }
        }
    }
}
