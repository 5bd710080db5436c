//! One run: a mesh, its clients and its nemesis, from a seed to an outcome.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use turmoil::{Builder, Sim};

use crate::clients::Clients;
use crate::crypto::{Authority, provider};
use crate::judge::{self, CONVERGED_WITHIN};
use crate::member::{Member, Mesh, address, name};
use crate::nemesis::Nemesis;
use crate::plan::Plan;
use crate::socket::{Done, Network};
use crate::trace::Trace;

/// No run takes longer, in virtual time.
const LONGEST: Duration = Duration::from_secs(150);
/// Packets that wait for one host.
const QUEUE_MAX: usize = 4096;

thread_local! {
    /// Panics of this thread, most of which a task swallows.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What came out of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// Everything that was not as it must be; empty for a run that passed.
    pub(crate) findings: Vec<String>,
    /// The number that stands for the whole run.
    pub(crate) digest: String,
    pub(crate) packets: u64,
    pub(crate) took: Duration,
    pub(crate) converged_after: Option<Duration>,
    pub(crate) acknowledged: u64,
    pub(crate) indeterminate: u64,
    pub(crate) reads: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) network: Done,
}

/// Notes panics, so that one in a task fails the run.
pub(crate) fn watch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
    }));
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Outcome {
    PANICS.take();
    let outcome = catch_unwind(AssertUnwindSafe(|| simulate(seed, Plan::of(seed), |_| {})));
    let mut outcome = match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::broken(seed, format!("{error:#}")),
        Err(_) => Outcome::broken(seed, "the simulation panicked".to_owned()),
    };
    outcome.findings.extend(PANICS.take().into_iter().map(|panic| format!("PANIC: {panic}")));
    outcome
}

impl Outcome {
    fn broken(seed: u64, finding: String) -> Self {
        Self {
            seed,
            findings: vec![finding],
            digest: String::new(),
            packets: 0,
            took: Duration::ZERO,
            converged_after: None,
            acknowledged: 0,
            indeterminate: 0,
            reads: 0,
            faults: BTreeMap::new(),
            network: Done::default(),
        }
    }
}

/// What the judge has to say in the end.
type Judgement = Arc<Mutex<(Option<Duration>, Vec<String>)>>;

fn simulate(
    seed: u64,
    plan: Plan,
    prepare: impl FnOnce(&[Arc<Member>]),
) -> anyhow::Result<Outcome> {
    let trace = Trace::default();
    let mut sim = Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(1))
        .simulation_duration(LONGEST)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(plan.latency_max)
        .udp_capacity(QUEUE_MAX)
        .build();
    let network = Network::new(seed, trace.clone());
    let members = members(seed, &plan, &network)?;
    prepare(&members);
    for (place, member) in members.iter().enumerate() {
        let member = Arc::clone(member);
        sim.host(address(place), move || {
            let member = Arc::clone(&member);
            async move { Ok(member.run().await?) }
        });
    }
    let clients = Arc::new(Clients::new(members.clone(), trace.clone()));
    let (is_healed, judgement) = (Arc::new(AtomicBool::new(false)), Judgement::default());
    start_clients(&mut sim, seed, &plan, &clients);
    sim.client("judge", judge(Arc::clone(&clients), Arc::clone(&is_healed), judgement.clone()));

    let mut nemesis = Nemesis::new(plan, members, network.clone(), trace.clone());
    loop {
        nemesis.act(&mut sim);
        if nemesis.is_healed() && !is_healed.swap(true, Ordering::Relaxed) {
            clients.stop();
        }
        if sim.step().map_err(|error| anyhow::anyhow!("{error}"))? {
            break;
        }
    }
    let (converged_after, mut findings) = std::mem::take(&mut *judgement.lock());
    let seen = clients.seen();
    findings.extend(judge::histories(&seen));
    if nemesis.injected().is_empty() {
        findings.push("no fault was injected".to_owned());
    }
    if seen.acknowledged == 0 {
        findings.push("no write was acknowledged".to_owned());
    }
    Ok(Outcome {
        seed,
        findings,
        digest: trace.digest(),
        packets: trace.packets(),
        took: sim.elapsed(),
        converged_after,
        acknowledged: seen.acknowledged,
        indeterminate: seen.indeterminate,
        reads: seen.reads,
        faults: nemesis.injected().clone(),
        network: network.done(),
    })
}

fn members(seed: u64, plan: &Plan, network: &Network) -> anyhow::Result<Vec<Arc<Member>>> {
    let mesh = Mesh {
        count: plan.members,
        seed,
        provider: provider(seed),
        network: network.clone(),
        commit_millis_max: plan.commit_millis_max,
    };
    let authority = Arc::new(Authority::new()?);
    let member = |place| {
        let authority = Arc::clone(&authority);
        let identity = move || authority.identity(&name(place), place);
        Ok(Arc::new(Member::new(&mesh, place, identity)?))
    };
    (0..plan.members).map(member).collect()
}

fn start_clients(sim: &mut Sim<'_>, seed: u64, plan: &Plan, clients: &Arc<Clients>) {
    for client in 0..plan.clients {
        let clients = Arc::clone(clients);
        let seed = seed.wrapping_mul(31).wrapping_add(u64::from(client));
        sim.client(format!("client{client}"), async move {
            clients.run(client, seed).await;
            Ok(())
        });
    }
}

async fn judge(
    clients: Arc<Clients>,
    is_healed: Arc<AtomicBool>,
    judgement: Judgement,
) -> turmoil::Result {
    while !is_healed.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut findings = Vec::new();
    let took = judge::converged(&clients.members).await;
    match &took {
        Ok(took) if *took > CONVERGED_WITHIN => {
            findings.push(format!("converged only {took:?} after healing"));
        }
        Ok(_) => {}
        Err(finding) => findings.push(finding.clone()),
    }
    findings.extend(judge::last_look(&clients).await);
    *judgement.lock() = (took.ok(), findings);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fault, Planned};

    #[test]
    fn the_same_seed_is_the_same_run() {
        let (one, other) = (run(7), run(7));
        assert_eq!(one, other);
        assert!(one.packets > 0 && one.findings.is_empty(), "{one:?}");
        assert_ne!(one.digest, run(8).digest);
    }

    /// Disks that lie about their syncs, and a power cut at all members: what was acknowledged is gone, and the judge must
    /// say so.
    #[test]
    fn lost_writes_are_found() {
        let seed = 7;
        let cut = |member| Planned {
            fault: Fault::Kill { member, power: true },
            begins: Duration::from_secs(4),
            ends: Duration::from_secs(5),
        };
        let mut plan = Plan::of(seed);
        plan.faults = (0..plan.members).map(cut).collect();
        let lying = |members: &[Arc<Member>]| {
            for member in members {
                member.lie_about_syncs();
            }
        };
        let outcome = simulate(seed, plan.clone(), lying).expect("it runs");
        let lost = outcome.findings.iter().filter(|finding| finding.starts_with("LOST")).count();
        assert!(lost > 0, "{outcome:?}");
        let honest = simulate(seed, plan, |_| {}).expect("it runs");
        assert_eq!(honest.findings, Vec::<String>::new());
    }
}
