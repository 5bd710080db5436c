//! Runs cargo-mutants and reads what came out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process;

/// Where the crate's files are.
const SOURCE: &str = "crates/quorum-core/src";

/// Exit codes of cargo-mutants after it has tried all that it was to try: all were noticed, some missed, some hung.
const TRIED: [i32; 3] = [0, 2, 3];

/// Which mutants.
#[derive(Debug)]
pub(super) struct Choice(Vec<String>);

impl Choice {
    /// Those in these files.
    pub(super) fn only<'a>(files: impl Iterator<Item = &'a str>) -> Self {
        Self(files.flat_map(|file| ["--file".to_owned(), format!("{SOURCE}/{file}")]).collect())
    }

    /// Those in all files but these.
    pub(super) fn without(files: &[&str]) -> Self {
        let files = files.iter();
        Self(files.flat_map(|file| ["--exclude".to_owned(), format!("{SOURCE}/{file}")]).collect())
    }

    /// Those with these names, as cargo-mutants writes them, and a few others of their files that it does not filter.
    fn named(names: &[String]) -> Self {
        let files: BTreeSet<&str> =
            names.iter().filter_map(|name| name.split(':').next()).collect();
        let files = files.into_iter().flat_map(|file| ["--file".to_owned(), file.to_owned()]);
        let names =
            names.iter().flat_map(|name| ["--re".to_owned(), format!("^{}$", escaped(name))]);
        Self(files.chain(names).collect())
    }

    /// The part `number`, from 0 on, of so many of about the same size.
    pub(super) fn part(&self, number: usize, parts: usize) -> Self {
        let mut arguments = self.0.clone();
        arguments.extend(["--shard".to_owned(), format!("{number}/{parts}")]);
        Self(arguments)
    }
}

/// What became of mutants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// A test failed.
    pub(super) noticed: Vec<String>,
    /// The tests did not end.
    pub(super) hung: Vec<String>,
    /// They do not compile.
    pub(super) unviable: Vec<String>,
    /// No test failed.
    pub(super) missed: Vec<String>,
    pub(super) seconds: u64,
}

impl Outcome {
    fn mutants(&self) -> usize {
        [&self.noticed, &self.hung, &self.unviable, &self.missed].map(Vec::len).into_iter().sum()
    }

    /// What became of these.
    fn of(mut self, names: &[String]) -> Self {
        for list in [&mut self.noticed, &mut self.hung, &mut self.unviable, &mut self.missed] {
            list.retain(|name| names.contains(name));
        }
        self
    }

    pub(super) fn figures(&self) -> String {
        let Self { noticed, hung, unviable, missed, seconds } = self;
        let [noticed, hung, unviable, missed] = [noticed, hung, unviable, missed].map(Vec::len);
        format!(
            "{} mutants, {noticed} noticed, {hung} hung, {unviable} unviable, {missed} missed, {seconds} seconds",
            self.mutants()
        )
    }
}

/// How many there are.
pub(super) fn count(choice: &Choice) -> Result<usize> {
    Ok(process::output(mutants().arg("--list").args(&choice.0))?.lines().count())
}

/// Tries mutants with the unit tests, which are built soon; what these miss, with all tests.
pub(super) fn run(choice: &Choice) -> Result<Outcome> {
    let began = Instant::now();
    let mut outcome = stage("unit-tests", choice, "--lib")?;
    if !outcome.missed.is_empty() {
        let missed = std::mem::take(&mut outcome.missed);
        let then = run_again(&missed)?;
        outcome.noticed.extend(then.noticed);
        outcome.hung.extend(then.hung);
        outcome.unviable.extend(then.unviable);
        outcome.missed = then.missed;
    }
    outcome.seconds = began.elapsed().as_secs();
    Ok(outcome)
}

/// Tries mutants with all tests.
pub(super) fn run_again(names: &[String]) -> Result<Outcome> {
    let began = Instant::now();
    let tried = stage("all-tests", &Choice::named(names), "--tests")?;
    Ok(Outcome { seconds: began.elapsed().as_secs(), ..tried.of(names) })
}

fn stage(name: &str, choice: &Choice, tests: &str) -> Result<Outcome> {
    let folder = process::target_directory().join("mutants");
    let output = folder.join(name);
    if output.exists() {
        // Nothing is written if there is nothing to try.
        std::fs::remove_dir_all(&output)?;
    }
    std::fs::create_dir_all(&output)?;
    let mut mutants = mutants();
    // One at a time: what is looked for are tests that fail, not tests that time out.
    mutants.args(["--jobs", "1", "--cargo-test-arg", tests, "--output"]).arg(&output);
    mutants.args(&choice.0);
    // What is built is kept for the next time, and only what a change affects is built anew.
    mutants.env("CARGO_TARGET_DIR", folder.join("build")).env("CARGO_INCREMENTAL", "1");
    let status = mutants.status().context("cannot start cargo-mutants")?;
    if !status.code().is_some_and(|code| TRIED.contains(&code)) {
        bail!("cargo-mutants ended with {status}: see {}", output.display());
    }
    read(&output.join("mutants.out"))
}

/// What one run of cargo-mutants has left.
fn read(folder: &Path) -> Result<Outcome> {
    let names = |file: &str| -> Result<Vec<String>> {
        let path: PathBuf = folder.join(file);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    Ok(Outcome {
        noticed: names("caught.txt")?,
        hung: names("timeout.txt")?,
        unviable: names("unviable.txt")?,
        missed: names("missed.txt")?,
        seconds: 0,
    })
}

fn mutants() -> Command {
    process::cargo(&["mutants", "-p", "quorum-core", "--all-features"])
}

/// A regular expression that only this text matches.
fn escaped(text: &str) -> String {
    let mut expression = String::new();
    for character in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(character) {
            expression.push('\\');
        }
        expression.push(character);
    }
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_as_it_is() {
        let name = "src/a.rs:1:2: replace f -> Option<u8> with Some(0)".to_owned();
        let Choice(arguments) = Choice::named(std::slice::from_ref(&name));
        let expected = r"^src/a\.rs:1:2: replace f \-> Option<u8> with Some\(0\)$";
        assert_eq!(arguments, ["--file", "src/a.rs", "--re", expected]);
    }

    #[test]
    fn what_cargo_mutants_left_is_read_and_files_that_are_not_there_are_empty() {
        let folder = std::env::temp_dir().join(format!("quorum-mutants-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("caught.txt"), "a\nb\n").expect("written");
        std::fs::write(folder.join("missed.txt"), "c\n").expect("written");
        let outcome = read(&folder).expect("readable");
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!((outcome.noticed.len(), &outcome.missed[..]), (2, &["c".to_owned()][..]));
        let figures = "3 mutants, 2 noticed, 0 hung, 0 unviable, 1 missed, 0 seconds";
        assert_eq!(outcome.figures(), figures);
        let figures = "1 mutants, 1 noticed, 0 hung, 0 unviable, 0 missed, 0 seconds";
        assert_eq!(outcome.of(&["b".to_owned()]).figures(), figures);
    }
}
