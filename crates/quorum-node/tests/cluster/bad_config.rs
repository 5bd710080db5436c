//! `serve` refuses every configuration it cannot keep its promises under, and names the key to look at.

use std::fs::{self, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;

use crate::harness::process::{Cluster, Process, copy_directory};

/// Starts the node and expects that it exits with 1 and says all of `words`.
#[track_caller]
fn refused(node: &Process, words: &[&str]) {
    let output = node.refuses();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A node whose configuration file was changed.
fn edited(edit: impl FnOnce(&str) -> String) -> Cluster {
    let cluster = Cluster::init(3, &[]);
    let file = cluster.nodes[0].config_file();
    let text = fs::read_to_string(&file).expect("a configuration");
    let edited = edit(&text);
    assert_ne!(text, edited, "the edit does nothing");
    fs::write(&file, edited).expect("writable");
    cluster
}

fn with(setting: &str) -> Cluster {
    Cluster::init(3, &[setting])
}

#[test]
fn a_write_quorum_outside_the_members() {
    refused(&with("quorum.w=0").nodes[0], &["quorum.w = 0", "1..=3"]);
    refused(&with("quorum.w=4").nodes[0], &["quorum.w = 4", "1..=3"]);
    let in_file = edited(|text| text.replace("w = \"majority\"", "w = 0"));
    refused(&in_file.nodes[0], &["quorum.w = 0"]);
}

#[test]
fn a_member_listed_twice() {
    let cluster = edited(|text| text.replace("name = \"n3\"", "name = \"n2\""));
    refused(&cluster.nodes[0], &["member[2].name", "\"n2\"", "member[1]"]);
}

#[test]
fn an_unknown_field() {
    let cluster = edited(|text| text.replace("[quorum]", "[quorum]\nack_timout = \"2s\""));
    refused(&cluster.nodes[0], &["quorum", "ack_timout", "quorum.toml"]);
    refused(&with("quorum.ack_timout=2s").nodes[0], &["ack_timout"]);
}

#[test]
fn a_file_that_is_missing() {
    for (key, file) in [("tls.ca", "ca.pem"), ("tls.cert", "node.pem"), ("tls.key", "node.key")] {
        let cluster = Cluster::init(1, &[]);
        fs::remove_file(cluster.nodes[0].directory.join(file)).expect("it was there");
        refused(&cluster.nodes[0], &[key, file]);
    }
    let cluster = Cluster::init(1, &[]);
    let file = cluster.nodes[0].config_file();
    fs::remove_file(&file).expect("it was there");
    refused(&cluster.nodes[0], &["quorum.toml"]);
    refused(
        &with("http.tokens_file=/no/such/file").nodes[0],
        &["http.tokens_file", "/no/such/file"],
    );
}

#[test]
fn a_key_that_cannot_be_read_or_that_anybody_can_read() {
    let cluster = Cluster::init(1, &[]);
    let key = cluster.nodes[0].directory.join("node.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("our own file");
    refused(&cluster.nodes[0], &["tls.key", "node.key"]);

    // A directory can be read by nobody, not even by root.
    fs::remove_file(&key).expect("it was there");
    fs::create_dir(&key).expect("a directory");
    fs::set_permissions(&key, Permissions::from_mode(0o700)).expect("our own directory");
    refused(&cluster.nodes[0], &["tls.key", "node.key"]);

    let cluster = Cluster::init(1, &[]);
    let key = cluster.nodes[0].directory.join("node.key");
    fs::write(&key, "nonsense").expect("writable");
    refused(&cluster.nodes[0], &["tls.key", "node.key"]);
}

#[test]
fn a_certificate_of_another_member() {
    let cluster = Cluster::init(2, &[]);
    for file in ["node.pem", "node.key"] {
        let [from, to] = [1, 0].map(|index: usize| cluster.nodes[index].directory.join(file));
        fs::copy(from, to).expect("a copy");
    }
    refused(&cluster.nodes[0], &["tls.cert", "node.name", "n1", "n2"]);
}

#[test]
fn a_port_that_is_in_use() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let taken = udp.local_addr().expect("its address").to_string();
    refused(&with(&format!("peer.listen={taken}")).nodes[0], &["peer.listen", &taken]);
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = tcp.local_addr().expect("its address").to_string();
    refused(&with(&format!("http.listen={taken}")).nodes[0], &["http.listen", &taken]);
}

#[test]
fn public_http_without_tls_or_token() {
    refused(
        &with("http.listen=0.0.0.0:0").nodes[0],
        &["http.listen", "http.tls_cert", "http.tokens_file"],
    );
}

#[test]
fn a_data_directory_that_is_in_use() {
    let mut cluster = Cluster::init(1, &[]);
    cluster.nodes[0].start();
    let other = Cluster::init(1, &[]);
    let mut node = other.nodes.into_iter().next().expect("one node");
    let taken = cluster.nodes[0].data_dir();
    node.set(format!("node.data_dir={}", taken.display()));
    refused(&node, &["node.data_dir", "in use by another process", &taken.display().to_string()]);
    cluster.nodes[0].stop();
}

#[test]
fn a_data_directory_of_another_node_or_cluster() {
    let mut cluster = Cluster::init(2, &[]);
    cluster.nodes[0].start();
    cluster.nodes[0].stop();
    let data = cluster.nodes[0].data_dir();
    let stolen = cluster.nodes[1].data_dir();
    copy_directory(&data, &stolen);
    refused(&cluster.nodes[1], &["node.data_dir", "belongs to node n1", "n2"]);

    let mut elsewhere = Cluster::init(2, &["node.cluster=elsewhere"]);
    elsewhere.nodes[0].set(format!("node.data_dir={}", data.display()));
    refused(&elsewhere.nodes[0], &["node.data_dir", "belongs to cluster"]);
    // It was left as it was.
    cluster.nodes[0].start();
    cluster.nodes[0].stop();
}
