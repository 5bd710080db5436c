//! A member that returns is brought up to date while live writes go on, from the log or, where that no longer reaches back,
//! from everything that the others hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use quorum_node::Service;
use quorum_node::WriteRequest;
use quorum_node::config::{ByteSize, NodeSection};
use tokio::task::JoinSet;

use crate::harness::mesh::{Mesh, commit, holds, put, value};
use crate::harness::{store, until};

/// Writes `count` records with eight clients.
async fn write(service: &Service, prefix: &'static str, count: usize, bytes: usize) {
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let service = service.clone();
        clients.spawn(async move {
            for index in (client..count).step_by(8) {
                let value = format!("{prefix}{index}{:x<1$}", "", bytes);
                service.write(put(&format!("{prefix}{index}"), &value)).await.expect("committed");
            }
        });
    }
    clients.join_all().await;
}

fn delete(key: &str) -> WriteRequest {
    WriteRequest { value: None, ..put(key, "") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_writes_go_on_while_a_member_catches_up() {
    const BACKLOG: usize = 400;
    // Slow enough that the catch-up can be watched.
    let slowly = |config: &mut quorum_node::Config| {
        config.peer.catch_up_bytes_per_second = ByteSize::new(400 << 10);
    };
    let mut mesh = Mesh::start_with(3, slowly).await;
    mesh.stop(2).await;
    write(&mesh.service(0), "missed", BACKLOG, 4 << 10).await;

    let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for client in 0..4 {
        let (service, stop, committed) = (mesh.service(0), stop.clone(), committed.clone());
        clients.spawn(async move {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                service.write(put(&format!("live{client}-{turn}"), "1")).await.expect("committed");
                committed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    mesh.restart(2).await;
    mesh.linked().await;
    let (writer, returned) = (mesh.service(0), mesh.service(2));
    let catching_up =
        async || (0..BACKLOG).any(|index| value(&returned, &format!("missed{index}")).is_none());
    // Each look at the backlog that finds it unfinished must find that writes went on since the last one.
    let mut looks = 0;
    while catching_up().await {
        let before = committed.load(Ordering::Relaxed);
        until("live writes go on", async || committed.load(Ordering::Relaxed) > before).await;
        looks += 1;
    }
    assert!(looks > 1, "the catch-up was over at once, which shows nothing");
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    mesh.caught_up_with(0).await;
    mesh.converged().await;
    drop((writer, returned));
    mesh.stop_all().await;
}

/// Keys that are overwritten in turn, through two members. Sending the current record again for every chunk of the log that
/// it has overwritten would send it hundreds of times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_overwritten_again_and_again_cost_little_more_than_once() {
    const KEYS: usize = 20;
    const ROUNDS: usize = 150;
    let mut mesh = Mesh::start(3).await;
    mesh.stop(2).await;
    for round in 0..ROUNDS {
        let service = mesh.service(round % 2);
        let value = format!("{round}{:x<2000}", "");
        let writes = (0..KEYS).map(|key| service.write(put(&format!("k{key}"), &value)));
        for written in futures_util::future::join_all(writes).await {
            written.expect("committed");
        }
    }
    mesh.restart(2).await;
    mesh.linked().await;
    mesh.converged().await;
    mesh.caught_up_with(0).await;
    mesh.caught_up_with(1).await;
    let sent = |index: usize| {
        let peers = mesh.service(index).peers();
        let third = peers.iter().find(|peer| peer.node.as_str() == "n3").expect("the third");
        third.repaired_records
    };
    let sent = sent(0) + sent(1);
    assert!((KEYS as u64..=4 * KEYS as u64).contains(&sent), "{sent} records for {KEYS} keys");
    mesh.stop_all().await;
}

/// Returns once the member has trimmed everything it wrote and everything it got.
async fn trimmed(mesh: &mut Mesh, index: usize) {
    let mut section = NodeSection::new("n1".parse().expect("a name"));
    section.cluster = "local".into();
    let (cluster, name) = (section.cluster_id(), format!("n{}", index + 1));
    let all_trimmed = async || {
        // Trimming is done every few seconds, by what the members told each other until then.
        until("a few rounds have passed", async || {
            let status = mesh.service(index).status(false).await.expect("a readable store");
            status.uptime_seconds >= 8
        })
        .await;
        mesh.stop(index).await;
        let found = store::inspect(&mesh.data_dir(index), cluster, &name).await;
        mesh.restart(index).await;
        mesh.linked().await;
        !found.frontier.is_empty() && found.untrimmed.is_empty()
    };
    until("the log is trimmed", all_trimmed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_returns_to_a_log_that_was_trimmed_before_it_left() {
    let mut mesh = Mesh::start(3).await;
    write(&mesh.service(0), "before", 50, 100).await;
    mesh.converged().await;
    trimmed(&mut mesh, 0).await;
    mesh.stop(2).await;
    write(&mesh.service(0), "while", 50, 100).await;
    mesh.service(0).write(delete("before7")).await.expect("committed");
    mesh.restart(2).await;
    mesh.converged().await;
    assert_eq!(value(&mesh.service(2), "before7"), None);
    assert!(
        value(&mesh.service(2), "before8").is_some()
            && value(&mesh.service(2), "while49").is_some()
    );
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_disk_gets_everything_again() {
    let mut mesh = Mesh::start(3).await;
    write(&mesh.service(0), "first", 50, 100).await;
    write(&mesh.service(2), "own", 20, 100).await;
    mesh.service(1).write(delete("first7")).await.expect("committed");
    mesh.converged().await;
    // From now on the log cannot give it back.
    trimmed(&mut mesh, 0).await;
    trimmed(&mut mesh, 1).await;

    mesh.stop(2).await;
    std::fs::remove_dir_all(mesh.data_dir(2)).expect("its data directory");
    write(&mesh.service(0), "while", 20, 100).await;
    mesh.restart(2).await;
    mesh.converged().await;
    let returned = mesh.service(2);
    assert_eq!(value(&returned, "first7"), None);
    for key in ["first0", "first49", "own0", "own19", "while0", "while19"] {
        assert!(value(&returned, key).is_some(), "{key}");
    }
    // It takes part again, under numbers of its own.
    commit(&returned, put("again", "1")).await;
    for index in [0, 1] {
        holds(&mesh.service(index), "again", "1").await;
    }
    drop(returned);
    mesh.stop_all().await;
}
