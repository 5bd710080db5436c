//! Which crate may know which: the layering that everything else rests on.

use super::{Finding, Tree};
use crate::manifest;

/// Each crate with the workspace crates that it may depend on, for its tests too.
const ARROWS: &[(&str, &[&str])] = &[
    ("quorum-core", &[]),
    ("quorum-metrics", &["quorum-core"]),
    ("quorum-transport", &["quorum-core"]),
    ("quorum-node", &["quorum-core", "quorum-metrics", "quorum-transport"]),
    ("quorum-ledger", &[]),
    ("quorum-chaos", &["quorum-core", "quorum-ledger", "quorum-node", "quorum-transport"]),
    ("quorum-simulate-node", &["quorum-core", "quorum-ledger", "quorum-node", "quorum-transport"]),
    ("quorum-micro", &["quorum-core", "quorum-ledger", "quorum-node", "quorum-transport"]),
    ("xtask", &["quorum-ledger"]),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.members()
        .flat_map(|(folder, text)| of_member(&format!("{folder}/Cargo.toml"), text))
        .collect()
}

fn of_member(path: &str, text: &str) -> Vec<Finding> {
    let package = manifest::text_at(text, &["package", "name"]).unwrap_or_default();
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package) else {
        let message =
            format!("no arrows are drawn for `{package}`: add it to xtask/src/tidy/arrows.rs");
        return vec![Finding::new(path, 1, message)];
    };
    manifest::dependencies(text)
        .iter()
        .filter(|found| ARROWS.iter().any(|(name, _)| *name == found.name))
        .filter(|found| found.name != package && !allowed.contains(&found.name.as_str()))
        .map(|found| {
            Finding::new(path, found.line, format!("`{package}` must not know `{}`", found.name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::printed;

    #[test]
    fn a_dependency_against_the_arrows_is_found_and_one_along_them_is_not() {
        let core = "[package]\nname = \"quorum-core\"\n[dev-dependencies]\nquorum-core = { path = \".\" }\n\
                    quorum-transport.workspace = true\n";
        let node =
            "[package]\nname = \"quorum-node\"\n[dependencies]\nquorum-core.workspace = true\n";
        let files =
            [("crates/quorum-core/Cargo.toml", core), ("crates/quorum-node/Cargo.toml", node)];
        assert_eq!(
            printed(check, &files),
            ["crates/quorum-core/Cargo.toml:5: `quorum-core` must not know `quorum-transport`"]
        );
    }

    #[test]
    fn a_crate_that_nobody_placed_is_found() {
        let found = printed(check, &[("crates/new/Cargo.toml", "[package]\nname = \"new\"\n")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("no arrows are drawn for `new`"), "{found:?}");
    }
}
