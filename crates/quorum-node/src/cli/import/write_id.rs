//! Names for the writes of an import, the same whenever the same input is imported again. (pure)

use quorum_core::WriteId;

use super::line::Entry;
use crate::cli::write_options::uuid;

/// The name of the write that the line with this number of this import means.
///
/// The content is part of it: a line that was edited is another write, not the old one with other
/// content.
pub(super) fn write_id(import: &str, number: u64, entry: &Entry) -> WriteId {
    let mut hasher = blake3::Hasher::new_derive_key("quorum-node import write id 1");
    push(&mut hasher, import.as_bytes());
    push(&mut hasher, &number.to_le_bytes());
    push(&mut hasher, entry.namespace.as_str().as_bytes());
    push(&mut hasher, entry.key.as_bytes());
    match &entry.value {
        Some(value) => push(&mut hasher, value),
        // A length that no value has.
        None => {
            hasher.update(&u64::MAX.to_le_bytes());
        }
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid(bytes, 8)
}

/// Adds a part and its length, so that parts cannot run into each other.
fn push(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::{Key, Namespace};

    fn entry(key: &str, value: Option<&'static str>) -> Entry {
        Entry {
            namespace: Namespace::new("ns").expect("a name"),
            key: Key::new(key.as_bytes().to_vec()).expect("a key"),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
        }
    }

    #[test]
    fn the_same_line_has_the_same_name_in_every_version_of_this_program() {
        let id = write_id("import", 1, &entry("k", Some("v")));
        assert_eq!(id.to_string(), "c1024cd7-685b-805c-b915-63dbc9a9e15c");
    }

    #[test]
    fn whatever_differs_makes_another_name() {
        let ids = [
            write_id("import", 1, &entry("k", Some("v"))),
            write_id("other", 1, &entry("k", Some("v"))),
            write_id("import", 2, &entry("k", Some("v"))),
            write_id("import", 1, &entry("kv", Some(""))),
            write_id("import", 1, &entry("k", Some(""))),
            write_id("import", 1, &entry("k", None)),
        ];
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[..index].contains(id), "{index}");
        }
    }
}
