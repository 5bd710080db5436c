//! A node whose disk went back in time becomes another incarnation: no number is given to two writes.

use crate::harness::mesh::{Mesh, commit, put, value};
use crate::harness::process::copy_directory;
use crate::harness::until;

async fn incarnation(mesh: &Mesh, index: usize) -> String {
    mesh.service(index).status(false).await.expect("a readable store").incarnation
}

async fn write(mesh: &Mesh, keys: std::ops::Range<usize>) {
    for key in keys {
        commit(&mesh.service(0), put(&format!("k{key}"), &format!("v{key}"))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_data_directory_is_another_incarnation_and_gets_back_what_it_lost() {
    let mut mesh = Mesh::start(3).await;
    write(&mesh, 0..10).await;
    let backup = tempfile::tempdir().expect("a temporary directory");
    let (data, copy) = (mesh.data_dir(0), backup.path().join("copy"));

    mesh.stop(0).await;
    copy_directory(&data, &copy);
    mesh.restart(0).await;
    mesh.linked().await;
    let before = incarnation(&mesh, 0).await;
    write(&mesh, 10..20).await;
    mesh.caught_up_with(0).await;

    mesh.stop(0).await;
    std::fs::remove_dir_all(&data).expect("its data directory");
    copy_directory(&copy, &data);
    mesh.restart(0).await;
    // Written at once: also before the node has heard from a peer that its disk is old.
    write(&mesh, 20..30).await;
    until("it is another incarnation", async || incarnation(&mesh, 0).await != before).await;
    write(&mesh, 30..40).await;
    mesh.linked().await;
    mesh.converged().await;
    for index in 0..3 {
        let service = mesh.service(index);
        for key in 0..40 {
            assert_eq!(
                value(&service, &format!("k{key}")),
                Some(format!("v{key}")),
                "n{}",
                index + 1
            );
        }
    }
    mesh.caught_up_with(0).await;
    mesh.stop_all().await;
}

/// An ordinary restart is no rollback.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_the_incarnation() {
    let mut mesh = Mesh::start(3).await;
    write(&mesh, 0..3).await;
    let before = incarnation(&mesh, 0).await;
    mesh.stop(0).await;
    mesh.restart(0).await;
    mesh.linked().await;
    write(&mesh, 3..6).await;
    mesh.caught_up_with(0).await;
    assert_eq!(incarnation(&mesh, 0).await, before);
    mesh.stop_all().await;
}
