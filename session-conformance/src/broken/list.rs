//! Mistakes in `list` and `stats`.

use std::sync::Arc;

use session_core::limits::MAX_PAGE;
use session_core::prelude::*;
use session_core::{Cursor, DeviceId};

use super::store::NAME;
use super::{BrokenStore, Bug};

impl BrokenStore {
    pub(super) fn list_wrongly(&self, query: &ListQuery) -> Result<Page> {
        if self.bug != Bug::ListCutsPageSize {
            query.check()?;
        }
        if self.bug == Bug::OffsetPaging {
            return Ok(self.page_by_offset(query));
        }
        if self.bug == Bug::DeviceCutBeforeFilter {
            return Ok(self.page_cut_before_filter(query));
        }
        let mut found = self.found(query);
        match self.bug {
            Bug::ListOldestFirst => found.reverse(),
            Bug::ListOfNothingFails if found.is_empty() => return Err(Error::not_found(NAME, "list")),
            _ => {}
        }
        let mut page = Page::cut(found, query.limit.min(MAX_PAGE));
        if self.bug == Bug::ListAlwaysHasNext {
            page.next = page.records.last().map(|last| Cursor::of(last));
        }
        Ok(page)
    }

    fn found(&self, query: &ListQuery) -> Vec<Arc<SessionRecord>> {
        let mut found = self.rows_where(|row| self.lists(query, row));
        if self.bug != Bug::ListLeaksSecrets {
            found.iter_mut().for_each(|row| *row = Arc::new(row.redacted()));
        }
        found
    }

    /// Returns true if the session belongs to a list, or if the mistake treats it so.
    fn lists(&self, query: &ListQuery, row: &SessionRecord) -> bool {
        let mut rest = query.clone();
        match self.bug {
            Bug::CaseInsensitiveUser | Bug::PaddedUser | Bug::UserIdPrefix => {
                let user = rest.user.take();
                let same = |user| row.user_id.as_ref().is_some_and(|other| self.same_user(other, user));
                rest.matches(row) && user.as_ref().is_none_or(same)
            }
            Bug::CaseInsensitiveName => {
                let name = rest.username.take();
                let same = |name: &String| {
                    row.username.as_ref().is_some_and(|other| other.eq_ignore_ascii_case(name))
                };
                rest.matches(row) && name.as_ref().is_none_or(same)
            }
            Bug::NamesArePatterns => {
                rest.username = rest.username.filter(|name| !name.contains('%'));
                rest.matches(row)
            }
            Bug::StaleNameIndex => {
                let name = rest.username.take();
                let created = || self.old_row(row.id).and_then(|created| created.username.clone());
                rest.matches(row) && (name.is_none() || name == created())
            }
            Bug::LaggingIndex => rest.matches(row) && self.old_row(row.id).is_some(),
            Bug::CursorIgnoresId => {
                let after = rest.after.take();
                rest.matches(row) && after.is_none_or(|after| row.created_at < after.created_at)
            }
            Bug::LiveIgnoresIdle => match query.state {
                StateFilter::Live(now) => {
                    rest.state = StateFilter::Any;
                    rest.matches(row) && row.ended().is_none() && now < row.expires_at
                }
                _ => rest.matches(row),
            },
            Bug::KindIgnored => {
                rest.kind = None;
                rest.matches(row)
            }
            Bug::DeviceCutBeforeFilter
            | Bug::DeviceIgnored
            | Bug::DeviceIgnoresPosition
            | Bug::DeviceIgnoresState
            | Bug::DeviceNeedsUser
            | Bug::DeviceOfAnybody
            | Bug::DeviceOfNoneIsAny
            | Bug::StaleDeviceIndex => match query.device {
                Some(device) => self.lists_on_device(rest, device, row),
                None => rest.matches(row),
            },
            Bug::CreatedSinceExcludes => rest.matches(row) && rest.created_since != Some(row.created_at),
            _ => rest.matches(row),
        }
    }

    /// Returns true if the session belongs to a list of a device, or if the mistake treats it so.
    fn lists_on_device(&self, mut query: ListQuery, device: DeviceId, row: &SessionRecord) -> bool {
        match self.bug {
            Bug::DeviceIgnored => query.device = None,
            Bug::DeviceIgnoresPosition => query.after = None,
            Bug::DeviceIgnoresState => query.state = StateFilter::Any,
            Bug::DeviceNeedsUser if query.user.is_none() => return false,
            Bug::DeviceOfAnybody => query.user = None,
            Bug::DeviceOfNoneIsAny if row.device_id.is_none() => query.device = None,
            Bug::StaleDeviceIndex => {
                query.device = None;
                let created = self.old_row(row.id).and_then(|created| created.device_id);
                return query.matches(row) && created == Some(device);
            }
            _ => {}
        }
        query.matches(row)
    }

    /// Returns a page of all devices, from which the other devices are then removed.
    fn page_cut_before_filter(&self, query: &ListQuery) -> Page {
        let mut all = query.clone();
        all.device = None;
        let mut page = Page::cut(self.found(&all), query.limit);
        page.records.retain(|row| query.device.is_none() || row.device_id == query.device);
        page
    }

    /// Returns a page whose cursor is a number of rows.
    fn page_by_offset(&self, query: &ListQuery) -> Page {
        let offset = query.after.map_or(0, |after| after.created_at.as_millis());
        let found = self.found(&query.clone().with_after(None));
        let rest = found.into_iter().skip(usize::try_from(offset).unwrap_or_default());
        let mut page = Page::cut(rest.collect(), query.limit);
        let end = offset.saturating_add(i64::try_from(query.limit).unwrap_or(i64::MAX));
        page.next = page.next.map(|next| Cursor::new(Timestamp::from_millis(end), next.id));
        page
    }

    pub(super) async fn stats_wrongly(&self, now: Timestamp) -> Result<StoreStats> {
        let mut stats = self.map.stats(now).await?;
        match self.bug {
            Bug::StatsCountExpiredAsLive => stats.live += stats.expired,
            Bug::StatsCountSessionsAsUsers => stats.users = stats.live,
            Bug::StatsForgetEnded => stats.ended.clear(),
            Bug::StatsOfNothingAreZero => {
                stats.oldest = stats.oldest.or(Some(Timestamp::EPOCH));
                stats.newest = stats.newest.or(Some(Timestamp::EPOCH));
            }
            Bug::StatsOfLiveOnly => {
                let live = self.rows_where(|row| row.is_live(now));
                stats.oldest = live.last().map(|row| row.created_at);
                stats.newest = live.first().map(|row| row.created_at);
            }
            _ => {}
        }
        Ok(stats)
    }
}
