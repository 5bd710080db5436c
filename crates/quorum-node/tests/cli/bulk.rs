//! Many records: imported, exported, measured, verified.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::mesh::{Mesh, program, run, run_with_input, text};

/// Lines of JSON as `export` writes them, in its order.
fn lines(records: usize) -> String {
    let line = |index| {
        format!("{{\"namespace\":\"bulk\",\"key\":\"k{index:06}\",\"value\":\"v {index} ü\\n\"}}\n")
    };
    (0..records).map(line).collect()
}

#[test]
fn an_import_survives_the_crash_of_a_node_and_all_nodes_export_the_same() {
    let mut mesh = Mesh::start();
    let (input, state) = (mesh.file("input"), mesh.file("state"));
    let expected = lines(3_000);
    fs::write(&input, &expected).expect("written");
    let urls = format!("{},{}", mesh.url(0), mesh.url(1));
    let import = ["--json", "import", &input, "--state", &state, "--w", "2", "--clients", "4"];
    let import = [&import[..], &["--url", &urls]].concat();
    let importing = program(&import).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let importing = importing.expect("the program runs");
    mesh.until("records arrive", |mesh| {
        mesh.on(2, &["--json", "status"]).ok().json()["records"].as_u64() > Some(100)
    });
    mesh.kill(2);
    mesh.start_node(2);
    let imported = crate::mesh::Ended::from(importing.wait_with_output().expect("it ends")).ok();
    let summary = imported.json();
    assert_eq!((&summary["committed"], &summary["indeterminate"]), (&3_000.into(), &0.into()));

    for node in 0..3 {
        let exported = mesh.file(&format!("export-{node}"));
        mesh.until("the node has everything", |mesh| {
            mesh.on(node, &["export", "--output", &exported]).ok();
            fs::read_to_string(&exported).expect("written") == expected
        });
    }
    let piped = mesh.on(1, &["export", "--namespace", "bulk"]).ok();
    assert_eq!(piped.text(), expected);
    assert!(piped.stderr.contains("exported 3000 records"), "{}", piped.stderr);

    // Again, with the state: nothing is left to do.
    let again = run(&import).ok().json();
    assert_eq!((&again["committed"], &again["resumed_behind"]), (&0.into(), &3_000.into()));
}

#[test]
fn a_bad_line_stops_an_import_which_goes_on_once_it_is_mended() {
    let mesh = Mesh::start();
    let (input, state) = (mesh.file("input"), mesh.file("state"));
    let bad = lines(20).replace("\"key\":\"k000010\",", "");
    fs::write(&input, &bad).expect("written");
    let import = ["--json", "import", &input, "--state", &state];
    let stopped = mesh.on(0, &import);
    assert_eq!(stopped.code, 1, "{stopped:?}");
    assert!(stopped.stderr.contains("line 11: no \"key\""), "{}", stopped.stderr);
    let summary = stopped.json();
    assert_eq!((&summary["committed"], &summary["lines_done"]), (&10.into(), &10.into()));

    fs::write(&input, lines(20)).expect("written");
    let rest = mesh.on(0, &import).ok().json();
    assert_eq!((&rest["committed"], &rest["resumed_behind"]), (&10.into(), &10.into()));
    assert_eq!(mesh.on(0, &["export"]).ok().text(), lines(20));

    let other = "{\"namespace\":\"bulk\",\"key\":\"k\",\"value\":\"another input\"}\n".repeat(30);
    fs::write(&input, other).expect("written");
    let refused = mesh.on(0, &import);
    assert!(refused.code == 1 && refused.stderr.contains("--state"), "{refused:?}");

    let skip = ["--json", "import", "-", "--skip-bad", "--url", mesh.url(0)];
    let skipped = run_with_input(&skip, bad.as_bytes()).ok().json();
    assert_eq!((&skipped["committed"], &skipped["bad"]), (&19.into(), &1.into()));
}

#[test]
fn later_lines_of_a_key_win_and_null_deletes() {
    let mesh = Mesh::start();
    let mut input = String::new();
    for round in 0..50 {
        input.push_str(&format!("{{\"key\":\"k\",\"value\":\"{round}\"}}\n"));
        input.push_str(&format!("{{\"key\":\"gone\",\"value\":\"{round}\"}}\n"));
    }
    input.push_str("{\"key\":\"gone\",\"value\":null}\n\n");
    input.push_str("{\"key_base64\":\"/w==\",\"value_base64\":\"/wA=\"}\n");
    let import = ["--json", "import", "--namespace", "ns", "--url", mesh.url(0)];
    let summary = run_with_input(&import, input.as_bytes()).ok().json();
    assert_eq!(summary["committed"], 102);
    let expected = "{\"namespace\":\"ns\",\"key\":\"k\",\"value\":\"49\"}\n\
                    {\"namespace\":\"ns\",\"key_base64\":\"/w==\",\"value_base64\":\"/wA=\"}\n";
    assert_eq!(mesh.on(0, &["export"]).ok().text(), expected);
}

#[test]
fn the_lines_of_a_text_are_values_under_their_numbers() {
    let mesh = Mesh::start();
    let import = ["import", "--lines", "--namespace", "words", "--spread", "--url"];
    let urls = (0..3).map(|node| mesh.url(node)).collect::<Vec<_>>().join(",");
    let ended = run_with_input(&[&import[..], &[&urls]].concat(), b"one\n\nthree").ok();
    assert!(ended.text().starts_with("3 committed, 0 indeterminate, "), "{}", ended.text());
    let listed = "0000000001\tone\n0000000002\t\n0000000003\tthree\n";
    mesh.until("the node has everything", |mesh| {
        mesh.on(2, &["list", "words", "--values"]).ok().text() == listed
    });
}

#[test]
fn an_import_without_a_quorum_gives_up_and_exits_with_three() {
    let mut mesh = Mesh::start();
    mesh.kill(1);
    mesh.kill(2);
    let import = ["--json", "import", "--give-up-after", "1s", "--timeout", "200ms", "--url"];
    let arguments = [&import[..], &[mesh.url(0)]].concat();
    let ended = run_with_input(&arguments, lines(3).as_bytes());
    assert_eq!(ended.code, 3, "{ended:?}");
    let summary = ended.json();
    assert_eq!((&summary["committed"], &summary["lines_done"]), (&0.into(), &0.into()));
    assert!(ended.stderr.contains("indeterminate"), "{}", ended.stderr);
    // What to do next names the import, so that the second run writes nothing twice.
    let id = summary["import_id"].as_str().expect("a name");
    assert!(ended.stderr.contains(id), "{}", ended.stderr);
}

#[test]
fn a_benchmark_counts_what_was_committed() {
    let mesh = Mesh::start();
    let urls = format!("{},{}", mesh.url(0), mesh.url(1));
    let pid = mesh.pid(0).to_string();
    let bench = ["--json", "bench", "--clients", "4", "--duration", "500ms", "--warmup", "100ms"];
    let rest = ["--keys", "10", "--pid", &pid, "--url", &urls];
    let report = run(&[&bench[..], &rest[..]].concat()).ok().json();
    let figure = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert!(figure("committed") > 0.0 && figure("errors") == 0.0, "{report}");
    assert!(figure("p50_ms") <= figure("p99_ms") && figure("p99_ms") <= figure("max_ms"));
    if cfg!(target_os = "linux") {
        assert!(report["processes"][0]["resident_bytes"].as_u64() > Some(1 << 20), "{report}");
    }
    let keys = mesh.on(0, &["list", "bench"]).ok().text().lines().count();
    assert!((1..=10).contains(&keys), "{keys}");
}

#[test]
fn the_data_of_a_stopped_node_can_be_verified() {
    let mut mesh = Mesh::start();
    mesh.on(0, &["put", "demo/k", "v", "--w", "all", "--timeout", "10s"]).ok();
    let config = mesh.home(2).join("quorum.toml");
    let verify = ["--json", "verify", "--config", text(&config)];
    let in_use = run(&verify);
    assert_eq!(in_use.code, 1, "{in_use:?}");
    mesh.kill(2);
    let report = run(&verify).ok().json();
    assert_eq!((&report["sound"], &report["records"]), (&true.into(), &1.into()));
}

#[test]
fn a_batch_says_what_became_of_every_line() {
    let mesh = Mesh::start();
    let good = "{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\",\"value_base64\":\"gIE=\"}\n";
    let batch = ["--json", "batch", "--namespace", "demo", "--url", mesh.url(0)];
    let summary = run_with_input(&batch, good.as_bytes()).ok().json();
    assert_eq!(summary["committed"], 2, "{summary}");
    assert_eq!(mesh.on(1, &["get", "demo/a", "--consistency", "quorum"]).ok().text(), "1");
    let bad = run_with_input(&batch, b"{\"key\":\"a\",\"valeu\":\"1\"}\n");
    assert_eq!(bad.code, 1, "{bad:?}");
    assert!(bad.stderr.contains("writes[0]"), "{bad:?}");
    let torn = run_with_input(&batch, b"{\"key\":\n");
    assert!(torn.stderr.contains("line 1"), "{torn:?}");
}

#[test]
fn a_batch_of_named_writes_is_written_once_however_often_it_runs() {
    let mesh = Mesh::start();
    let id = "0b0e7bb2-1111-4222-8333-444455556666";
    let line = format!(
        "{{\"key\":\"a\",\"value\":\"1\",\"w\":\"all\",\"timeout\":\"10s\",\"write_id\":\"{id}\"}}\n"
    );
    let batch = |node, line: &str| {
        let arguments = ["--json", "batch", "--namespace", "demo", "--url", mesh.url(node)];
        run_with_input(&arguments, line.as_bytes())
    };
    let version = || mesh.on(2, &["--json", "get", "demo/a"]).ok().json()["version"].clone();
    assert_eq!(batch(0, &line).ok().json()["committed"], 1);
    let first = version();
    let again = batch(1, &line).ok().json();
    assert_eq!((&again["committed"], &again["uncommitted"]), (&1.into(), &serde_json::json!([])));
    assert_eq!(version(), first, "a retry is the same write");

    let other = batch(1, &line.replace("\"1\"", "\"2\""));
    assert_eq!((other.code, &other.json()["not_applied"]), (1, &1.into()), "{other:?}");
    assert_eq!(other.json()["uncommitted"][0]["reason"], "id_conflict", "{other:?}");
    let shown = format!("line 1: demo/a: not_applied (id_conflict), write id {id}: ");
    assert!(other.stderr.contains(&shown), "{}", other.stderr);
    assert_eq!(version(), first);
}

#[test]
fn a_batch_shows_the_name_of_what_is_not_committed_and_commits_it_under_that_name() {
    let mut mesh = Mesh::start();
    mesh.kill(1);
    mesh.kill(2);
    let url = mesh.url(0).to_owned();
    let batch = ["batch", "--namespace", "demo", "--url", &url];
    let line = "{\"key\":\"k\",\"value\":\"v\",\"timeout\":\"300ms\"}\n";
    let missed = run_with_input(&batch, line.as_bytes());
    assert_eq!(missed.code, 3, "{missed:?}");
    assert_eq!(missed.text(), "0 committed, 0 not applied, 1 indeterminate\n");
    assert!(missed.stderr.starts_with("line 1: demo/k: indeterminate ("), "{}", missed.stderr);
    let (_, rest) = missed.stderr.split_once("write id ").expect("how to retry");
    let (id, _) = rest.split_once(':').expect("a reason");

    let named = line.replace('}', &format!(",\"write_id\":\"{id}\"}}"));
    mesh.start_node(2);
    mesh.until("the retry commits", |_| run_with_input(&batch, named.as_bytes()).code == 0);
    assert_eq!(mesh.on(2, &["get", "demo/k"]).ok().text(), "v");
}

#[test]
fn what_became_of_a_write_can_be_asked_by_its_name() {
    let mesh = Mesh::start();
    let put = ["--json", "put", "demo/k", "--stdin", "--url", mesh.url(0)];
    let receipt = run_with_input(&put, b"from a pipe").ok().json();
    let id = receipt["write_id"].as_str().expect("an id");
    let status = mesh.on(1, &["--json", "write-status", id, "--copies", "3"]).ok().json();
    assert_eq!((&status["outcome"], &status["copies"]), (&"committed".into(), &3.into()));
    let again = mesh.on(2, &["--json", "put", "demo/k", "from a pipe", "--write-id", id]).ok();
    assert_eq!(again.json()["version"], receipt["version"], "a retry is the same write");
    let unknown = "30313233-3435-3637-3839-616263646566";
    let unknown = mesh.on(1, &["write-status", unknown]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.text().starts_with("not_applied"), "{unknown:?}");
}

/// A running `watch` and the lines that it has shown.
struct Watching {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<serde_json::Value>,
}

impl Watching {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program(&[&["--json", "watch", "demo"], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (say, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _gone = say.send(serde_json::from_str(&line).expect("a line of JSON"));
            }
        });
        Self { child, lines }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn a_watch_goes_on_behind_what_it_has_seen_also_after_a_restart_of_the_node() {
    let mut mesh = Mesh::start();
    mesh.on(0, &["put", "demo/before", "0"]).ok();
    let watching = Watching::start(&["--url", mesh.url(0)]);
    let seen = std::cell::RefCell::new(None);
    // Whether the watch has begun shows only by what it sees.
    mesh.until("the watch sees something", |mesh| {
        mesh.on(1, &["put", "demo/during", "1"]).ok();
        *seen.borrow_mut() = watching.lines.try_recv().ok();
        seen.borrow().is_some()
    });
    drop(watching);
    let seen = seen.take().expect("just seen");
    assert_eq!((&seen["event"], &seen["key"]), (&"put".into(), &"during".into()));

    mesh.on(1, &["put", "demo/between", "2", "--w", "all"]).ok();
    mesh.kill(0);
    mesh.start_node(0);
    let id = seen["id"].as_str().expect("an id");
    let watching = Watching::start(&["--url", mesh.url(0), "--after", id]);
    mesh.until("the watch sees what it has missed", |_| {
        watching.lines.try_iter().any(|line| line["key"] == "between")
    });
    let unknown = mesh.on(1, &["watch", "demo", "--after", id]);
    assert_eq!(unknown.code, 1, "another node knows nothing of this place: {unknown:?}");
    assert!(unknown.stderr.contains("newest is "), "{}", unknown.stderr);
}
