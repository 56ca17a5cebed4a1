//! Mistakes in `create` under two limits at once.

use std::num::NonZeroU32;
use std::sync::Arc;

use session_core::LimitScope;
use session_core::prelude::*;

use super::create::of_all;
use super::store::{NAME, Records, let_others_run};
use super::{BrokenStore, Bug};

impl BrokenStore {
    /// Creates under a limit per kind of device, `per_kind`, in addition to the limit of `limit`.
    pub(super) async fn create_under_both_wrongly(
        &self,
        record: Arc<SessionRecord>,
        limit: &SessionLimit,
        per_kind: NonZeroU32,
    ) -> Result<Records> {
        let mut other = *limit;
        let counted = self.rows_where(|row| limit.counts(row, &record));
        match self.bug {
            Bug::LimitIgnoresSecond => other.max_per_device_kind = None,
            Bug::LimitTakesNarrower => other.max = NonZeroU32::MAX,
            Bug::LimitSparesUnknownKind if record.client.device.kind.is_none() => {
                other.max_per_device_kind = None;
            }
            Bug::LimitOfKindCountsReplaced if limit.on_exceed == OnExceed::Refuse => {
                let all = single(&of_all(limit), per_kind).with_scope(LimitScope::UserAndDeviceKind);
                all.evict(NAME, &record, self.rows_where(|row| all.counts(row, &record)))?;
            }
            Bug::LimitsOfOneKindKeepTheLarger if limit.scope == LimitScope::UserAndDeviceKind => {
                (other.max, other.max_per_device_kind) = (limit.max.max(per_kind), None);
            }
            Bug::LimitsEvictOneEach if limit.on_exceed != OnExceed::Refuse => {
                return self.evict_for_each(record, limit, per_kind, counted).await;
            }
            Bug::LimitsEndOneOnly if limit.on_exceed != OnExceed::Refuse => {
                let mut surplus = limit.evict(NAME, &record, counted)?;
                surplus.truncate(1);
                let ended = self.evict(limit, &surplus).await?;
                self.map.create(record, None).await?;
                return Ok(ended);
            }
            Bug::RefusalOfKindNamesAll if limit.on_exceed == OnExceed::Refuse => {
                let refused = self.map.create(record, Some(limit)).await;
                return refused.map_err(|error| match error.kind() {
                    ErrorKind::LimitExceeded => Error::limit_exceeded(NAME, "create", redacted(&counted)),
                    _ => error,
                });
            }
            Bug::RacySecondLimit if limit.on_exceed != OnExceed::Refuse => {
                return self.count_kind_first(record, limit, per_kind).await;
            }
            Bug::RacySecondRefusal if limit.on_exceed == OnExceed::Refuse => {
                return self.count_kind_first(record, limit, per_kind).await;
            }
            _ => return self.create_limited_with_late_bugs(record, limit).await,
        }
        self.map.create(record, Some(&other)).await
    }

    /// Ends the surplus of each limit as if the other limit did not exist.
    async fn evict_for_each(
        &self,
        record: Arc<SessionRecord>,
        limit: &SessionLimit,
        per_kind: NonZeroU32,
        counted: Records,
    ) -> Result<Records> {
        let alike = counted.iter().filter(|row| is_alike(row, &record)).cloned().collect();
        let mut surplus = single(limit, per_kind).evict(NAME, &record, alike)?;
        surplus.extend(single(limit, limit.max).evict(NAME, &record, counted)?);
        let ended = self.evict(limit, &surplus).await?;
        self.map.create(record, None).await?;
        Ok(ended)
    }

    /// Makes room for the kind of device in a separate step.
    async fn count_kind_first(
        &self,
        record: Arc<SessionRecord>,
        limit: &SessionLimit,
        per_kind: NonZeroU32,
    ) -> Result<Records> {
        let alike = self.rows_where(|row| limit.counts(row, &record) && is_alike(row, &record));
        let surplus = single(limit, per_kind).evict(NAME, &record, alike)?;
        let_others_run().await;
        let mut ended = self.evict(limit, &surplus).await?;
        ended.extend(self.map.create(record, Some(&single(limit, limit.max))).await?);
        Ok(ended)
    }
}

/// Returns a limit like `limit`, with `max` sessions and without a second limit.
fn single(limit: &SessionLimit, max: NonZeroU32) -> SessionLimit {
    let mut single = *limit;
    (single.max, single.max_per_device_kind) = (max, None);
    single
}

fn is_alike(row: &SessionRecord, new: &SessionRecord) -> bool {
    row.client.device.kind == new.client.device.kind
}

fn redacted(rows: &Records) -> Records {
    rows.iter().map(|row| Arc::new(row.redacted())).collect()
}
