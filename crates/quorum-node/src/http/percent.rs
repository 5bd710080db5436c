//! Percent-decoding to bytes, strictly: keys need not be text, and a malformed escape is a mistake to report. (pure)

/// The bytes a text stands for; nothing if an escape is malformed.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = if first == b'%' {
            let (&[high, low], tail) = tail.split_first_chunk()?;
            bytes.push(digit(high)? << 4 | digit(low)?);
            tail
        } else {
            bytes.push(first);
            tail
        };
    }
    Some(bytes)
}

/// As [`decode`], with `+` for a space, as forms and most clients write queries.
pub(super) fn decode_form(text: &str) -> Option<Vec<u8>> {
    decode(&text.replace('+', " "))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_can_be_written() {
        assert_eq!(decode("a%2Fb%00%fF+").as_deref(), Some(&b"a/b\0\xff+"[..]));
        assert_eq!(decode_form("a+b%2B").as_deref(), Some(&b"a b+"[..]));
        assert_eq!(decode("ü"), Some("ü".into()));
    }

    #[test]
    fn a_malformed_escape_is_not_taken_for_text() {
        for text in ["%", "%1", "%g0", "%0g", "a%é", "100%"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
