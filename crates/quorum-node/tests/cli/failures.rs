//! What the commands say, and how they exit, when something is wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::mesh::{Mesh, run, run_with_input, text};

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

/// The heads of requests, as they arrive somewhere.
struct Heads(mpsc::Receiver<String>);

impl Heads {
    fn next(&self) -> String {
        self.0.recv_timeout(Duration::from_secs(60)).expect("a request")
    }
}

/// An address that hears what it is asked and hangs up instead of answering.
fn overhearing() -> (String, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (say, heard) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let lines = BufReader::new(stream.expect("a connection")).lines();
            let head = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
            let _gone = say.send(head.collect::<Vec<_>>().join("\n"));
        }
    });
    (format!("http://{address}"), Heads(heard))
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
fn a_batch_whose_answer_is_lost_is_called_open_and_its_retry_says_that_it_is_one() {
    let (url, heads) = overhearing();
    let batch = ["--json", "batch", "--namespace", "demo", "--url", &url];
    let new = "{\"key\":\"a\",\"value\":\"1\"}\n{\"key_base64\":\"/w==\",\"value\":null}\n";
    let lost = run_with_input(&batch, new.as_bytes());
    assert_eq!(lost.code, 3, "{lost:?}");
    assert!(!heads.next().contains("quorum-retry"), "nobody has seen these writes before");
    assert!(lost.stderr.contains("nothing behind line 2 was sent"), "{}", lost.stderr);
    let summary = lost.json();
    assert_eq!((&summary["committed"], &summary["indeterminate"]), (&0.into(), &2.into()));
    let open = summary["uncommitted"].as_array().expect("a list");
    assert_eq!((&open[0]["key"], &open[1]["key_base64"]), (&"a".into(), &"/w==".into()));
    for write in open {
        let id = write["write_id"].as_str().expect("a name");
        assert!(id.len() == 36 && lost.stderr.contains(id), "{id}: {}", lost.stderr);
    }

    let id = &open[0]["write_id"];
    let named = format!("{{\"key\":\"a\",\"value\":\"1\",\"write_id\":{id}}}\n");
    let again = run_with_input(&batch, named.as_bytes());
    assert_eq!((again.code, &again.json()["uncommitted"][0]["write_id"]), (3, id), "{again:?}");
    assert!(heads.next().contains("quorum-retry: 1"), "the write may have happened");
}

#[test]
fn a_batch_that_nobody_took_is_not_applied() {
    let line = b"{\"namespace\":\"demo\",\"key\":\"a\",\"value\":\"1\"}\n";
    let ended = run_with_input(&["--json", "batch", "--url", &nobody()], line);
    assert_eq!(ended.code, 1, "{ended:?}");
    let summary = ended.json();
    assert_eq!(summary["uncommitted"][0]["outcome"], "not_applied", "{summary}");
    assert_eq!(summary["uncommitted"][0]["reason"], "node_unreachable", "{summary}");
    assert!(ended.stderr.contains("quorum-node serve"), "{}", ended.stderr);
}

#[test]
fn an_import_that_was_begun_before_says_that_its_writes_may_be_retries() {
    let (url, heads) = overhearing();
    let directory = tempfile::tempdir().expect("a directory");
    let (input, state) = (directory.path().join("input"), directory.path().join("state"));
    let line = "{\"namespace\":\"demo\",\"key\":\"k\",\"value\":\"v\"}\n";
    std::fs::write(&input, line).expect("written");
    let import = ["import", text(&input), "--give-up-after", "1ms", "--url", &url];
    let head_of_run = |more: &[&str]| {
        let ended = run(&[&import[..], more].concat());
        assert_eq!(ended.code, 3, "{ended:?}");
        heads.next()
    };
    let with_state = ["--state", text(&state)];
    assert!(!head_of_run(&with_state).contains("quorum-retry"), "the first run");
    // The first run has committed nothing, but the state knows that there was one.
    assert!(head_of_run(&with_state).contains("quorum-retry: 1"), "the second run");
    assert!(head_of_run(&["--import-id", "named"]).contains("quorum-retry: 1"), "a named one");
    assert!(!head_of_run(&[]).contains("quorum-retry"), "nothing is known of an earlier run");
}

#[test]
fn a_watch_from_a_place_that_is_gone_says_which_are_known_and_what_to_do() {
    let problem = "{\"title\":\"Place no longer known\",\"oldest\":\"01-5\",\"newest\":\"01-9\"}";
    let answer = format!("HTTP/1.1 410 Gone\r\ncontent-length: {}\r\n\r\n{problem}", problem.len());
    let url = answering(Some(answer));
    let ended = run(&["watch", "demo", "--after", "01-2", "--url", &url]);
    assert_eq!((ended.code, ended.stdout.as_slice()), (1, &b""[..]), "{ended:?}");
    for word in ["oldest is 01-5", "newest is 01-9", "quorum-node list demo", "--after"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
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
