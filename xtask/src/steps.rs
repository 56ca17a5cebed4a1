//! The steps of a CI lane: they have a title, run one after the other, and on failure print how to
//! reproduce it.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::process::{Cmd, human};

/// One check of a lane.
pub(crate) struct Step {
    pub(crate) title: String,
    /// The usual time on two cores with an empty build cache.
    usually: Duration,
    action: Action,
}

enum Action {
    Command(Cmd),
    /// Another command of xtask, and how to call it by hand.
    Task(Box<dyn Fn() -> Result<()>>, String),
    /// Runs only if the tool is installed; building these tools takes longer than all other steps.
    Tool {
        probe: Cmd,
        package: &'static str,
        command: Cmd,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    Skipped,
}

impl Step {
    pub(crate) fn command(title: &str, seconds: u64, command: Cmd) -> Self {
        Self::new(title, seconds, Action::Command(command))
    }

    pub(crate) fn task(
        title: &str,
        seconds: u64,
        by_hand: &str,
        task: impl Fn() -> Result<()> + 'static,
    ) -> Self {
        Self::new(title, seconds, Action::Task(Box::new(task), by_hand.to_owned()))
    }

    pub(crate) fn tool(title: &str, probe: Cmd, package: &'static str, command: Cmd) -> Self {
        Self::new(title, 10, Action::Tool { probe, package, command })
    }

    fn new(title: &str, seconds: u64, action: Action) -> Self {
        Self { title: title.to_owned(), usually: Duration::from_secs(seconds), action }
    }

    /// Prints the title and the usual time of the step, runs it, and returns its time.
    pub(crate) fn run(&self, number: usize, of: usize) -> Result<(Outcome, Duration)> {
        let heading = format!("[{number}/{of}] {}", self.title);
        eprintln!("\n{heading} (usually {})", human(self.usually));
        let began = Instant::now();
        let result = self.action.run();
        let took = began.elapsed();
        let outcome = result.map_err(|error| Error::Step {
            heading: heading.clone(),
            after: human(took),
            reproduce: self.action.by_hand(),
            source: Box::new(error),
        })?;
        if outcome == Outcome::Passed {
            eprintln!("{heading}: ok in {}", human(took));
        }
        Ok((outcome, took))
    }
}

impl Action {
    fn run(&self) -> Result<Outcome> {
        match self {
            Self::Command(command) => command.run()?,
            Self::Task(task, _) => task()?,
            Self::Tool { probe, package, .. } if !probe.succeeds() => {
                eprintln!("skipped: {package} is not installed (cargo install --locked {package})");
                return Ok(Outcome::Skipped);
            }
            Self::Tool { command, .. } => command.run()?,
        }
        Ok(Outcome::Passed)
    }

    fn by_hand(&self) -> String {
        match self {
            Self::Command(command) | Self::Tool { command, .. } => command.to_string(),
            Self::Task(_, by_hand) => by_hand.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_a_failed_step_contains_the_command() {
        let step = Step::command("clippy session-core", 1, Cmd::new("false", &["-p", "session-core"]));
        let error = step.run(2, 9).unwrap_err().to_string();
        assert!(error.starts_with("[2/9] clippy session-core failed after"), "{error}");
        assert!(error.ends_with("to reproduce: false -p session-core"), "{error}");
        let step = Step::task("tests", 1, "cargo xtask test", || Err(Error::NoConformance));
        let error = step.run(1, 1).unwrap_err().to_string();
        assert!(error.ends_with("to reproduce: cargo xtask test"), "{error}");
    }

    #[test]
    fn a_tool_that_is_not_installed_is_skipped() {
        let absent = Cmd::new("no-such-program-here", &[]);
        let step = Step::tool("spelling", absent, "no-such-package", Cmd::new("false", &[]));
        assert_eq!(step.run(1, 1).unwrap().0, Outcome::Skipped);
    }
}
