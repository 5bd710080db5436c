//! `NAMESPACE/KEY` as people write it on the command line.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use crate::record::{Key, Namespace};

/// The key a command is about.
#[derive(Debug, Clone, Args)]
#[non_exhaustive]
pub struct TargetArguments {
    /// Namespace and key; the key may contain slashes
    #[arg(value_name = "NAMESPACE/KEY")]
    pub target: String,
    /// KEY is base64, for keys that are not text
    #[arg(long)]
    pub key_base64: bool,
}

impl TargetArguments {
    /// The namespace and the key.
    ///
    /// # Errors
    ///
    /// If one of them is missing or breaks its rule.
    pub fn parse(&self) -> anyhow::Result<(Namespace, Key)> {
        let (namespace, key) = self
            .target
            .split_once('/')
            .with_context(|| format!("{:?} is not NAMESPACE/KEY", self.target))?;
        let key = if self.key_base64 {
            STANDARD.decode(key).context("the key is not base64")?
        } else {
            key.as_bytes().to_vec()
        };
        Ok((Namespace::new(namespace)?, Key::new(key)?))
    }
}

/// A key or value for people: as it is if a terminal shows it as it is, else escaped.
#[must_use]
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(target: &str, key_base64: bool) -> anyhow::Result<(Namespace, Key)> {
        TargetArguments { target: target.to_owned(), key_base64 }.parse()
    }

    #[test]
    fn the_first_slash_ends_the_namespace() {
        let (namespace, key) = parse("demo/a/b", false).expect("a target");
        assert_eq!((namespace.as_str(), key.as_bytes()), ("demo", &b"a/b"[..]));
        let (_, key) = parse("demo//w==", true).expect("a target");
        assert_eq!(key.as_bytes(), b"\xff");
        for bad in ["demo", "demo/", "/key", "Demo/key", ""] {
            assert!(parse(bad, false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_terminal_is_never_sent_control_characters() {
        assert_eq!(readable("grün".as_bytes()), "grün");
        assert_eq!(readable(b"a\x1b[2J\n\xff"), r"a\x1b[2J\n\xff");
    }
}
