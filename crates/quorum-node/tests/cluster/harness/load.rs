//! Clients that write without pause, and remember what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::task::JoinSet;

use super::http::{self, Outcome};
use super::until;

/// Keys that every client overwrites now and then.
const HOT_KEYS: usize = 4;

/// What a client was told about one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Committed,
    NotApplied,
    Indeterminate,
    /// The node took no connection.
    Refused,
    /// The connection broke before an answer.
    Nothing(String),
}

/// One write and its end.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) told: Told,
}

/// Running clients. [`finish`](Self::finish) them.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    targets: Vec<SocketAddr>,
    parameters: &'static str,
    value_bytes: usize,
    stop: AtomicBool,
    written: Mutex<Vec<Written>>,
}

impl Load {
    /// Starts clients that write values of about `value_bytes` through `targets` in turn; one that is refused goes on to
    /// the next.
    pub(crate) fn start(
        clients: usize,
        targets: Vec<SocketAddr>,
        value_bytes: usize,
        parameters: &'static str,
    ) -> Self {
        let (stop, written) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { targets, parameters, value_bytes, stop, written });
        let mut set = JoinSet::new();
        for client in 0..clients {
            set.spawn(Arc::clone(&shared).client(client));
        }
        Self { shared, clients: set }
    }

    /// Writes that were committed so far.
    pub(crate) fn committed(&self) -> usize {
        self.shared.written().iter().filter(|written| written.told == Told::Committed).count()
    }

    /// Returns once `count` further writes were committed.
    pub(crate) async fn commits(&self, count: usize) {
        let before = self.committed();
        until("writes go on committing", async || self.committed() >= before + count).await;
    }

    /// Ends the load and tells what became of every write.
    pub(crate) async fn finish(mut self) -> Vec<Written> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        self.shared.written().clone()
    }
}

impl Shared {
    async fn client(self: Arc<Self>, client: usize) {
        let mut target = client;
        for turn in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let key = match turn % 8 {
                7 => format!("hot-{}", turn / 8 % HOT_KEYS),
                _ => format!("k-{client}-{turn}"),
            };
            let value = format!("{client}-{turn}-{:x<1$}", "", self.value_bytes);
            let to = self.targets[target % self.targets.len()];
            let path = format!("/v1/kv/test/{key}{}", self.parameters);
            let told = told(http::put(to, &path, value.clone()).await);
            if told != Told::Committed {
                target += 1;
                // A port that nobody listens on answers at once: do not spin on it.
                tokio::task::yield_now().await;
            }
            self.written().push(Written { key, value, told });
        }
    }

    fn written(&self) -> MutexGuard<'_, Vec<Written>> {
        self.written.lock().expect("no client panics with the lock")
    }
}

fn told(outcome: Outcome) -> Told {
    match outcome {
        Outcome::Refused => Told::Refused,
        Outcome::Unanswered(why) => Told::Nothing(why),
        Outcome::Answered(answer) => match answer.json()["outcome"].as_str() {
            Some("committed") if answer.status.is_success() => Told::Committed,
            Some("not_applied") if !answer.status.is_success() => Told::NotApplied,
            Some("indeterminate") if !answer.status.is_success() => Told::Indeterminate,
            _ => panic!("an answer that says nothing: {} {}", answer.status, answer.text()),
        },
    }
}

/// Checks what a member holds at the end against what the clients were told: nothing acknowledged is missing, nothing is
/// there that nobody wrote or that was said not to have been applied.
#[track_caller]
pub(crate) fn check(written: &[Written], held: &BTreeMap<String, String>) {
    let mut possible: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Written { key, value, told } in written {
        match told {
            Told::Committed => {
                assert!(held.contains_key(key), "{key} was acknowledged and is lost")
            }
            Told::NotApplied | Told::Refused => continue,
            Told::Indeterminate | Told::Nothing(_) => {}
        }
        possible.entry(key).or_default().insert(value);
    }
    for (key, value) in held {
        let written =
            possible.get(key.as_str()).is_some_and(|values| values.contains(value.as_str()));
        assert!(written, "{key} holds {value:?}, which nobody wrote or which was not applied");
    }
}
