//! A record as a line of an export: what `import` reads. (pure)

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::bytes_json;
use crate::record::Content;

/// Writes one line. A deletion is a line whose value is null.
///
/// # Errors
///
/// Those of `out`.
pub(crate) fn write(content: &Content, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Line(content))?;
    out.write_all(b"\n")
}

struct Line<'a>(&'a Content);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Content { namespace, key, value } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("namespace", namespace.as_str())?;
        bytes_json::entry(&mut map, "key", key.as_bytes())?;
        match value {
            Some(value) => bytes_json::entry(&mut map, "value", value)?,
            None => map.serialize_entry("value", &())?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::{Key, Namespace};

    #[test]
    fn a_line_is_text_where_it_can_be_and_base64_elsewhere() {
        let line = |key: &'static [u8], value: Option<&'static [u8]>| {
            let namespace = Namespace::new("ns").expect("a name");
            let (key, value) = (Key::new(key).expect("a key"), value.map(Bytes::from_static));
            let mut line = Vec::new();
            write(&Content { namespace, key, value }, &mut line).expect("a Vec takes everything");
            String::from_utf8(line).expect("JSON")
        };
        assert_eq!(
            line(b"k", Some(b"v\n")),
            "{\"namespace\":\"ns\",\"key\":\"k\",\"value\":\"v\\n\"}\n"
        );
        let bytes = "{\"namespace\":\"ns\",\"key_base64\":\"/w==\",\"value_base64\":\"gIE=\"}\n";
        assert_eq!(line(b"\xff", Some(b"\x80\x81")), bytes);
        assert_eq!(line(b"k", None), "{\"namespace\":\"ns\",\"key\":\"k\",\"value\":null}\n");
    }
}
