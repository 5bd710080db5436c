//! Reads lists that come from a peer: memory grows with what is there, not with what is announced.
//!
//! Serde makes room for up to a mebibyte of elements as soon as a list says how long it is, so a few bytes that announce a
//! long list would cost that much. Name this module in `#[serde(deserialize_with = "…")]` on such a list.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// Elements for which there is room from the beginning.
const ROOM: usize = 8;

/// Reads a list.
///
/// # Errors
///
/// Those of the deserializer.
pub fn deserialize<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_seq(List(PhantomData))
}

struct List<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::with_capacity(elements.size_hint().unwrap_or_default().min(ROOM));
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    #[derive(serde::Deserialize)]
    struct Message {
        #[serde(deserialize_with = "super::deserialize")]
        list: Vec<u8>,
    }

    #[test]
    fn a_list_is_read_to_its_end() {
        for list in [vec![], vec![1], (0..100).collect::<Vec<u8>>()] {
            let text = serde_json::json!({ "list": list }).to_string();
            assert_eq!(serde_json::from_str::<Message>(&text).expect("valid").list, list);
        }
        assert!(serde_json::from_str::<Message>(r#"{"list":[1,"x"]}"#).is_err());
        assert!(serde_json::from_str::<Message>(r#"{"list":7}"#).is_err());
    }
}
