//! Ends sessions, and sweeps, purges and erases them.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::Value;
use session_core::limits::MAX_BATCH;
use session_core::prelude::*;
use session_core::{DeviceId, Shard};

use crate::error::Trouble;
use crate::keys::KeyPrefix;
use crate::record;
use crate::script;
use crate::shards::{Index, shares, side_by_side, side_by_side_until};
use crate::store::RedisStore;

/// The sessions of a user that do not end.
#[derive(Clone, Copy)]
struct Spared {
    id: Option<SessionId>,
    other_devices_than: Option<DeviceId>,
    created_after: Timestamp,
}

impl RedisStore {
    pub(crate) async fn end_all(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let none = Spared { id: None, other_devices_than: None, created_after: created_until };
        match scope {
            EndScope::Device { user, device } => {
                let spared = Spared { other_devices_than: Some(*device), ..none };
                self.end_user(user, spared, ended).await
            }
            EndScope::Ids(ids) => {
                let groups = self.groups(ids, |id| id).into_iter();
                let ends = groups.map(|group| self.end_ids(group, ended, created_until).boxed()).collect();
                let ends = self.connection.within(async { side_by_side(ends).await.into_iter().collect() });
                let ended: Vec<Vec<_>> = ends.await?;
                Ok(ended.into_iter().flatten().collect())
            }
            EndScope::User(user) => self.end_user(user, none, ended).await,
            EndScope::UserExcept { user, keep } => {
                self.end_user(user, Spared { id: Some(*keep), ..none }, ended).await
            }
            _ => Err(Error::unsupported(crate::error::NAME, "end").into()),
        }
    }

    async fn end_ids(
        &self,
        ids: Vec<SessionId>,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let keys: Vec<_> = ids.iter().map(|id| self.prefix.session(*id)).collect();
        let mut call = script::END.call(&keys);
        call.arg(record::write_end(ended)).arg(self.ended_ttl()).arg(self.index_ttl());
        call.arg(created_until.as_millis());
        let reply = self.write(&script::END, &call).await?;
        self.ended(reply, "end", |record| ids.contains(&record.id))
    }

    /// Ends a user's sessions in batches, so that no script blocks the server for long. Each batch
    /// has the timeout of a call.
    async fn end_user(
        &self,
        user: &UserId,
        spared: Spared,
        ended: &Ended,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let mut call = script::END_USER.call(&[self.prefix.user(user)]);
        call.arg(self.prefix.of_shard(user.shard())).arg(record::write_end(ended)).arg(self.ended_ttl());
        call.arg(self.index_ttl()).arg(MAX_BATCH).arg(spared.id.map(|id| id.to_string()).unwrap_or_default());
        call.arg(spared.other_devices_than.as_ref().map_or(&[][..], |device| device.as_bytes()));
        call.arg(spared.created_after.as_millis());
        let mut all = Vec::new();
        loop {
            let reply = self.write(&script::END_USER, &call).await?;
            let is_last = !matches!(&reply, Value::Array(values) if values.len() >= MAX_BATCH);
            let batch = self.ended(reply, "end", |record| record.user_id.as_ref() == Some(user))?;
            all.extend(batch);
            if is_last {
                return Ok(all);
            }
        }
    }

    pub(crate) async fn end_expired(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let step = |shard, share| self.expire_in(shard, now, share).boxed();
        let up_to = now.as_millis().to_string();
        let batches = self.swept(KeyPrefix::deadlines, &up_to, limit, step, Vec::len).await?;
        Ok(batches.into_iter().flatten().collect())
    }

    async fn expire_in(
        &self,
        shard: Shard,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let mut call = script::EXPIRE.call(&[self.prefix.deadlines(shard)]);
        call.arg(self.prefix.of_shard(shard)).arg(now.as_millis()).arg(most);
        for reason in [EndReason::IdleTimeout, EndReason::AbsoluteTimeout] {
            call.arg(record::write_end_after_time(reason, &Actor::System));
        }
        call.arg(self.ended_ttl()).arg(self.index_ttl());
        let reply = self.write(&script::EXPIRE, &call).await?;
        self.ended(reply, "expire", |record| record.id.shard() == shard)
    }

    pub(crate) async fn delete_ended(&self, before: Timestamp, limit: usize) -> Result<u64, Trouble> {
        let step = |shard, share| self.purge_in(shard, before, share).boxed();
        let up_to = format!("({}", before.as_millis());
        let count = |purged: &u64| usize::try_from(*purged).unwrap_or(usize::MAX);
        Ok(self.swept(KeyPrefix::ended, &up_to, limit, step, count).await?.iter().sum())
    }

    async fn purge_in(&self, shard: Shard, before: Timestamp, most: usize) -> Result<u64, Trouble> {
        let mut call = script::PURGE.call(&[self.prefix.ended(shard)]);
        call.arg(self.prefix.of_shard(shard)).arg(before.as_millis()).arg(most);
        self.count_of(&self.connection.script(&script::PURGE, &call).await?, "purge")
    }

    pub(crate) async fn anonymize(&self, user: &UserId, limit: usize) -> Result<u64, Trouble> {
        let mut call = script::ERASE.call(&[self.prefix.history(user)]);
        call.arg(self.prefix.of_shard(user.shard())).arg(limit).arg(record::empty_profile()?);
        self.count_of(&self.write(&script::ERASE, &call).await?, "erase")
    }

    /// Processes the due sessions of all shards until none is due or the limit is reached. Begins
    /// with a random shard, so that a backlog in one shard does not delay the others.
    ///
    /// Returns the results before a failure as a success; the caller meets the failure at its next
    /// sweep. An error instead would lose the only report of those ends. So a damaged shard, or a
    /// shard whose server is unavailable, does not block the others.
    async fn swept<'s, T>(
        &'s self,
        index: Index,
        up_to: &str,
        limit: usize,
        step: impl Fn(Shard, usize) -> BoxFuture<'s, Result<T, Trouble>>,
        count: impl Fn(&T) -> usize,
    ) -> Result<Vec<T>, Trouble> {
        let (mut done, mut total) = (Vec::new(), 0);
        while total < limit {
            let (mut due, failure) =
                self.filled(index, "-inf", up_to).await.unwrap_or_else(|trouble| (Vec::new(), Some(trouble)));
            match failure {
                Some(trouble) if due.is_empty() && total == 0 => return Err(trouble),
                _ if due.is_empty() => break,
                _ => {}
            }
            due.sort_unstable();
            let first = fastrand::usize(..due.len());
            due.rotate_left(first);
            let shares = shares(due, limit - total);
            let (before, planned) = (total, shares.iter().map(|(_, share)| share).sum::<usize>());
            let steps = shares.into_iter().map(|(shard, share)| step(shard, share));
            let (until, mut failure) = (self.connection.deadline(), None);
            for result in side_by_side_until(until, steps.collect()).await {
                match result {
                    Ok(part) => {
                        total += count(&part);
                        done.push(part);
                    }
                    Err(trouble) => failure = Some(trouble),
                }
            }
            match failure {
                Some(trouble) if total == 0 => return Err(trouble),
                Some(_) => break,
                // Every planned session is done. If fewer are done, another sweeper was faster, and
                // there may be more.
                None if total - before == planned => break,
                None => {}
            }
        }
        Ok(done)
    }

    /// Parses the records that a script ended.
    fn ended(
        &self,
        reply: Value,
        operation: &'static str,
        is_asked_for: impl Fn(&SessionRecord) -> bool,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        match reply {
            Value::Array(values) => self.records(values, operation, is_asked_for),
            _ => Err(self.mismatched(operation)),
        }
    }
}
