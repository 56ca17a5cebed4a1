//! The steps of a CI lane: they have a title, run one after the other, and on failure print how to
//! reproduce it.

use std::path::Path;
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
    /// Runs a tool that PyPI has as a program: the installed one, or one that the step installs
    /// below `target`.
    Prebuilt(Prebuilt),
}

/// A program that PyPI has, with the version that the step installs.
#[derive(Clone, Copy)]
pub(crate) struct Prebuilt {
    pub(crate) program: &'static str,
    pub(crate) version: &'static str,
}

impl Prebuilt {
    /// Returns the path of the program, and installs it first if necessary.
    fn installed(self) -> Result<String> {
        let Self { program, version } = self;
        if Cmd::new(program, &["--version"]).succeeds() {
            return Ok(program.to_owned());
        }
        let folder = format!("target/tools/{program}-{version}");
        let path = format!("{folder}/bin/{program}");
        if !Path::new(&path).exists() {
            Cmd::new("python3", &["-m", "venv", &folder]).run()?;
            let package = format!("{program}=={version}");
            Cmd::new(&format!("{folder}/bin/pip"), &["install", "--quiet", &package]).run()?;
        }
        Ok(path)
    }

    fn run(self) -> Result<Outcome> {
        match self.installed() {
            Ok(path) => Cmd::new(&path, &[]).run().map(|()| Outcome::Passed),
            Err(error) => {
                eprintln!("skipped: {} cannot be installed: {error}", self.program);
                Ok(Outcome::Skipped)
            }
        }
    }
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

    pub(crate) fn prebuilt(title: &str, seconds: u64, prebuilt: Prebuilt) -> Self {
        Self::new(title, seconds, Action::Prebuilt(prebuilt))
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
            Self::Prebuilt(prebuilt) => return prebuilt.run(),
        }
        Ok(Outcome::Passed)
    }

    fn by_hand(&self) -> String {
        match self {
            Self::Command(command) | Self::Tool { command, .. } => command.to_string(),
            Self::Task(_, by_hand) => by_hand.clone(),
            Self::Prebuilt(prebuilt) => prebuilt.program.to_owned(),
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
        let step = Step::tool("licences", absent, "no-such-package", Cmd::new("false", &[]));
        assert_eq!(step.run(1, 1).unwrap().0, Outcome::Skipped);
    }

    #[test]
    fn an_installed_tool_is_not_installed_again() {
        let shell = Prebuilt { program: "true", version: "0" };
        assert_eq!(shell.installed().unwrap(), "true");
        let step = Step::prebuilt("nothing", 1, shell);
        assert_eq!(step.run(1, 1).unwrap().0, Outcome::Passed);
    }
}
