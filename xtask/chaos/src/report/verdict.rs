//! Whether a class was tried in earnest: a run in which nothing happened proves nothing. (pure)

use super::{CycleReport, Report};
use crate::class::Class;

/// What became of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassResult {
    pub(crate) class: Class,
    pub(crate) cycles: usize,
    /// Faults of the class that had an effect while writes were under way.
    pub(crate) faults: usize,
    /// Faults of the class that had none.
    pub(crate) missed: usize,
    /// Writes acknowledged while a fault of the class was there.
    pub(crate) acknowledged_during: usize,
    pub(crate) acknowledged: usize,
    pub(crate) convergence_max_ms: u64,
    pub(crate) findings: usize,
}

impl ClassResult {
    fn of(class: Class, cycles: &[&CycleReport]) -> Self {
        let own = || cycles.iter().flat_map(|cycle| &cycle.injections).filter(|it| it.is_main);
        let had_effect = own().filter(|injection| injection.effect > 0 && injection.writes > 0);
        let faults = had_effect.clone().count();
        Self {
            class,
            cycles: cycles.len(),
            faults,
            missed: own().count() - faults,
            acknowledged_during: had_effect.map(|injection| injection.acknowledged).sum(),
            acknowledged: cycles.iter().map(|cycle| cycle.acknowledged).sum(),
            convergence_max_ms: cycles.iter().filter_map(|it| it.convergence_ms).max().unwrap_or(0),
            findings: cycles.iter().map(|cycle| cycle.findings.len()).sum(),
        }
    }

    pub(crate) fn passed(&self) -> bool {
        self.complaint().is_none()
    }

    /// Why it counts as failed.
    pub(crate) fn complaint(&self) -> Option<&'static str> {
        match self {
            Self { findings: 1.., .. } => Some("findings"),
            Self { cycles: 0, .. } => Some("never tried: the run was too short"),
            Self { faults: 0, .. } => Some("no fault had an effect during writes"),
            Self { acknowledged: 0, .. } => Some("no write was acknowledged"),
            Self { acknowledged_during: 0, .. } => Some("no write was acknowledged during a fault"),
            _ => None,
        }
    }
}

impl Report {
    /// Of every class that was asked for and can be tried here.
    pub(crate) fn results(&self) -> Vec<ClassResult> {
        let of_class = |class: &Class| {
            let cycles: Vec<_> = self.cycles().filter(|cycle| cycle.class == *class).collect();
            ClassResult::of(*class, &cycles)
        };
        self.classes.iter().map(of_class).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::{Finding, FindingKind};
    use crate::nemesis::Counts;
    use crate::report::InjectionReport;

    fn injection(effect: u64, writes: usize, acknowledged: usize) -> InjectionReport {
        let what = "kill -9 n1".to_owned();
        let counts = Counts::default();
        let (is_main, at_ms, lifted_ms) = (true, 1, 2);
        InjectionReport { is_main, what, at_ms, lifted_ms, effect, writes, acknowledged, counts }
    }

    fn complaint(injections: Vec<InjectionReport>, acknowledged: usize) -> Option<&'static str> {
        let cycle = CycleReport {
            cycle: 0,
            class: Class::Pause,
            operations: 9,
            writes: 9,
            acknowledged,
            injections,
            convergence_ms: Some(5),
            findings: Vec::new(),
        };
        ClassResult::of(Class::Pause, &[&cycle]).complaint()
    }

    #[test]
    fn a_class_passes_only_if_its_faults_met_writes_and_some_were_acknowledged() {
        assert_eq!(complaint(vec![injection(1, 3, 2)], 5), None);
        assert!(complaint(vec![], 5).is_some(), "no fault");
        assert!(complaint(vec![injection(0, 3, 2)], 5).is_some(), "without effect");
        assert!(complaint(vec![injection(1, 0, 0)], 5).is_some(), "no write under way");
        assert!(complaint(vec![injection(1, 3, 0)], 0).is_some(), "nothing acknowledged");
        assert!(complaint(vec![injection(1, 3, 0)], 5).is_some(), "nothing acknowledged during it");
        let beside = InjectionReport { is_main: false, ..injection(1, 3, 2) };
        assert!(complaint(vec![beside], 5).is_some(), "a fault of another class");
        assert!(ClassResult::of(Class::Pause, &[]).complaint().is_some(), "never tried");
    }

    #[test]
    fn a_finding_fails_its_class() {
        let cycle = CycleReport {
            cycle: 0,
            class: Class::Pause,
            operations: 9,
            writes: 9,
            acknowledged: 5,
            injections: vec![injection(1, 3, 2)],
            convergence_ms: Some(5),
            findings: vec![Finding::new(FindingKind::Lost, "n1: k")],
        };
        assert_eq!(ClassResult::of(Class::Pause, &[&cycle]).complaint(), Some("findings"));
    }
}
