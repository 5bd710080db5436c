//! Reads of a `Cargo.toml` what the other files ask about it: package, features, dependencies.
//!
//! A line-wise reading of the subset of TOML that manifests use, so that xtask needs no parser
//! and builds in seconds.

use std::collections::BTreeMap;

/// One `key = value`, its key spelled out from the section on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// For instance `["dependencies", "anyhow", "workspace"]`.
    pub(crate) path: Vec<String>,
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// A dependency of any kind that a package names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// Whether version and source come from `[workspace.dependencies]`.
    pub(crate) inherited: bool,
    /// Whether it is the package itself, as tests that need one of its features write it.
    pub(crate) own: bool,
}

const KINDS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Every entry in the order of the file; a value that spans lines is joined into one.
pub(crate) fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut section: Vec<String> = Vec::new();
    let mut unfinished = false;
    for (index, raw) in text.lines().enumerate() {
        let line = without_comment(raw).trim();
        if line.is_empty() {
            continue;
        }
        if unfinished {
            if let Some(entry) = entries.last_mut() {
                entry.value.push_str(line);
                unfinished = is_open(&entry.value);
            }
        } else if line.starts_with('[') {
            section = segments(line.trim_matches(['[', ']']));
        } else if let Some((key, value)) = line.split_once('=') {
            let mut path = section.clone();
            path.extend(segments(key));
            let value = value.trim().to_owned();
            unfinished = is_open(&value);
            entries.push(Entry { path, value, line: index + 1 });
        }
    }
    entries
}

/// The text value at `path`, if the manifest states one.
pub(crate) fn text_at(text: &str, path: &[&str]) -> Option<String> {
    entries(text)
        .into_iter()
        .find(|entry| entry.path == path)
        .map(|entry| entry.value.trim_matches('"').to_owned())
}

/// The names under `[features]`, without `default`.
pub(crate) fn features(text: &str) -> Vec<String> {
    entries(text)
        .into_iter()
        .filter(|entry| entry.path.len() == 2 && entry.path[0] == "features")
        .map(|mut entry| entry.path.remove(1))
        .filter(|name| name != "default")
        .collect()
}

/// The dependencies of a member, in the order of their first lines.
pub(crate) fn dependencies(text: &str) -> Vec<Dependency> {
    let mut found: BTreeMap<(String, String), Dependency> = BTreeMap::new();
    for entry in entries(text) {
        let Some(kind) = entry.path.iter().position(|part| KINDS.contains(&part.as_str())) else {
            continue;
        };
        let Some(name) = entry.path.get(kind + 1) else { continue };
        if entry.path[0] == "workspace" {
            continue;
        }
        let field = entry.path.get(kind + 2).map(String::as_str);
        let inline = entry.value.replace(' ', "");
        let dependency =
            found.entry((entry.path[..=kind].join("."), name.clone())).or_insert_with(|| {
                Dependency { name: name.clone(), line: entry.line, inherited: false, own: false }
            });
        dependency.inherited |= field == Some("workspace") && inline == "true"
            || field.is_none() && inline.contains("workspace=true");
        dependency.own |= field == Some("path") && inline == "\".\""
            || field.is_none() && inline.contains("path=\".\"");
    }
    let mut dependencies: Vec<Dependency> = found.into_values().collect();
    dependencies.sort_by_key(|dependency| dependency.line);
    dependencies
}

fn segments(key: &str) -> Vec<String> {
    key.split('.').map(|part| part.trim().trim_matches(['"', '\'']).to_owned()).collect()
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (position, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..position],
            _ => {}
        }
    }
    line
}

fn is_open(value: &str) -> bool {
    let count = |wanted: char| value.chars().filter(|character| *character == wanted).count();
    count('[') > count(']') || count('{') > count('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
[package]
name = "quorum-transport" # the wire
[features]
default = ["testing"]
testing = ["dep:rcgen",
    "dep:rand"]
wide = []
[dependencies]
anyhow.workspace = true
tokio = { workspace = true, features = ["rt"] }
stray = "1.2"
[dependencies.quinn]
workspace = true
[target.'cfg(unix)'.dependencies]
rustix = { version = "1" }
[dev-dependencies]
quorum-transport = { path = ".", features = ["testing"] }
"#;

    #[test]
    fn a_text_is_found_by_its_path_and_without_its_comment() {
        assert_eq!(text_at(MANIFEST, &["package", "name"]).as_deref(), Some("quorum-transport"));
        assert_eq!(text_at(MANIFEST, &["package", "version"]), None);
    }

    #[test]
    fn features_are_listed_without_the_default() {
        assert_eq!(features(MANIFEST), ["testing", "wide"]);
    }

    #[test]
    fn every_spelling_of_a_dependency_is_understood() {
        let seen: Vec<(String, usize, bool, bool)> = dependencies(MANIFEST)
            .into_iter()
            .map(|found| (found.name, found.line, found.inherited, found.own))
            .collect();
        let expected = [
            ("anyhow", 10, true, false),
            ("tokio", 11, true, false),
            ("stray", 12, false, false),
            ("quinn", 14, true, false),
            ("rustix", 16, false, false),
            ("quorum-transport", 18, false, true),
        ];
        assert_eq!(
            seen,
            expected
                .map(|(name, line, inherited, own)| { (name.to_owned(), line, inherited, own) })
        );
    }
}
