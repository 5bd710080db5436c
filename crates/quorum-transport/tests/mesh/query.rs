//! Members ask each other: every one that is asked gives one answer, or it is said at once why there is none.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;
use quorum_core::testing::KeyValue;
use quorum_core::{Answer, Inquirer, Newest, PeerAnswer, PeerId, Question, Recovery, Unavailable};
use quorum_transport::testing::{Loopback, eventually};

use crate::support::{GRACE, Levers, Node};

fn newest(key: &'static str) -> Question {
    Question::Newest { key: Bytes::from_static(key.as_bytes()), with_record: true }
}

/// All answers to a question, in order of the members' names.
async fn ask(node: &Node, peers: &[&PeerId], question: Question) -> Vec<PeerAnswer> {
    let peers: Vec<PeerId> = peers.iter().map(|peer| (*peer).clone()).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut stream = node.endpoint.replicator().ask(&peers, question, deadline);
    let mut answers = Vec::new();
    while let Some(answer) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut stream).poll_next(context)).await
    {
        answers.push(answer);
    }
    answers.sort_by(|one, other| one.peer.cmp(&other.peer));
    answers
}

#[tokio::test]
async fn every_member_that_is_asked_answers_for_itself() {
    let (_mesh, nodes) = crate::support::running(3).await;
    nodes[1].store.write("only there", "v");
    let answers = ask(&nodes[0], &[&nodes[1].name, &nodes[2].name], newest("only there")).await;
    let Answer::Newest(Some(Newest { record: Some(record), .. })) = &answers[0].answer else {
        panic!("{answers:?}")
    };
    assert_eq!(KeyValue::decode(&record.payload).expect("a record").1, "v".as_bytes());
    // The second may have got it meanwhile; the question is about what it holds.
    assert!(matches!(answers[1].answer, Answer::Newest(_)), "{answers:?}");
}

#[tokio::test]
async fn many_questions_at_once_each_get_their_own_answer() {
    let (_mesh, nodes) = crate::support::running(2).await;
    let keys: Vec<&'static str> = (0..300).map(|i| &*format!("k{i}").leak()).collect();
    for key in &keys {
        nodes[1].store.write(key, key);
    }
    let peers = [&nodes[1].name];
    let asked = keys.iter().map(|key| ask(&nodes[0], &peers, newest(key)));
    for (key, answers) in keys.iter().zip(join_all(asked.collect()).await) {
        let Answer::Newest(Some(Newest { record: Some(record), .. })) = &answers[0].answer else {
            panic!("{key}: {answers:?}")
        };
        assert_eq!(KeyValue::decode(&record.payload).expect("a record").1, key.as_bytes());
    }
}

/// Polls all futures together, so that their questions are under way at once.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Its disk may hang where another answer needs nothing from it.
#[tokio::test]
async fn a_question_that_is_not_answered_in_time_holds_up_no_other() {
    let (_mesh, nodes) = crate::support::running(2).await;
    let (first, second) = (&nodes[0], &nodes[1]);
    *second.store.hanging_key.lock() = Some(Bytes::from_static(b"hangs"));
    let soon = Instant::now() + Duration::from_millis(200);
    let asked = [second.name.clone()];
    let _still_waiting = first.endpoint.replicator().ask(&asked, newest("hangs"), soon);
    let peers = [&second.name];
    let behind = ask(first, &peers, newest("k"));
    let answers = tokio::time::timeout(Duration::from_secs(30), behind).await;
    assert_eq!(answers.expect("an answer")[0].answer, Answer::Newest(None));
}

#[tokio::test]
async fn a_member_that_cannot_be_reached_is_said_to_be_so_at_once() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let first = Node::start(&mesh, 0, 2);
    let answers = ask(&first, &[mesh.name(1)], newest("k")).await;
    assert_eq!(answers[0].answer, Answer::Unavailable(Unavailable::Unreachable));
}

#[tokio::test]
async fn a_question_ends_with_the_connection() {
    let (_mesh, mut nodes) = crate::support::running(2).await;
    let second = nodes.pop().expect("two nodes");
    let (name, first) = (second.name.clone(), &nodes[0]);
    let stop = async {
        second.endpoint.shutdown(GRACE).await;
    };
    let asked = async {
        loop {
            let answers = ask(first, &[&name], newest("k")).await;
            if answers[0].answer == Answer::Unavailable(Unavailable::Unreachable) {
                return;
            }
        }
    };
    tokio::join!(stop, asked);
}

/// What it says of a key may be less than it once acknowledged.
#[tokio::test]
async fn the_answer_of_a_member_that_is_recovering_does_not_count() {
    let mesh = Loopback::new(2).expect("loopback sockets");
    let (first, second) = (Node::start(&mesh, 0, 2), Levers::new(mesh.name(1)));
    second.announcement.lock().recovery = Recovery::Recovering;
    let second = Node::over(&mesh, 1, 2, second);
    first.linked_to(&second.name).await;
    let answers = ask(&first, &[&second.name], newest("k")).await;
    assert_eq!(answers[0].answer, Answer::Unavailable(Unavailable::Recovering));
    second.store.announcement.lock().recovery = Recovery::Complete;
    eventually("it counts", || first.peer(&second.name).counts).await;
    let answers = ask(&first, &[&second.name], newest("k")).await;
    assert_eq!(answers[0].answer, Answer::Newest(None));
}
