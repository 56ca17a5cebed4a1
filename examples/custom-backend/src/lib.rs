//! A complete session store on [redb](https://docs.rs/redb), proved by the conformance suite.
//!
//! Two tables: the sessions by id, and the ids of each user. redb has one writer at a time and
//! commits durably, which is all that [`Rows`] needs.

use redb::{Database, MultimapTable, ReadableMultimapTable, ReadableTable, Table};
use session_core::{Durability, prelude::*};

const NAME: &str = "redb";
const SESSIONS: redb::TableDefinition<'_, [u8; 16], &[u8]> = redb::TableDefinition::new("sessions");
const USERS: redb::MultimapTableDefinition<'_, &str, [u8; 16]> = redb::MultimapTableDefinition::new("users");

/// Sessions in a database that the application opens.
#[derive(Debug, Clone)]
pub struct RedbStore(Arc<Database>, Arc<str>);

impl RedbStore {
    /// Keeps sessions in a database, whose path distinguishes it from others.
    #[must_use]
    pub fn new(database: Database, path: &str) -> Self {
        Self(Arc::new(database), path.into())
    }

    /// Runs one transaction to its end, even if the caller leaves.
    async fn step<T: Send + 'static>(
        &self,
        operation: &'static str,
        step: impl FnOnce(&mut Tables<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let database = Arc::clone(&self.0);
        let step = move || {
            let transaction = database.begin_write().map_err(failed(operation))?;
            let sessions = transaction.open_table(SESSIONS).map_err(failed(operation))?;
            let users = transaction.open_multimap_table(USERS).map_err(failed(operation))?;
            let done = step(&mut Tables { sessions, users, operation })?;
            transaction.commit().map_err(failed(operation)).map(|()| done)
        };
        tokio::task::spawn_blocking(step).await.map_err(failed(operation))?
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(operation: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::other(NAME, operation, error)
}

struct Tables<'t> {
    sessions: Table<'t, [u8; 16], &'static [u8]>,
    users: MultimapTable<'t, &'static str, [u8; 16]>,
    operation: &'static str,
}

impl Rows for Tables<'_> {
    const BACKEND: &'static str = NAME;

    fn get(&self, id: SessionId) -> Result<Option<SessionRecord>> {
        let bytes = self.sessions.get(id.as_bytes()).map_err(failed(self.operation))?;
        bytes.map(|bytes| SessionRecord::from_bytes(bytes.value())).transpose()
    }

    fn all(&self) -> Result<Vec<SessionRecord>> {
        let rows = self.sessions.iter().map_err(failed(self.operation))?;
        rows.map(|row| SessionRecord::from_bytes(row.map_err(failed(self.operation))?.1.value())).collect()
    }

    fn of_user(&self, user: &UserId) -> Result<Vec<SessionRecord>> {
        let ids = self.users.get(user.as_str()).map_err(failed(self.operation))?;
        let get = |id: [u8; 16]| self.get(SessionId::from_bytes(id)?);
        ids.filter_map(|id| id.map_err(failed(self.operation)).and_then(|id| get(id.value())).transpose())
            .collect()
    }

    fn put(&mut self, record: &SessionRecord) -> Result<()> {
        let (id, bytes) = (record.id.as_bytes(), record.to_bytes()?);
        if let Some(user) = &record.user_id {
            self.users.insert(user.as_str(), id).map_err(failed(self.operation))?;
        }
        self.sessions.insert(id, &*bytes).map_err(failed(self.operation)).map(drop)
    }

    fn remove(&mut self, record: &SessionRecord) -> Result<()> {
        if let Some(user) = &record.user_id {
            self.users.remove(user.as_str(), record.id.as_bytes()).map_err(failed(self.operation))?;
        }
        self.sessions.remove(record.id.as_bytes()).map_err(failed(self.operation)).map(drop)
    }
}

type Records = Vec<Arc<SessionRecord>>;

#[async_trait]
impl SessionStore for RedbStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(NAME, Durability::Server).with_place(Arc::clone(&self.1))
    }

    async fn create(&self, record: Arc<SessionRecord>, limit: Option<&SessionLimit>) -> Result<Records> {
        self.capabilities().check_new(&record, limit)?;
        let limit = limit.copied();
        self.step("create", move |rows| rows.create(&record, limit)).await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Records> {
        check_batch("load", ids.len())?;
        let ids = ids.to_vec();
        self.step("load", move |rows| rows.load(&ids)).await
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.capabilities().check_active(&record)?;
        self.step("update", move |rows| rows.update(&record, expected)).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        check_touches(batch)?;
        let batch = batch.to_vec();
        self.step("touch", move |rows| rows.touch(&batch, now)).await
    }

    async fn end(&self, scope: &EndScope, ended: &Ended, created_until: Timestamp) -> Result<Records> {
        scope.check()?;
        let (scope, ended) = (scope.clone(), ended.clone());
        self.step("end", move |rows| rows.end(&scope, &ended, created_until)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        query.check()?;
        let query = query.clone();
        self.step("list", move |rows| rows.list(&query)).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Records> {
        check_batch("expire", limit)?;
        self.step("expire", move |rows| rows.expire(now, limit)).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        check_batch("purge", limit)?;
        self.step("purge", move |rows| rows.purge(before, limit)).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        check_batch("erase", limit)?;
        let user = user.clone();
        self.step("erase", move |rows| rows.erase(&user, limit)).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.step("stats", move |rows| rows.stats(now)).await
    }
}
