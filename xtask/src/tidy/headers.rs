//! Every source file says in its first line why it exists.

use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.ending(".rs")
        .filter(|(_, text)| !has_header(text))
        .map(|(path, _)| {
            Finding::new(
                path,
                1,
                "the file does not start with a `//!` line that says why it exists",
            )
        })
        .collect()
}

fn has_header(text: &str) -> bool {
    text.lines()
        .next()
        .and_then(|first| first.strip_prefix("//!"))
        .is_some_and(|header| !header.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::printed;

    #[test]
    fn a_file_without_words_at_its_head_is_found() {
        let files =
            [("a.rs", "//! Why.\n"), ("b.rs", "use std::fmt;\n"), ("c.rs", "//!\n"), ("d.rs", "")];
        let found = printed(check, &files);
        assert_eq!(found.len(), 3);
        for (line, path) in found.iter().zip(["b.rs:1:", "c.rs:1:", "d.rs:1:"]) {
            assert!(line.starts_with(path), "{line}");
        }
    }
}
