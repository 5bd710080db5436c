//! Where certificates lie on disk, and how they get there.
//!
//! A directory per owner, with the same names in each, so that a node's directory can be copied
//! to its host as it is:
//!
//! ```text
//! ca/   ca.pem  ca.key              the authority; keep it away from the nodes
//! n1/   ca.pem  node.pem  node.key  one node
//! ```

use std::path::{Path, PathBuf};

use super::authority::{Authority, Credentials};
use super::describe::{Description, describe, describe_bundle};
use super::error::PkiError;
use super::secret_file::{
    Access, create, create_directory, read, read_secret, refuse_existing, replace, with_suffix,
};
use super::validity::Validity;

/// The authority's certificate, in its own directory and in every node's.
pub const AUTHORITY_CERTIFICATE: &str = "ca.pem";
/// The authority's private key.
pub const AUTHORITY_KEY: &str = "ca.key";
/// A node's certificate.
pub const NODE_CERTIFICATE: &str = "node.pem";
/// A node's private key.
pub const NODE_KEY: &str = "node.key";

/// What the file of a replaced certificate or key is renamed to: its name and this.
pub const REPLACED_SUFFIX: &str = ".old";

/// Writes an authority into `directory` and returns the files written.
///
/// # Errors
///
/// [`PkiError::Exists`] if one of them is there already, in which case nothing is written;
/// [`PkiError::File`] if one cannot be written.
pub fn write_authority(directory: &Path, authority: &Authority) -> Result<Vec<PathBuf>, PkiError> {
    let Credentials { certificate_pem, key_pem } = authority.credentials();
    write_all(
        directory,
        [
            (AUTHORITY_KEY, &key_pem, Access::Owner),
            (AUTHORITY_CERTIFICATE, &certificate_pem, Access::Everybody),
        ],
    )
}

/// Reads the authority that [`write_authority`] wrote.
///
/// # Errors
///
/// [`PkiError::File`] or [`PkiError::Exposed`] if a file cannot or must not be read,
/// [`PkiError::Content`] if what it holds is no authority.
pub fn read_authority(directory: &Path) -> Result<Authority, PkiError> {
    let certificate_path = directory.join(AUTHORITY_CERTIFICATE);
    let certificate_pem = read(&certificate_path)?;
    let key_pem = read_secret(&directory.join(AUTHORITY_KEY))?;
    Authority::from_pem(&certificate_pem, &key_pem).map_err(|e| e.in_file(certificate_path))
}

/// Writes a node's certificate and key, and the root it trusts, into `directory`, and returns the
/// files written.
///
/// # Errors
///
/// As [`write_authority`].
pub fn write_node(
    directory: &Path,
    authority: &Authority,
    node: &Credentials,
) -> Result<Vec<PathBuf>, PkiError> {
    write_all(
        directory,
        [
            (NODE_KEY, &node.key_pem, Access::Owner),
            (NODE_CERTIFICATE, &node.certificate_pem, Access::Everybody),
            (AUTHORITY_CERTIFICATE, authority.certificate_pem(), Access::Everybody),
        ],
    )
}

/// Gives the node in `directory` a new key and a new certificate for the name it has, and returns
/// what the new certificate says.
///
/// The former files stay beside them with the suffix `.old`. Each file changes in one step, the
/// key first: a reader that finds a key and a certificate that do not belong together has come
/// between the two steps and should read again. If the process dies there, renewing once more
/// mends it.
///
/// # Errors
///
/// [`PkiError::File`] if a file cannot be read or written, [`PkiError::Content`] if the present
/// certificate does not say which node it is for, and what [`Authority::issue`] may say.
pub fn renew_node(
    directory: &Path,
    authority: &Authority,
    validity: Validity,
) -> Result<Description, PkiError> {
    let (certificate, key) = (directory.join(NODE_CERTIFICATE), directory.join(NODE_KEY));
    let (old_certificate, old_key) = (read(&certificate)?, read(&key)?);
    let name = node_name(&old_certificate).map_err(|error| error.in_file(&certificate))?;
    let node = authority.issue(&name, validity)?;

    let old = |path: &Path| with_suffix(path, REPLACED_SUFFIX);
    replace(&old(&key), &old_key, Access::Owner)?;
    replace(&old(&certificate), &old_certificate, Access::Everybody)?;
    replace(&key, &node.key_pem, Access::Owner)?;
    replace(&certificate, &node.certificate_pem, Access::Everybody)?;
    describe(&node.certificate_pem)
}

/// Describes every certificate in a PEM file.
///
/// # Errors
///
/// [`PkiError::File`] if it cannot be read, [`PkiError::Content`] if it holds no certificate.
pub fn describe_file(path: &Path) -> Result<Vec<Description>, PkiError> {
    describe_bundle(&read(path)?).map_err(|error| error.in_file(path))
}

/// The one name in a node's certificate.
fn node_name(certificate_pem: &str) -> Result<String, PkiError> {
    describe(certificate_pem)?
        .names
        .into_iter()
        .next()
        .ok_or_else(|| PkiError::Malformed { detail: "the certificate names no node".into() })
}

fn write_all<const N: usize>(
    directory: &Path,
    files: [(&str, &str, Access); N],
) -> Result<Vec<PathBuf>, PkiError> {
    let paths = files.map(|(name, _, _)| directory.join(name));
    refuse_existing(paths.iter().map(PathBuf::as_path))?;
    create_directory(directory)?;
    for (path, (_, content, access)) in paths.iter().zip(files) {
        create(path, content, access)?;
    }
    Ok(paths.into())
}
