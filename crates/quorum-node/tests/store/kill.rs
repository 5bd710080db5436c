//! `kill -9` at any moment: every write that was acknowledged is there after the restart, no dot was given out twice.
//!
//! The test runs its own binary again as the process that is killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use quorum_core::LocalStore;
use quorum_node::store::{StoreConfig, verify};

use crate::harness::{TestRandom, fresh_seed, on_disk, op, value};

const DIRECTORY: &str = "QUORUM_TEST_STORE_DIRECTORY";
const ROUND: &str = "QUORUM_TEST_STORE_ROUND";
const WRITERS: usize = 8;
const ROUNDS: u64 = 6;

/// Not a test of its own: what the killed process does. Writes until it dies and says what is durable.
#[test]
fn child() {
    let (Ok(directory), Ok(round)) = (std::env::var(DIRECTORY), std::env::var(ROUND)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = on_disk(Path::new(&directory));
        let writers = (0..WRITERS).map(|writer| {
            let (store, round) = (store.clone(), round.clone());
            tokio::spawn(async move {
                for count in 0_u64.. {
                    let name = format!("{round}-{writer}-{count}");
                    let staged = store.stage(op(&name, &content(&name))).await.expect("staged");
                    staged.durable.await.expect("durable");
                    // One call for one line: a line is there in full or it is not an acknowledgement.
                    let line = format!("ack {name} {}\n", staged.record.dot);
                    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("no panic");
        }
    });
}

/// A value that tells whether it was written in full: sizes vary.
fn content(name: &str) -> String {
    name.repeat(1 + name.len() * 7 % 60)
}

#[test]
fn no_acknowledged_write_is_lost_over_kill_9() {
    let random = TestRandom::new(fresh_seed());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("known"))
            .args(["--exact", "kill::child", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).split(b'\n');
        let (enough, mut count) = (random.below(800), 0);
        // Killed after a random number of acknowledgements; those already in the pipe count as well.
        while let Some(Ok(line)) = lines.next() {
            let line = String::from_utf8_lossy(&line).into_owned();
            if let Some((name, dot)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' '))
            {
                let twice = acknowledged.insert(dot.to_owned(), name.to_owned());
                assert_eq!(twice, None, "dot {dot} was given out twice");
                count += 1;
            }
            if count == enough {
                child.kill().expect("it runs");
            }
        }
        child.wait().expect("it is dead");
        assert!(count >= enough, "the child died by itself after {count} writes");
    }

    let store = on_disk(directory.path());
    for name in acknowledged.values() {
        assert_eq!(value(&store, name).as_deref(), Some(content(name).as_bytes()), "{name}");
    }
    for (lineage, held) in store.frontier().iter() {
        assert_eq!(held.contiguous(), held.last(), "{lineage}");
    }
    drop(store);
    let verified = verify(directory.path(), &StoreConfig::default()).expect("sound");
    assert!(verified.is_sound(), "{:?}", verified.findings);
    assert!(verified.records >= acknowledged.len() as u64);
}
