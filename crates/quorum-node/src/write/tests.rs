//! What becomes of a write whose node is not what it took itself for.

use quorum_core::Recovery;

use super::*;
use crate::local_mesh::LocalMesh;

/// The member's disk is empty, and it hears only from the peer whose ack completes the quorum that it had acknowledged
/// writes before: it may have stamped this one below one of those.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_a_member_that_learns_of_its_loss_meanwhile_is_not_confirmed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = LocalMesh::start(2, directory.path(), |_| {}).await;
    let mut mesh = mesh.expect("two members start");
    mesh.stop(1).await;
    let service = mesh.node(0).expect("it runs").service().clone();
    let before = service.store().issued();
    let request = WriteRequest {
        namespace: Namespace::new("test").expect("a name"),
        key: Key::new("key").expect("a key"),
        value: Some(Bytes::from_static(b"value")),
        write_id: None,
        copies: None,
        timeout: Some(Duration::from_secs(60)),
        durability: None,
        is_retry: false,
    };
    let writing = service.clone();
    let write = tokio::spawn(async move { writing.write(request).await });
    while service.store().issued() == before {
        tokio::task::yield_now().await;
    }
    service.store().set_recovery(Recovery::Recovering).await.expect("the disk works");
    mesh.restart(1).await.expect("it starts again");
    let outcome = write.await.expect("it does not panic");
    assert!(matches!(outcome, Err(WriteFailed::Unsettled { .. })), "{outcome:?}");
    mesh.stop_all().await;
}
