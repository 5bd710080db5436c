//! A write commits exactly while W copies can be had, and says truthfully when they cannot.

use std::time::Duration;

use quorum_core::{QuorumFailureReason, Receipt, Standing};
use quorum_node::config::WriteQuorum;
use quorum_node::{WriteFailed, WriteRequest};

use crate::harness::PATIENCE;
use crate::harness::mesh::{Mesh, missed, put, value, within};

/// Long enough for the peers that are there, short enough for those that are not.
const SHORT: Duration = Duration::from_secs(2);

fn copies(copies: WriteQuorum, request: WriteRequest) -> WriteRequest {
    WriteRequest { copies: Some(copies), ..request }
}

#[track_caller]
fn names_every_member(receipt: &Receipt, count: usize) {
    let mut names: Vec<&str> = receipt.members.iter().map(|member| member.node.as_str()).collect();
    names.sort_unstable();
    let expected: Vec<String> = (1..=count).map(|index| format!("n{index}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_bear_the_loss_of_one_and_are_honest_about_two() {
    let mut mesh = Mesh::start(3).await;
    let writer = mesh.service(0);
    mesh.stop(2).await;
    let receipt = writer.write(put("a", "1")).await.expect("two of three are enough");
    assert_eq!((receipt.needed, receipt.got, receipt.acked().count()), (2, 2, 2));
    names_every_member(&receipt, 3);

    mesh.stop(1).await;
    let (receipt, reason) = missed(writer.write(within(SHORT, put("b", "2"))).await);
    assert_eq!(reason, QuorumFailureReason::Unreachable);
    assert_eq!((receipt.needed, receipt.got), (2, 1));
    names_every_member(&receipt, 3);
    let silent = |(_, standing): (_, &Standing)| *standing == Standing::Silent;
    assert!(receipt.missing().all(silent), "{:?}", receipt.members);
    assert_eq!(value(&writer, "b").as_deref(), Some("2"), "an indeterminate write stays");
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_members_bear_the_loss_of_two_and_are_honest_about_three() {
    let mut mesh = Mesh::start(5).await;
    let writer = mesh.service(0);
    mesh.stop(4).await;
    mesh.stop(3).await;
    let receipt = writer.write(put("a", "1")).await.expect("three of five are enough");
    assert_eq!((receipt.needed, receipt.got), (3, 3));
    names_every_member(&receipt, 5);

    mesh.stop(2).await;
    let (receipt, reason) = missed(writer.write(within(SHORT, put("b", "2"))).await);
    assert_eq!(reason, QuorumFailureReason::Timeout, "one peer did answer");
    assert_eq!((receipt.needed, receipt.got), (3, 2));
    names_every_member(&receipt, 5);
    let acked: Vec<&str> = receipt.acked().map(|(node, _)| node.as_str()).collect();
    assert_eq!(acked, ["n1", "n2"]);
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_may_ask_for_other_copies_than_the_rule() {
    let mut mesh = Mesh::start(3).await;
    let writer = mesh.service(0);
    let receipt = writer.write(copies(WriteQuorum::All, put("a", "1"))).await.expect("all are up");
    assert_eq!((receipt.needed, receipt.acked().count()), (3, 3));

    mesh.stop(2).await;
    let all = copies(WriteQuorum::All, put("b", "2"));
    let (receipt, reason) = missed(writer.write(within(SHORT, all)).await);
    assert_eq!((receipt.got, receipt.needed, reason), (2, 3, QuorumFailureReason::Timeout));
    let receipt = writer.write(copies(WriteQuorum::Majority, put("c", "3"))).await.expect("two");
    assert_eq!(receipt.needed, 2);

    mesh.stop(1).await;
    let one = copies(WriteQuorum::Exactly(1), put("d", "4"));
    let receipt = writer.write(one).await.expect("one's own copy");
    assert_eq!((receipt.needed, receipt.got), (1, 1));
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_out_of_range_are_refused_and_leave_nothing() {
    let mesh = Mesh::start(3).await;
    let writer = mesh.service(0);
    for count in [0, 4, usize::MAX] {
        let outcome = writer.write(copies(WriteQuorum::Exactly(count), put("a", "1"))).await;
        assert!(
            matches!(outcome, Err(WriteFailed::Forbidden { field: "w", .. })),
            "{count}: {outcome:?}"
        );
    }
    let status = writer.status(false).await.expect("a readable store");
    assert_eq!((status.writes_issued, value(&writer, "a")), (0, None));
    mesh.stop_all().await;
}

/// The rule would wait for as long as a test has patience.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_may_set_its_own_deadline() {
    let mut mesh = Mesh::start(3).await;
    let writer = mesh.service(0);
    mesh.stop(1).await;
    mesh.stop(2).await;
    let short = Duration::from_millis(300);
    let (receipt, _) = missed(writer.write(within(short, put("a", "1"))).await);
    assert!((short..PATIENCE).contains(&receipt.elapsed), "{:?}", receipt.elapsed);
    mesh.stop_all().await;
}
