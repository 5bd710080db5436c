//! Every dependency's version stands once, in the workspace's manifest.

use super::{Finding, Tree};
use crate::manifest;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, text) in tree.members() {
        for dependency in manifest::dependencies(text) {
            if !dependency.inherited && !dependency.own {
                let message = format!(
                    "write `{}.workspace = true`: versions stand in the root manifest",
                    dependency.name
                );
                findings.push(Finding::new(
                    &format!("{folder}/Cargo.toml"),
                    dependency.line,
                    message,
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::printed;

    #[test]
    fn a_version_in_a_member_is_found() {
        let text = "[dependencies]\nanyhow.workspace = true\nserde = \"1\"\n[dev-dependencies]\nxtask = { path = \".\" }\n";
        assert_eq!(
            printed(check, &[("xtask/Cargo.toml", text)]),
            [
                "xtask/Cargo.toml:3: write `serde.workspace = true`: versions stand in the root manifest"
            ]
        );
    }
}
