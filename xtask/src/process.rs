//! Runs commands. Each is printed before it starts, in a form that can be pasted into a shell.

use std::env;
use std::fmt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};

#[derive(Clone, Debug)]
pub(crate) struct Cmd {
    program: String,
    args: Vec<String>,
    envs: Vec<(String, String)>,
}

impl Cmd {
    pub(crate) fn new(program: &str, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { program: program.to_owned(), args, envs: Vec::new() }
    }

    pub(crate) fn cargo(args: &[&str]) -> Self {
        Self::new("cargo", args)
    }

    pub(crate) fn args(mut self, args: &[String]) -> Self {
        self.args.extend_from_slice(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the command with inherited output; a status other than zero is an error.
    pub(crate) fn run(&self) -> Result<()> {
        let status = self.status()?;
        if status.success() { Ok(()) } else { Err(self.failed(status)) }
    }

    /// Runs the command with inherited output.
    pub(crate) fn status(&self) -> Result<ExitStatus> {
        eprintln!("$ {self}");
        self.command().status().map_err(|source| self.not_started(source))
    }

    /// Runs the command and returns its status. Prints the output only if the status is not
    /// `expected`.
    pub(crate) fn quiet(&self, expected: &[i32]) -> Result<ExitStatus> {
        let output = self.command().output().map_err(|source| self.not_started(source))?;
        if !output.status.code().is_some_and(|code| expected.contains(&code)) {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.status)
    }

    /// Runs the command and returns its standard output; standard error is inherited.
    pub(crate) fn capture(&self) -> Result<String> {
        eprintln!("$ {self}");
        let output =
            self.command().stderr(Stdio::inherit()).output().map_err(|source| self.not_started(source))?;
        if !output.status.success() {
            return Err(self.failed(output.status));
        }
        String::from_utf8(output.stdout).map_err(|error| self.unreadable(&error))
    }

    /// Returns true if the command starts and succeeds. Prints nothing.
    pub(crate) fn succeeds(&self) -> bool {
        self.command().output().is_ok_and(|output| output.status.success())
    }

    pub(crate) fn failed(&self, status: ExitStatus) -> Error {
        Error::Failed { command: self.to_string(), status }
    }

    pub(crate) fn unreadable(&self, reason: &dyn fmt::Display) -> Error {
        Error::Output { command: self.to_string(), reason: reason.to_string() }
    }

    fn not_started(&self, source: std::io::Error) -> Error {
        Error::Start { command: self.to_string(), program: self.program.clone(), source }
    }

    fn command(&self) -> Command {
        let mut command = match (self.program.as_str(), env::var_os("CARGO")) {
            ("cargo", Some(cargo)) => Command::new(cargo),
            (program, _) => Command::new(program),
        };
        command.args(&self.args).stdin(Stdio::null());
        // `cargo run` sets these to describe xtask. Build scripts that watch them (that of ring
        // does) would run again whenever commands by xtask and by hand alternate.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name.as_ref());
            }
        }
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.envs {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&self.program)?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Returns true in CI, where a missing tool is a failure instead of a skip.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Formats a duration: `4.2s`, `3m 07s`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_can_be_pasted_into_a_shell() {
        let cmd = Cmd::cargo(&["nextest", "run", "-E", "test(it's)"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(cmd.to_string(), r"RUSTDOCFLAGS='-D warnings' cargo nextest run -E 'test(it'\''s)'");
    }

    #[test]
    fn an_empty_argument_stays_visible() {
        assert_eq!(Cmd::new("echo", &[""]).to_string(), "echo ''");
    }

    #[test]
    fn missing_program_is_named_with_advice() {
        let error = Cmd::new("no-such-program-here", &["--version"]).run().unwrap_err();
        assert!(error.to_string().contains("install `no-such-program-here`"), "{error}");
    }

    #[test]
    fn error_of_a_failed_command_repeats_it() {
        let error = Cmd::new("false", &["x y"]).run().unwrap_err();
        assert!(error.to_string().starts_with("`false 'x y'` ended with exit status: 1"), "{error}");
    }

    #[test]
    fn durations_are_human_readable() {
        assert_eq!(human(Duration::from_millis(4_240)), "4.2s");
        assert_eq!(human(Duration::from_secs(187)), "3m 07s");
    }
}
