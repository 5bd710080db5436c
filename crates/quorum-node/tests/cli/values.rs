//! Single values: written, read, listed, deleted; and what a node says about itself.

use crate::mesh::{Mesh, run_with_input};

#[test]
fn a_value_written_through_one_node_is_read_through_another() {
    let mesh = Mesh::start();
    let put = mesh.on(0, &["put", "demo/a/b", "hello", "--w", "all", "--timeout", "10s"]).ok();
    assert!(put.text().starts_with("committed demo/a/b: 3 copies (fsync), 3 needed\n"), "{put:?}");
    assert_eq!(mesh.on(1, &["get", "demo/a/b"]).ok().text(), "hello");

    let id = "0b0e7bb2-1111-4222-8333-444455556666";
    let receipt = mesh.on(0, &["--json", "put", "demo/-", "-x", "--write-id", id]).ok().json();
    assert_eq!((&receipt["outcome"], &receipt["write_id"]), (&"committed".into(), &id.into()));

    // Keys that a URL library would turn into other paths.
    for key in ["..", ".", "a//b", "../x", "ä ?&#%"] {
        let target = format!("odd/{key}");
        mesh.on(0, &["put", &target, key, "--w", "all"]).ok();
        assert_eq!(mesh.on(2, &["get", &target]).ok().text(), key);
    }
    let listed = mesh.on(2, &["list", "odd", "--values"]).ok();
    assert_eq!(listed.text(), ".\t.\n..\t..\n../x\t../x\na//b\ta//b\nä ?&#%\tä ?&#%\n");
    let some = mesh.on(2, &["list", "odd", "--after", ".", "--limit", "2"]).ok();
    assert_eq!(some.text(), "..\n../x\n");
    assert_eq!(mesh.on(2, &["list", "odd", "--prefix", "a"]).ok().text(), "a//b\n");
    let json = mesh.on(2, &["--json", "list", "odd", "--limit", "1"]).ok().json();
    assert_eq!(json["key"], ".");

    mesh.on(1, &["delete", "demo/a/b", "--w", "all", "--timeout", "10s"]).ok();
    let gone = mesh.on(0, &["get", "demo/a/b"]);
    assert_eq!((gone.code, gone.stdout.as_slice()), (1, &b""[..]));
    assert!(gone.stderr.contains("demo/a/b has no value"), "{gone:?}");
}

#[test]
fn values_and_keys_may_be_any_bytes() {
    let mesh = Mesh::start();
    let bytes = (0..=255).collect::<Vec<u8>>();
    let url = mesh.url(0).to_owned();
    let put = ["put", "bin//wA=", "-", "--key-base64", "--w", "all", "--url", &url];
    run_with_input(&put, &bytes).ok();
    assert_eq!(mesh.on(1, &["get", "bin//wA=", "--key-base64"]).ok().stdout, bytes);
    let json = mesh.on(1, &["--json", "get", "bin//wA=", "--key-base64"]).ok().json();
    assert!(json["value_base64"].as_str().expect("base64").starts_with("AAECAw"), "{json}");
    let listed = mesh.on(1, &["list", "bin"]).ok();
    assert_eq!(listed.text(), "\\xff\\x00\n");

    let path = mesh.file("value");
    std::fs::write(&path, &bytes).expect("written");
    mesh.on(0, &["put", "bin/file", "--file", &path, "--w", "all"]).ok();
    assert_eq!(mesh.on(2, &["get", "bin/file"]).ok().stdout, bytes);
}

#[test]
fn a_node_says_how_it_is_and_how_it_sees_the_others() {
    let mut mesh = Mesh::start();
    mesh.on(0, &["put", "demo/k", "v", "--w", "all", "--timeout", "10s"]).ok();
    let status = mesh.on(0, &["status"]).ok();
    let quorum = "quorum            yes: 3 of 3 members reachable, writes need 2\n";
    assert!(status.text().contains(quorum), "{}", status.text());
    assert!(!status.text().contains('\x1b'), "colours belong on terminals");
    let digest = |node| {
        let status = mesh.on(node, &["--json", "status", "--digest"]).ok().json();
        status["content_digest"].as_str().expect("a digest").to_owned()
    };
    assert_eq!(digest(0), digest(2));

    let copies = |mesh: &Mesh| {
        let peers = mesh.on(0, &["peers"]).ok();
        peers.text().lines().next_back().expect("a line below the peers").to_owned()
    };
    let all_there = "copies  0 writes on fewer than W; 0 writes on fewer than all members";
    mesh.until("every member has said what it holds", |mesh| copies(mesh) == all_there);

    mesh.kill(2);
    mesh.until("the dead peer is missed", |mesh| {
        let peers = mesh.on(0, &["peers"]).ok();
        let line = peers.text().lines().find(|line| line.starts_with("n3"));
        line.expect("every peer is listed").contains("down")
    });
    mesh.on(0, &["put", "demo/exposed", "v"]).ok();
    let exposed = "writes on fewer than all members, the oldest for ";
    mesh.until("a write lacks a copy", |mesh| copies(mesh).contains(exposed));
    let peers = mesh.on(0, &["--json", "peers"]).ok().json();
    let names = peers.as_array().expect("a list").iter().map(|peer| peer["node"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["n2", "n3"]);
}
