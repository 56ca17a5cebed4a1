//! Programs that no package has: built once for this user, and kept.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::io;
use crate::{Error, Result};

/// An absolute path, as the other two.
const FOLDER: &str = "SESSION_SERVERS_CACHE";
const USERS_FOLDER: &str = "XDG_CACHE_HOME";

/// What a cargo or a Python around this process would tell one within it; a mirror or a proxy of the user's is none of it.
const FOREIGN: &[&str] = &[
    "CARGO_BUILD_",
    "CARGO_ENCODED_",
    "CARGO_INCREMENTAL",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    "PYTHON",
    "RUSTC",
    "RUSTFLAGS",
    "SECANTUS",
];

/// How one version of a program is built.
#[derive(Debug)]
pub(crate) struct Build {
    /// What its registry calls it.
    pub(crate) program: &'static str,
    /// Pinned, because what a suite sees must not change by itself. Another version is built beside it.
    pub(crate) version: &'static str,
    /// Where the program is that it is for, below its folder.
    pub(crate) path: &'static str,
    /// How long it takes.
    pub(crate) duration: &'static str,
    /// What the packages bring, in words.
    pub(crate) tools: &'static str,
    /// Whether that is there.
    pub(crate) has_tools: fn() -> bool,
    /// What fills the first folder, which is moved when they are done. The second is for what is not kept.
    pub(crate) commands: fn(&Path, &Path) -> Vec<Command>,
}

impl Build {
    /// The program, if it is built.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        self.find_in(&cache()?)
    }

    fn find_in(&self, cache: &Path) -> Option<PathBuf> {
        let program = cache.join(self.name()).join(self.path);
        program.is_file().then_some(program)
    }

    fn name(&self) -> String {
        format!("{}-{}", self.program, self.version)
    }

    /// Builds it, unless another process has done so meanwhile.
    pub(crate) fn run(&self, title: &'static str) -> Result<()> {
        let cache = cache().ok_or(Error::Cache { variable: FOLDER })?;
        self.run_in(&cache, title)
    }

    fn run_in(&self, cache: &Path, title: &'static str) -> Result<()> {
        let what = || io(format!("build {title} in {}", cache.display()));
        fs::create_dir_all(cache).map_err(what())?;
        let lock = File::create(cache.join(format!("{}.lock", self.name()))).map_err(what())?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for another process that builds {title}");
            lock.lock().map_err(what())?;
        }
        if self.find_in(cache).is_some() {
            return Ok(());
        }
        let finished = cache.join(self.name());
        let unfinished = cache.join(format!("{}.unfinished", self.name()));
        eprintln!(
            "installing {title}, which no package has (once, {}), to {}",
            self.duration,
            finished.display()
        );
        // One whose Python is gone, and what a process left that did not come to its end: it would have the lock.
        remove(&finished).and_then(|()| remove(&unfinished)).map_err(what())?;
        let (root, scratch) = (unfinished.join("root"), unfinished.join("scratch"));
        fs::create_dir_all(&scratch).map_err(what())?;
        (self.commands)(&root, &scratch).into_iter().try_for_each(|command| run(command, &scratch, title))?;
        fs::rename(root, finished).map_err(what())?;
        remove(&unfinished).map_err(what())
    }
}

fn remove(folder: &Path) -> std::io::Result<()> {
    if folder.exists() { fs::remove_dir_all(folder) } else { Ok(()) }
}

/// Runs a command far from the settings of the workspace; its output goes to standard error.
fn run(mut command: Command, folder: &Path, title: &'static str) -> Result<()> {
    let set: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for (name, _) in env::vars_os().filter(|(name, _)| !set.contains(name)) {
        if FOREIGN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let status = command.current_dir(folder).stdin(Stdio::null()).stdout(std::io::stderr()).status();
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(Error::Install { title, command: in_words(&command) })
}

fn in_words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Where they are kept: outside of every build's target folder.
fn cache() -> Option<PathBuf> {
    let named = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    named(FOLDER).or_else(|| {
        let users = named(USERS_FOLDER).or_else(|| Some(env::home_dir()?.join(".cache")));
        Some(users?.join("session-kit"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes one more line beside its folder, and what it is for.
    fn program(_root: &Path, _scratch: &Path) -> Vec<Command> {
        vec![shell("echo built >>../../count; mkdir ../root; echo program >../root/program")]
    }

    fn half_a_program(_root: &Path, _scratch: &Path) -> Vec<Command> {
        vec![shell("mkdir ../root; echo half >../root/program"), shell("exit 1"), shell("touch ../root/more")]
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn build(commands: fn(&Path, &Path) -> Vec<Command>) -> Build {
        let (duration, tools) = ("a moment", "a shell");
        Build {
            program: "program",
            version: "1.2",
            path: "program",
            duration,
            tools,
            has_tools: || true,
            commands,
        }
    }

    #[test]
    fn what_is_built_is_kept_under_its_version_and_nothing_else_is() {
        let cache = tempfile::tempdir().unwrap();
        let build = build(program);
        build.run_in(cache.path(), "a program").unwrap();
        build.run_in(cache.path(), "a program").unwrap();
        let content = |path: &str| fs::read_to_string(cache.path().join(path)).unwrap();
        assert_eq!(
            (content("program-1.2/program"), content("count")),
            ("program\n".into(), "built\n".into())
        );
        assert!(!cache.path().join("program-1.2.unfinished").exists());
    }

    #[test]
    fn what_lost_its_program_is_built_again() {
        let cache = tempfile::tempdir().unwrap();
        build(program).run_in(cache.path(), "a program").unwrap();
        let built = build(program).find_in(cache.path()).unwrap();
        fs::remove_file(&built).unwrap();
        build(program).run_in(cache.path(), "a program").unwrap();
        assert!(built.exists());
    }

    #[test]
    fn several_at_once_build_it_once() {
        let cache = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| build(program).run_in(cache.path(), "a program").unwrap());
            }
        });
        assert_eq!(fs::read_to_string(cache.path().join("count")).unwrap(), "built\n");
    }

    #[test]
    fn what_was_not_finished_is_not_there_and_is_built_again() {
        let cache = tempfile::tempdir().unwrap();
        let error = build(half_a_program).run_in(cache.path(), "a program").unwrap_err().to_string();
        assert!(error.starts_with("cannot install a program: `sh -c exit 1` failed"), "{error}");
        assert_eq!(build(program).find_in(cache.path()), None);
        build(program).run_in(cache.path(), "a program").unwrap();
        assert_eq!(fs::read_to_string(cache.path().join("program-1.2/program")).unwrap(), "program\n");
    }

    #[test]
    fn a_build_is_not_told_of_the_cargo_around_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(env::var_os("CARGO_MANIFEST_DIR").is_some() && env::var_os("PATH").is_some());
        run(shell("test -z \"$CARGO_MANIFEST_DIR\" -a -n \"$PATH\""), folder.path(), "a program").unwrap();
        let mut own = shell("test \"$CARGO_PROFILE_RELEASE_LTO\" = off");
        own.env("CARGO_PROFILE_RELEASE_LTO", "off");
        run(own, folder.path(), "a program").unwrap();
    }
}
