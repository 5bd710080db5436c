//! What holds for whatever an operator writes: claims that a fuzzer tries to refute.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use toml::Table;

use super::error::{ConfigError, Origin};
use super::layers::{FileText, Layered, environment_settings, merge};
use super::policies::Policies;
use super::sections::Config;
use super::{ByteSize, Consistency, PolicySource, ReadQuorum, Tokens, WriteQuorum, check};
use crate::client::NodeUrl;

/// A file that says as little as one may.
const SOUND_FILE: &str = "[node]\nname = \"n1\"\n[[member]]\nname = \"n1\"\naddress = \"h:1\"\n";

/// A configuration file.
///
/// A file that is refused is told a line of it, or a key; one that is read can be printed and read again, and if no rule
/// is broken, every policy in it can be met.
///
/// # Panics
///
/// If a claim is false.
pub fn config_file(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match merge(Some(&FileText::new("quorum.toml", text)), Vec::new()) {
        Ok(Layered { config, overridden }) => {
            assert!(overridden.is_empty());
            check_config(&config);
        }
        Err(error) => check_blame(&error, |origin| match origin {
            Origin::File { line, .. } => {
                let lines = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
                assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "line {line:?}");
            }
            other => panic!("{other:?} is blamed for what the file says"),
        }),
    }
}

/// Environment variables, `NAME=value` a line, over a file that is sound.
///
/// What is refused is blamed on one of the variables.
///
/// # Panics
///
/// If a claim is false.
pub fn config_environment(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let variables = text.lines().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = environment_settings(variables);
    let names: Vec<Origin> = settings.iter().map(|setting| setting.origin.clone()).collect();
    match merge(Some(&FileText::new("quorum.toml", SOUND_FILE)), settings) {
        Ok(Layered { config, overridden }) => {
            assert!(overridden.values().all(|origin| names.contains(origin)));
            check_rules(&config);
        }
        Err(error) => check_blame(&error, |origin| {
            assert!(names.contains(origin), "{error} blames what is sound");
        }),
    }
}

/// A value by itself: the first byte chooses of which kind.
///
/// What is read can be printed, and reads back the same.
///
/// # Panics
///
/// If a claim is false.
pub fn config_value(input: &[u8]) {
    let Some((kind, text)) = input.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    match kind % 6 {
        0 => {
            let size = reads_back::<ByteSize>(text);
            assert!(size.is_none_or(|size| i64::try_from(size.bytes()).is_ok()));
        }
        1 => drop(reads_back::<WriteQuorum>(text)),
        2 => drop(reads_back::<ReadQuorum>(text)),
        3 => {
            let read = text.parse::<Consistency>();
            assert!(
                read.is_ok_and(|read| read.as_str() == text)
                    || text.parse::<Consistency>().is_err()
            );
        }
        4 => drop(reads_back::<NodeUrl>(text)),
        _ => {
            if let Ok(tokens) = Tokens::parse(text) {
                let lines = text.lines().map(str::trim);
                let mut written = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                assert!(written.all(|token| tokens.accepts(token)));
                assert!(!tokens.accepts("") && !tokens.accepts("no token that was written"));
            }
        }
    }
}

fn reads_back<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let read = text.parse::<T>().ok()?;
    match read.to_string().parse::<T>() {
        Ok(again) => assert_eq!(again, read, "{text:?} reads otherwise once it is printed"),
        Err(_) => panic!("{text:?} is printed as {read}, which cannot be read"),
    }
    Some(read)
}

/// What is wrong says where it was written, and at which key unless it is no TOML at all.
fn check_blame(error: &ConfigError, check_origin: impl Fn(&Origin)) {
    let (origin, detail) = match error {
        ConfigError::Syntax { origin, detail } => (origin, detail),
        ConfigError::Value { origin, key, detail } => {
            assert!(!key.is_empty(), "{error} names no key");
            (origin, detail)
        }
        other => panic!("{other}"),
    };
    assert!(!detail.is_empty(), "{error} says nothing");
    check_origin(origin);
}

fn check_config(config: &Config) {
    let printed = Table::try_from(config).expect("a configuration is a table").to_string();
    let again = merge(Some(&FileText::new("printed.toml", printed.as_str())), Vec::new());
    let again = again.expect("what is printed can be read").config;
    // Compared as text, because a number need not equal itself.
    assert_eq!(format!("{again:?}"), format!("{config:?}"), "{printed}");
    check_rules(config);
}

fn check_rules(config: &Config) {
    match check::policies(config) {
        Ok(policies) => check_policies(config, &policies),
        Err(error) => assert!(error.to_string().contains(|at: char| at.is_ascii_lowercase())),
    }
}

fn check_policies(config: &Config, policies: &Policies) {
    let n = config.members.len();
    for policy in policies.iter() {
        let (w, r) = (policy.write().w(), policy.r());
        assert!((policies.min_w()..=n).contains(&w) && (1..=n).contains(&r));
        assert!(!policy.is_linearizable() || (2 * w > n && 2 * r > n));
        assert!(policies.smallest_w() <= w);
        if let PolicySource::Name(name) = policy.source() {
            assert_eq!(policies.of(name), policy, "the rule for a name does not hold for it");
            for asked in 0..=n + 1 {
                let given = policies.requested_w(name, WriteQuorum::Exactly(asked));
                assert!(given.is_err() || (given == Ok(asked) && (1..=n).contains(&asked)));
                let heard = policies.requested_r(name, ReadQuorum::Exactly(asked));
                assert!(heard.is_err() || (heard == Ok(asked) && (1..=n).contains(&asked)));
            }
        }
    }
    let mut turned = config.clone();
    turned.namespaces.reverse();
    let turned = Policies::new(&turned).expect("the order of rules means nothing");
    assert_eq!(turned.digest(), policies.digest(), "the order of rules made a difference");
}
