//! bincode stays replaceable: one source file names it, comments included.

use super::{Finding, Tree};

const NAME: &str = "bincode";
const CODEC: &str = "crates/quorum-transport/src/wire/codec.rs";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        if path == CODEC || !path.starts_with("crates/") {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            if line.contains(NAME) {
                findings.push(Finding::new(
                    path,
                    index + 1,
                    format!("only {CODEC} may name {NAME}"),
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
    fn the_name_is_found_everywhere_but_in_the_codec() {
        let files = [
            (CODEC, "use bincode::config;\n"),
            ("crates/quorum-node/src/lib.rs", "\nuse bincode;\n"),
        ];
        assert_eq!(
            printed(check, &files),
            [format!("crates/quorum-node/src/lib.rs:2: only {CODEC} may name bincode")]
        );
    }
}
