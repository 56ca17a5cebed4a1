//! The store: which command or script each operation sends, and how it reads the reply.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use redis::{Cmd, Value};
use session_core::LimitScope;
use session_core::limits::MAX_LIFETIME;
use session_core::prelude::*;

use crate::builder::RedisStoreBuilder;
use crate::connection::Connection;
use crate::error::{NAME, Trouble};
use crate::keys::KeyPrefix;
use crate::record::{self, Part};
use crate::script::{self, Script, millis};
use crate::shards::side_by_side;

/// A store of sessions in Redis or Valkey. See the [crate's documentation](crate) for its use, and
/// for what a failover can lose.
#[derive(Debug)]
pub struct RedisStore {
    pub(crate) connection: Connection,
    /// `connection`, or a separate connection for writes, so that no other call waits behind a
    /// `WAIT`.
    pub(crate) writes: Connection,
    pub(crate) prefix: KeyPrefix,
    pub(crate) capabilities: Capabilities,
    /// How long the server keeps an ended session at most.
    pub(crate) retention: Duration,
    /// How many replicas must have a write before it succeeds, and how long that may take.
    pub(crate) replicas: Option<(u32, Duration)>,
}

impl RedisStore {
    /// Creates a store with the default settings. Opens no connection: see [`Connection::check`].
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        RedisStoreBuilder::new(connection).make()
    }

    /// Returns a builder for a store with other settings.
    #[must_use]
    pub fn builder(connection: Connection) -> RedisStoreBuilder {
        RedisStoreBuilder::new(connection)
    }

    /// Returns the connection to the server.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs a script that changes sessions.
    pub(crate) async fn write(&self, script: &Script, call: &Cmd) -> Result<Value, Trouble> {
        match self.replicas {
            Some((replicas, patience)) => {
                self.writes.script_on_replicas(script, call, replicas, patience).await
            }
            None => self.writes.script(script, call).await,
        }
    }

    /// Returns how long the server keeps an active session at most: past its absolute expiry on
    /// every clock.
    fn ttl(&self, record: &SessionRecord) -> u64 {
        millis(record.expires_at.since(record.created_at) + self.retention)
    }

    /// Returns how long the server keeps an ended session at most.
    pub(crate) fn ended_ttl(&self) -> u64 {
        millis(self.retention)
    }

    /// Returns the time to live of an index after a write: as long as any session in it can live.
    pub(crate) fn index_ttl(&self) -> u64 {
        millis(MAX_LIFETIME + self.retention)
    }

    async fn insert(
        &self,
        record: &SessionRecord,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let value = record::write(record, record.revision)?;
        let (id, shard) = (record.id.to_string(), record.id.shard());
        let mut keys =
            vec![self.prefix.session(record.id), self.prefix.deadlines(shard), self.prefix.created(shard)];
        keys.extend(record.user_id.as_ref().map(|user| self.prefix.user(user)));
        let script = if limit.is_some() { &script::CREATE_LIMITED } else { &script::CREATE };
        let mut call = script.call(&keys);
        call.arg(&id).arg(value).arg(self.ttl(record)).arg(record.created_at.as_millis());
        call.arg(record.expiry(record.created_at).deadline().at.as_millis()).arg(self.index_ttl());
        if let Some(limit) = limit {
            self.add_limit(&mut call, limit, record)?;
        }
        match self.write(script, &call).await? {
            Value::Int(0) => Err(Error::already_exists(NAME, "create").into()),
            Value::Array(parts) => self.created(parts, &id, record),
            reply if is(&reply, &id) => Ok(Vec::new()),
            _ => Err(self.mismatched("create")),
        }
    }

    fn add_limit(&self, call: &mut Cmd, limit: &SessionLimit, record: &SessionRecord) -> Result<()> {
        let unsupported = || Error::unsupported(NAME, "create").with_detail("a limit of a later version");
        let scope = match limit.scope {
            LimitScope::User => "",
            LimitScope::UserAndDeviceKind => "kind",
            _ => return Err(unsupported()),
        };
        let on_exceed = match limit.on_exceed {
            OnExceed::EndLeastRecentlySeen => "seen",
            OnExceed::EndOldest => "created",
            OnExceed::Refuse => "refuse",
            _ => return Err(unsupported()),
        };
        let ended = Ended::new(EndReason::LimitEvicted, limit.now, Actor::System);
        call.arg(self.prefix.of_shard(record.id.shard())).arg(limit.now.as_millis()).arg(limit.max.get());
        call.arg(scope).arg(on_exceed).arg(record::write_end(&ended)).arg(self.ended_ttl());
        call.arg(limit.max_per_device_kind.map(|max| max.to_string()).unwrap_or_default());
        call.arg(limit.replaces.map(|replaced| replaced.to_string()).unwrap_or_default());
        Ok(())
    }

    /// Reads the reply to a creation under a limit.
    fn created(
        &self,
        mut parts: Vec<Value>,
        id: &str,
        record: &SessionRecord,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let is_made = parts.first().is_some_and(|word| is(word, "created"));
        if is_made && parts.get(1).is_some_and(|made| is(made, id)) {
            let is_its = |ended: &SessionRecord| ended.user_id == record.user_id;
            return self.records(parts.split_off(2), "create", is_its);
        }
        if parts.first().is_some_and(|word| is(word, "full")) {
            let live = self.records_of(parts.split_off(1), Part::Redacted, "create")?;
            return Err(Error::limit_exceeded(NAME, "create", live).into());
        }
        Err(self.mismatched("create"))
    }

    /// Limits an operation of several commands to the timeout of one call.
    async fn timed<T>(
        &self,
        operation: &'static str,
        step: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T> {
        self.connection.within(step).await.map_err(|trouble| trouble.into_error(operation))
    }

    fn get(&self, id: SessionId) -> Cmd {
        let mut get = Cmd::with_capacity(2, 128);
        get.arg("GET").arg(self.prefix.session(id));
        get
    }

    async fn load_records(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        if let [id] = ids {
            let reply = self.connection.run(&self.get(*id)).await?;
            return Ok(self.loaded(*id, &reply)?.into_iter().collect());
        }
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        // Not `MGET`, which reports a key of another type as absent, and absent means signed out.
        // It is hardly faster.
        let gets = ids.iter().map(|id| self.get(*id)).collect();
        let replies = self.connection.run_each(gets).await?;
        if replies.len() != ids.len() {
            return Err(self.mismatched("load"));
        }
        let found = ids.iter().zip(&replies).map(|(id, reply)| self.loaded(*id, reply));
        found.filter_map(Result::transpose).collect()
    }

    /// Parses the value under the key of a session.
    fn loaded(&self, id: SessionId, reply: &Value) -> Result<Option<Arc<SessionRecord>>, Trouble> {
        let bytes = match reply {
            Value::Nil => return Ok(None),
            Value::BulkString(bytes) => bytes,
            _ => return Err(self.mismatched("load")),
        };
        let record =
            record::read(bytes, Part::Whole).map_err(|unreadable| unreadable.into_error(NAME, "load"))?;
        if record.id != id {
            return Err(self.mismatched("load"));
        }
        Ok(Some(Arc::new(record)))
    }

    async fn replace(&self, record: &SessionRecord, expected: Revision) -> Result<Revision, Trouble> {
        let next = expected.next();
        let value = record::write(record, next)?;
        let (key, front) = (self.prefix.session(record.id), record::beginning_at(&value, expected));
        let mut call = script::UPDATE.call(&[&key]);
        call.arg(&value).arg(&front).arg(front.len() - 1).arg(self.ttl(record));
        match self.write(&script::UPDATE, &call).await? {
            Value::Int(0) => Err(Error::not_found(NAME, "update").into()),
            Value::Array(parts) => Err(self.not_replaced(&parts)),
            reply if is(&reply, &key) => Ok(next),
            _ => Err(self.mismatched("update")),
        }
    }

    fn not_replaced(&self, parts: &[Value]) -> Trouble {
        let known: Result<Error, &'static str> = match parts {
            [word, Value::BulkString(tail)] if is(word, "ended") => record::read_end(tail)
                .map(|ended| Error::ended(NAME, "update", ended))
                .map_err(|unreadable| unreadable.0),
            [word, Value::BulkString(revision)] if is(word, "conflict") => <[u8; 8]>::try_from(&**revision)
                .ok()
                .and_then(|revision| Revision::new(u64::from_be_bytes(revision)).ok())
                .map(|current| Error::conflict(NAME, "update", current))
                .ok_or("a stored revision is outside of its range"),
            [word] if is(word, "corrupt") => Err("the stored value is no session"),
            _ => return self.mismatched("update"),
        };
        known.unwrap_or_else(|detail| Error::corrupt(NAME, "update", detail)).into()
    }

    async fn move_last_seen(&self, touches: Vec<&Touch>, now: Timestamp) -> Result<u64, Trouble> {
        let mut keys: Vec<_> = touches.iter().map(|touch| self.prefix.session(touch.id)).collect();
        let shards: BTreeSet<_> = touches.iter().map(|touch| touch.id.shard()).collect();
        keys.extend(shards.into_iter().map(|shard| self.prefix.deadlines(shard)));
        let mut call = script::TOUCH.call(&keys);
        call.arg(now.as_millis());
        for touch in touches {
            call.arg(&record::last_seen(touch.last_seen_at, &touch.last_client));
        }
        // Without waiting for replicas: if a failover loses a last-seen update, a session only ends
        // earlier.
        self.count_of(&self.connection.script(&script::TOUCH, &call).await?, "touch")
    }

    /// Parses the records that this call ended and a script returned.
    ///
    /// A record that cannot be read has ended like the others, and does not suppress their only
    /// report. A record that was not requested belongs to the reply to another command.
    pub(crate) fn records(
        &self,
        values: Vec<Value>,
        operation: &'static str,
        is_asked_for: impl Fn(&SessionRecord) -> bool,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let mut ended = Vec::with_capacity(values.len());
        for value in values {
            let Value::BulkString(bytes) = value else { return Err(self.mismatched(operation)) };
            match record::read(&bytes, Part::Whole) {
                Ok(record) if record.ended().is_some() && is_asked_for(&record) => {
                    ended.push(Arc::new(record));
                }
                Ok(_) => return Err(self.mismatched(operation)),
                Err(unreadable) => {
                    tracing::warn!(
                        backend = NAME,
                        operation,
                        why = unreadable.0,
                        "ended a session whose record cannot be read"
                    );
                }
            }
        }
        Ok(ended)
    }

    pub(crate) fn records_of(
        &self,
        values: Vec<Value>,
        part: Part,
        operation: &'static str,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let read = |value: Value| match value {
            Value::BulkString(bytes) => match record::read(&bytes, part) {
                Ok(record) => Ok(Arc::new(record)),
                Err(unreadable) => Err(unreadable.into_error(NAME, operation).into()),
            },
            _ => Err(self.mismatched(operation)),
        };
        values.into_iter().map(read).collect()
    }

    pub(crate) fn count_of(&self, reply: &Value, operation: &'static str) -> Result<u64, Trouble> {
        match reply {
            Value::Int(count) => u64::try_from(*count).map_err(|_| self.mismatched(operation)),
            _ => Err(self.mismatched(operation)),
        }
    }

    /// Closes the connections after a reply that belongs to another command, and returns the error.
    pub(crate) fn mismatched(&self, operation: &'static str) -> Trouble {
        self.connection.distrust();
        self.writes.distrust();
        Trouble::mismatched(operation)
    }
}

/// Returns true if a reply is this text.
pub(crate) fn is(reply: &Value, text: &str) -> bool {
    matches!(reply, Value::BulkString(bytes) if bytes == text.as_bytes())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for RedisStore {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.capabilities.check_new(&record, limit)?;
        self.insert(&record, limit).await.map_err(|trouble| trouble.into_error("create"))
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("load", ids.len())?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.load_records(ids).await.map_err(|trouble| trouble.into_error("load"))
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.capabilities.check_active(&record)?;
        self.replace(&record, expected).await.map_err(|trouble| trouble.into_error("update"))
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        check_touches(batch)?;
        let latest = Touch::latest_of_each(batch);
        let groups = self.groups(&latest, |touch| touch.id).into_iter();
        let moved = side_by_side(groups.map(|group| self.move_last_seen(group, now).boxed()).collect());
        self.timed("touch", async { moved.await.into_iter().sum() }).await
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        if let EndScope::Ids(ids) = scope {
            check_batch("end", ids.len())?;
        }
        self.end_all(scope, ended, created_until).await.map_err(|trouble| trouble.into_error("end"))
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        query.check()?;
        self.timed("list", self.page(query)).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("expire", limit)?;
        self.end_expired(now, limit).await.map_err(|trouble| trouble.into_error("expire"))
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        check_batch("purge", limit)?;
        self.delete_ended(before, limit).await.map_err(|trouble| trouble.into_error("purge"))
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        check_batch("erase", limit)?;
        if limit == 0 {
            return Ok(0);
        }
        self.anonymize(user, limit).await.map_err(|trouble| trouble.into_error("erase"))
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.timed("stats", self.count(now)).await
    }
}
