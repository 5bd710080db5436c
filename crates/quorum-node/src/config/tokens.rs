//! Bearer tokens: who may use the HTTP interface, and what a client presents there.

use std::fmt;
use std::io;
use std::path::Path;

use crate::pki::PkiError;
use crate::pki::secret_file::read_secret;

/// Shortest token that is accepted in a tokens file: shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The variable that holds a client's token, and the one that names a file holding it.
pub const TOKEN_VARIABLE: &str = "QUORUM_TOKEN";
/// The variable that names a file holding a client's token.
pub const TOKEN_FILE_VARIABLE: &str = "QUORUM_TOKEN_FILE";

/// The bearer tokens that are let in.
///
/// Only their hashes are kept, so that neither a log line nor the time of a comparison gives a
/// token away.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<blake3::Hash>);

/// A tokens file that says nothing useful.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTokens {
    /// It holds no token at all.
    #[error("holds no token; write one per line")]
    Empty,
    /// A token is too short or has characters that no header can carry.
    #[error(
        "line {line}: a token is at least {TOKEN_BYTES_MIN} printable ASCII characters without spaces"
    )]
    Token {
        /// The line, counted from one.
        line: usize,
    },
}

impl Tokens {
    /// The tokens in a text: one a line; blank lines and lines that start with `#` are passed over.
    ///
    /// # Errors
    ///
    /// [`InvalidTokens`] if there is none, or one is too short or not printable.
    pub fn parse(text: &str) -> Result<Self, InvalidTokens> {
        let lines = text.lines().map(str::trim).enumerate();
        let tokens = lines
            .filter(|(_, token)| !token.is_empty() && !token.starts_with('#'))
            .map(|(index, token)| {
                let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
                if printable && token.len() >= TOKEN_BYTES_MIN {
                    Ok(blake3::hash(token.as_bytes()))
                } else {
                    Err(InvalidTokens::Token { line: index + 1 })
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if tokens.is_empty() { Err(InvalidTokens::Empty) } else { Ok(Self(tokens)) }
    }

    /// Whether `presented` is one of the tokens. Takes the same time for every wrong one.
    #[must_use]
    pub fn accepts(&self, presented: &str) -> bool {
        let presented = blake3::hash(presented.as_bytes());
        self.0.iter().fold(false, |found, token| found | (*token == presented))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tokens({} elided)", self.0.len())
    }
}

/// The token a client presents: what `QUORUM_TOKEN` says, else the first line of the file that
/// `QUORUM_TOKEN_FILE` names, else none. `variable` looks an environment variable up.
///
/// # Errors
///
/// [`PkiError::File`] if the file cannot be read or is empty, [`PkiError::Exposed`] if others than
/// its owner may read it.
pub fn client_token(variable: impl Fn(&str) -> Option<String>) -> Result<Option<String>, PkiError> {
    if let Some(token) = variable(TOKEN_VARIABLE).filter(|token| !token.is_empty()) {
        return Ok(Some(token));
    }
    let Some(path) = variable(TOKEN_FILE_VARIABLE).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = Path::new(&path);
    let text = read_secret(path)?;
    match text.lines().next().map(str::trim).filter(|token| !token.is_empty()) {
        Some(token) => Ok(Some(token.to_owned())),
        None => Err(PkiError::File {
            action: "find a token in",
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidData, "its first line is empty"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const OTHER: &str = "fedcba9876543210";

    #[test]
    fn only_listed_tokens_are_accepted() {
        let tokens = Tokens::parse(&format!("# staff\n{ONE}\n\n  {OTHER}  \n")).expect("two");
        assert!(tokens.accepts(ONE) && tokens.accepts(OTHER));
        for stranger in ["", "# staff", "0123456789abcde", "0123456789abcdef "] {
            assert!(!tokens.accepts(stranger), "{stranger:?}");
        }
    }

    #[test]
    fn a_file_that_lets_nobody_or_everybody_guess_is_refused() {
        assert_eq!(Tokens::parse("# none\n\n"), Err(InvalidTokens::Empty));
        assert_eq!(Tokens::parse("\nshort"), Err(InvalidTokens::Token { line: 2 }));
        let spaced = Tokens::parse("with a space in the middle");
        assert_eq!(spaced, Err(InvalidTokens::Token { line: 1 }));
    }

    #[test]
    fn debug_output_shows_no_token() {
        let shown = format!("{:?}", Tokens::parse(ONE).expect("one"));
        assert_eq!(shown, "Tokens(1 elided)");
    }

    #[test]
    fn a_client_token_comes_from_its_variable_or_else_from_a_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        crate::pki::secret_file::create(
            &path,
            "from-file\n",
            crate::pki::secret_file::Access::Owner,
        )
        .expect("written");
        let file = path.to_string_lossy().into_owned();
        let only_file = |name: &str| (name == TOKEN_FILE_VARIABLE).then(|| file.clone());
        assert_eq!(client_token(only_file).expect("readable").as_deref(), Some("from-file"));
        let both = |name: &str| match name {
            TOKEN_VARIABLE => Some("direct".to_owned()),
            other => only_file(other),
        };
        assert_eq!(client_token(both).expect("set").as_deref(), Some("direct"));
        assert_eq!(client_token(|_| None).expect("nothing"), None);
    }
}
