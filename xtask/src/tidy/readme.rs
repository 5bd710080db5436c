//! What the prose tells people to type exists, and the README names the true minimum Rust.

use std::collections::BTreeSet;

use super::{Finding, Tree};
use crate::{COMMANDS, manifest};

/// The cargo commands that our pages may use.
const CARGO: &[&str] =
    &["add", "bench", "build", "check", "clippy", "doc", "fmt", "install", "run", "test"];

const README: &str = "README.md";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = commands(tree);
    findings.extend(minimum_rust(tree));
    findings
}

/// Every first word that some page gives to `quorum-node`, for instance `serve`.
pub(crate) fn node_commands(tree: &Tree) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in tree.ending(".md") {
        for (_, line) in shell_lines(text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(start) = node_arguments(&words) else { continue };
            let command = words[start..].iter().find(|word| !word.is_empty());
            found.extend(command.filter(|word| is_plain(word)).map(|word| (*word).to_owned()));
        }
    }
    found
}

/// Where the arguments of `quorum-node` begin, if the line runs it.
fn node_arguments(words: &[&str]) -> Option<usize> {
    if words.starts_with(&["cargo", "run"]) && words.contains(&"quorum-node") {
        return words.iter().position(|word| *word == "--").map(|separator| separator + 1);
    }
    let program = words.first()?;
    (program.rsplit('/').next() == Some("quorum-node")).then_some(1)
}

fn is_plain(word: &str) -> bool {
    word.chars().all(|character| character.is_ascii_lowercase() || character == '-')
        && !word.starts_with('-')
}

fn commands(tree: &Tree) -> Vec<Finding> {
    let packages: BTreeSet<String> = tree
        .members()
        .filter_map(|(_, text)| manifest::text_at(text, &["package", "name"]))
        .collect();
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".md") {
        for (line, command) in shell_lines(text) {
            let words: Vec<&str> = command.split_whitespace().collect();
            if words.first() == Some(&"cargo")
                && let Some(problem) = problem(&words[1..], &packages, tree)
            {
                findings.push(Finding::new(path, line, problem));
            }
        }
    }
    findings
}

/// What is wrong with the words after `cargo`.
fn problem(words: &[&str], packages: &BTreeSet<String>, tree: &Tree) -> Option<String> {
    let (command, rest) = words.split_first()?;
    if *command == "xtask" {
        let name = rest.first().copied().unwrap_or_default();
        let known = COMMANDS.iter().any(|command| command.name == name);
        return (!known).then(|| format!("`cargo xtask {name}` does not exist"));
    }
    if !CARGO.contains(command) {
        return Some(format!("`cargo {command}` is not a command that this page may count on"));
    }
    let own = rest.iter().take_while(|word| **word != "--");
    for (flag, value) in own.clone().zip(own.skip(1)) {
        let missing = match *flag {
            "-p" | "--package" | "--bin" => !packages.contains(*value),
            "--example" => !has_example(tree, value),
            "--path" => !tree.exists(value),
            _ => false,
        };
        if missing {
            return Some(format!("`{flag} {value}` does not exist"));
        }
    }
    None
}

fn has_example(tree: &Tree, name: &str) -> bool {
    tree.members().any(|(folder, _)| {
        tree.exists(&format!("{folder}/examples/{name}.rs"))
            || tree.exists(&format!("{folder}/examples/{name}/main.rs"))
    })
}

fn minimum_rust(tree: &Tree) -> Vec<Finding> {
    let manifest = tree.text("Cargo.toml").unwrap_or_default();
    let wanted =
        manifest::text_at(manifest, &["workspace", "package", "rust-version"]).unwrap_or_default();
    let Some(readme) = tree.text(README) else {
        return vec![Finding::new(README, 1, "there is no README")];
    };
    let stated: Vec<(usize, String)> = readme
        .lines()
        .enumerate()
        .flat_map(|(index, line)| {
            rust_versions(line).into_iter().map(move |version| (index + 1, version))
        })
        .collect();
    if stated.is_empty() {
        let message = format!("the minimum Rust is not stated: write `Rust {wanted}`");
        return vec![Finding::new(README, 1, message)];
    }
    stated
        .into_iter()
        .filter(|(_, version)| *version != wanted)
        .map(|(line, version)| {
            Finding::new(README, line, format!("says Rust {version}, Cargo.toml says {wanted}"))
        })
        .collect()
}

/// The `1.95` of every `Rust 1.95` in the line.
fn rust_versions(line: &str) -> Vec<String> {
    line.split("Rust 1.")
        .skip(1)
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>())
        .map(|minor| format!("1.{minor}"))
        .collect()
}

/// The commands of every shell block with their first lines' numbers; continued lines are joined,
/// prompts and leading `NAME=value` words left off.
fn shell_lines(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut shell = None;
    let mut continued = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            let opens = matches!(language, "bash" | "console" | "sh" | "shell");
            shell = if shell.is_some() { None } else { Some(opens) };
            continue;
        }
        if shell != Some(true) {
            continue;
        }
        let words = line.trim_end_matches('\\').trim();
        match found.last_mut() {
            Some((_, command)) if continued => {
                command.push(' ');
                command.push_str(words);
            }
            _ => found.push((index + 1, without_prefix(words).to_owned())),
        }
        continued = line.ends_with('\\');
    }
    found
}

fn without_prefix(line: &str) -> &str {
    let mut line = line.strip_prefix("$ ").unwrap_or(line);
    while let Some((word, rest)) = line.split_once(' ') {
        let is_assignment = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
        });
        if !is_assignment {
            break;
        }
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::printed;

    const ROOT: (&str, &str) = ("Cargo.toml", "[workspace.package]\nrust-version = \"1.95\"\n");
    const NODE: (&str, &str) =
        ("crates/quorum-node/Cargo.toml", "[package]\nname = \"quorum-node\"\n");

    fn check_readme(readme: &str) -> Vec<String> {
        let example = ("crates/quorum-node/examples/small.rs", "");
        printed(check, &[ROOT, NODE, example, (README, readme)])
    }

    #[test]
    fn commands_that_exist_are_fine() {
        let readme = "Needs Rust 1.95.\n```sh\nRUST_LOG=info cargo run --release \\\n  -p quorum-node -- demo -p x\n\
                      cargo xtask ci\ncargo run --example small\n```\n```console\n$ cargo test --workspace\n\
                      output\n```\n```text\ncargo of goods\n```\n";
        assert_eq!(check_readme(readme), [""; 0]);
    }

    #[test]
    fn packages_examples_and_tasks_that_do_not_exist_are_found() {
        let readme = "Rust 1.95\n```sh\ncargo run \\\n  -p quorum-mode -- demo\ncargo xtask fly\n\
                      cargo run --example large\ncargo frobnicate\n```\n";
        assert_eq!(
            check_readme(readme),
            [
                "README.md:3: `-p quorum-mode` does not exist",
                "README.md:5: `cargo xtask fly` does not exist",
                "README.md:6: `--example large` does not exist",
                "README.md:7: `cargo frobnicate` is not a command that this page may count on",
            ]
        );
    }

    #[test]
    fn a_minimum_rust_that_is_wrong_or_missing_is_found() {
        assert_eq!(
            check_readme("a\nNeeds Rust 1.94 or newer\n"),
            ["README.md:2: says Rust 1.94, Cargo.toml says 1.95"]
        );
        assert_eq!(
            check_readme("a\n"),
            ["README.md:1: the minimum Rust is not stated: write `Rust 1.95`"]
        );
        assert_eq!(printed(check, &[ROOT]), ["README.md:1: there is no README"]);
    }

    #[test]
    fn the_commands_given_to_the_node_are_collected() {
        let readme = "```sh\ncargo run -p quorum-node -- demo --serve\n./target/release/quorum-node put key value\n\
                      quorum-node --version\ncargo build -p quorum-node\n```\n`quorum-node fly`\n";
        let commands = node_commands(&Tree::of(&[(README, readme)]));
        assert_eq!(commands.into_iter().collect::<Vec<_>>(), ["demo", "put"]);
    }
}
