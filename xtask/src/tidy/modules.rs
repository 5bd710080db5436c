//! No dead file: every source is reached by `mod` lines from something that cargo builds.
//!
//! A file that no `mod` line reaches is not compiled, and nothing else would say so. Modules
//! inside an inline `mod name { … }` are not followed: the house has none.

use std::collections::BTreeSet;

use super::{Finding, Tree};
use crate::manifest;

/// Where cargo looks for things to build by itself, below a package's folder.
const TARGET_FOLDERS: &[&str] = &["benches/", "examples/", "src/bin/", "tests/"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.members().flat_map(|(folder, manifest)| of_member(tree, folder, manifest)).collect()
}

fn of_member(tree: &Tree, folder: &str, manifest: &str) -> Vec<Finding> {
    let prefix = format!("{folder}/");
    let explicit: BTreeSet<String> = manifest::entries(manifest)
        .iter()
        .filter(|entry| entry.path.len() == 2 && entry.path[1] == "path")
        .map(|entry| format!("{prefix}{}", entry.value.trim_matches('"')))
        .collect();
    let sources: Vec<&str> = tree
        .ending(".rs")
        .map(|(path, _)| path)
        .filter(|path| path.strip_prefix(&prefix).is_some_and(is_watched))
        .collect();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<(String, bool)> = sources
        .iter()
        .filter(|path| explicit.contains(**path) || is_root(&path[prefix.len()..]))
        .map(|path| ((*path).to_owned(), true))
        .collect();
    while let Some((path, is_root)) = open.pop() {
        let Some(text) = tree.text(&path) else { continue };
        for module in declared(text) {
            let places = places(&path, is_root, &module);
            open.extend(
                places
                    .into_iter()
                    .filter(|place| !reached.contains(place))
                    .map(|place| (place, false)),
            );
        }
        reached.insert(path);
    }
    sources
        .into_iter()
        .filter(|path| !reached.contains(*path))
        .map(|path| Finding::new(path, 1, "no `mod` line reaches this file: it is never compiled"))
        .collect()
}

fn is_watched(path: &str) -> bool {
    path.starts_with("src/") || TARGET_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

fn is_root(path: &str) -> bool {
    if matches!(path, "src/lib.rs" | "src/main.rs") {
        return true;
    }
    TARGET_FOLDERS.iter().any(|folder| {
        path.strip_prefix(folder).is_some_and(|rest| match rest.split_once('/') {
            None => true,
            Some((_, file)) => file == "main.rs",
        })
    })
}

/// A module that a file declares without giving its body.
struct Module {
    name: String,
    /// From a `#[path = "…"]` attribute.
    path: Option<String>,
}

fn declared(text: &str) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut path = None;
    for line in text.lines() {
        let mut rest = line.trim();
        while let Some(attribute) = rest.strip_prefix("#[") {
            let Some((inside, after)) = attribute.split_once(']') else { break };
            if let Some(value) = inside.strip_prefix("path") {
                path = Some(value.trim_matches([' ', '=', '"']).to_owned());
            }
            rest = after.trim_start();
        }
        if rest.is_empty() || rest.starts_with("//") {
            continue;
        }
        if let Some(name) = module_name(rest) {
            modules.push(Module { name: name.to_owned(), path: path.take() });
        }
        path = None;
    }
    modules
}

fn module_name(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let name = line.strip_prefix("mod ")?.split_once(';')?.0.trim();
    name.chars().all(|character| character.is_alphanumeric() || character == '_').then_some(name)
}

/// Where the compiler would look for the module.
fn places(declaring: &str, is_root: bool, module: &Module) -> Vec<String> {
    let (folder, file) = declaring.rsplit_once('/').unwrap_or(("", declaring));
    if let Some(path) = &module.path {
        return super::links::joined(folder, path).into_iter().collect();
    }
    let own = if is_root || file == "mod.rs" {
        folder.to_owned()
    } else {
        declaring.trim_end_matches(".rs").to_owned()
    };
    let name = &module.name;
    vec![format!("{own}/{name}.rs"), format!("{own}/{name}/mod.rs")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::printed;

    const MANIFEST: (&str, &str) = (
        "crates/a/Cargo.toml",
        "[package]\nname = \"a\"\n[[test]]\nname = \"odd\"\npath = \"tests/odd/entry.rs\"\n",
    );

    #[test]
    fn every_way_of_declaring_a_module_reaches_it() {
        let files = [
            MANIFEST,
            (
                "crates/a/src/lib.rs",
                "//! x\npub mod one;\n#[cfg(test)] mod two;\n#[path = \"far/away.rs\"]\nmod three;\n",
            ),
            ("crates/a/src/one.rs", "pub(crate) mod inner;\n"),
            ("crates/a/src/one/inner.rs", ""),
            ("crates/a/src/two/mod.rs", "mod inner;"),
            ("crates/a/src/two/inner.rs", ""),
            ("crates/a/src/far/away.rs", ""),
            ("crates/a/tests/cluster/main.rs", "mod harness;"),
            ("crates/a/tests/cluster/harness.rs", ""),
            ("crates/a/tests/odd/entry.rs", "mod beside;"),
            ("crates/a/tests/odd/beside.rs", ""),
            ("crates/a/examples/small.rs", ""),
        ];
        assert_eq!(printed(check, &files), [""; 0]);
    }

    #[test]
    fn a_file_without_a_mod_line_is_found_in_sources_and_in_tests() {
        let files = [
            MANIFEST,
            (
                "crates/a/src/lib.rs",
                "//! `mod dead;` in words reaches nothing.\n// mod dead;\nmod alive { }\n",
            ),
            ("crates/a/src/dead.rs", ""),
            ("crates/a/tests/cluster/main.rs", ""),
            ("crates/a/tests/cluster/dead.rs", ""),
        ];
        let message = "no `mod` line reaches this file: it is never compiled";
        assert_eq!(
            printed(check, &files),
            [
                format!("crates/a/src/dead.rs:1: {message}"),
                format!("crates/a/tests/cluster/dead.rs:1: {message}"),
            ]
        );
    }
}
