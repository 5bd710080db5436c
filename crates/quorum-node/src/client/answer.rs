//! What a node answers, as JSON says it. (pure)
//!
//! Fields that a later version adds are passed on as they are.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::text::TextOrBase64;

/// A committed write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// Always `committed`.
    pub outcome: String,
    /// The write's name.
    pub write_id: String,
    /// The version under which it competes.
    pub version: String,
    /// The digest of what was written.
    pub digest: String,
    /// How durable a copy had to be to count.
    pub durability: String,
    /// Copies that were needed.
    pub needed: usize,
    /// Members whose copies counted.
    pub acked: Vec<Ack>,
    /// Members whose copies did not count when the verdict was given.
    pub missing: Vec<Missing>,
    /// What else the node said.
    #[serde(flatten)]
    pub more: Map<String, Json>,
}

/// A member whose copy counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ack {
    /// Which member.
    pub node: String,
    /// Milliseconds from the beginning of the write to its word.
    pub ms: f64,
}

/// A member whose copy did not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Missing {
    /// Which member.
    pub node: String,
    /// Where it stood instead.
    pub why: String,
}

/// A write that may or may not survive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MissedQuorum {
    /// Always `indeterminate`.
    pub outcome: String,
    /// The write's name: the one to retry with.
    pub write_id: String,
    /// Why the quorum was missed.
    pub reason: String,
    /// Copies confirmed in time.
    pub got: usize,
    /// Copies that were needed.
    pub needed: usize,
    /// Where every member stood.
    pub members: Vec<Member>,
    /// What else the node said.
    #[serde(flatten)]
    pub more: Map<String, Json>,
}

/// Where a member stood when the verdict was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Which member.
    pub node: String,
    /// `acked`, `silent`, `refused:…` and so on.
    pub standing: String,
    /// Milliseconds from the beginning of the write to its word, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
}

/// The part of an RFC 9457 problem that tells errors apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Problem {
    /// What kind of problem it is.
    pub title: Option<String>,
    /// What it is this time.
    pub detail: Option<String>,
    /// What became of the write.
    pub outcome: Option<String>,
}

impl Problem {
    /// The problem in a body; an empty one if there is none in it.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// What to tell a person.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.detail.as_deref().or(self.title.as_deref())
    }
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Value {
    /// The value.
    pub bytes: Bytes,
    /// Its version, if the node told.
    pub version: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// Its records, in the order of their keys.
    pub items: Vec<Item>,
    /// Whether there are more: the key behind which the next page starts, if it is text.
    #[serde(default)]
    pub next: Option<String>,
    /// The same, if it is not text.
    #[serde(default)]
    pub next_base64: Option<String>,
}

impl Page {
    /// The key behind which the next page starts, or `None` if this is the last.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn next_bytes(&self) -> Result<Option<Vec<u8>>, String> {
        TextOrBase64::from_fields("next", self.next.clone(), self.next_base64.clone())
    }
}

/// A record in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Item {
    /// The key, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// The version of the record.
    pub version: String,
    /// The value, if it was asked for and is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value, if it was asked for and is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// What else the node said.
    #[serde(flatten)]
    pub more: Map<String, Json>,
}

impl Item {
    /// The bytes of the key.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn key_bytes(&self) -> Result<Vec<u8>, String> {
        TextOrBase64::from_fields("key", self.key.clone(), self.key_base64.clone())?
            .ok_or_else(|| "an item without a key".into())
    }

    /// The bytes of the value, if it came along.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn value_bytes(&self) -> Result<Option<Vec<u8>>, String> {
        TextOrBase64::from_fields("value", self.value.clone(), self.value_base64.clone())
    }
}
