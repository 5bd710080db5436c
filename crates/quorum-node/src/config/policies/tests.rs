//! What operators may rely on when they write rules: which one holds, what is refused, what is warned.

use std::time::Duration;

use quorum_core::{Durability, PeerId};

use super::super::Member;
use super::super::layers::{FileText, merge};
use super::*;

/// A configuration of `n` members with these lines behind the member list.
fn config(n: usize, rules: &str) -> Config {
    let file = FileText::new("quorum.toml", format!("[node]\nname = \"n1\"\n{rules}"));
    let mut config = merge(Some(&file), Vec::new()).expect("readable").config;
    let member =
        |i: usize| Member::new(PeerId::new(format!("n{i}")).expect("a name"), format!("h:{i}"));
    config.members = (1..=n).map(member).collect();
    config
}

fn policies(n: usize, rules: &str) -> Policies {
    Policies::new(&config(n, rules)).expect("sound")
}

fn namespace(name: &str) -> Namespace {
    Namespace::new(name).expect("a name")
}

#[track_caller]
fn refused(rules: &str, start: &str) {
    let message = Policies::new(&config(3, rules)).expect_err("a refusal").to_string();
    assert!(message.starts_with(start), "{message:?} should start with {start:?}");
}

const ORDERS_AND_LOGS: &str = "
[quorum]
ack_timeout = \"3s\"
[[namespaces]]
prefix = \"logs.\"
w = 1
ack_timeout = \"500ms\"
durability = \"relaxed\"
[[namespaces]]
prefix = \"logs.audit\"
w = \"all\"
[[namespaces]]
name = \"logs.audit.eu\"
consistency = \"quorum\"
[[namespaces]]
name = \"orders\"
consistency = \"linearizable\"
";

#[test]
fn an_exact_name_beats_the_longest_prefix_which_beats_the_default() {
    let policies = policies(3, ORDERS_AND_LOGS);
    for (name, source) in [
        ("logs.web", "prefix \"logs.\""),
        ("logs.", "prefix \"logs.\""),
        ("logs", "default"),
        ("logs.audit", "prefix \"logs.audit\""),
        ("logs.audit.us", "prefix \"logs.audit\""),
        ("logs.audit.eu", "name \"logs.audit.eu\""),
        ("logs.audit.eu2", "prefix \"logs.audit\""),
        ("orders", "name \"orders\""),
        ("orders2", "default"),
        ("order", "default"),
    ] {
        assert_eq!(policies.of(&namespace(name)).source().to_string(), source, "{name}");
    }
}

#[test]
fn a_rule_says_what_differs_and_inherits_the_rest() {
    let policies = policies(3, ORDERS_AND_LOGS);
    let logs = policies.of(&namespace("logs.web"));
    assert_eq!((logs.write().w(), logs.r()), (1, 3), "R follows from the rule's own W");
    assert_eq!(logs.write().ack_timeout(), Duration::from_millis(500));
    assert_eq!(logs.durability(), Durability::Relaxed);
    assert_eq!(logs.consistency(), Consistency::Local);
    let audit = policies.of(&namespace("logs.audit"));
    assert_eq!((audit.write().w(), audit.r()), (3, 1));
    // From [quorum] and [store], not from the shorter prefix: rules do not pile up.
    assert_eq!(audit.write().ack_timeout(), Duration::from_secs(3));
    assert_eq!(audit.durability(), Durability::Fsync);
    let orders = policies.of(&namespace("orders"));
    assert!(orders.is_linearizable());
    assert_eq!((orders.write().w(), orders.r()), (2, 2));
}

#[test]
fn a_written_r_is_inherited_but_not_by_a_linearizable_namespace() {
    let rules = "[quorum]\nr = 1\n[[namespaces]]\nname = \"a\"\n\
                 [[namespaces]]\nname = \"b\"\nconsistency = \"linearizable\"\n";
    let policies = policies(5, rules);
    assert_eq!(policies.of(&namespace("a")).r(), 1);
    assert_eq!(policies.of(&namespace("b")).r(), 3);
}

#[test]
fn the_smallest_w_is_over_all_rules() {
    assert_eq!(policies(3, ORDERS_AND_LOGS).smallest_w(), 1);
    assert_eq!(policies(5, "[[namespaces]]\nname = \"a\"\nw = \"all\"\n").smallest_w(), 3);
}

#[test]
fn quorums_that_the_members_cannot_meet_are_refused() {
    refused("[quorum]\nw = 0\n", "quorum.w = 0 is outside 1..=3, the number of members");
    refused("[quorum]\nr = 4\n", "quorum.r = 4 is outside 1..=3");
    refused("[quorum]\nmin_w = 0\n", "quorum.min_w = 0 is outside 1..=3");
    refused("[quorum]\nmin_w = 4\n", "quorum.min_w = 4 is outside 1..=3");
    let second = |line: &str| {
        format!("[[namespaces]]\nname = \"a\"\n[[namespaces]]\nname = \"b\"\n{line}\n")
    };
    refused(&second("w = 4"), "namespaces[1].w = 4 is outside 1..=3");
    refused(&second("r = 0"), "namespaces[1].r = 0 is outside 1..=3");
    refused(&second("ack_timeout = \"0s\""), "namespaces[1].ack_timeout must not be zero");
    refused(&second("ack_timeout = \"2h\""), "namespaces[1].ack_timeout = 2h is longer than 1h");
}

#[test]
fn no_policy_asks_for_fewer_copies_than_a_request_may() {
    refused("[quorum]\nw = 1\nmin_w = 2\n", "quorum.w = 1 is below quorum.min_w = 2");
    refused(
        "[quorum]\nmin_w = 2\n[[namespaces]]\nprefix = \"logs.\"\nw = 1\n",
        "namespaces[0].w = 1 is below quorum.min_w = 2",
    );
}

#[test]
fn a_rule_is_for_one_name_or_one_prefix() {
    refused(
        "[[namespaces]]\nw = 1\n",
        "namespaces[0]: set exactly one of name and prefix; neither",
    );
    refused(
        "[[namespaces]]\nname = \"a\"\nprefix = \"a\"\n",
        "namespaces[0]: set exactly one of name and prefix; both",
    );
    refused("[[namespaces]]\nname = \"A\"\n", "namespaces[0].name: invalid namespace \"A\"");
    refused("[[namespaces]]\nprefix = \"\"\n", "namespaces[0].prefix: invalid namespace \"\"");
    refused("[[namespaces]]\nprefix = \"a*\"\n", "namespaces[0].prefix: invalid namespace");
}

#[test]
fn a_name_and_a_prefix_have_one_rule_each() {
    let twice = |kind: &str| {
        format!("[[namespaces]]\n{kind} = \"a\"\n[[namespaces]]\n{kind} = \"a\"\nw = 3\n")
    };
    refused(&twice("name"), "namespaces[1].name = \"a\" is already the name of another rule");
    refused(&twice("prefix"), "namespaces[1].prefix = \"a\" is already the prefix of another rule");
    let both = policies(3, "[[namespaces]]\nname = \"a\"\n[[namespaces]]\nprefix = \"a\"\nw = 3\n");
    assert_eq!(both.of(&namespace("a")).write().w(), 2);
    assert_eq!(both.of(&namespace("ab")).write().w(), 3);
}

#[test]
fn there_is_a_last_rule() {
    let rules = |count: usize| {
        let mut config = config(3, "");
        config.namespaces = (0..count)
            .map(|i| NamespaceSection { name: Some(format!("ns{i}")), ..Default::default() })
            .collect();
        Policies::new(&config)
    };
    assert_eq!(rules(RULES_MAX).expect("sound").iter().count(), RULES_MAX + 1);
    let message = rules(RULES_MAX + 1).expect_err("too many").to_string();
    assert_eq!(message, "namespaces: 1025 rules are more than 1024");
}

#[test]
fn a_linearizable_namespace_has_majorities_of_durable_copies() {
    let linearizable = |before: &str, line: &str| {
        format!("{before}\n[[namespaces]]\nname = \"a\"\nconsistency = \"linearizable\"\n{line}\n")
    };
    refused(&linearizable("", "w = 1"), "namespaces[0].w = 1 is not a majority of 3 members");
    refused(&linearizable("[quorum]\nw = 1", ""), "namespaces[0].w = 1 is not a majority of 3");
    refused(&linearizable("", "r = 1"), "namespaces[0].r = 1 is not a majority of 3 members");
    let relaxed = "namespaces[0].durability = \"relaxed\" loses copies";
    refused(&linearizable("", "durability = \"relaxed\""), relaxed);
    refused(&linearizable("[store]\ndurability = \"relaxed\"", ""), relaxed);
    let half = Policies::new(&config(4, &linearizable("", "w = 2"))).expect_err("half is too few");
    assert!(half.to_string().contains("w = 2 is not a majority of 4"), "{half}");
    let mended = linearizable("[store]\ndurability = \"relaxed\"", "durability = \"fsync\"");
    assert!(policies(3, &mended).of(&namespace("a")).is_linearizable());
}

#[test]
fn what_surprises_is_warned_about_and_only_that() {
    assert_eq!(policies(3, ORDERS_AND_LOGS).default_policy().warnings(), Vec::<String>::new());
    let policies = policies(4, "[[namespaces]]\nname = \"a\"\nw = 2\nr = 2\n");
    let warnings = policies.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("name \"a\": R + W = 2 + 2 is not above N = 4"));
    assert!(warnings[0].contains("a quorum read may miss a committed write"));
    assert!(warnings[1].contains("two writes may both commit without either seeing the other"));
    assert!(!policies.of(&namespace("a")).overlapping());
    assert!(policies.default_policy().overlapping());
}

#[test]
fn a_request_may_ask_for_other_quorums_within_the_bounds() {
    let rules = format!("{}[[namespaces]]\nname = \"b\"\n", "[quorum]\nmin_w = 2\n");
    let policies = policies(5, &rules);
    let ask = |w| policies.requested_w(&namespace("b"), w);
    assert_eq!(ask(WriteQuorum::Exactly(2)), Ok(2));
    assert_eq!(ask(WriteQuorum::Majority), Ok(3));
    assert_eq!(ask(WriteQuorum::All), Ok(5));
    assert!(ask(WriteQuorum::Exactly(1)).expect_err("too few").contains("below 2"));
    for w in [0, 6, usize::MAX] {
        let error = ask(WriteQuorum::Exactly(w)).expect_err("no such quorum");
        assert!(error.contains("outside 1..=5"), "{error}");
    }
    let hear = |r| policies.requested_r(&namespace("b"), r);
    assert_eq!(hear(ReadQuorum::Exactly(1)), Ok(1));
    assert_eq!(hear(ReadQuorum::Overlapping), Ok(3));
    assert!(hear(ReadQuorum::Exactly(0)).is_err());
    assert!(hear(ReadQuorum::Exactly(6)).is_err());
}

#[test]
fn a_request_cannot_weaken_a_linearizable_namespace() {
    let policies = policies(3, ORDERS_AND_LOGS);
    let orders = namespace("orders");
    let error = policies.requested_w(&orders, WriteQuorum::Exactly(1)).expect_err("a minority");
    assert!(error.contains("not a majority of 3"), "{error}");
    assert!(policies.requested_r(&orders, ReadQuorum::Exactly(1)).is_err());
    assert_eq!(policies.requested_w(&orders, WriteQuorum::All), Ok(3));
}

#[test]
fn the_digest_does_not_depend_on_the_order_of_rules() {
    let mut config = config(3, ORDERS_AND_LOGS);
    let digest = Policies::new(&config).expect("sound").digest();
    config.namespaces.reverse();
    assert_eq!(Policies::new(&config).expect("sound").digest(), digest);
    config.namespaces.swap(0, 2);
    assert_eq!(Policies::new(&config).expect("sound").digest(), digest);
}

#[test]
fn the_digest_changes_with_everything_members_must_agree_on() {
    let rule = |line: &str| policies(3, &format!("[[namespaces]]\n{line}\n")).digest();
    let default = |line: &str| policies(3, line).digest();
    let digests = [
        default(""),
        default("[quorum]\nmin_w = 2\n"),
        default("[quorum]\nw = 3\nr = 2\n"),
        default("[quorum]\nr = 3\n"),
        default("[quorum]\nack_timeout = \"2001ms\"\n"),
        default("[store]\ndurability = \"relaxed\"\n"),
        rule("name = \"a\""),
        rule("name = \"ab\""),
        rule("prefix = \"a\""),
        rule("name = \"a\"\nw = 3\nr = 2"),
        rule("name = \"a\"\nr = 3"),
        rule("name = \"a\"\nack_timeout = \"1s\""),
        rule("name = \"a\"\ndurability = \"relaxed\""),
        rule("name = \"a\"\nconsistency = \"quorum\""),
        rule("name = \"a\"\nconsistency = \"linearizable\""),
    ];
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "case {index} has the digest of another");
    }
}

#[test]
fn the_digest_does_not_change_with_what_each_member_decides_alone() {
    let same =
        "[quorum]\nin_flight_writes_max = 7\nread_timeout = \"1s\"\n[repair]\ninterval = \"2s\"\n";
    assert_eq!(policies(3, same).digest(), policies(3, "").digest());
    // Spelled differently, meant alike.
    assert_eq!(policies(3, "[quorum]\nw = 2\nr = 2\n").digest(), policies(3, "").digest());
}

/// Members of two releases compare their digests, so it must not change from one to the next.
#[test]
fn the_digest_is_the_same_in_every_release() {
    assert_eq!(
        policies(3, ORDERS_AND_LOGS).digest().to_string(),
        "1f54fa2ed1c8f5514c777baea138c039d5188ac37bba23ec47f081d48d9cc03d"
    );
}
