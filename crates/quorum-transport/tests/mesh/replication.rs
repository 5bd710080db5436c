//! A write reaches every member, whoever takes it.

use crate::support::{converged, running};

#[tokio::test]
async fn three_nodes_replicate_writes_of_each_other() {
    let (_mesh, nodes) = running(3).await;
    for (index, node) in nodes.iter().enumerate() {
        let receipt = node.commit(&format!("k{index}"), "v", 3).await.expect("committed");
        assert_eq!(receipt.got, 3);
    }
    for node in &nodes {
        for index in 0..3 {
            assert_eq!(node.store.value(&format!("k{index}")).as_deref(), Some("v"));
        }
    }
    converged(&nodes).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn many_concurrent_writes_commit_and_share_batches() {
    let (_mesh, nodes) = running(3).await;
    let keys: Vec<String> = (0..500).map(|number| format!("k{number}")).collect();
    let writes = keys.iter().map(|key| nodes[0].commit(key, vec![7; 300], 3));
    for receipt in futures(writes).await {
        assert_eq!(receipt.expect("committed").got, 3);
    }
    converged(&nodes).await;
}

/// Runs futures side by side on this task.
async fn futures<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut pinned {
            if output.is_none()
                && let std::task::Poll::Ready(done) = future.as_mut().poll(context)
            {
                *output = Some(done);
            }
        }
        if pinned.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pinned.into_iter().filter_map(|(_, output)| output).collect()
}
