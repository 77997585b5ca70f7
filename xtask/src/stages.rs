//! Stages of a run: each is timed, and one that fails does not keep the others from showing what they find.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use fleet_testbed::interrupt;

/// The stages so far.
#[derive(Debug, Default)]
pub struct Stages {
    done: Vec<Stage>,
}

/// One stage that ran.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Ok,
    /// It didn't.
    Failed,
    /// It couldn't be run here, which was said loudly; it neither passed nor failed.
    NotRun,
}

impl Stages {
    /// Runs a stage, shows its error at once, and answers whether it went well. Only an interrupt ends the whole run.
    pub fn run(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<bool> {
        self.judge(name, || work().map(|()| Outcome::Ok))
    }

    /// As [`Stages::run`], for work that finds out for itself whether it can be done here.
    pub fn judge(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) -> Result<bool> {
        eprintln!("── {name}");
        let start = Instant::now();
        let judged = work();
        let outcome = *judged.as_ref().unwrap_or(&Outcome::Failed);
        self.done.push(Stage {
            name: name.to_owned(),
            took: start.elapsed(),
            outcome,
        });
        if let Err(error) = judged {
            interrupt::check()?;
            eprintln!("error: {name}: {error:#}");
        }
        Ok(outcome == Outcome::Ok)
    }

    /// Whether no stage failed.
    pub fn ok(&self) -> bool {
        self.done.iter().all(|stage| stage.outcome != Outcome::Failed)
    }

    /// The stages so far, in order.
    pub fn list(&self) -> &[Stage] {
        &self.done
    }

    /// Takes over the stages of a part of the run, with `prefix` before their names.
    pub fn adopt(&mut self, prefix: &str, part: Self) {
        self.done.extend(part.done.into_iter().map(|stage| Stage {
            name: format!("{prefix} · {}", stage.name),
            ..stage
        }));
    }

    /// Names, times and outcomes as a table.
    pub fn table(&self) -> String {
        let width = self
            .done
            .iter()
            .map(|stage| stage.name.chars().count())
            .max()
            .unwrap_or(0)
            .max("all".len());
        let row = |name: &str, took: Duration, outcome: &str| {
            let pad = width - name.chars().count();
            format!("{name}{:pad$}  {:>8.1} s  {outcome}\n", "", took.as_secs_f64())
        };
        let rows = self
            .done
            .iter()
            .map(|stage| row(&stage.name, stage.took, stage.outcome.word()));
        let total = self.done.iter().map(|stage| stage.took).sum();
        let outcome = if self.ok() { Outcome::Ok } else { Outcome::Failed };
        rows.collect::<String>() + &row("all", total, outcome.word())
    }

    /// An error that names the stages that failed, if any did.
    pub fn verdict(&self) -> Result<()> {
        let failed = self.done.iter().filter(|stage| stage.outcome == Outcome::Failed);
        let failed: Vec<&str> = failed.map(|stage| stage.name.as_str()).collect();
        if failed.is_empty() {
            Ok(())
        } else {
            bail!("failed: {}", failed.join(", "))
        }
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::NotRun => "NOT RUN",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_stages() -> Stages {
        let mut stages = Stages::default();
        assert!(stages.run("fmt", || Ok(())).expect("not interrupted"));
        assert!(
            !stages
                .run("links", || bail!("one is broken"))
                .expect("not interrupted")
        );
        stages
    }

    #[test]
    fn a_failed_stage_is_named_and_the_others_still_ran() {
        let stages = two_stages();
        assert_eq!(stages.list().len(), 2);
        assert_eq!(
            stages.verdict().expect_err("one failed").to_string(),
            "failed: links"
        );
    }

    #[test]
    fn a_stage_that_was_not_run_is_not_called_ok() {
        let mut stages = Stages::default();
        stages
            .judge("deny", || Ok(Outcome::NotRun))
            .expect("not interrupted");
        assert!(stages.verdict().is_ok());
        let table = stages.table();
        assert!(
            table.lines().next().is_some_and(|line| line.ends_with("NOT RUN")),
            "{table}"
        );
    }

    #[test]
    fn the_table_aligns_names_of_a_part() {
        let mut all = Stages::default();
        all.adopt("check", two_stages());
        let table = all.table();
        let columns: Vec<_> = table
            .lines()
            .map(|line| line.chars().take_while(|c| *c != '.').count())
            .collect();
        assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
        assert!(
            table.contains("check · links") && table.trim_end().ends_with("FAILED"),
            "{table}"
        );
    }
}
