//! Every library crate checked alone, with each set of its features.
//!
//! A build of the whole workspace switches features on for everybody, which hides a crate that
//! forgot to ask for what it uses. Compiled alone, it cannot borrow from its neighbours.

use anyhow::{Context, Result};

use crate::{manifest, process};

const CRATES: &[&str] = &["quorum-core", "quorum-metrics", "quorum-transport", "quorum-node"];

pub(crate) fn run() -> Result<()> {
    for package in CRATES {
        let path = process::root().join("crates").join(package).join("Cargo.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for set in subsets(&manifest::features(&text)) {
            println!("{package} with features [{set}]");
            let arguments = ["check", "--quiet", "-p", package, "--no-default-features"];
            process::run(process::cargo(&arguments).args(["--features", &set]))?;
        }
    }
    Ok(())
}

/// All subsets, each as the comma-separated list that cargo takes.
fn subsets(features: &[String]) -> Vec<String> {
    let mut sets: Vec<Vec<&str>> = vec![Vec::new()];
    for feature in features {
        let with: Vec<Vec<&str>> = sets
            .iter()
            .map(|set| set.iter().copied().chain([feature.as_str()]).collect())
            .collect();
        sets.extend(with);
    }
    sets.into_iter().map(|set| set.join(",")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_features_make_four_sets() {
        assert_eq!(
            subsets(&["serde".into(), "testing".into()]),
            ["", "serde", "testing", "serde,testing"]
        );
    }

    #[test]
    fn a_crate_without_features_is_still_checked_once() {
        assert_eq!(subsets(&[]), [""]);
    }
}
