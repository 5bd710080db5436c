//! Bytes in JSON, by one rule: `x` if they are UTF-8, otherwise `x_base64`, never both. (pure)

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

/// Writes the bytes called `name` into a map.
pub(crate) fn insert(map: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => map.insert(name.to_owned(), text.into()),
        Err(_) => map.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

/// Writes the bytes called `name` into a map that is being serialised.
pub(crate) fn entry<M: SerializeMap>(
    map: &mut M,
    name: &str,
    bytes: &[u8],
) -> Result<(), M::Error> {
    match str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry(name, text),
        Err(_) => map.serialize_entry(&format!("{name}_base64"), &STANDARD.encode(bytes)),
    }
}
