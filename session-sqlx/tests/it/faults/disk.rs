//! Full disks.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use session_conformance::fixtures::{at, logged_out, record};
use session_core::prelude::*;
use session_core::{SecureRandom, SystemRandom};
use session_sqlx::SqlStore;
use sqlx::{MySql, Postgres, Sqlite};

use super::calls::{assert_fails, assert_recovers, assert_works, given, within};
use super::lab::{Lab, on_connect, pool_of};
use super::target::Target;
use super::{DEADLINE, LONG_DEADLINE};

/// A small in-memory file system, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a file system. Returns `None` if the test is not allowed to.
    fn mount(folder: &Path, size: &str, owner: u32) -> Option<Self> {
        let path = folder.join("disk");
        std::fs::create_dir(&path).unwrap();
        let options = format!("size={size},uid={owner}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(path));
        }
        println!("skipped: this account may not mount a file system");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: files of the database may still be open.
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

/// Creates sessions until the disk is full, and returns those that were acknowledged.
async fn fill<D: Target>(store: &SqlStore<D>) -> Vec<Arc<SessionRecord>> {
    let mut stored = Vec::new();
    loop {
        let mut session = record("eve");
        // A deadline that no sweep reaches, and data that cannot be compressed.
        session.expires_at = at(9_000_000);
        let mut data = vec![0; 60_000];
        SystemRandom.fill(&mut data).unwrap();
        session.data = data.into();
        let session = Arc::new(session);
        let created = within(DEADLINE * 5, "create", store.create(Arc::clone(&session), None)).await;
        if created.is_ok() {
            stored.push(session);
            assert!(stored.len() < 2_000, "the disk is never full");
            continue;
        }
        let error = assert_fails("create", ErrorKind::Unavailable, created);
        assert!(error.to_string().contains("full"), "{error}");
        assert!(store.load(&[session.id]).await.unwrap().is_empty(), "a partial session");
        return stored;
    }
}

/// Asserts that every acknowledged session is stored and active.
async fn assert_stored<D: Target>(store: &SqlStore<D>, sessions: &[Arc<SessionRecord>]) {
    assert!(sessions.len() > 3, "only {} sessions", sessions.len());
    for session in sessions {
        let found = within(LONG_DEADLINE, "load", store.load(&[session.id])).await.unwrap();
        assert!(found[0].data == session.data && found[0].ended().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_at_its_largest_size_refuses_writes_and_recovers() {
    let Some(lab) = Lab::<Sqlite>::start().await else { return };
    let store = lab.store(on_connect(pool_of(3), "PRAGMA max_page_count = 400"));
    let stored = fill(&store).await;
    assert_stored(&store, &stored).await;
    let larger = lab.store(pool_of(3));
    assert_works(&larger).await;
    larger
        .end(
            &EndScope::Ids(stored.iter().map(|session| session.id).collect()),
            &logged_out(1),
            Timestamp::MAX,
        )
        .await
        .unwrap();
    larger.purge(Timestamp::MAX, 500).await.unwrap();
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_on_a_full_disk_refuses_writes_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "2m", 0) else { return };
    let Some(lab) = Lab::<Sqlite>::start().await else { return };
    let url = format!("sqlite://{}?mode=rwc", disk.0.join("sessions.db").display());
    lab.raw_at(&url).await.run("PRAGMA journal_mode = WAL").await;
    let store = lab.store_at(&url, pool_of(3));
    store.migrate().await.unwrap();
    assert_survives(&disk, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_on_a_full_disk_refuses_writes_and_recovers() {
    let Some(mut lab) = Lab::<Postgres>::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    // The server runs under another account.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "3m", owner(&mut lab)) else { return };
    let mut raw = lab.raw().await;
    raw.run(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.0.display())).await;
    raw.run("ALTER TABLE {t} SET TABLESPACE small").await;
    assert_survives(&disk, &lab.store(pool_of(3))).await;
}

/// MariaDB 10.11.19 crashes on a disk that is really full.
#[tokio::test(flavor = "multi_thread")]
async fn mysql_at_its_largest_size_refuses_writes_and_recovers() {
    let size = [("innodb_file_per_table", "0"), ("innodb_data_file_path", "ibdata1:12M:autoextend:max:28M")];
    let Some(lab) = Lab::<MySql>::start_with(false, &size).await else { return };
    let mut raw = lab.raw().await;
    raw.run("CREATE TABLE ballast (data LONGBLOB)").await;
    for _ in 0..80 {
        raw.run("INSERT INTO ballast VALUES (REPEAT('x', 60000))").await;
    }
    let store = lab.store(pool_of(3));
    let stored = fill(&store).await;
    assert_stored(&store, &stored).await;
    raw.run("DROP TABLE ballast").await;
    assert_recovers(&store).await;
    assert_stored(&store, &stored).await;
}

fn owner<D: Target>(lab: &mut Lab<D>) -> u32 {
    lab.server(|server| Ok(std::fs::metadata(server.folder()).unwrap().uid()))
}

async fn assert_survives<D: Target>(disk: &SmallDisk, store: &SqlStore<D>) {
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![0; 600_000]).unwrap();
    let early = given(store, "bob").await;
    let stored = fill(store).await;
    assert_stored(store, &stored).await;
    std::fs::remove_file(ballast).unwrap();
    assert_recovers(store).await;
    assert_stored(store, &stored).await;
    assert_eq!(store.load(&[early.id]).await.unwrap().len(), 1);
}

/// The database is lost with its last connection. The store does not close its held connections
/// because of a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_in_memory_database_is_not_lost() {
    let pool = on_connect::<Sqlite>(pool_of(1), "PRAGMA max_page_count = 400");
    let store = crate::support::migrated(pool.connect("sqlite::memory:").await.unwrap()).await;
    store.connect().await.unwrap();
    let stored = fill(&store).await;
    assert_stored(&store, &stored).await;
}
