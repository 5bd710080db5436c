//! Bytes in JSON: as text where they are text, else as base64 under a name that says so. (pure)

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Bytes that JSON can carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "text, or not")]
pub enum TextOrBase64 {
    /// They are UTF-8.
    Text(String),
    /// They are not.
    Base64(String),
}

impl TextOrBase64 {
    /// The form in which `bytes` are shown.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }

    /// The bytes, from whichever of two fields is there; `None` if neither is.
    ///
    /// # Errors
    ///
    /// What is wrong with the fields called `name` and `name_base64`, in words.
    pub fn from_fields(
        name: &str,
        text: Option<String>,
        base64: Option<String>,
    ) -> Result<Option<Vec<u8>>, String> {
        match (text, base64) {
            (Some(_), Some(_)) => Err(format!("both \"{name}\" and \"{name}_base64\" are given")),
            (Some(text), None) => Ok(Some(text.into_bytes())),
            (None, Some(base64)) => STANDARD
                .decode(base64)
                .map(Some)
                .map_err(|error| format!("\"{name}_base64\" is not base64: {error}")),
            (None, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_bytes_survives() {
        for bytes in [&b""[..], b"plain", "é".as_bytes(), b"\xff\x00"] {
            let read = match TextOrBase64::of(bytes) {
                TextOrBase64::Text(text) => TextOrBase64::from_fields("v", Some(text), None),
                TextOrBase64::Base64(text) => TextOrBase64::from_fields("v", None, Some(text)),
            };
            assert_eq!(read, Ok(Some(bytes.to_vec())));
        }
    }

    #[test]
    fn one_of_two_fields_speaks() {
        let field = || Some("YQ==".to_owned());
        let both = TextOrBase64::from_fields("key", field(), field()).expect_err("ambiguous");
        assert!(both.contains("\"key\" and \"key_base64\""), "{both}");
        let broken = TextOrBase64::from_fields("key", None, Some("~".into())).expect_err("broken");
        assert!(broken.contains("key_base64"), "{broken}");
        assert_eq!(TextOrBase64::from_fields("key", None, None), Ok(None));
    }
}
