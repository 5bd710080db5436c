//! From nothing to a checked configuration, the way an operator or an embedder gets there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use clap::Parser;
use quorum_core::PeerId;
use quorum_node::cli::{self, Cli, Exit, Output};
use quorum_node::config::{
    Config, ConfigError, Consistency, Member, NamespaceSection, ReadQuorum, Sources, WriteQuorum,
    check, check_files,
};
use quorum_node::pki::files::{
    NODE_CERTIFICATE, NODE_KEY, describe_file, read_authority, renew_node, write_authority,
    write_node,
};
use quorum_node::pki::{Authority, PkiError, Validity};

/// What a command printed.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one thread").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a command line as the program would, and returns its exit and what it printed.
fn run(arguments: &[&str]) -> (Exit, String) {
    run_with(arguments, true)
}

/// As [`run`], with text for people.
fn run_as_text(arguments: &[&str]) -> (Exit, String) {
    run_with(arguments, false)
}

fn run_with(arguments: &[&str], json: bool) -> (Exit, String) {
    let cli = Cli::try_parse_from([&["quorum-node"], arguments].concat()).expect("usage");
    let captured = Captured::default();
    let exit = cli::run(cli, &mut Output::new(json, captured.clone()));
    let printed = captured.0.lock().expect("one thread").clone();
    (exit, String::from_utf8(printed).expect("text"))
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn days(days: u32) -> Validity {
    Validity::from_days(now(), days).expect("a sensible lifetime")
}

/// An authority in `ca` and one node in `n1`, valid at [`now`].
fn node(root: &Path) -> (Authority, Config) {
    let authority = Authority::create("orchard", days(3650)).expect("an authority");
    write_authority(&root.join("ca"), &authority).expect("written");
    let identity = authority.issue("n1", days(365)).expect("a certificate");
    write_node(&root.join("n1"), &authority, &identity).expect("written");
    let name = PeerId::new("n1").expect("a name");
    let mut config = Config::new(name.clone(), vec![Member::new(name, "127.0.0.1:7400")]);
    config.tls.ca = root.join("n1/ca.pem");
    config.tls.cert = root.join("n1/node.pem");
    config.tls.key = root.join("n1/node.key");
    (authority, config)
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[track_caller]
fn refused(config: &Config, at: SystemTime, words: &[&str]) -> ConfigError {
    let error = check_files(config, at).expect_err("a refusal");
    for word in words {
        assert!(error.to_string().contains(word), "{error} should mention {word}");
    }
    error
}

#[test]
fn init_writes_a_cluster_whose_every_node_passes_the_check() {
    let root = directory();
    let target = root.path().join("cluster");
    let (exit, printed) = run(&["init", "--cluster-dir", target.to_str().expect("text")]);
    assert_eq!(exit, Exit::Ok);
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(printed["commands"].as_array().expect("commands").len(), 3);
    for path in printed["written"].as_array().expect("paths") {
        assert!(Path::new(path.as_str().expect("a path")).is_file(), "{path}");
    }
    let mut clusters = Vec::new();
    for name in ["n1", "n2", "n3"] {
        let config = Sources::new().file(target.join(name).join("quorum.toml")).load();
        let config = config.expect("readable");
        assert_eq!(config.node.name.as_str(), name);
        assert_eq!(config.node.data_dir, target.join(name).join("data"));
        assert_eq!(check(&config).expect("sound").w(), 2);
        check_files(&config, SystemTime::now()).expect("files in order");
        clusters.push((config.node.cluster_id(), config.members));
    }
    assert!(clusters.iter().all(|cluster| *cluster == clusters[0]));
}

#[test]
fn init_writes_all_files_or_none() {
    let root = directory();
    let in_the_way = root.path().join("n2");
    fs::create_dir(&in_the_way).expect("a directory");
    fs::write(in_the_way.join("quorum.toml"), "mine").expect("written");
    let (exit, _) = run(&["init", "--cluster-dir", root.path().to_str().expect("text")]);
    assert_eq!(exit, Exit::Error);
    assert_eq!(fs::read_to_string(in_the_way.join("quorum.toml")).expect("there"), "mine");
    assert!(!root.path().join("ca").exists());
    assert!(!root.path().join("n1").exists());
}

#[test]
fn init_makes_the_nodes_of_a_cluster_that_spans_hosts_one_by_one() {
    let root = directory();
    let path = |name: &str| root.path().join(name).to_str().expect("text").to_owned();
    let members = ["--member", "n1=a.example:7400", "--member", "n2=b.example:7401"];
    let (one, other, authority) = (path("n1"), path("n2"), path("n1/ca"));
    let first = ["init", "--config-dir", &one, "--name", "n1"];
    assert_eq!(run(&[&first[..], &members[..]].concat()).0, Exit::Ok);
    let second = ["init", "--config-dir", &other, "--name", "n2", "--ca", &authority];
    assert_eq!(run(&[&second[..], &members[..]].concat()).0, Exit::Ok);
    for (name, port) in [("n1", 7400), ("n2", 7401)] {
        let config = Sources::new().file(root.path().join(name).join("quorum.toml")).load();
        let config = config.expect("readable");
        assert_eq!(config.peer.listen.port(), port);
        check(&config).expect("sound");
        check_files(&config, SystemTime::now()).expect("one authority for both");
    }
    assert!(!root.path().join("n2/ca").exists());
}

#[test]
fn init_refuses_what_serve_would_refuse_and_writes_nothing() {
    let root = directory();
    let path = root.path().join("n1").to_str().expect("text").to_owned();
    for member in ["n1=nowhere", "n1=h:0", "n2=h:1"] {
        let init = ["init", "--config-dir", &path, "--name", "n1", "--member", member];
        assert_eq!(run(&init).0, Exit::Error, "{member}");
    }
    let missing = root.path().join("no-authority").to_str().expect("text").to_owned();
    let init = ["init", "--config-dir", &path, "--name", "n1", "--member", "n1=h:1"];
    assert_eq!(run(&[&init[..], &["--ca", &missing]].concat()).0, Exit::Error);
    assert!(!Path::new(&path).exists());
}

#[test]
fn config_check_says_what_the_mesh_survives() {
    let root = directory();
    let target = root.path().to_str().expect("text");
    assert_eq!(run(&["init", "--cluster-dir", target, "--nodes", "5"]).0, Exit::Ok);
    let config = root.path().join("n1/quorum.toml");
    let config = config.to_str().expect("text");
    let (exit, printed) = run(&["config", "check", "--config", config]);
    assert_eq!(exit, Exit::Ok);
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(printed["members"], 5);
    assert_eq!(printed["w"], 3);
    assert_eq!(printed["tolerated_failures"], 2);
    let broken = ["config", "check", "--config", config, "--set", "quorum.w=6"];
    assert_eq!(run(&broken).0, Exit::Error);
}

/// A node of a cluster of three with these rules behind its file, as text for `--config`.
fn cluster_with(root: &Path, rules: &str) -> String {
    assert_eq!(run(&["init", "--cluster-dir", root.to_str().expect("text")]).0, Exit::Ok);
    let path = root.join("n1/quorum.toml");
    let text = fs::read_to_string(&path).expect("there");
    fs::write(&path, format!("{text}\n{rules}")).expect("written");
    path.to_str().expect("text").to_owned()
}

const RULES: &str = "[[namespaces]]\nname = \"orders\"\nconsistency = \"linearizable\"\n\
                     [[namespaces]]\nprefix = \"logs.\"\nw = 1\nr = 2\nack_timeout = \"1500ms\"\n";

#[test]
fn config_check_shows_the_policy_of_a_namespace() {
    let root = directory();
    let config = cluster_with(root.path(), RULES);
    let policy_of = |namespace: &str| {
        let check = ["config", "check", "--config", &config, "--namespace", namespace];
        let (exit, printed) = run(&check);
        assert_eq!(exit, Exit::Ok);
        serde_json::from_str::<serde_json::Value>(&printed).expect("JSON")
    };
    let orders = policy_of("orders");
    assert_eq!(orders["namespace"], "orders");
    assert_eq!(orders["policies"].as_array().expect("a list").len(), 1);
    assert_eq!(
        orders["policies"][0],
        serde_json::json!({
            "source": "name \"orders\"", "w": 2, "r": 2, "ack_timeout": "2s", "durability": "fsync",
            "consistency": "linearizable", "overlapping": true, "writes_overlap": true,
        })
    );
    assert_eq!(orders["warnings"], serde_json::json!([]), "of this namespace only");
    let logs = policy_of("logs.web");
    assert_eq!(logs["policies"][0]["source"], "prefix \"logs.\"");
    assert_eq!(logs["policies"][0]["ack_timeout"], "1s 500ms");
    assert_eq!(logs["policies"][0]["overlapping"], false);
    assert_eq!(logs["warnings"].as_array().expect("a list").len(), 2);
    assert_eq!(policy_of("other")["policies"][0]["source"], "default");
}

#[test]
fn config_check_warns_of_every_rule_and_passes_all_the_same() {
    let root = directory();
    let config = cluster_with(root.path(), RULES);
    let (exit, printed) = run(&["config", "check", "--config", &config]);
    assert_eq!(exit, Exit::Ok);
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(printed["policies"].as_array().expect("a list").len(), 3);
    let warnings = printed["warnings"].to_string();
    assert!(warnings.contains("R + W = 2 + 1 is not above N = 3"), "{warnings}");
    assert!(warnings.contains("two writes may both commit"), "{warnings}");

    let (exit, text) = run_as_text(&["config", "check", "--config", &config]);
    assert_eq!(exit, Exit::Ok);
    assert!(text.contains("W = 2 of N = 3: commits with up to 1 of 3 members down"), "{text}");
    assert_eq!(text.matches("\nwarning: prefix \"logs.\": ").count(), 2, "{text}");
    assert!(text.contains("name \"orders\""), "{text}");
}

#[test]
fn config_check_names_the_rule_that_is_wrong() {
    let root = directory();
    let rules = format!("{RULES}[[namespaces]]\nname = \"jobs\"\nw = 4\n");
    let config = cluster_with(root.path(), &rules);
    assert_eq!(run(&["config", "check", "--config", &config]).0, Exit::Error);
    let error = check(&Sources::new().file(&config).load().expect("readable")).expect_err("wrong");
    assert_eq!(error.to_string(), "namespaces[2].w = 4 is outside 1..=3, the number of members");
    let mend = ["--set", "namespaces=[{ name = \"jobs\", w = 3 }]"];
    assert_eq!(run(&[&["config", "check", "--config", &config], &mend[..]].concat()).0, Exit::Ok);
}

#[test]
fn config_show_prints_a_file_that_means_the_same() {
    let root = directory();
    let (_, mut config) = node(root.path());
    config.namespaces = vec![every_rule_key()];
    let path = root.path().join("shown.toml");
    fs::write(&path, toml::to_string_pretty(&config).expect("TOML")).expect("written");
    let again = Sources::new().file(&path).load().expect("readable");
    // Relative to the file, which is where the absolute paths already point.
    assert_eq!(again, config);
}

#[test]
fn a_complete_node_directory_passes_the_check() {
    let root = directory();
    let (_, config) = node(root.path());
    check_files(&config, now()).expect("files in order");
}

#[test]
fn a_missing_file_is_named_with_its_key() {
    for (key, break_it) in [
        ("tls.ca", (|config| config.tls.ca = "/nowhere".into()) as fn(&mut Config)),
        ("tls.cert", |config| config.tls.cert = "/nowhere".into()),
        ("tls.key", |config| config.tls.key = "/nowhere".into()),
        ("http.tokens_file", |config| config.http.tokens_file = Some("/nowhere".into())),
        ("http.tls_cert", |config| {
            config.http.tls_cert = Some("/nowhere".into());
            config.http.tls_key = Some("/nowhere".into());
        }),
    ] {
        let root = directory();
        let (_, mut config) = node(root.path());
        break_it(&mut config);
        let error = refused(&config, now(), &[key, "/nowhere"]);
        assert!(matches!(error, ConfigError::File { .. }), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let root = directory();
    let (_, mut config) = node(root.path());
    let open_to_group = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("chmod");
    };
    let tokens = root.path().join("tokens");
    fs::write(&tokens, "0123456789abcdef\n").expect("written");
    open_to_group(&tokens);
    config.http.tokens_file = Some(tokens);
    refused(&config, now(), &["http.tokens_file", "0640", "chmod 600"]);
    open_to_group(&config.tls.key);
    refused(&config, now(), &["tls.key", "0640", "chmod 600"]);
}

#[test]
fn a_file_that_holds_something_else_is_refused() {
    let root = directory();
    let (_, config) = node(root.path());
    for (key, path) in
        [("tls.ca", &config.tls.ca), ("tls.cert", &config.tls.cert), ("tls.key", &config.tls.key)]
    {
        let original = fs::read(path).expect("there");
        fs::write(path, "hello").expect("written");
        refused(&config, now(), &[key]);
        fs::write(path, original).expect("written");
    }
    check_files(&config, now()).expect("as it was");
}

#[test]
fn a_certificate_counts_for_its_own_node_its_own_cluster_and_its_own_time() {
    let root = directory();
    let (authority, config) = node(root.path());
    let year = Duration::from_secs(366 * 86_400);
    refused(&config, now() + year, &["tls.cert", "expired on 2028", "pki renew"]);
    refused(&config, now() - year, &["tls.cert", "counts only from 2027"]);

    let mut renamed = config.clone();
    renamed.node.name = PeerId::new("n2").expect("a name");
    refused(&renamed, now(), &["tls.cert", "\"n1\"", "\"n2\""]);

    let other = authority.issue("n1", days(365)).expect("a certificate");
    fs::write(&config.tls.cert, other.certificate_pem).expect("written");
    refused(&config, now(), &["tls.key", "does not belong"]);

    let stranger = Authority::create("orchard", days(3650)).expect("an authority");
    fs::write(&config.tls.ca, stranger.certificate_pem()).expect("written");
    refused(&config, now(), &["tls.cert", "not signed by any root in tls.ca"]);
}

#[test]
fn two_roots_overlap_while_one_replaces_the_other() {
    let root = directory();
    let (old, config) = node(root.path());
    let new = Authority::create("orchard", days(3650)).expect("an authority");
    let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    fs::write(&config.tls.ca, both).expect("written");
    check_files(&config, now()).expect("the old certificate still counts");
    renew_node(&root.path().join("n1"), &new, days(365)).expect("renewed");
    check_files(&config, now()).expect("the new certificate counts already");
}

#[test]
fn renewal_keeps_the_name_and_the_old_files_and_changes_the_key() {
    let root = directory();
    let (_, config) = node(root.path());
    let node_directory = root.path().join("n1");
    let read = |name: &str| fs::read_to_string(node_directory.join(name)).expect("there");
    let (old_key, old_certificate) = (read(NODE_KEY), read(NODE_CERTIFICATE));
    let authority = read_authority(&root.path().join("ca")).expect("the authority");
    let renewed = renew_node(&node_directory, &authority, days(30)).expect("renewed");
    assert_eq!(renewed.names, ["n1"]);
    assert_eq!(renewed.not_after, days(30).not_after());
    assert_ne!(read(NODE_KEY), old_key);
    assert_eq!(read("node.key.old"), old_key);
    assert_eq!(read("node.pem.old"), old_certificate);
    assert_eq!(describe_file(&config.tls.cert).expect("one"), [renewed]);
    check_files(&config, now()).expect("files in order");
}

#[test]
fn renewal_mends_a_pair_that_an_interrupted_one_left_behind() {
    let root = directory();
    let (authority, config) = node(root.path());
    let half = authority.issue("n1", days(365)).expect("a certificate");
    fs::write(&config.tls.key, half.key_pem).expect("written");
    refused(&config, now(), &["tls.key", "does not belong"]);
    renew_node(&root.path().join("n1"), &authority, days(365)).expect("renewed");
    check_files(&config, now()).expect("files in order");
}

#[test]
fn keys_are_never_overwritten() {
    let root = directory();
    let (authority, config) = node(root.path());
    let before = fs::read(&config.tls.key).expect("there");
    let again = authority.issue("n1", days(365)).expect("a certificate");
    let written = write_node(&root.path().join("n1"), &authority, &again);
    assert!(matches!(written, Err(PkiError::Exists { .. })));
    let written = write_authority(&root.path().join("ca"), &authority);
    assert!(matches!(written, Err(PkiError::Exists { .. })));
    assert_eq!(fs::read(&config.tls.key).expect("there"), before);
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    let (exit, script) = run(&["completions", "bash"]);
    assert_eq!(exit, Exit::Ok);
    let root = directory();
    assert_eq!(run(&["man", "--out", root.path().to_str().expect("text")]).0, Exit::Ok);
    let command = <Cli as clap::CommandFactory>::command();
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        assert!(script.contains(name), "{name} is not completed");
        let page = root.path().join(format!("quorum-node-{name}.1"));
        assert!(page.is_file(), "{} is missing", page.display());
    }
}

fn every_rule_key() -> NamespaceSection {
    let mut rule = NamespaceSection::default();
    (rule.name, rule.prefix) = (Some("a".into()), Some("a".into()));
    (rule.w, rule.r) = (Some(WriteQuorum::All), Some(ReadQuorum::All));
    rule.ack_timeout = Some(Duration::from_secs(1));
    rule.durability = Some(quorum_core::Durability::Fsync);
    rule.consistency = Some(Consistency::Local);
    rule
}

/// Sections that stand in the file as a list of tables, and the variable that holds all of it.
const LISTS: [(&str, &str); 2] =
    [("member", "QUORUM_MEMBERS"), ("namespaces", "QUORUM_NAMESPACES")];

/// The keys of a configuration in which every optional one is set, with their defaults.
fn every_key() -> Vec<(String, String, toml::Value)> {
    let name = PeerId::new("n1").expect("a name");
    let mut config = Config::new(name.clone(), vec![Member::new(name, "h:1")]);
    let path = || Some(PathBuf::from("x"));
    (config.http.tls_cert, config.http.tls_key) = (path(), path());
    config.http.tokens_file = path();
    config.otlp.endpoint = Some("x".into());
    // With every key set, this rule is none that the check lets through; here only keys count.
    config.namespaces = vec![every_rule_key()];
    let table = toml::Table::try_from(config).expect("a table");
    let keys = table.into_iter().flat_map(|(section, value)| {
        let table = match value {
            toml::Value::Array(mut members) => members.remove(0),
            single => single,
        };
        let toml::Value::Table(table) = table else { panic!("{section} is no section") };
        table.into_iter().map(move |(key, value)| (section.clone(), key, value))
    });
    keys.collect()
}

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_manual_lists_every_key_with_its_variable_and_default() {
    let manual = repository("docs/config.md");
    let without_default = ["name", "tls_cert", "tls_key", "tokens_file", "endpoint"];
    for (section, key, value) in every_key() {
        let start = format!("| `{section}.{key}` |");
        let row = manual.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("docs/config.md has no row {start}"));
        let list = LISTS.iter().find(|(list, _)| *list == section);
        let own = format!("QUORUM_{section}_{key}").to_uppercase();
        let variable = list.map_or(own, |(_, variable)| (*variable).to_owned());
        assert!(row.contains(&format!("| `{variable}` |")), "{row} should name {variable}");
        if list.is_none() && !without_default.contains(&key.as_str()) {
            let default = format!("| `{value}` |");
            assert!(row.contains(&default), "{row} should have the default {default}");
        }
    }
    let rows = manual.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, every_key().len(), "docs/config.md lists a key that does not exist");
}

#[test]
fn the_packaged_example_shows_every_key_with_its_default() {
    let example = repository("crates/quorum-node/packaging/quorum.toml");
    let root = directory();
    // A comment is prose; a "#" right before a letter or a "[" is what can be switched on.
    let switched_on = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => key,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    for (section, key, _) in every_key() {
        let table: toml::Table = switched_on.parse().expect("TOML");
        let shown = match &table[&section] {
            toml::Value::Array(list) => list.iter().find_map(|table| table.get(&key)),
            single => single.get(&key),
        };
        assert!(shown.is_some(), "packaging/quorum.toml does not show {section}.{key}");
    }

    let load = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::write(&path, text).expect("written");
        Sources::new().file(path).load().expect("readable")
    };
    let as_packaged = load("packaged.toml", &example);
    check(&as_packaged).expect("sound");
    let mut shown = load("shown.toml", &switched_on);
    check(&shown).expect("sound");
    assert_eq!(shown.namespaces.len(), 2);
    shown.namespaces.clear();
    shown.http.tls_cert = None;
    shown.http.tls_key = None;
    shown.http.tokens_file = None;
    shown.otlp.endpoint = None;
    assert_eq!(shown, as_packaged, "a key is shown with another value than its default");
}

#[test]
fn peers_read_the_node_name_from_an_issued_certificate() {
    let root = directory();
    let (_, config) = node(root.path());
    let [cert, key, ca] = [&config.tls.cert, &config.tls.key, &config.tls.ca]
        .map(|path| fs::read(path).expect("there"));
    let identity = quorum_transport::NodeIdentity::from_pem(&cert, &key, &ca).expect("an identity");
    assert_eq!(identity.names(), ["n1"]);
    let end = days(365).not_after().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    assert_eq!(identity.not_after(), i64::try_from(end.as_secs()).ok());
}
