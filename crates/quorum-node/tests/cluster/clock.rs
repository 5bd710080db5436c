//! A node that must distrust its own clock stamps no new writes, and is of use all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use quorum_core::{Clock, Sleep};
use quorum_node::WriteFailed;
use quorum_node::local_mesh::LocalMesh;
use quorum_transport::TokioClock;

use crate::harness::mesh::{Mesh, holds, put, value};
use crate::harness::until;

/// The machine's clock, whose wall time is ahead by as much as the test says.
#[derive(Debug, Default)]
pub(crate) struct SteppedClock {
    ahead_seconds: AtomicI64,
}

impl SteppedClock {
    /// Lets the wall clock be ahead by so much, or behind if negative.
    pub(crate) fn step_to(&self, ahead_seconds: i64) {
        self.ahead_seconds.store(ahead_seconds, Ordering::Relaxed);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Instant {
        TokioClock::new().now()
    }

    fn wall(&self) -> Duration {
        let (wall, ahead) = (TokioClock::new().wall(), self.ahead_seconds.load(Ordering::Relaxed));
        let step = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { wall.saturating_sub(step) } else { wall + step }
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        TokioClock::new().sleep_until(at)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_clock_takes_no_new_writes_until_it_is_right() {
    let wrong = Arc::new(SteppedClock::default());
    wrong.step_to(600);
    let clock_of = |index| -> Arc<dyn Clock> {
        if index == 2 { wrong.clone() } else { Arc::new(TokioClock::new()) }
    };
    let mesh = Mesh::start_on(3, |_| {}, clock_of).await;
    let (sound, distrusted) = (mesh.service(0), mesh.service(2));
    until("it is outvoted", async || {
        distrusted.not_ready().iter().any(|reason| reason.starts_with("clock"))
    })
    .await;
    for attempt in 0..3 {
        let outcome = distrusted.write(put("late", "1")).await;
        assert!(matches!(outcome, Err(WriteFailed::Clock(_))), "{attempt}: {outcome:?}");
    }
    assert_eq!(value(&distrusted, "late"), None);

    // One bad clock stops nobody else, and its node still stores.
    let receipt = sound.write(put("a", "1")).await.expect("the others go on");
    assert_eq!(receipt.needed, 2);
    holds(&distrusted, "a", "1").await;
    assert!(sound.not_ready().is_empty(), "{:?}", sound.not_ready());

    wrong.step_to(0);
    until("it is trusted again", async || distrusted.not_ready().is_empty()).await;
    distrusted.write(put("late", "2")).await.expect("it takes writes again");
    mesh.converged().await;
    assert_eq!(value(&sound, "late").as_deref(), Some("2"));
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_while_its_node_runs_is_noticed() {
    let jumping = Arc::new(SteppedClock::default());
    let clock_of = |index| -> Arc<dyn Clock> {
        if index == 0 { jumping.clone() } else { Arc::new(TokioClock::new()) }
    };
    let mesh = Mesh::start_on(3, |_| {}, clock_of).await;
    let writer = mesh.service(0);
    writer.write(put("a", "1")).await.expect("committed");
    jumping.step_to(3_600);
    until("the jump is noticed", async || !writer.not_ready().is_empty()).await;
    let outcome = writer.write(put("a", "2")).await;
    assert!(matches!(outcome, Err(WriteFailed::Clock(_))), "{outcome:?}");
    jumping.step_to(0);
    until("it is trusted again", async || writer.not_ready().is_empty()).await;
    writer.write(put("a", "3")).await.expect("committed");
    mesh.stop_all().await;
}

/// A node reads its clock at intervals, and for every write. The first of these readings must not be taken for granted: a
/// write stamped by a clock that has jumped ahead before it would be put off by every peer until its time has come, and
/// then win over whatever was written meanwhile.
#[tokio::test]
async fn a_clock_that_jumps_right_after_the_start_is_noticed() {
    let jumping = Arc::new(SteppedClock::default());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock_of = |_| -> Arc<dyn Clock> { jumping.clone() };
    let mesh = LocalMesh::start_with_clocks(1, directory.path(), |_| {}, clock_of).await;
    let mut mesh = mesh.expect("a mesh of one");
    // Nothing has run since: all tasks share this thread.
    jumping.step_to(3_600);
    let writer = mesh.node(0).expect("it runs").service().clone();
    let outcome = writer.write(put("a", "1")).await;
    assert!(matches!(outcome, Err(WriteFailed::Clock(_))), "{outcome:?}");
    jumping.step_to(0);
    writer.write(put("a", "2")).await.expect("committed");
    mesh.stop_all().await;
}
