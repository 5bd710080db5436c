//! Who wins over whom, and whether a mistake is reported where somebody made it.

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
    let settings = variables(&[("QUORUM_NODE_NAME", "n2"), ("QUORUM_MEMBERS", "n1=a:1, n2=b:2")]);
    let config = merge(None, settings).expect("complete").config;
    assert_eq!(config.node.name.as_str(), "n2");
    assert_eq!(config.members[1].address, "b:2");
}

#[test]
fn all_rules_for_namespaces_can_come_from_a_variable() {
    let rules = "[{ name = \"orders\", w = 3 }, { prefix = \"logs.\", w = 1 }]";
    let in_the_file = "[[namespaces]]\nname = \"gone\"\n";
    let config = merged(&file(in_the_file), variables(&[("QUORUM_NAMESPACES", rules)]));
    assert_eq!(config.namespaces.len(), 2);
    assert_eq!(config.namespaces[0].name.as_deref(), Some("orders"));
    assert_eq!(config.namespaces[1].w, Some(WriteQuorum::Exactly(1)));

    for text in ["", "3", "{}", "[", "[]\n[http]", "[]\nx = 1"] {
        let message = message(&file(""), variables(&[("QUORUM_NAMESPACES", text)]));
        let start = "environment variable QUORUM_NAMESPACES: namespaces: expected a TOML array";
        assert!(message.starts_with(start), "{text:?}: {message}");
    }
    let misspelt = [("QUORUM_NAMESPACES", "[{ name = \"a\", W = 1 }]")];
    let message = message(&file(""), variables(&misspelt));
    let start = "environment variable QUORUM_NAMESPACES: namespaces[0].W: unknown field";
    assert!(message.starts_with(start), "{message}");
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
        ("[[namespaces]]\nname = \"a\"\nz = 1\n", "quorum.toml:9: namespaces[0].z: unknown field"),
        ("[[namespaces]]\nw = \"most\"\n", "quorum.toml:8: namespaces[0].w: invalid write quorum"),
        ("[[namespaces]]\nr = -1\n", "quorum.toml:8: namespaces[0].r: invalid value"),
        ("[[namespaces]]\nack_timeout = 1\n", "quorum.toml:8: namespaces[0].ack_timeout:"),
        ("[[namespaces]]\nconsistency = \"x\"\n", "quorum.toml:8: namespaces[0].consistency:"),
        ("[quorum]\nr = \"few\"\n", "quorum.toml:8: quorum.r: invalid read quorum"),
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
    let error = merge(Some(&FileText::new("quorum.toml", "")), Vec::new()).expect_err("no name");
    assert!(error.to_string().contains("node.name: missing field"), "{error}");
}
