//! A report for people. (pure)

use std::fmt::{self, Write};

use super::{LifeReport, Report};

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        let stopped = if self.was_stopped { ", stopped before its end" } else { "" };
        writeln!(out, "# Chaos, seed {}: {verdict}{stopped}\n", self.seed)?;
        let code = self.code.as_deref().unwrap_or("that is not committed");
        writeln!(out, "- {}, commit {}, code {code}", self.date, self.commit)?;
        writeln!(out, "- {}", self.machine)?;
        writeln!(out, "- node: `{}`", self.node_program)?;
        writeln!(out, "- again: `{}`", self.replay)?;
        writeln!(out, "- further: `{}`", self.go_on)?;
        if !self.left_out.is_empty() {
            let names: Vec<&str> = self.left_out.iter().map(|class| class.name()).collect();
            writeln!(out, "- left out, their tools are not installed: {}", names.join(", "))?;
        }
        self.figures(out)?;
        self.classes(out)?;
        self.wrong(out)?;
        writeln!(out, "\n## Every fault\n")?;
        writeln!(
            out,
            "Times are milliseconds since the life began; the effect is in the fault's own unit."
        )?;
        self.lives.iter().try_for_each(|life| faults(life, out))
    }
}

impl Report {
    fn figures(&self, out: &mut impl Write) -> fmt::Result {
        let counts = self.counts();
        let times = self.convergence();
        let millis = |at: usize| times.get(at).map_or(0, std::time::Duration::as_millis);
        writeln!(out, "\n| figure | |\n|---|---|")?;
        writeln!(out, "| seconds | {:.0}, {} meshes side by side |", self.seconds, self.meshes)?;
        let cycles = self.cycles().count();
        writeln!(out, "| lives, cycles | {}, {cycles} |", self.lives.len())?;
        writeln!(out, "| operations of clients | {} |", self.operations())?;
        writeln!(out, "| acknowledged writes | {} |", self.acknowledged())?;
        writeln!(out, "| processes killed | {} |", counts.kills)?;
        writeln!(out, "| power cuts | {} |", counts.power_cuts)?;
        writeln!(out, "| partitions | {} |", counts.partitions)?;
        writeln!(out, "| disks wiped | {} |", counts.wiped_disks)?;
        let (median, max) = (millis(times.len() / 2), millis(times.len().saturating_sub(1)));
        writeln!(out, "| convergence after healing | median {median} ms, longest {max} ms |")?;
        writeln!(out, "| findings | {} |", self.findings().count())
    }

    fn classes(&self, out: &mut impl Write) -> fmt::Result {
        writeln!(out, "\n## Classes\n")?;
        writeln!(
            out,
            "Faults are those of the class that had an effect while writes were under way.\n"
        )?;
        writeln!(
            out,
            "| class | cycles | faults | without effect | acknowledged during faults | acknowledged | slowest convergence | result |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for result in self.results() {
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} ms | {} |",
                result.class,
                result.cycles,
                result.faults,
                result.missed,
                result.acknowledged_during,
                result.acknowledged,
                result.convergence_max_ms,
                result
                    .complaint()
                    .map_or_else(|| "passed".to_owned(), |it| format!("FAILED: {it}")),
            )?;
        }
        Ok(())
    }

    fn wrong(&self, out: &mut impl Write) -> fmt::Result {
        if self.findings().next().is_none() {
            return Ok(());
        }
        writeln!(out, "\n## Findings\n")?;
        for (life, finding) in self.findings() {
            writeln!(out, "life {life}:\n```\n{finding}\n```")?;
        }
        Ok(())
    }
}

fn faults(life: &LifeReport, out: &mut impl Write) -> fmt::Result {
    let LifeReport { life: index, nodes, began_ms, .. } = life;
    writeln!(out, "\n### Life {index}: {nodes} nodes, from {began_ms} ms on\n")?;
    writeln!(out, "| at | until | class | fault | effect | writes under way | acknowledged |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for cycle in &life.cycles {
        for injection in &cycle.injections {
            let beside = if injection.is_main { "" } else { " (beside)" };
            writeln!(
                out,
                "| {} | {} | {}{beside} | {} | {} | {} | {} |",
                injection.at_ms,
                injection.lifted_ms,
                cycle.class,
                injection.what,
                injection.effect,
                injection.writes,
                injection.acknowledged,
            )?;
        }
    }
    Ok(())
}
