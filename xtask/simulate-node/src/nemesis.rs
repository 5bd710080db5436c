//! Carries a plan out: begins and ends each fault at its time, and heals everything in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use turmoil::Sim;

use crate::member::{Member, address};
use crate::plan::{Fault, Plan};
use crate::socket::{Network, Rates};
use crate::trace::Trace;

/// The one who does it.
pub(crate) struct Nemesis {
    plan: Plan,
    members: Vec<Arc<Member>>,
    network: Network,
    trace: Trace,
    /// Planned faults that have not begun, by place in the plan.
    next: usize,
    under_way: BTreeSet<usize>,
    down: BTreeSet<usize>,
    /// Links that are cut or held now, by their ends.
    severed: BTreeSet<(usize, usize)>,
    is_healed: bool,
    /// How many faults of each kind have been injected.
    injected: BTreeMap<&'static str, u64>,
}

impl Nemesis {
    pub(crate) fn new(
        plan: Plan,
        members: Vec<Arc<Member>>,
        network: Network,
        trace: Trace,
    ) -> Self {
        network.set(plan.rates);
        Self {
            plan,
            members,
            network,
            trace,
            next: 0,
            under_way: BTreeSet::new(),
            down: BTreeSet::new(),
            severed: BTreeSet::new(),
            is_healed: false,
            injected: BTreeMap::new(),
        }
    }

    pub(crate) const fn is_healed(&self) -> bool {
        self.is_healed
    }

    pub(crate) const fn injected(&self) -> &BTreeMap<&'static str, u64> {
        &self.injected
    }

    /// Does what is due between two steps of the simulation.
    pub(crate) fn act(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        let over: Vec<usize> =
            self.under_way.iter().copied().filter(|at| self.plan.faults[*at].ends <= now).collect();
        for at in over {
            self.under_way.remove(&at);
            self.end(sim, self.plan.faults[at].fault);
        }
        while let Some(planned) = self.plan.faults.get(self.next).filter(|it| it.begins <= now) {
            let fault = planned.fault;
            if self.begin(sim, fault) {
                self.under_way.insert(self.next);
                *self.injected.entry(fault.kind()).or_default() += 1;
            }
            self.next += 1;
        }
        if !self.is_healed && now >= self.plan.healed {
            self.heal(sim);
        }
    }

    /// Begins a fault; `false` if it cannot be now.
    fn begin(&mut self, sim: &mut Sim<'_>, fault: Fault) -> bool {
        if fault.takes_down().is_some_and(|member| self.down.contains(&member)) {
            return false;
        }
        self.note(sim, format_args!("begin {fault:?}"));
        match fault {
            Fault::Cut { one, other } => {
                sim.partition(address(one), address(other));
                self.sever(one, other)
            }
            Fault::CutOneWay { from, to } => {
                sim.partition_oneway(address(from), address(to));
                self.sever(from, to)
            }
            Fault::Isolate { member } => {
                for other in (0..self.plan.members).filter(|other| *other != member) {
                    sim.partition(address(member), address(other));
                    self.sever(member, other);
                }
            }
            Fault::Hold { one, other } => {
                sim.hold(address(one), address(other));
                self.sever(one, other)
            }
            Fault::Storm { rates } => self.network.set(rates),
            Fault::Kill { member, power } => {
                self.kill(sim, member);
                if power {
                    self.members[member].lose_power();
                }
            }
            Fault::Stop { member } => {
                self.members[member].stop();
                self.down.insert(member);
            }
            Fault::LoseDisk { member } => {
                self.kill(sim, member);
                self.members[member].lose_disk();
            }
            Fault::FailSync { member } => self.members[member].fail_sync(),
            Fault::SlowDisk { member, millis } => self.members[member].set_commit_millis(millis),
            Fault::Skew { member, millis } => self.members[member].skew.set_millis(millis),
        }
        true
    }

    fn end(&mut self, sim: &mut Sim<'_>, fault: Fault) {
        self.note(sim, format_args!("end {fault:?}"));
        match fault {
            Fault::Cut { one, other } | Fault::CutOneWay { from: one, to: other } => {
                self.join(sim, one, other);
            }
            Fault::Isolate { member } => {
                for other in (0..self.plan.members).filter(|other| *other != member) {
                    self.join(sim, member, other);
                }
            }
            Fault::Hold { one, other } => self.join(sim, one, other),
            Fault::Storm { .. } => self.network.set(self.plan.rates),
            Fault::FailSync { member } => {
                if !self.down.contains(&member) {
                    self.kill(sim, member);
                    self.members[member].lose_power();
                    self.restart(sim, member);
                }
            }
            Fault::SlowDisk { member, .. } => {
                self.members[member].set_commit_millis(self.plan.commit_millis_max);
            }
            // A clock that is set right is another step.
            Fault::Skew { member, .. } => self.members[member].skew.set_millis(0),
            Fault::Kill { member, .. } | Fault::Stop { member } | Fault::LoseDisk { member } => {
                self.restart(sim, member);
            }
        }
    }

    fn heal(&mut self, sim: &mut Sim<'_>) {
        for at in std::mem::take(&mut self.under_way) {
            self.end(sim, self.plan.faults[at].fault);
        }
        for (one, other) in self.severed.clone() {
            self.join(sim, one, other);
        }
        self.network.set(Rates::default());
        self.is_healed = true;
        self.note(sim, format_args!("healed"));
    }

    fn sever(&mut self, one: usize, other: usize) {
        self.severed.insert((one.min(other), one.max(other)));
    }

    fn join(&mut self, sim: &Sim<'_>, one: usize, other: usize) {
        sim.release(address(one), address(other));
        sim.repair(address(one), address(other));
        self.severed.remove(&(one.min(other), one.max(other)));
    }

    fn kill(&mut self, sim: &mut Sim<'_>, member: usize) {
        self.members[member].forsake();
        sim.crash(address(member));
        self.down.insert(member);
    }

    fn restart(&mut self, sim: &mut Sim<'_>, member: usize) {
        self.members[member].forsake();
        sim.bounce(address(member));
        self.down.remove(&member);
    }

    fn note(&self, sim: &Sim<'_>, what: std::fmt::Arguments<'_>) {
        self.trace.event(format_args!("{:?} nemesis: {what}", sim.elapsed()));
    }
}
