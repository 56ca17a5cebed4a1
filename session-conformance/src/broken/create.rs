//! Mistakes in `create`.

use std::num::NonZeroU32;
use std::sync::Arc;

use session_core::prelude::*;
use session_core::{Actor, EndReason, LimitScope};

use super::store::{NAME, Records, let_others_run};
use super::{BrokenStore, Bug};

impl BrokenStore {
    pub(super) async fn create_wrongly(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Records> {
        match limit {
            Some(limit) => self.create_limited_wrongly(record, limit).await,
            None => self.insert_wrongly(record).await,
        }
    }

    async fn insert_wrongly(&self, record: Arc<SessionRecord>) -> Result<Records> {
        if self.bug != Bug::UncheckedCreate {
            self.capabilities().check_new(&record, None)?;
        }
        let stored = self.row(record.id);
        match self.bug {
            Bug::UpsertingCreate => self.put(record),
            Bug::CreateOverEnded if stored.as_ref().is_some_and(|row| row.ended().is_some()) => {
                self.put(record);
            }
            Bug::RacyCreate if stored.is_none() => {
                let_others_run().await;
                self.put(record);
            }
            Bug::TornCreate if stored.is_none() => {
                let mut half = record.redacted();
                half.label = None;
                self.put(half);
                let_others_run().await;
                self.put(record);
            }
            Bug::HiddenLimit if record.user_id.is_some() => {
                let theirs = self.rows_where(|row| row.user_id == record.user_id);
                if theirs.len() >= 10 {
                    self.remove(theirs.last().map(|oldest| oldest.id));
                }
                return self.map.create(record, None).await;
            }
            Bug::UncheckedCreate if stored.is_none() => self.put(record),
            _ => return self.map.create(record, None).await,
        }
        Ok(Vec::new())
    }

    async fn create_limited_wrongly(
        &self,
        record: Arc<SessionRecord>,
        limit: &SessionLimit,
    ) -> Result<Records> {
        match self.bug {
            Bug::RacyLimit => {
                let counted = self.rows_where(|row| limit.counts(row, &record));
                let_others_run().await;
                self.make_room_and_create(record, limit, counted).await
            }
            Bug::LimitCountsExpired => {
                // Before its deadline, every session is live.
                let mut early = *limit;
                early.now = Timestamp::from_millis(i64::MIN);
                let counted = self.rows_where(|row| early.counts(row, &record));
                self.make_room_and_create(record, limit, counted).await
            }
            Bug::LimitCountsTheNew if limit.on_exceed != OnExceed::Refuse => {
                self.map.create(Arc::clone(&record), None).await?;
                let mut wide = *limit;
                wide.max = limit.max.saturating_add(1);
                let surplus = wide.evict(NAME, &record, self.rows_where(|row| limit.counts(row, &record)))?;
                self.evict(limit, &surplus).await
            }
            Bug::LimitEndsFirst if limit.on_exceed != OnExceed::Refuse => {
                let counted = self.rows_where(|row| limit.counts(row, &record));
                let ended = self.evict(limit, &limit.evict(NAME, &record, counted)?).await?;
                self.map.create(record, None).await?;
                Ok(ended)
            }
            Bug::LimitOverflows if i32::try_from(limit.max.get()).is_err() => {
                let mut negative = *limit;
                negative.max = NonZeroU32::MIN;
                self.map.create(record, Some(&negative)).await
            }
            Bug::CreateOverExpired if self.row(record.id).is_some_and(|row| !row.is_live(limit.now)) => {
                self.remove([record.id]);
                self.map.create(record, Some(limit)).await
            }
            Bug::LimitIgnoresDeviceKind => {
                let limit = limit.with_scope(LimitScope::User);
                self.map.create(record, Some(&limit)).await
            }
            Bug::LimitAllowsOneMore => {
                let mut wide = *limit;
                wide.max = limit.max.saturating_add(1);
                self.map.create(record, Some(&wide)).await
            }
            Bug::LimitCountsReplaced => self.map.create(record, Some(&of_all(limit))).await,
            Bug::LimitEvictsReplaced => {
                let mut wide = of_all(limit);
                let counted = self.rows_where(|row| wide.counts(row, &record));
                if counted.iter().any(|row| limit.replaces == Some(row.id)) {
                    wide.max = limit.max.saturating_add(1);
                }
                self.map.create(record, Some(&wide)).await
            }
            Bug::LimitTrustsReplaced if limit.replaces.is_some() => {
                let mut wide = *limit;
                wide.max = limit.max.saturating_add(1);
                self.map.create(record, Some(&wide)).await
            }
            Bug::LimitAlwaysEndsOldest if limit.on_exceed != OnExceed::Refuse => {
                let mut oldest = *limit;
                oldest.on_exceed = OnExceed::EndOldest;
                self.map.create(record, Some(&oldest)).await
            }
            Bug::LimitEndsOneOnly if limit.on_exceed != OnExceed::Refuse => {
                let mut counted = self.rows_where(|row| limit.counts(row, &record));
                counted.drain(..counted.len().saturating_sub(limit.max.get() as usize));
                self.make_room_and_create(record, limit, counted).await
            }
            _ => match limit.max_per_device_kind {
                Some(per_kind) => self.create_under_both_wrongly(record, limit, per_kind).await,
                None => self.create_limited_with_late_bugs(record, limit).await,
            },
        }
    }

    /// Makes the mistakes that follow a correct create.
    pub(super) async fn create_limited_with_late_bugs(
        &self,
        record: Arc<SessionRecord>,
        limit: &SessionLimit,
    ) -> Result<Records> {
        let counted = self.rows_where(|row| limit.counts(row, &record));
        let created = self.map.create(Arc::clone(&record), Some(limit)).await;
        match (self.bug, created) {
            (Bug::EvictionDeletes, Ok(ended)) => {
                self.remove(ended.iter().map(|row| row.id));
                Ok(ended)
            }
            (Bug::EvictionUnreported, Ok(_)) => Ok(Vec::new()),
            (Bug::RefusalStores, Err(error)) if error.kind() == ErrorKind::LimitExceeded => {
                self.put(record);
                Err(error)
            }
            (Bug::RefusalLeaksSecrets, Err(error)) if error.kind() == ErrorKind::LimitExceeded => {
                Err(Error::limit_exceeded(NAME, "create", counted))
            }
            (Bug::RefusalNamesNobody, Err(error)) if error.kind() == ErrorKind::LimitExceeded => {
                Err(Error::limit_exceeded(NAME, "create", Vec::new()))
            }
            (_, created) => created,
        }
    }

    /// Creates as a store that counts first: not in one step, and only as accurate as the count.
    async fn make_room_and_create(
        &self,
        record: Arc<SessionRecord>,
        limit: &SessionLimit,
        counted: Records,
    ) -> Result<Records> {
        self.map.capabilities().check_new(&record, Some(limit))?;
        if self.row(record.id).is_some() {
            return Err(Error::already_exists(NAME, "create"));
        }
        let surplus = limit.evict(NAME, &record, counted)?;
        let ended = self.evict(limit, &surplus).await?;
        self.map.create(record, None).await?;
        Ok(ended)
    }

    pub(super) async fn evict(
        &self,
        limit: &SessionLimit,
        surplus: &[Arc<SessionRecord>],
    ) -> Result<Records> {
        let ids = surplus.iter().map(|row| row.id).collect();
        let ended = Ended::new(EndReason::LimitEvicted, limit.now, Actor::System);
        self.map.end(&EndScope::Ids(ids), &ended, Timestamp::MAX).await
    }
}

/// Returns a limit like `limit` that also counts the session that the new one replaces.
pub(super) fn of_all(limit: &SessionLimit) -> SessionLimit {
    let mut all = *limit;
    all.replaces = None;
    all
}
