//! How sessions end: in batches, each claimed and ended in one step.

use std::sync::Arc;

use session_core::prelude::*;
use sqlx::{Connection, Transaction};

use crate::arguments::Arguments;
use crate::columns;
use crate::connections::{Borrowed, Loan};
use crate::dialect::Dialect;
use crate::error::StepError;
use crate::statements::{ClaimSql, END_BATCH};
use crate::store::SqlStore;

/// The rows that a claim ended: the records that could be decoded, and the number of rows.
struct Claimed {
    records: Vec<Arc<SessionRecord>>,
    rows: usize,
}

/// The end that the claimed rows get.
#[derive(Clone, Copy)]
enum EndWith<'a> {
    Given(&'a Ended),
    Deadline(Timestamp),
}

impl EndWith<'_> {
    fn arguments<D: Dialect>(self) -> Arguments<D> {
        match self {
            Self::Given(ended) => Arguments::end(ended),
            Self::Deadline(_) => Arguments::end_by_deadline(),
        }
    }

    /// Returns the record as the database now stores it.
    fn apply(self, record: SessionRecord) -> SessionRecord {
        let ended = match self {
            Self::Given(ended) => ended.clone(),
            Self::Deadline(now) => {
                let deadline = record.expiry(now).deadline();
                Ended::new(deadline.reason, deadline.at, Actor::System)
            }
        };
        record.into_ended(ended)
    }
}

/// Adds the arguments of a claim that select its rows.
trait Picked<D: Dialect>: Fn(Arguments<D>) -> Arguments<D> + Send + Sync {}

impl<D: Dialect, F: Fn(Arguments<D>) -> Arguments<D> + Send + Sync> Picked<D> for F {}

impl<D: Dialect> SqlStore<D> {
    /// Ends a scope in batches, so that the end of a user with many sessions holds no lock for
    /// long.
    pub(crate) async fn end_all(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let sql = self.statements.end(scope).ok_or_else(|| Error::unsupported(D::SYNTAX.name, "end"))?;
        let mut all = Vec::new();
        loop {
            let batch = self.repeated("end", || self.end_batch(sql, scope, ended, created_until)).await?;
            all.extend(batch.records);
            if batch.rows < END_BATCH || matches!(scope, EndScope::Ids(_)) {
                return Ok(all);
            }
        }
    }

    /// Uses the connection that is reserved for ends, so that a revocation does not wait for
    /// sign-ins and saves that fill the pool.
    async fn end_batch(
        &self,
        sql: &ClaimSql,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Claimed, StepError> {
        let mut connection = self.ends.lease_pinged().await?;
        let _permit = self.writer_permit().await;
        let picked = |arguments: Arguments<D>| arguments.scope(scope).time(created_until).count(END_BATCH);
        let claimed = self.claim(&mut connection, sql, EndWith::Given(ended), picked).await;
        connection.settle(claimed)
    }

    /// Claims again for each corrupt row among the claimed ones, because the caller takes fewer
    /// records than `limit` to mean that no expired session is left.
    pub(crate) async fn end_expired(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        let mut all = Vec::new();
        loop {
            let asked = limit - all.len();
            match self.repeated("expire", || self.expire_batch(now, asked)).await {
                Ok(batch) => {
                    all.extend(batch.records);
                    if batch.rows < asked || all.len() == limit {
                        return Ok(all);
                    }
                }
                // Return the records that were ended, so that the caller can report them.
                Err(_) if !all.is_empty() => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    }

    async fn expire_batch(&self, now: Timestamp, limit: usize) -> Result<Claimed, StepError> {
        let mut connection = Borrowed::from(&self.pool).await?;
        let _permit = self.writer_permit().await;
        let picked = |arguments: Arguments<D>| arguments.time(now).count(limit);
        let claimed =
            self.claim(&mut connection, &self.statements.expire, EndWith::Deadline(now), picked).await;
        connection.settle(claimed)
    }

    /// Claims rows, in a transaction of its own if the dialect needs one.
    async fn claim(
        &self,
        connection: &mut D::Connection,
        sql: &ClaimSql,
        end: EndWith<'_>,
        picked: impl Picked<D>,
    ) -> Result<Claimed, StepError> {
        if let ClaimSql::Returning(_) = sql {
            return self.claim_within(connection, sql, end, picked).await;
        }
        let mut transaction = connection.begin_with(D::SYNTAX.begin).await?;
        let claimed = self.claim_within(&mut transaction, sql, end, picked).await;
        finish(transaction, claimed).await
    }

    /// Claims rows inside a transaction, if the dialect needs one.
    async fn claim_within(
        &self,
        connection: &mut D::Connection,
        sql: &ClaimSql,
        end: EndWith<'_>,
        picked: impl Picked<D>,
    ) -> Result<Claimed, StepError> {
        match sql {
            ClaimSql::Returning(sql) => {
                let rows = D::rows(connection, sql.clone(), picked(end.arguments()).finish()?).await?;
                Ok(Claimed { records: read_history::<D>(&rows).map(Arc::new).collect(), rows: rows.len() })
            }
            ClaimSql::Selecting(sql) => {
                let rows = D::rows(connection, sql.clone(), picked(Arguments::new()).finish()?).await?;
                // As raw bytes: a corrupt row may have an id that is not a session id.
                let ids = rows.iter().filter_map(|row| D::uuid(row, 0).transpose());
                let ids: Vec<_> = ids.collect::<Result<_, _>>()?;
                self.end_selected(connection, &ids, end).await?;
                let records = read_history::<D>(&rows).map(|record| Arc::new(end.apply(record))).collect();
                Ok(Claimed { records, rows: rows.len() })
            }
        }
    }

    async fn end_selected(
        &self,
        connection: &mut D::Connection,
        ids: &[[u8; 16]],
        end: EndWith<'_>,
    ) -> Result<(), StepError> {
        if ids.is_empty() {
            return Ok(());
        }
        let texts = match end {
            EndWith::Given(_) => &self.statements.end_selected,
            EndWith::Deadline(_) => &self.statements.expire_selected,
        };
        let arguments = end.arguments::<D>().stored_ids(ids).finish()?;
        D::execute(connection, texts.get(ids.len()).clone(), arguments).await?;
        Ok(())
    }

    /// Inserts, counts and ends the surplus in one transaction that cannot overlap another sign-in
    /// of the user.
    pub(crate) async fn insert_limited_on(
        &self,
        connection: &mut D::Connection,
        record: &SessionRecord,
        user: &UserId,
        limit: &SessionLimit,
    ) -> Result<Vec<Arc<SessionRecord>>, StepError> {
        let mut transaction = connection.begin_with(D::SYNTAX.begin).await?;
        let evicted = self.insert_and_evict(&mut transaction, record, user, limit).await;
        finish(transaction, evicted).await
    }

    async fn insert_and_evict(
        &self,
        connection: &mut D::Connection,
        record: &SessionRecord,
        user: &UserId,
        limit: &SessionLimit,
    ) -> Result<Vec<Arc<SessionRecord>>, StepError> {
        if let Some(sql) = &self.statements.lock_user {
            let number = (D::SYNTAX.lock_number)(self.statements.template().table.lock_number(user.as_str()));
            D::rows(connection, sql.clone(), Arguments::<D>::new().int(number).finish()?).await?;
        }
        // Insert first, so that a duplicate id is reported before a session is evicted for it.
        D::execute(connection, self.statements.insert.clone(), Arguments::<D>::record(record).finish()?)
            .await?;
        let live = Arguments::<D>::new().user(user).time(limit.now).id(record.id).finish()?;
        let rows = D::rows(connection, self.statements.live_of_user.clone(), live).await?;
        let counted = read_history::<D>(&rows).filter(|stored| limit.counts(stored, record)).map(Arc::new);
        let surplus = limit.evict(D::SYNTAX.name, record, counted.collect())?;
        let ended = Ended::new(EndReason::LimitEvicted, limit.now, Actor::System);
        self.evict(connection, surplus.iter().map(|record| record.id).collect(), &ended).await
    }

    async fn evict(
        &self,
        connection: &mut D::Connection,
        ids: Vec<SessionId>,
        ended: &Ended,
    ) -> Result<Vec<Arc<SessionRecord>>, StepError> {
        let mut evicted = Vec::new();
        for ids in ids.chunks(END_BATCH) {
            let scope = EndScope::Ids(ids.to_vec());
            let Some(sql) = self.statements.end(&scope) else { continue };
            // The count decided which sessions to end; their creation time does not matter.
            let picked =
                |arguments: Arguments<D>| arguments.scope(&scope).time(Timestamp::MAX).count(END_BATCH);
            evicted.extend(self.claim_within(connection, sql, EndWith::Given(ended), picked).await?.records);
        }
        Ok(evicted)
    }
}

/// Commits, or rolls back at once instead of at the next use of the connection.
pub(crate) async fn finish<D: Dialect, T>(
    transaction: Transaction<'_, D>,
    result: Result<T, StepError>,
) -> Result<T, StepError> {
    match result {
        Ok(value) => {
            transaction.commit().await?;
            Ok(value)
        }
        Err(error) => {
            if error.keeps_connection::<D>() {
                transaction.rollback().await?;
            }
            Err(error)
        }
    }
}

/// Returns the records that can be decoded. A corrupt row must not keep the others from ending, so
/// it ends with them. This logs an error for the operator; a later load of the row fails.
fn read_history<D: Dialect>(rows: &[D::Row]) -> impl Iterator<Item = SessionRecord> {
    let records: Vec<_> = rows.iter().map(columns::read::<D>).collect();
    let damaged = records.iter().filter(|record| record.is_err()).count();
    if damaged > 0 {
        tracing::error!(backend = D::SYNTAX.name, damaged, "rows of the sessions table cannot be read");
    }
    records.into_iter().flatten()
}
