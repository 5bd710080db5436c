//! Whether this machine has what is needed.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, bail};

use crate::class::{BASE_TOOLS, Class, Tool};

/// Splits the classes into those that can be tried here and those whose tools are missing.
///
/// # Errors
///
/// If what every class needs is missing; or anything, unless missing ones may be left out.
pub(crate) fn check(classes: &[Class], skip_missing: bool) -> Result<(Vec<Class>, Vec<Class>)> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        bail!("namespaces, disks and their faults need root");
    }
    let missing = |tools: &[Tool]| -> Vec<Tool> {
        tools.iter().copied().filter(|tool| !is_there(tool.program)).collect()
    };
    let base = missing(BASE_TOOLS);
    let (able, unable): (Vec<Class>, Vec<Class>) =
        classes.iter().partition(|class| missing(class.tools()).is_empty());
    let lacking: BTreeSet<Tool> =
        base.iter().copied().chain(unable.iter().flat_map(|it| missing(it.tools()))).collect();
    if !base.is_empty() || (!unable.is_empty() && !skip_missing) {
        let programs: Vec<&str> = lacking.iter().map(|tool| tool.program).collect();
        let packages: BTreeSet<&str> = lacking.iter().map(|tool| tool.package).collect();
        let packages: Vec<&str> = packages.into_iter().collect();
        bail!(
            "not installed: {}; on Debian: apt-get install -y {}{}",
            programs.join(", "),
            packages.join(" "),
            if base.is_empty() { "; or leave out what needs them with --skip-missing" } else { "" }
        );
    }
    for class in &unable {
        let programs: Vec<&str> = missing(class.tools()).iter().map(|tool| tool.program).collect();
        eprintln!("{class} is left out: {} is not installed", programs.join(", "));
    }
    if able.is_empty() {
        bail!("no class is left that can be tried here");
    }
    Ok((able, unable))
}

/// A file by its path, or a program by its name.
fn is_there(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_path_and_a_file_where_it_is() {
        assert!(is_there("sh"));
        assert!(is_there("/proc/self/exe") || Path::new("/proc").exists());
        assert!(!is_there("no-such-program-anywhere"));
        assert!(!is_there("/no/such/file"));
    }
}
