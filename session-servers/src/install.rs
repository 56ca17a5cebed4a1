//! Installing a server, from Debian's packages or with what they bring.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::error::io;
use crate::recipe::Recipe;
use crate::{Error, Result};

/// Asked by the packages' scripts whether they may start a service; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBID: &str = "#!/bin/sh\nexit 101\n";

/// Another test may be installing at this moment.
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

/// What to do about a server that is not installed.
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

/// The Debian packages that bring a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packages {
    /// What its makers call it.
    pub(crate) title: &'static str,
    pub(crate) names: &'static [&'static str],
    /// The variable that names a server of one's own, where one may do without the packages.
    pub(crate) variable: Option<&'static str>,
}

impl Packages {
    /// Those of a server, or of what it is built with.
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
        // What was listed at the last update may be enough, and then the network is not needed for it.
        if apt_get(&self.arguments()).is_err() {
            apt_get(&["update", "-q"]).map_err(|command| Error::Install { title, command })?;
            apt_get(&self.arguments()).map_err(|command| Error::Install { title, command })?;
        }
        if is_installed() { Ok(()) } else { Err(self.not_installed()) }
    }

    pub(crate) fn not_installed(self) -> Error {
        missing(self.title, &format!("Debian: sudo {}", self.by_hand()), self.variable)
    }

    /// The command that a person would type.
    pub(crate) fn by_hand(self) -> String {
        format!("apt-get install -y --no-install-recommends {}", self.names.join(" "))
    }

    fn arguments(self) -> Vec<&'static str> {
        let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends", "-o", WAIT];
        arguments.extend(self.names);
        arguments
    }
}

/// Runs `apt-get`; its output goes to standard error. The error is the command.
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

/// While it lives, no package starts a service. A policy that the machine has already is left alone.
#[derive(Debug)]
struct Policy {
    ours: Option<PathBuf>,
}

impl Policy {
    fn forbid_services(path: &Path) -> Result<Self> {
        if path.exists() {
            return Ok(Self { ours: None });
        }
        let what = || io(format!("write {}", path.display()));
        let mut file: File =
            File::options().write(true).create_new(true).mode(0o755).open(path).map_err(what())?;
        let policy = Self { ours: Some(path.to_owned()) };
        file.write_all(FORBID.as_bytes()).map_err(what())?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Some(path) = &self.ours {
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
    fn only_root_on_debian_installs_and_only_what_is_missing() {
        assert_eq!(plan(true, false, false), Plan::Nothing);
        assert_eq!(plan(false, true, true), Plan::Install);
        assert_eq!(plan(false, true, false), Plan::Impossible);
        assert_eq!(plan(false, false, true), Plan::Impossible);
    }

    #[test]
    fn no_service_is_started_while_packages_are_installed_and_then_all_is_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        let policy = Policy::forbid_services(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(Command::new(&path).status().unwrap().code(), Some(101));
        drop(policy);
        assert!(!path.exists());
    }

    #[test]
    fn a_policy_that_the_machine_has_is_left_alone() {
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
