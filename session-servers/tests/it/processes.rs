//! The state of processes according to `/proc`, independent of the crate's own code.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest time until a process has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the ids of the processes whose working directory is in this folder.
pub(crate) fn working_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let works_there = |id: &String| {
        fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|working| working.starts_with(folder))
    };
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(works_there).collect()
}

/// Returns the ids of the running processes. A process that has ended is not running, even if its
/// exit code has not been read yet.
pub(crate) fn alive<'a>(ids: impl IntoIterator<Item = &'a String>) -> Vec<&'a String> {
    let runs = |id: &&String| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
    };
    ids.into_iter().filter(runs).collect()
}

/// Waits until neither the processes nor the folder exist.
pub(crate) fn wait_for_the_end_of(ids: &[String], folder: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !alive(ids).is_empty() || folder.exists() {
        assert!(Instant::now() < deadline, "still there: {:?}, {}", alive(ids), folder.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}
