//! What the commands say, and how they exit, when something is wrong.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::mesh::{Mesh, run, text};

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

/// An address that gives one answer to everybody, or hangs up instead, once it has a request.
fn answering(answer: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let _ = answer.as_ref().map(|answer| stream.write_all(answer.as_bytes()));
        }
    });
    format!("http://{address}")
}

#[test]
fn a_node_that_is_not_there_is_named_with_what_to_do() {
    let url = nobody();
    for command in [&["put", "a/b", "c"][..], &["get", "a/b"], &["status"], &["export"]] {
        let ended = run(&[command, &["--url", &url]].concat());
        assert_eq!((ended.code, ended.stdout.as_slice()), (1, &b""[..]), "{command:?}");
        for word in [url.as_str(), "refused", "quorum-node serve"] {
            assert!(ended.stderr.contains(word), "{command:?}: {}", ended.stderr);
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    for (arguments, code) in [
        (&["put", "a/b"][..], 2),
        (&["put", "a/b", "c", "--file", "d"], 2),
        (&["put", "a/b", "c", "--w", "some"], 2),
        (&["put", "a/b", "c", "--write-id", "7"], 2),
        (&["status", "--url", "localhost"], 2),
        (&["import", "--lines"], 2),
        (&["peers", "forget"], 2),
        (&["peers", "forget", "n3"], 1),
        (&["verify"], 2),
        (&["put", "ab", "c"], 1),
        (&["get", "A/b"], 1),
        (&["import", "/nowhere/at/all"], 1),
        (&["verify", "--data-dir", "/nowhere/at/all"], 1),
    ] {
        let ended = run(arguments);
        assert_eq!((ended.code, ended.stdout.is_empty()), (code, true), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn a_write_whose_answer_is_lost_is_called_open_and_keeps_its_name() {
    let ended = run(&["put", "a/b", "c", "--url", &answering(None)]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("may or may not survive"), "{}", ended.stderr);
    let (_, id) = ended.stderr.split_once("--write-id ").expect("how to retry");
    assert_eq!(id.trim().len(), 36, "{id}");
}

#[test]
fn a_write_that_was_not_applied_is_an_error_with_the_nodes_words() {
    let problem = "{\"title\":\"Overloaded\",\"outcome\":\"not_applied\"}";
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: {}\r\n\r\n{problem}",
        problem.len()
    );
    let ended = run(&["put", "a/b", "c", "--url", &answering(Some(answer))]);
    assert_eq!((ended.code, ended.stdout.as_slice()), (1, &b""[..]), "{ended:?}");
    assert!(ended.stderr.contains("not applied: Overloaded"), "{}", ended.stderr);
}

#[test]
fn an_export_that_is_cut_short_leaves_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("export");
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{}\n\r\n";
    let url = answering(Some(answer.into()));
    let ended = run(&["export", "--output", text(&file), "--url", &url]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
}

#[test]
fn a_missed_quorum_exits_with_three_and_its_retry_commits() {
    let mut mesh = Mesh::start();
    mesh.kill(1);
    mesh.kill(2);
    let missed = mesh.on(0, &["put", "demo/k", "v", "--timeout", "300ms"]);
    assert_eq!(missed.code, 3, "{missed:?}");
    assert!(missed.text().starts_with("indeterminate demo/k: 1 of 2 needed copies"), "{missed:?}");
    let (_, id) = missed.stderr.split_once("--write-id ").expect("how to retry");
    let id = id.trim();

    let retry = ["--json", "put", "demo/k", "v", "--timeout", "300ms", "--write-id", id];
    let still = mesh.on(0, &retry);
    assert_eq!((still.code, &still.json()["write_id"]), (3, &id.into()), "{still:?}");
    assert_eq!(still.json()["outcome"], "indeterminate");

    mesh.start_node(2);
    mesh.until("the retry commits", |mesh| mesh.on(0, &retry).code == 0);
    assert_eq!(mesh.on(2, &["get", "demo/k"]).ok().text(), "v");
}

#[test]
fn the_next_node_is_asked_when_one_is_not_there() {
    let mesh = Mesh::start();
    let urls = format!("{},{}", nobody(), mesh.url(1));
    run(&["put", "demo/k", "v", "--w", "all", "--timeout", "10s", "--url", &urls]).ok();
    assert_eq!(run(&["get", "demo/k", "--url", &urls]).ok().text(), "v");
}
