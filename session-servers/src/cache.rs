//! Programs without a package, which are built once for this user and cached.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::io;
use crate::{Error, Result};

/// The environment variables with the absolute path of a folder.
const FOLDER: &str = "SESSION_SERVERS_CACHE";
const USERS_FOLDER: &str = "XDG_CACHE_HOME";

/// The prefixes of environment variables by which an outer cargo or Python would affect the build.
/// They do not match the settings of a user's mirror or proxy.
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

/// The build of one version of a program.
#[derive(Debug)]
pub(crate) struct Build {
    /// The name in the registry.
    pub(crate) program: &'static str,
    /// The pinned version, so that the behaviour under test does not change unexpectedly. Other
    /// versions have other folders.
    pub(crate) version: &'static str,
    /// The path of the program below the folder of the build.
    pub(crate) path: &'static str,
    /// The duration of the build, as a text.
    pub(crate) duration: &'static str,
    /// The build tools from the packages, as a text.
    pub(crate) tools: &'static str,
    /// Returns true if the build tools are installed.
    pub(crate) has_tools: fn() -> bool,
    /// Returns the commands that fill the first folder, which is moved after they succeed. The
    /// second folder is for temporary files.
    pub(crate) commands: fn(&Path, &Path) -> Vec<Command>,
}

impl Build {
    /// Returns the program, if it has been built.
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

    /// Builds the program, unless another process has built it in the meantime.
    pub(crate) fn run(&self, title: &'static str) -> Result<()> {
        let cache = cache().ok_or(Error::Cache { variable: FOLDER })?;
        self.run_in(&cache, title)
    }

    fn run_in(&self, cache: &Path, title: &'static str) -> Result<()> {
        let what = || io(format!("build {title} in {}", cache.display()));
        fs::create_dir_all(cache).map_err(what())?;
        let lock = File::create(cache.join(format!("{}.lock", self.name()))).map_err(what())?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for another process to build {title}");
            lock.lock().map_err(what())?;
        }
        if self.find_in(cache).is_some() {
            return Ok(());
        }
        let finished = cache.join(self.name());
        let unfinished = cache.join(format!("{}.unfinished", self.name()));
        eprintln!(
            "building {title}, which has no package (once, {}), in {}",
            self.duration,
            finished.display()
        );
        // Removes a build whose program is missing, for example its Python, and the files of an
        // aborted build. No other process is building, because this one has the lock.
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

/// Runs a command without the settings of the workspace, with its output on standard error.
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

/// Returns the cache folder, which is outside of every target folder.
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

    /// Appends a line to a counter outside of its folder, and writes the program.
    fn program(_root: &Path, _scratch: &Path) -> Vec<Command> {
        vec![shell("echo built >>../../count; mkdir ../root; echo program >../root/program")]
    }

    fn failing_build(_root: &Path, _scratch: &Path) -> Vec<Command> {
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
    fn only_the_program_is_kept_in_a_folder_of_its_version() {
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
    fn build_without_its_program_is_repeated() {
        let cache = tempfile::tempdir().unwrap();
        build(program).run_in(cache.path(), "a program").unwrap();
        let built = build(program).find_in(cache.path()).unwrap();
        fs::remove_file(&built).unwrap();
        build(program).run_in(cache.path(), "a program").unwrap();
        assert!(built.exists());
    }

    #[test]
    fn concurrent_builds_run_once() {
        let cache = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| build(program).run_in(cache.path(), "a program").unwrap());
            }
        });
        assert_eq!(fs::read_to_string(cache.path().join("count")).unwrap(), "built\n");
    }

    #[test]
    fn failed_build_leaves_no_program_and_is_repeated() {
        let cache = tempfile::tempdir().unwrap();
        let error = build(failing_build).run_in(cache.path(), "a program").unwrap_err().to_string();
        assert!(error.starts_with("cannot install a program: `sh -c exit 1` failed"), "{error}");
        assert_eq!(build(program).find_in(cache.path()), None);
        build(program).run_in(cache.path(), "a program").unwrap();
        assert_eq!(fs::read_to_string(cache.path().join("program-1.2/program")).unwrap(), "program\n");
    }

    #[test]
    fn build_does_not_inherit_the_variables_of_cargo() {
        let folder = tempfile::tempdir().unwrap();
        assert!(env::var_os("CARGO_MANIFEST_DIR").is_some() && env::var_os("PATH").is_some());
        run(shell("test -z \"$CARGO_MANIFEST_DIR\" -a -n \"$PATH\""), folder.path(), "a program").unwrap();
        let mut own = shell("test \"$CARGO_PROFILE_RELEASE_LTO\" = off");
        own.env("CARGO_PROFILE_RELEASE_LTO", "off");
        run(own, folder.path(), "a program").unwrap();
    }
}
