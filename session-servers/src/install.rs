//! The installation of servers, from Debian packages or by a build with tools from them.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::error::io;
use crate::recipe::Recipe;
use crate::{Error, Result};

/// The script that decides whether a package's script may start a service. The exit code 101
/// forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBID: &str = "#!/bin/sh\nexit 101\n";

/// Waits for the lock of the package manager, because another test may be installing packages.
const WAIT: &str = "DPkg::Lock::Timeout=120";

#[derive(Debug, Eq, PartialEq)]
enum Plan {
    Impossible,
    Install,
    Nothing,
}

fn plan(is_installed: bool, is_debian: bool, is_root: bool) -> Plan {
    match (is_installed, is_debian && is_root) {
        (true, _) => Plan::Nothing,
        (false, true) => Plan::Install,
        (false, false) => Plan::Impossible,
    }
}

/// Installs a server if it is not installed yet.
pub(crate) fn install(recipe: &dyn Recipe) -> Result<()> {
    let is_installed = || recipe.programs().is_some();
    let Some(build) = recipe.build() else { return Packages::of(recipe).install(is_installed) };
    if is_installed() {
        return Ok(());
    }
    Packages::of(recipe).install(build.has_tools)?;
    build.run(recipe.title())
}

/// Returns the error for a server that is not installed.
pub(crate) fn not_installed(recipe: &dyn Recipe) -> Error {
    if recipe.build().is_none() {
        return Packages::of(recipe).not_installed();
    }
    let install = format!("cargo xtask serve {}", recipe.name());
    missing(recipe.title(), &install, Some(recipe.variable()))
}

fn missing(title: &'static str, install: &str, variable: Option<&str>) -> Error {
    let install = format!("install it ({install})");
    let how = match variable {
        Some(variable) => format!("{install}, or set {variable} to a server that tests may fill"),
        None => install,
    };
    Error::NotInstalled { title, how }
}

/// The Debian packages that contain a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packages {
    /// The product name.
    pub(crate) title: &'static str,
    pub(crate) names: &'static [&'static str],
    /// The environment variable with the URL of a server that replaces the packages, if there is
    /// one.
    pub(crate) variable: Option<&'static str>,
}

impl Packages {
    /// Returns the packages of a server or of its build tools.
    fn of(recipe: &dyn Recipe) -> Self {
        let title = recipe.build().map_or(recipe.title(), |build| build.tools);
        Self { title, names: recipe.packages(), variable: Some(recipe.variable()) }
    }

    /// Installs the program if it is not installed yet.
    pub(crate) fn install(self, is_installed: impl Fn() -> bool) -> Result<()> {
        match plan(is_installed(), Path::new("/etc/debian_version").exists(), geteuid().is_root()) {
            Plan::Impossible => Err(self.not_installed()),
            Plan::Install => self.fetch(is_installed),
            Plan::Nothing => Ok(()),
        }
    }

    fn fetch(self, is_installed: impl Fn() -> bool) -> Result<()> {
        let title = self.title;
        eprintln!("installing {title} (once): {}", self.by_hand());
        let _policy = Policy::forbid_services(Path::new(POLICY))?;
        // Tries the package lists of the last update first, which may be recent enough.
        if apt_get(&self.arguments()).is_err() {
            apt_get(&["update", "-q"]).map_err(|command| Error::Install { title, command })?;
            apt_get(&self.arguments()).map_err(|command| Error::Install { title, command })?;
        }
        if is_installed() { Ok(()) } else { Err(self.not_installed()) }
    }

    pub(crate) fn not_installed(self) -> Error {
        missing(self.title, &format!("Debian: sudo {}", self.by_hand()), self.variable)
    }

    /// Returns the command for a manual installation.
    pub(crate) fn by_hand(self) -> String {
        format!("apt-get install -y --no-install-recommends {}", self.names.join(" "))
    }

    fn arguments(self) -> Vec<&'static str> {
        let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends", "-o", WAIT];
        arguments.extend(self.names);
        arguments
    }
}

/// Runs `apt-get` with its output on standard error. The error is the command.
fn apt_get(arguments: &[&str]) -> std::result::Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let status = command.stdout(std::io::stderr()).status();
    if status.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(format!("apt-get {}", arguments.join(" ")))
    }
}

/// Prevents packages from starting services until it is dropped. Does not change a policy that the
/// machine already has.
#[derive(Debug)]
struct Policy {
    created: Option<PathBuf>,
}

impl Policy {
    fn forbid_services(path: &Path) -> Result<Self> {
        if path.exists() {
            return Ok(Self { created: None });
        }
        let what = || io(format!("write {}", path.display()));
        let mut file: File =
            File::options().write(true).create_new(true).mode(0o755).open(path).map_err(what())?;
        let policy = Self { created: Some(path.to_owned()) };
        file.write_all(FORBID.as_bytes()).map_err(what())?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Some(path) = &self.created {
            drop(fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_root_on_debian_installs_missing_packages() {
        assert_eq!(plan(true, false, false), Plan::Nothing);
        assert_eq!(plan(false, true, true), Plan::Install);
        assert_eq!(plan(false, true, false), Plan::Impossible);
        assert_eq!(plan(false, false, true), Plan::Impossible);
    }

    #[test]
    fn policy_forbids_services_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        let policy = Policy::forbid_services(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(Command::new(&path).status().unwrap().code(), Some(101));
        drop(policy);
        assert!(!path.exists());
    }

    #[test]
    fn existing_policy_is_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        fs::write(&path, "theirs").unwrap();
        drop(Policy::forbid_services(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[test]
    fn every_kind_has_packages() {
        let packages = |kind: Kind| Packages::of(kind.recipe());
        let by_hand = packages(Kind::Mysql).by_hand();
        assert_eq!(by_hand, "apt-get install -y --no-install-recommends mariadb-server");
        assert!(Kind::ALL.iter().all(|&kind| packages(kind).arguments().ends_with(packages(kind).names)));
        assert!(Kind::ALL.iter().all(|&kind| !packages(kind).names.is_empty()));
    }
}
