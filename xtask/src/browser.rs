//! The browser of the end-to-end tests.

use std::env;
use std::path::Path;

use crate::process::Cmd;

const BINARIES: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Returns true if a Chromium is installed. Tries to install one where that is possible.
pub(crate) fn available() -> bool {
    if is_installed() {
        return true;
    }
    if !can_install() {
        eprintln!(
            "warning: no Chromium is on PATH, so the browser tests are skipped; install one (Debian: apt-get \
             install chromium)"
        );
        return false;
    }
    install();
    is_installed()
}

fn is_installed() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| BINARIES.iter().any(|name| folder.join(name).is_file()))
}

fn can_install() -> bool {
    Path::new("/etc/debian_version").exists() && is_root()
}

fn is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn install() {
    eprintln!("\ninstalling the Debian package chromium for the browser tests (once)");
    let update = apt_get(&["update", "-q"]);
    let install = apt_get(&["install", "-y", "-q", "--no-install-recommends", "chromium"]);
    if let Err(error) = update.run().and_then(|()| install.run()) {
        eprintln!("warning: cannot install chromium: {error}");
    }
}

fn apt_get(args: &[&str]) -> Cmd {
    Cmd::new("apt-get", args).env("DEBIAN_FRONTEND", "noninteractive")
}
