//! Relative links in the prose lead to files that are there.

use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".md") {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, target) in targets(text) {
            if !joined(folder, target).is_some_and(|file| tree.exists(&file)) {
                findings.push(Finding::new(
                    path,
                    line,
                    format!("the link to `{target}` leads nowhere"),
                ));
            }
        }
    }
    findings
}

/// The path that `relative` means when read in `folder`; none if it leaves the checkout.
pub(super) fn joined(folder: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Line and file of each link that stays in the checkout; a fragment is left off.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        // Every second part lies between backquotes: code, not prose.
        for prose in line.split('`').step_by(2) {
            let inline = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(inline.map(|(target, _)| (index + 1, target)));
        }
        let reference = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        found.extend(reference.map(|(_, target)| (index + 1, target)));
    }
    found
        .into_iter()
        .map(|(line, target)| (line, target.split([' ', '#']).next().unwrap_or_default()))
        .filter(|(_, target)| !target.is_empty() && !is_elsewhere(target))
        .collect()
}

fn is_elsewhere(target: &str) -> bool {
    ["http:", "https:", "mailto:"].iter().any(|scheme| target.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::printed;

    #[test]
    fn links_to_files_folders_headings_and_the_web_are_fine() {
        let page = "[a](../README.md#top) [b](adr/) [c](#here) [d](https://example.org/x)\n\
                    [`e`](config.md \"title\")\n\n[f]: ./config.md\n`[g](not/a/link)`\n```\n[h](in/code)\n```\n";
        let files = [
            ("README.md", ""),
            ("docs/page.md", page),
            ("docs/config.md", ""),
            ("docs/adr/1.md", ""),
        ];
        assert_eq!(printed(check, &files), [""; 0]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found_with_its_line() {
        let page = "fine\n[a](gone.md)\n[b]: away.md\n[c](../../outside)\n[`d`](lost.md)\n";
        assert_eq!(
            printed(check, &[("docs/page.md", page)]),
            [
                "docs/page.md:2: the link to `gone.md` leads nowhere",
                "docs/page.md:3: the link to `away.md` leads nowhere",
                "docs/page.md:4: the link to `../../outside` leads nowhere",
                "docs/page.md:5: the link to `lost.md` leads nowhere",
            ]
        );
    }
}
