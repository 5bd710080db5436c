//! Puts flags over environment over file over defaults, and remembers who set what. (pure)
//!
//! Settings are merged as TOML tables before anything is interpreted, so that every source obeys
//! the same rules and a bad value is reported with the place where somebody wrote it.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
/// `QUORUM_MEMBERS` (`name=host:port,name=host:port`) replaces the member list.
///
/// A variable whose first word is no section is none of ours and is passed over. So are those that
/// Kubernetes adds for a service whose name starts with `quorum-`.
#[must_use]
pub fn environment_settings(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Setting> {
    let sections = defaults();
    let setting = |(variable, value): (String, String)| {
        let key = if variable == MEMBERS_VARIABLE {
            MEMBERS_KEY.to_owned()
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

/// Every section and key with its default, as a table.
fn defaults() -> Table {
    let name = PeerId::new("n1").expect("a plain name");
    Table::try_from(Config::new(name, Vec::new())).expect("the default configuration is a table")
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
mod tests {
    use super::super::{ByteSize, WriteQuorum};
    use super::*;

    const MINIMAL: &str = "[node]\nname = \"n1\"\n\n[[member]]\nname = \"n1\"\naddress = \"h:1\"\n";

    fn file(extra: &str) -> FileText {
        FileText::new("quorum.toml", format!("{MINIMAL}{extra}"))
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<Setting> {
        environment_settings(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    fn merged(file: &FileText, settings: Vec<Setting>) -> Config {
        merge(Some(file), settings).expect("a configuration").config
    }

    fn message(file: &FileText, settings: Vec<Setting>) -> String {
        merge(Some(file), settings).expect_err("a refusal").to_string()
    }

    #[test]
    fn flags_beat_variables_which_beat_the_file_which_beats_defaults() {
        let file = file("[quorum]\nw = 1\nack_timeout = \"1s\"\nin_flight_writes_max = 1\n");
        let mut settings = variables(&[
            ("QUORUM_QUORUM_ACK_TIMEOUT", "2s"),
            ("QUORUM_QUORUM_IN_FLIGHT_WRITES_MAX", "2"),
        ]);
        settings.push(Setting::flag("quorum.in_flight_writes_max", "3"));
        let quorum = merged(&file, settings).quorum;
        assert_eq!(quorum.w, WriteQuorum::Exactly(1));
        assert_eq!(quorum.ack_timeout.as_secs(), 2);
        assert_eq!(quorum.in_flight_writes_max, 3);
        assert_eq!(quorum.in_flight_bytes_max, ByteSize::mebibytes(64));
    }

    #[test]
    fn every_kind_of_value_can_come_from_a_variable() {
        let config = merged(
            &file(""),
            variables(&[
                ("QUORUM_QUORUM_W", "2"),
                ("QUORUM_OTLP_ENABLED", "true"),
                ("QUORUM_OTLP_TRACE_RATIO", "0.5"),
                ("QUORUM_STORE_CACHE_BYTES", "8MiB"),
                ("QUORUM_PEER_CATCH_UP_BYTES_PER_SECOND", "1000"),
                ("QUORUM_STORE_DURABILITY", "relaxed"),
                ("QUORUM_HTTP_LISTEN", "127.0.0.1:1"),
                ("QUORUM_HTTP_TOKENS_FILE", "/run/tokens"),
            ]),
        );
        assert_eq!(config.quorum.w, WriteQuorum::Exactly(2));
        assert!(config.otlp.enabled);
        assert!((config.otlp.trace_ratio - 0.5).abs() < f64::EPSILON);
        assert_eq!(config.store.cache_bytes, ByteSize::mebibytes(8));
        assert_eq!(config.peer.catch_up_bytes_per_second, ByteSize::new(1000));
        assert_eq!(config.store.durability.as_str(), "relaxed");
        assert_eq!(config.http.listen.port(), 1);
        assert_eq!(config.http.tokens_file, Some("/run/tokens".into()));
    }

    #[test]
    fn the_environment_alone_makes_a_configuration() {
        let settings =
            variables(&[("QUORUM_NODE_NAME", "n2"), ("QUORUM_MEMBERS", "n1=a:1, n2=b:2")]);
        let config = merge(None, settings).expect("complete").config;
        assert_eq!(config.node.name.as_str(), "n2");
        assert_eq!(config.members[1].address, "b:2");
    }

    #[test]
    fn variables_of_others_are_passed_over_and_typing_errors_are_not() {
        let others = variables(&[
            ("QUORUM_CONFIG", "x"),
            ("QUORUM_TOKEN", "x"),
            ("QUORUM_SERVICE_HOST", "x"),
            ("QUORUM_HTTP_SERVICE_HOST", "x"),
            ("QUORUM_HTTP_PORT_7480_TCP", "x"),
            ("PATH", "x"),
        ]);
        assert_eq!(others, []);
        let message = message(&file(""), variables(&[("QUORUM_HTTP_LISTN", "127.0.0.1:1")]));
        assert!(message.contains("QUORUM_HTTP_LISTN: http.listn: unknown field"), "{message}");
    }

    #[test]
    fn an_error_names_the_key_the_file_and_the_line() {
        for (extra, start) in [
            ("[htp]\n", "quorum.toml:7: htp: unknown field"),
            ("[http]\nlistn = \"x\"\n", "quorum.toml:8: http.listn: unknown field"),
            ("[http]\n\nlisten = \"x\"\n", "quorum.toml:9: http.listen: invalid socket address"),
            ("[quorum]\nw = \"most\"\n", "quorum.toml:8: quorum.w: invalid write quorum"),
            ("[quorum]\nw = -1\n", "quorum.toml:8: quorum.w: invalid value"),
            ("[quorum]\nack_timeout = 2\n", "quorum.toml:8: quorum.ack_timeout: invalid type"),
            ("[store]\ncache_bytes = \"1MB\"\n", "quorum.toml:8: store.cache_bytes: invalid size"),
            ("[store]\ndurability = \"x\"\n", "quorum.toml:8: store.durability: unknown variant"),
            ("[[member]]\naddress = \"h:2\"\n", "quorum.toml:7: member[1].name: missing field"),
            (
                "[[member]]\nname = \"n 2\"\naddress = \"h:2\"\n",
                "quorum.toml:8: member[1].name: invalid member name",
            ),
            ("[http]\nlisten = \n", "quorum.toml:8: not valid TOML"),
        ] {
            let message = message(&file(extra), Vec::new());
            assert!(message.starts_with(start), "{message:?} should start with {start:?}");
        }
    }

    #[test]
    fn an_error_in_a_variable_or_flag_names_it() {
        let from_variable = message(&file(""), variables(&[("QUORUM_OTLP_ENABLED", "maybe")]));
        assert!(
            from_variable.starts_with("environment variable QUORUM_OTLP_ENABLED: otlp.enabled: "),
            "{from_variable}"
        );
        let from_flag = message(&file(""), vec![Setting::flag("http.listen", "here")]);
        assert!(from_flag.starts_with("command line: http.listen: "), "{from_flag}");
        let members = message(&file(""), variables(&[("QUORUM_MEMBERS", "n1")]));
        assert!(members.contains("QUORUM_MEMBERS: member: expected name=host:port"), "{members}");
    }

    #[test]
    fn a_missing_name_is_reported_as_node_name() {
        let error =
            merge(Some(&FileText::new("quorum.toml", "")), Vec::new()).expect_err("no name");
        assert!(error.to_string().contains("node.name: missing field"), "{error}");
    }
}
