//! One line of input: which record it means. (pure)

use bytes::Bytes;
use serde::Deserialize;

use crate::client::TextOrBase64;
use crate::record::{Key, Namespace};

/// How lines are read.
#[derive(Debug, Clone)]
pub(super) struct LineFormat {
    /// Where records go that name no namespace themselves.
    pub(super) namespace: Option<Namespace>,
    /// Whether a line is a value as it stands, and not JSON.
    pub(super) plain: bool,
}

/// A record to write, or a key to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) namespace: Namespace,
    pub(super) key: Key,
    /// `None` deletes the key.
    pub(super) value: Option<Bytes>,
}

/// A line of JSON. Unknown fields are passed over, so that exports of later versions can be read.
#[derive(Deserialize)]
struct JsonLine {
    namespace: Option<String>,
    key: Option<String>,
    key_base64: Option<String>,
    // The outer level says whether the field is there, the inner one whether it is null.
    #[serde(default, deserialize_with = "present")]
    value: Option<Option<String>>,
    value_base64: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl LineFormat {
    /// What the line with this number, counted from one, means. `None` if it is blank JSON.
    ///
    /// The error says in words what is wrong with it.
    pub(super) fn read(&self, number: u64, line: &[u8]) -> Result<Option<Entry>, String> {
        if self.plain {
            return self.read_plain(number, line).map(Some);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let line: JsonLine = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let namespace = match line.namespace {
            Some(name) => Namespace::new(name).map_err(|error| error.to_string())?,
            None => self
                .namespace
                .clone()
                .ok_or("no \"namespace\"; name one for such lines with --namespace")?,
        };
        let key = TextOrBase64::from_fields("key", line.key, line.key_base64)?
            .ok_or("no \"key\" or \"key_base64\"")?;
        let key = Key::new(key).map_err(|error| error.to_string())?;
        let value = match (line.value, line.value_base64) {
            (Some(None), None) => None,
            (None, None) => return Err("no \"value\" or \"value_base64\"; null deletes".into()),
            (value, base64) => TextOrBase64::from_fields("value", value.flatten(), base64)?,
        };
        Ok(Some(Entry { namespace, key, value: value.map(Bytes::from) }))
    }

    /// The key is the line's number, because a line may be longer than a key and may come twice.
    /// Ten digits, so that keys are in the order of the lines.
    fn read_plain(&self, number: u64, line: &[u8]) -> Result<Entry, String> {
        let namespace = self.namespace.clone().ok_or("--lines needs --namespace")?;
        let key = Key::new(format!("{number:010}")).map_err(|error| error.to_string())?;
        Ok(Entry { namespace, key, value: Some(Bytes::copy_from_slice(line)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(namespace: Option<&str>, plain: bool) -> LineFormat {
        let namespace = namespace.map(|name| Namespace::new(name).expect("a name"));
        LineFormat { namespace, plain }
    }

    fn entry(namespace: &str, key: &[u8], value: Option<&[u8]>) -> Entry {
        Entry {
            namespace: Namespace::new(namespace).expect("a name"),
            key: Key::new(key.to_vec()).expect("a key"),
            value: value.map(Bytes::copy_from_slice),
        }
    }

    #[test]
    fn a_line_says_namespace_key_and_value() {
        let read = |line: &str| format(Some("other"), false).read(1, line.as_bytes());
        let line = r#"{"namespace":"ns","key":"k","value":"v","later":1}"#;
        assert_eq!(read(line), Ok(Some(entry("ns", b"k", Some(b"v")))));
        let line = r#"{"key_base64":"/w==","value_base64":"AP8="}"#;
        assert_eq!(read(line), Ok(Some(entry("other", b"\xff", Some(b"\0\xff")))));
        let line = r#"{"key":"k","value":null}"#;
        assert_eq!(read(line), Ok(Some(entry("other", b"k", None))));
        let line = r#"{"key":"k","value":""}"#;
        assert_eq!(read(line), Ok(Some(entry("other", b"k", Some(b"")))));
        assert_eq!(read(" \t"), Ok(None));
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_with_it() {
        for (line, word) in [
            ("{", "EOF"),
            (r#"{"namespace":"n","value":"v"}"#, "\"key\""),
            (r#"{"namespace":"n","key":"k"}"#, "\"value\""),
            (r#"{"namespace":"n","key":"","value":"v"}"#, "invalid key"),
            (r#"{"key":"k","value":"v"}"#, "--namespace"),
            (r#"{"namespace":"No","key":"k","value":"v"}"#, "invalid namespace"),
            (r#"{"namespace":"n","key":"k","value":"v","value_base64":"AA=="}"#, "both"),
            (r#"{"namespace":"n","key":"k","value":7}"#, "invalid type"),
        ] {
            let error = format(None, false).read(1, line.as_bytes()).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn a_plain_line_is_a_value_under_its_number() {
        let read = format(Some("words"), true).read(7, b"{not json");
        assert_eq!(read, Ok(Some(entry("words", b"0000000007", Some(b"{not json")))));
        let blank = format(Some("words"), true).read(8, b"");
        assert_eq!(blank, Ok(Some(entry("words", b"0000000008", Some(b"")))));
    }
}
