//! Writes files that only their owner may read, and never half of one.
//!
//! Everything the node keeps secret passes through here: a new file is created with its final
//! permissions, and an existing one is replaced by a rename, so that no reader ever sees a part
//! of it or an open moment before a `chmod`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::PkiError;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a file is secret or it is not")]
pub enum Access {
    /// Its owner alone: private keys, tokens.
    Owner,
    /// Everybody: certificates, configuration.
    Everybody,
}

/// Creates a directory, and those above it, that only its owner may enter. One that exists is left
/// as it is.
///
/// # Errors
///
/// [`PkiError::File`] if it cannot be created.
pub fn create_directory(path: &Path) -> Result<(), PkiError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| file_error("create directory", path, source))
}

/// Refuses if any of `paths` exists, so that a command writes all of its files or none.
///
/// # Errors
///
/// [`PkiError::Exists`] with the first file in the way.
pub fn refuse_existing<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), PkiError> {
    match paths.into_iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(PkiError::Exists { path: path.to_owned() }),
        None => Ok(()),
    }
}

/// Writes a file that is not there yet, and syncs it.
///
/// # Errors
///
/// [`PkiError::Exists`] if it is there, [`PkiError::File`] if it cannot be written.
pub fn create(path: &Path, content: &str, access: Access) -> Result<(), PkiError> {
    write_new(path, content, access).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => PkiError::Exists { path: path.to_owned() },
        _ => file_error("write", path, error),
    })
}

/// Puts `content` in the place of a file in one step: a reader sees the old or the new one. A
/// process that dies halfway leaves the old file and perhaps a `.new` beside it.
///
/// # Errors
///
/// [`PkiError::File`] if it cannot be written; the old file then stays.
pub fn replace(path: &Path, content: &str, access: Access) -> Result<(), PkiError> {
    let draft = with_suffix(path, ".new");
    let replaced = remove_if_present(&draft)
        .and_then(|()| write_new(&draft, content, access))
        .and_then(|()| fs::rename(&draft, path))
        .and_then(|()| sync_directory(path));
    replaced.map_err(|source| file_error("replace", path, source))
}

/// Reads a text file.
///
/// # Errors
///
/// [`PkiError::File`] if it cannot be read.
pub fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|source| file_error("read", path, source))
}

/// Reads a text file that only its owner may read.
///
/// # Errors
///
/// [`PkiError::Exposed`] if others may read it, [`PkiError::File`] if it cannot be read.
pub fn read_secret(path: &Path) -> Result<String, PkiError> {
    match exposed_mode(path).map_err(|source| file_error("read", path, source))? {
        Some(mode) => Err(PkiError::Exposed { path: path.to_owned(), mode }),
        None => read(path),
    }
}

/// The permission bits of a file if they let anybody but its owner in. Always `None` where files
/// have no such bits.
///
/// # Errors
///
/// What the operating system said about the file.
pub fn exposed_mode(path: &Path) -> io::Result<Option<u32>> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o7777;
        Ok((mode & 0o077 != 0).then_some(mode))
    }
    #[cfg(not(unix))]
    {
        drop(metadata);
        Ok(None)
    }
}

/// `path` with `suffix` behind its last component.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write_new(path: &Path, content: &str, access: Access) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(
        &mut options,
        match access {
            Access::Owner => 0o600,
            Access::Everybody => 0o644,
        },
    );
    #[cfg(not(unix))]
    let _ = access;
    let mut file = options.open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a rename durable: the name of a file lives in its directory.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> PkiError {
    PkiError::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        create(&path, "first", Access::Owner).expect("a new file");
        assert!(matches!(create(&path, "second", Access::Owner), Err(PkiError::Exists { .. })));
        assert!(matches!(refuse_existing([path.as_path()]), Err(PkiError::Exists { .. })));
        assert_eq!(read_secret(&path).expect("readable"), "first");
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        create(&path, "secret", Access::Owner).expect("a new file");
        assert_eq!(exposed_mode(&path).expect("metadata"), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        let error = read_secret(&path).expect_err("readable by the group");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_keeps_its_owner_only_access_and_leaves_no_draft() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        create(&path, "old", Access::Owner).expect("a new file");
        replace(&path, "new", Access::Owner).expect("replaced");
        assert_eq!(read_secret(&path).expect("readable"), "new");
        assert!(!with_suffix(&path, ".new").exists());
    }
}
