//! Puts flags over environment over file over defaults, and remembers who set what. (pure)
//!
//! Settings are merged as TOML tables before anything is interpreted, so that every source obeys
//! the same rules and a bad value is reported with the place where somebody wrote it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use quorum_core::PeerId;
use serde_path_to_error::Segment;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::error::{ConfigError, Origin};
use super::sections::Config;

/// Prefix of the environment variables that set a key.
const VARIABLE_PREFIX: &str = "QUORUM_";
/// The variable, and the flag key, that list all members in one text.
const MEMBERS_VARIABLE: &str = "QUORUM_MEMBERS";
const MEMBERS_KEY: &str = "member";
/// The variable, and the flag key, that hold all rules for namespaces as a TOML array.
const NAMESPACES_VARIABLE: &str = "QUORUM_NAMESPACES";
const NAMESPACES_KEY: &str = "namespaces";

/// One key set outside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The key, e.g. `http.listen`.
    pub key: String,
    /// The value as text.
    pub value: String,
    /// Who set it.
    pub origin: Origin,
}

impl Setting {
    /// A key set on the command line.
    #[must_use]
    pub fn flag(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), origin: Origin::Flag }
    }
}

/// The settings among environment variables: `QUORUM_HTTP_LISTEN` sets `http.listen`, and
/// `QUORUM_MEMBERS` (`name=host:port,name=host:port`) replaces the member list, and
/// `QUORUM_NAMESPACES` (`[{ name = "orders", w = 3 }]`) the rules for namespaces.
///
/// A variable whose first word is no section is none of ours and is passed over. So are those that
/// Kubernetes adds for a service whose name starts with `quorum-`.
#[must_use]
pub fn environment_settings(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Setting> {
    let sections = defaults();
    let setting = |(variable, value): (String, String)| {
        let key = if variable == MEMBERS_VARIABLE {
            MEMBERS_KEY.to_owned()
        } else if variable == NAMESPACES_VARIABLE {
            NAMESPACES_KEY.to_owned()
        } else {
            let rest = variable.strip_prefix(VARIABLE_PREFIX)?.to_ascii_lowercase();
            let (section, key) = rest.split_once('_')?;
            let ours = section != MEMBERS_KEY && sections.contains_key(section);
            if !ours || is_service_link(key) {
                return None;
            }
            format!("{section}.{key}")
        };
        Some(Setting { key, value, origin: Origin::Environment { variable } })
    };
    variables.into_iter().filter_map(setting).collect()
}

/// Whether the rest of a variable is one of those that Kubernetes derives from service names.
fn is_service_link(key: &str) -> bool {
    key == "port" || ["port_", "service_host", "service_port"].iter().any(|p| key.starts_with(p))
}

/// The configuration file as it was read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FileText {
    /// Where it lies, for messages.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl FileText {
    /// A file by path and content.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// A configuration, and who set each key that was set outside the file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Layered {
    /// The merged configuration.
    pub config: Config,
    /// The origin of every key that a variable or flag set.
    pub overridden: BTreeMap<String, Origin>,
}

/// Merges the layers, later settings over earlier ones, and interprets the result.
///
/// # Errors
///
/// [`ConfigError::Syntax`] if the file is not TOML, [`ConfigError::Value`] naming the first key
/// that is unknown, missing or has a value of the wrong kind, and who set it.
pub fn merge(file: Option<&FileText>, settings: Vec<Setting>) -> Result<Layered, ConfigError> {
    let mut table = file.map(parse).transpose()?.unwrap_or_default();
    let mut overridden = BTreeMap::new();
    for setting in settings {
        set(&mut table, &setting)?;
        overridden.insert(setting.key, setting.origin);
    }
    // A file without `[node]` lacks `node.name`, and that is the key to be told about.
    table.entry("node").or_insert_with(|| Value::Table(Table::new()));
    let config = serde_path_to_error::deserialize(Value::Table(table))
        .map_err(|error| value_error(&error, file, &overridden))?;
    Ok(Layered { config, overridden })
}

fn parse(file: &FileText) -> Result<Table, ConfigError> {
    file.text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        origin: Origin::File {
            path: file.path.clone(),
            line: error.span().map(|span| line_of(&file.text, span.start)),
        },
        detail: error.message().to_owned(),
    })
}

fn set(table: &mut Table, setting: &Setting) -> Result<(), ConfigError> {
    let Setting { key, value, origin } = setting;
    let wrong = |detail: &str| ConfigError::Value {
        origin: origin.clone(),
        key: key.clone(),
        detail: detail.to_owned(),
    };
    if key == MEMBERS_KEY {
        let members =
            members(value).ok_or_else(|| wrong("expected name=host:port,name=host:port"))?;
        table.insert(key.clone(), members);
        return Ok(());
    }
    if key == NAMESPACES_KEY {
        let rules = rules(value)
            .ok_or_else(|| wrong("expected a TOML array such as [{ name = \"orders\", w = 3 }]"))?;
        table.insert(key.clone(), rules);
        return Ok(());
    }
    let (section, name) = key.split_once('.').ok_or_else(|| wrong("expected section.key"))?;
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    let section =
        section.as_table_mut().ok_or_else(|| wrong("is not in a section of single keys"))?;
    section.insert(name.to_owned(), typed(key, value));
    Ok(())
}

/// The value in the type that the key has by default. What does not fit stays a text, and is
/// refused with the key's own message when it is interpreted.
fn typed(key: &str, value: &str) -> Value {
    let text = || Value::String(value.to_owned());
    let default = key
        .split_once('.')
        .and_then(|(section, name)| defaults().get(section)?.as_table()?.get(name).cloned());
    match default {
        Some(Value::Integer(_)) => value.parse().map_or_else(|_| text(), Value::Integer),
        Some(Value::Float(_)) => value.parse().map_or_else(|_| text(), Value::Float),
        Some(Value::Boolean(_)) => value.parse().map_or_else(|_| text(), Value::Boolean),
        _ => text(),
    }
}

fn members(list: &str) -> Option<Value> {
    let member = |entry: &str| {
        let (name, address) = entry.trim().split_once('=')?;
        let pairs = [("name", name), ("address", address)];
        Some(Value::Table(
            pairs
                .map(|(key, text)| (key.to_owned(), Value::String(text.to_owned())))
                .into_iter()
                .collect(),
        ))
    };
    list.split(',').map(member).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// The array that the text is, and nothing behind it: a text must not set other keys on the way.
fn rules(text: &str) -> Option<Value> {
    let mut table = format!("{NAMESPACES_KEY} = {text}").parse::<Table>().ok()?;
    let rules = table.remove(NAMESPACES_KEY).filter(Value::is_array)?;
    table.is_empty().then_some(rules)
}

/// Every section and key with its default, as a table.
fn defaults() -> &'static Table {
    static DEFAULTS: LazyLock<Table> = LazyLock::new(|| {
        let name = PeerId::new("n1").expect("a plain name");
        let config = Config::new(name, Vec::new());
        Table::try_from(config).expect("the default configuration is a table")
    });
    &DEFAULTS
}

fn value_error(
    error: &serde_path_to_error::Error<toml::de::Error>,
    file: Option<&FileText>,
    overridden: &BTreeMap<String, Origin>,
) -> ConfigError {
    let detail = error.inner().message().trim().to_owned();
    let mut steps = error.path().iter().filter_map(Step::of).collect::<Vec<_>>();
    if let Some(missing) = quoted_after("missing field ", &detail) {
        steps.push(Step::Key(missing));
    }
    let key = spell(&steps);
    let origin = overridden
        .iter()
        .find(|(set, _)| key == **set || key.starts_with(&format!("{set}[")))
        .map(|(_, origin)| origin.clone())
        .or_else(|| file.map(|file| in_file(file, &steps)))
        .unwrap_or(Origin::Default);
    ConfigError::Value { origin, key, detail }
}

/// One step from a table to what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn of(segment: &Segment) -> Option<Self> {
        match segment {
            Segment::Map { key } => Some(Self::Key(key.clone())),
            Segment::Seq { index } => Some(Self::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        }
    }
}

fn spell(steps: &[Step]) -> String {
    let mut key = String::new();
    for step in steps {
        match step {
            Step::Key(name) if key.is_empty() => key.push_str(name),
            Step::Key(name) => key.extend([".", name]),
            Step::Index(index) => key.push_str(&format!("[{index}]")),
        }
    }
    key
}

/// What stands in backticks behind `prefix`, if `text` starts with it.
fn quoted_after(prefix: &str, text: &str) -> Option<String> {
    text.strip_prefix(prefix)?.strip_prefix('`')?.split('`').next().map(str::to_owned)
}

/// The line of the innermost thing on the way that the file holds.
fn in_file(file: &FileText, steps: &[Step]) -> Origin {
    let line = DeTable::parse(&file.text).ok().and_then(|root| {
        let mut start = None;
        let mut here = DeValue::Table(root.into_inner());
        for step in steps {
            let next = match (step, here) {
                (Step::Key(name), DeValue::Table(mut table)) => {
                    let Some((key, value)) = table.remove_entry(name.as_str()) else { break };
                    // A table's own span may start at its brackets; a key says where it was written.
                    start = Some(if value.get_ref().is_table() || value.get_ref().is_array() {
                        value.span().start
                    } else {
                        key.span().start
                    });
                    value
                }
                (Step::Index(index), DeValue::Array(array)) => {
                    let Some(value) = array.into_iter().nth(*index) else { break };
                    start = Some(value.span().start);
                    value
                }
                _ => break,
            };
            here = next.into_inner();
        }
        start
    });
    let line = line.map(|start| line_of(&file.text, start));
    Origin::File { path: file.path.clone(), line }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests;
