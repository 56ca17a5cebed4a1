//! The whole store suite over every combination of tiers.

mod cached_reads;
mod caches;
mod exceptions;
mod stores;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use session_conformance::{
    CASE_TIME_LIMIT, Case, Form, Harness, StoreCase, TenantCase, TenantHarness, store_cases, tenant_cases,
};
use session_core::SystemClock;
use session_manager::{TieredStore, Tiers};

use self::cached_reads::{Answers, CachedReads};
use self::caches::Caches;
use self::exceptions::Fails;
use self::stores::{Database, TestStore};

/// Concurrent cases.
const WORKERS: usize = 6;

/// The store of record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Record {
    Postgres,
    Sqlite,
}

/// The shared caches.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shared {
    Nothing,
    Redis,
    Postgres,
    RedisThenPostgres,
}

/// How a case reads.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ReadPath {
    /// From the store of record.
    Authoritative,
    /// From the first tier that has an answer.
    Cached,
}

#[derive(Debug, Clone, Copy)]
struct Combination {
    memory: bool,
    shared: Shared,
    record: Record,
}

impl Combination {
    /// Authoritative reads bypass all tiers, so they are only tested with no tiers and with all of
    /// them.
    fn read_paths(self) -> &'static [ReadPath] {
        let ends = [(false, Shared::Nothing), (true, Shared::RedisThenPostgres)];
        match ends.contains(&(self.memory, self.shared)) {
            true => &[ReadPath::Authoritative, ReadPath::Cached],
            false => &[ReadPath::Cached],
        }
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, shared, record } = self;
        write!(f, "memory {}, {shared:?}, {record:?}", if *memory { "on" } else { "off" })
    }
}

struct Run {
    combination: Combination,
    read_path: ReadPath,
    forms: &'static [Form],
    database: Database,
    caches: Caches,
    next: AtomicUsize,
    passed: AtomicUsize,
    excepted: AtomicUsize,
    answers: Arc<Answers>,
    failures: Mutex<Vec<String>>,
    slow: Mutex<Vec<(Duration, &'static str)>>,
}

impl Run {
    async fn work(&self) {
        let mut store = self.database.create_store().await;
        while let Some(case) = store_cases().get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let exception = self.exception(case);
            let forms = if exception == Some(Fails::Sometimes) { &[] } else { self.forms };
            for form in forms {
                let verdict = self.check(&store, case, *form).await;
                self.judge(case, *form, exception, verdict);
                if case.name().starts_with("cancelled_") {
                    // A cancelled operation may still reach the old table.
                    store = self.database.create_store().await;
                } else {
                    store.empty().await;
                }
            }
            self.slow.lock().push((began.elapsed(), case.name()));
            let counter = if exception.is_none() { &self.passed } else { &self.excepted };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn exception(&self, case: &StoreCase) -> Option<Fails> {
        let Combination { memory, shared, .. } = self.combination;
        match self.read_path {
            ReadPath::Authoritative => None,
            ReadPath::Cached => exceptions::of(case.name(), memory || shared != Shared::Nothing),
        }
    }

    fn judge(&self, case: &StoreCase, form: Form, exception: Option<Fails>, verdict: Result<(), String>) {
        let failure = match (verdict, exception) {
            (Err(message), None) => message,
            (Ok(()), Some(_)) => "the case passes, so remove its exception".to_owned(),
            _ => return,
        };
        self.failures.lock().push(format!("{}, {form}, {:?}: {failure}", case.name(), self.read_path));
    }

    async fn check(&self, store: &TestStore, case: &StoreCase, form: Form) -> Result<(), String> {
        let tiers = self.caches.tiers(self.combination.memory);
        let store = tiered(store, tiers);
        match self.read_path {
            ReadPath::Authoritative => finish(case, Harness::in_form(store, form)).await,
            ReadPath::Cached => finish(case, Harness::in_form(self.read_from_copies(store), form)).await,
        }
    }

    /// Runs each tenant case with two tables of one database, whose tiers share all caches.
    async fn tenants(&self) {
        for case in tenant_cases() {
            for form in self.forms {
                let stores = [self.database.create_store().await, self.database.create_store().await];
                let verdict = self.check_tenants(&stores, case, *form).await;
                if let Err(failure) = verdict {
                    self.failures.lock().push(format!(
                        "{}, {form}, {:?}: {failure}",
                        case.name(),
                        self.read_path
                    ));
                }
            }
        }
    }

    async fn check_tenants(
        &self,
        stores: &[TestStore; 2],
        case: &TenantCase,
        form: Form,
    ) -> Result<(), String> {
        let [first, second] = self.caches.tiers_of_two(self.combination.memory);
        let (first, second) = (tiered(&stores[0], first), tiered(&stores[1], second));
        match self.read_path {
            ReadPath::Authoritative => finish(case, TenantHarness::in_form(first, second, form)).await,
            ReadPath::Cached => {
                let (first, second) = (self.read_from_copies(first), self.read_from_copies(second));
                finish(case, TenantHarness::in_form(first, second, form)).await
            }
        }
    }

    fn read_from_copies(&self, store: TieredStore) -> CachedReads {
        CachedReads::new(store, Arc::clone(&self.answers))
    }
}

fn tiered(store: &TestStore, tiers: Tiers) -> TieredStore {
    TieredStore::new(store.inner(), tiers, SystemClock).unwrap()
}

async fn finish<H: Send + 'static>(case: &Case<H>, harness: H) -> Result<(), String> {
    let mut running = tokio::spawn(case.run(harness));
    match tokio::time::timeout(CASE_TIME_LIMIT, &mut running).await {
        Ok(verdict) => verdict.map_err(|panic| format!("{panic:?}")),
        Err(_) => {
            running.abort();
            Err("the case hangs".to_owned())
        }
    }
}

fn check(combination: Combination, forms: &'static [Form]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let failures = runtime.block_on(async {
        let mut failures = Vec::new();
        for read_path in combination.read_paths() {
            failures.append(&mut run(combination, *read_path, forms).await?);
        }
        Some(failures)
    });
    runtime.shutdown_background();
    if let Some(failures) = failures {
        assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    }
}

/// Runs all cases, and returns the failures. Returns `None` without a server.
async fn run(combination: Combination, read_path: ReadPath, forms: &'static [Form]) -> Option<Vec<String>> {
    let run = Arc::new(Run {
        combination,
        read_path,
        forms,
        database: Database::open(combination.record).await?,
        caches: Caches::open(combination.shared).await?,
        next: AtomicUsize::new(0),
        passed: AtomicUsize::new(0),
        excepted: AtomicUsize::new(0),
        answers: Arc::default(),
        failures: Mutex::default(),
        slow: Mutex::default(),
    });
    let began = Instant::now();
    let workers = (0..WORKERS).map(|_| {
        let run = Arc::clone(&run);
        tokio::spawn(async move { run.work().await })
    });
    join_all(workers).await.into_iter().for_each(|worker| worker.unwrap());
    run.tenants().await;
    let (passed, excepted) = (run.passed.load(Ordering::Relaxed), run.excepted.load(Ordering::Relaxed));
    println!(
        "{combination}, {read_path:?}: {passed} cases and {excepted} exceptions in {:.1} s; {:?}; slowest: {:?}",
        began.elapsed().as_secs_f64(),
        run.answers,
        run.slow.lock().iter().max(),
    );
    assert_eq!(passed + excepted, store_cases().len());
    if read_path == ReadPath::Cached {
        run.answers.assert_from(combination.memory, combination.shared != Shared::Nothing);
    }
    let failures = std::mem::take(&mut *run.failures.lock());
    Some(failures)
}

macro_rules! combinations {
    ($($name:ident: $memory:literal, $shared:ident, $record:ident, $forms:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let combination =
                    Combination { memory: $memory, shared: Shared::$shared, record: Record::$record };
                check(combination, $forms);
            }
        )*
    };
}

const BARE: &[Form] = &[Form::Bare];

combinations! {
    no_tier_over_postgres: false, Nothing, Postgres, BARE;
    no_tier_over_sqlite: false, Nothing, Sqlite, BARE;
    memory_over_postgres: true, Nothing, Postgres, BARE;
    memory_over_sqlite: true, Nothing, Sqlite, &Form::ALL;
    redis_over_postgres: false, Redis, Postgres, BARE;
    redis_over_sqlite: false, Redis, Sqlite, BARE;
    memory_and_redis_over_postgres: true, Redis, Postgres, BARE;
    memory_and_redis_over_sqlite: true, Redis, Sqlite, BARE;
    postgres_over_postgres: false, Postgres, Postgres, BARE;
    postgres_over_sqlite: false, Postgres, Sqlite, BARE;
    memory_and_postgres_over_postgres: true, Postgres, Postgres, BARE;
    memory_and_postgres_over_sqlite: true, Postgres, Sqlite, BARE;
    redis_and_postgres_over_postgres: false, RedisThenPostgres, Postgres, BARE;
    redis_and_postgres_over_sqlite: false, RedisThenPostgres, Sqlite, BARE;
    all_tiers_over_postgres: true, RedisThenPostgres, Postgres, BARE;
    all_tiers_over_sqlite: true, RedisThenPostgres, Sqlite, BARE;
}
