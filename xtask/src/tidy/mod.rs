//! `cargo xtask tidy`: the house rules that no compiler knows.
//!
//! Each rule is a pure function from the checkout's files to findings, in a file of its own.
//! This one reads the files, runs the rules and prints what they found.

mod arrows;
mod codec;
mod headers;
mod links;
mod modules;
pub(crate) mod readme;
mod tree;
mod versions;

use std::fmt;

use anyhow::{Result, bail};

pub(crate) use tree::Tree;

use crate::process;

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.message)
    }
}

const RULES: &[fn(&Tree) -> Vec<Finding>] = &[
    arrows::check,
    codec::check,
    headers::check,
    links::check,
    modules::check,
    readme::check,
    versions::check,
];

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let tree = Tree::read(process::root())?;
    let findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("findings: {}", findings.len());
    }
    println!("tidy: {} files, nothing found", tree.len());
    Ok(())
}

/// What each rule's tests need: findings as the lines that tidy prints.
#[cfg(test)]
fn printed(rule: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)]) -> Vec<String> {
    rule(&Tree::of(files)).iter().map(ToString::to_string).collect()
}
