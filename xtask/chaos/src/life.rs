//! One life: a mesh is made, goes through its cycles, is checked after each and once more at its end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::sync::watch;

use crate::checker::{self, Finding, FindingKind, Held};
use crate::class::Wiring;
use crate::clients::{Clients, Recorded, Spaces, Told};
use crate::mesh::Mesh;
use crate::nemesis::{self, Injection};
use crate::report::{CycleReport, InjectionReport, LifeReport};
use crate::schedule::{Cycle, Life};

/// Within this time after the last fault all nodes are ready and hold the same.
pub(crate) const CONVERGENCE_LIMIT: Duration = Duration::from_secs(10);
/// How long a mesh that was too slow is waited for all the same, to tell slow from never.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before the first fault of a cycle, so that there is something to lose.
const ACKNOWLEDGED_BEFORE: usize = 20;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where and with what lives are led.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) program: PathBuf,
    /// In the sandbox.
    pub(crate) scratch: PathBuf,
    /// Outlives it.
    pub(crate) report: PathBuf,
    /// Of every node.
    pub(crate) settings: Vec<&'static str>,
    /// Turns true when no further cycle is to begin.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Leads a life to its end, or until it is told to stop or something is wrong; `told` hears of every cycle.
pub(crate) async fn lead(
    ground: &Ground,
    slot: u8,
    life: &Life,
    began: Duration,
    told: impl Fn(&CycleReport),
) -> LifeReport {
    let mut report = LifeReport {
        life: life.index,
        nodes: life.nodes,
        wiring: life.wiring,
        began_ms: millis(began),
        cycles: Vec::new(),
        findings: Vec::new(),
    };
    let directory = ground.scratch.join(format!("life-{}", life.index));
    match Mesh::make(slot, life, ground, directory).await {
        Ok(mesh) => {
            if let Err(error) = go_through(ground, life, &mesh, &mut report, told).await {
                report.findings.push(Finding::new(FindingKind::Node, format!("{error:#}")));
            }
            end(ground, mesh, &mut report).await;
        }
        Err(error) => report.findings.push(Finding::new(FindingKind::Node, format!("{error:#}"))),
    }
    report
}

async fn go_through(
    ground: &Ground,
    life: &Life,
    mesh: &Mesh,
    report: &mut LifeReport,
    told: impl Fn(&CycleReport),
) -> Result<()> {
    mesh.meet().await?;
    let mut settled = Held::new();
    for (number, cycle) in life.cycles.iter().enumerate() {
        if *ground.stop.borrow() {
            break;
        }
        let (done, held) = run_cycle(ground, life, mesh, number, cycle).await?;
        told(&done);
        let is_good = done.findings.is_empty();
        report.cycles.push(done);
        if !is_good {
            // What comes after it would be found again and again.
            return Ok(());
        }
        settled.extend(held);
    }
    let spaces: Vec<_> =
        (0..report.cycles.len()).flat_map(|cycle| Spaces::of_cycle(cycle).all()).collect();
    for (node, held) in mesh.held(&spaces).await?.iter().enumerate() {
        report.findings.extend(checker::changed(&settled, held, node));
    }
    Ok(())
}

/// Returns with what all nodes hold of the cycle's keys at its end.
async fn run_cycle(
    ground: &Ground,
    life: &Life,
    mesh: &Mesh,
    number: usize,
    cycle: &Cycle,
) -> Result<(CycleReport, Held)> {
    let spaces = Spaces::of_cycle(number);
    let clients =
        Clients::start(&mesh.shared, &spaces, life.seed.wrapping_add(number as u64 * 1_000));
    while clients.acknowledged() < ACKNOWLEDGED_BEFORE {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let tracks = async {
        let both =
            tokio::join!(nemesis::track(mesh, &cycle.main), nemesis::track(mesh, &cycle.beside));
        anyhow::Ok((both.0?, both.1?))
    };
    let injected = tracks.await;
    let healed = tokio::time::Instant::now();
    let recorded = clients.finish().await;
    let (main, beside) = injected.with_context(|| format!("cycle {number}, {}", cycle.class))?;
    let mut findings = Vec::new();
    let mut convergence = None;
    match mesh.converged(PATIENCE).await {
        Ok(reasons) => {
            let took = healed.elapsed();
            convergence = Some(took);
            if took > CONVERGENCE_LIMIT {
                let why = reasons.join("; ");
                let detail = format!("only after {:.1} s ({why})", took.as_secs_f64());
                findings.push(Finding::new(FindingKind::Diverged, detail));
            }
        }
        Err(finding) => findings.push(finding),
    }
    let held = mesh.held(&spaces.all()).await?;
    findings.extend(checker::judge(&spaces, &recorded, &held, mesh.shared.timeline.nanos()));
    let injections = [(true, &main), (false, &beside)];
    let injections = injections.into_iter().flat_map(|(is_main, injections)| {
        injections.iter().map(move |injection| (is_main, injection))
    });
    let report = CycleReport {
        cycle: number,
        class: cycle.class,
        operations: recorded.strict.len() + recorded.plain.len() + recorded.once.len(),
        writes: recorded.writes.len(),
        acknowledged: acknowledged(&recorded),
        injections: injections.map(|(is_main, it)| met(is_main, it, &recorded)).collect(),
        convergence_ms: convergence.map(millis),
        findings,
    };
    if !report.findings.is_empty() {
        let folder = kept(ground, life.index);
        fs::create_dir_all(&folder)?;
        let versions = folder.join(format!("cycle-{number}-versions.json"));
        let listed = mesh.versions(&spaces.all()).await?;
        fs::write(&versions, serde_json::to_string_pretty(&listed)?)?;
        keep_history(&folder.join(format!("cycle-{number}.json")), &recorded, &held)?;
    }
    Ok((report, held.into_iter().next().unwrap_or_default()))
}

fn acknowledged(recorded: &Recorded) -> usize {
    recorded.writes.iter().filter(|write| write.told == Told::Committed).count()
}

/// The fault with the writes that it met.
fn met(is_main: bool, injection: &Injection, recorded: &Recorded) -> InjectionReport {
    let Injection { what, at, lifted, effect, counts } = injection;
    let under_way: Vec<_> =
        recorded.writes.iter().filter(|write| write.from <= *lifted && write.to >= *at).collect();
    let acknowledged = under_way.iter().filter(|write| write.told == Told::Committed).count();
    InjectionReport {
        is_main,
        what: what.clone(),
        at_ms: at / 1_000_000,
        lifted_ms: lifted / 1_000_000,
        effect: *effect,
        writes: under_way.len(),
        acknowledged,
        counts: *counts,
    }
}

/// Where the evidence of a life is kept.
fn kept(ground: &Ground, life: u64) -> PathBuf {
    ground.report.join(format!("life-{life}"))
}

/// Everything that the clients saw and the nodes held, for whoever looks for the cause.
fn keep_history(file: &Path, recorded: &Recorded, held: &[Held]) -> Result<()> {
    let lines = |operations: &[quorum_core::testing::history::Operation]| {
        operations.iter().map(|it| format!("{} {it}", it.key)).collect::<Vec<_>>()
    };
    let once: Vec<String> = recorded.once.iter().map(|write| format!("{write:?}")).collect();
    let held: Vec<BTreeMap<String, Option<u64>>> = held
        .iter()
        .map(|held| {
            held.iter().map(|((space, key), value)| (format!("{space}/{key}"), *value)).collect()
        })
        .collect();
    let all = json!({
        "strict": lines(&recorded.strict),
        "plain": lines(&recorded.plain),
        "once": once,
        "odd": recorded.odd,
        "held": held,
    });
    fs::write(file, serde_json::to_string_pretty(&all)?).with_context(|| file.display().to_string())
}

async fn end(ground: &Ground, mesh: Mesh, report: &mut LifeReport) {
    let is_good = report.is_good();
    if !is_good && let Err(error) = mesh.keep_logs(&kept(ground, report.life)).await {
        report.findings.push(Finding::new(FindingKind::Node, format!("{error:#}")));
    }
    match mesh.end(is_good).await {
        Ok(findings) => report.findings.extend(findings),
        Err(error) => report.findings.push(Finding::new(FindingKind::Node, format!("{error:#}"))),
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("less than ages")
}

/// Whether links of a life lead through relays, for people.
pub(crate) const fn wiring(life: &Life) -> &'static str {
    match life.wiring {
        Wiring::Direct => "",
        Wiring::Relayed => ", through relays",
    }
}
