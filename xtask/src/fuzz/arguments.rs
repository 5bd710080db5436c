//! What the command line asks for. (pure)

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::USAGE;
use super::targets::Target;

/// A request as it was typed.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) what: What,
    /// None chosen means all.
    pub(super) targets: Vec<&'static Target>,
    pub(super) executions: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) is_for_the_ledger: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum What {
    #[default]
    Slice,
    /// Of these files, or of what is kept.
    Replay(Vec<String>),
    Minimise,
    List,
    Help,
}

impl Arguments {
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        let mut arguments = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--executions" => arguments.executions = Some(count(value()?)?),
                "--duration" => arguments.duration = Some(duration(value()?)?),
                "--ledger" => arguments.is_for_the_ledger = true,
                "--replay" => arguments.what = What::Replay(Vec::new()),
                "--minimise" => arguments.what = What::Minimise,
                "--list" => arguments.what = What::List,
                "--help" => arguments.what = What::Help,
                option if option.starts_with('-') => bail!("unknown option {option}\n{USAGE}"),
                name => match (&mut arguments.what, Target::named(name)) {
                    // Behind a target, whatever is none is a file.
                    (_, Some(target)) => arguments.targets.push(target),
                    (What::Replay(files), None) if arguments.targets.len() == 1 => {
                        files.push(name.to_owned());
                    }
                    _ => bail!("no target is called {name}; --list tells all of them"),
                },
            }
        }
        Ok(arguments)
    }
}

fn count(text: &str) -> Result<u64> {
    let text = text.replace('_', "");
    let (number, factor) = match text.strip_suffix(['k', 'm']) {
        Some(number) if text.ends_with('k') => (number, 1_000),
        Some(number) => (number, 1_000_000),
        None => (text.as_str(), 1),
    };
    let number: u64 = number.parse().with_context(|| format!("{text} is no number"))?;
    number.checked_mul(factor).with_context(|| format!("{text} is too many"))
}

fn duration(text: &str) -> Result<Duration> {
    let units = [('s', 1), ('m', 60), ('h', 3_600)];
    let unit = units.iter().find(|(unit, _)| text.ends_with(*unit));
    let (unit, seconds) = unit.with_context(|| format!("{text} is no time such as 90s or 10m"))?;
    let number: u64 =
        text.trim_end_matches(*unit).parse().with_context(|| format!("{text} is no time"))?;
    Ok(Duration::from_secs(number.saturating_mul(*seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn numbers_and_times_are_written_short() {
        let read = parse("frame hello --executions 50m --duration 10m --ledger").expect("valid");
        assert_eq!(
            (read.executions, read.duration),
            (Some(50_000_000), Some(Duration::from_secs(600)))
        );
        assert!(read.is_for_the_ledger && read.targets.len() == 2 && read.what == What::Slice);
        assert_eq!(parse("--executions 200_000").expect("valid").executions, Some(200_000));
        assert_eq!(parse("--executions 3k").expect("valid").executions, Some(3_000));
    }

    #[test]
    fn a_file_stands_behind_its_target() {
        let read = parse("--replay frame a/b c").expect("valid");
        assert_eq!(read.what, What::Replay(vec!["a/b".into(), "c".into()]));
        assert!(parse("--replay a/b").is_err() && parse("frame a/b").is_err());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for line in ["--executions", "--executions many", "--duration 10", "--fast", "no_target"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
