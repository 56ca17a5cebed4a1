//! Two stores with one mistake: they are not separated.

use std::sync::Arc;

use parking_lot::Mutex;
use session_core::prelude::*;

use super::TenantBug;
use super::store::{NAME, Records, let_others_run};
use crate::reference::MapStore;

/// One of two stores with one [`TenantBug`]: correct alone, and incorrect as soon as the other one
/// is used.
#[derive(Debug)]
pub struct BrokenTenant {
    bug: TenantBug,
    own: Arc<MapStore>,
    other: Arc<MapStore>,
    /// The tenant that last used the shared connection.
    connection: Arc<Mutex<Arc<MapStore>>>,
}

impl BrokenTenant {
    /// Creates two empty stores with this mistake.
    #[must_use]
    pub fn pair(bug: TenantBug) -> (Self, Self) {
        let (first, second) = (Arc::new(MapStore::default()), Arc::new(MapStore::default()));
        let connection = Arc::new(Mutex::new(Arc::clone(&first)));
        let swapped = Self {
            bug,
            own: Arc::clone(&second),
            other: Arc::clone(&first),
            connection: Arc::clone(&connection),
        };
        (Self { bug, own: first, other: second, connection }, swapped)
    }

    /// Returns the other tenant's rows that satisfy a condition.
    fn other_rows(&self, condition: impl Fn(&SessionRecord) -> bool) -> Records {
        self.other.rows.lock().values().filter(|row| condition(row)).cloned().collect()
    }

    /// Makes room among the sessions of the other tenant.
    async fn limit_other(&self, record: &SessionRecord, limit: &SessionLimit) -> Result<()> {
        let counted = self.other_rows(|row| limit.counts(row, record));
        let surplus = limit.evict(NAME, record, counted)?;
        let ended = Ended::new(EndReason::LimitEvicted, limit.now, Actor::System);
        let scope = EndScope::Ids(surplus.iter().map(|row| row.id).collect());
        self.other.end(&scope, &ended, Timestamp::MAX).await.map(drop)
    }

    /// Returns true if an end of this scope reaches the other tenant.
    const fn ends_other(&self, scope: &EndScope) -> bool {
        match scope {
            EndScope::Ids(_) => matches!(self.bug, TenantBug::EndOfIdsReachesOther),
            EndScope::User(_) => matches!(self.bug, TenantBug::EndOfUserReachesOther),
            EndScope::UserExcept { .. } => matches!(self.bug, TenantBug::EndOfUserExceptReachesOther),
            EndScope::Device { .. } => matches!(self.bug, TenantBug::EndOfDeviceReachesOther),
            _ => false,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for BrokenTenant {
    fn capabilities(&self) -> Capabilities {
        let capabilities = self.own.capabilities();
        if self.bug == TenantBug::PlaceIsShared { capabilities.with_place(NAME) } else { capabilities }
    }

    async fn create(&self, record: Arc<SessionRecord>, limit: Option<&SessionLimit>) -> Result<Records> {
        let taken = || !self.other_rows(|row| row.id == record.id).is_empty();
        match (self.bug, limit) {
            (TenantBug::CreateSeesOther, _) if taken() => return Err(Error::already_exists(NAME, "create")),
            (TenantBug::LimitEvictsOther, Some(limit)) if limit.on_exceed != OnExceed::Refuse => {
                self.limit_other(&record, limit).await?;
            }
            (TenantBug::LimitRefusesForOther, Some(limit)) if limit.on_exceed == OnExceed::Refuse => {
                self.limit_other(&record, limit).await?;
            }
            (TenantBug::ConnectionOfOther, _) => {
                *self.connection.lock() = Arc::clone(&self.own);
                let_others_run().await;
                let connected = Arc::clone(&*self.connection.lock());
                return connected.create(record, limit).await;
            }
            _ => {}
        }
        self.own.create(record, limit).await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Records> {
        let mut found = self.own.load(ids).await?;
        if self.bug == TenantBug::LoadFindsOther {
            let missing =
                |row: &SessionRecord| ids.contains(&row.id) && found.iter().all(|own| own.id != row.id);
            found.extend(self.other_rows(missing));
        }
        Ok(found)
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        if self.bug == TenantBug::UpdateReachesOther {
            let _ = self.other.update(Arc::clone(&record), expected).await;
        }
        self.own.update(record, expected).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        if self.bug == TenantBug::TouchReachesOther {
            self.other.touch(batch, now).await?;
        }
        self.own.touch(batch, now).await
    }

    async fn end(&self, scope: &EndScope, ended: &Ended, created_until: Timestamp) -> Result<Records> {
        if self.ends_other(scope) {
            self.other.end(scope, ended, created_until).await?;
        }
        self.own.end(scope, ended, created_until).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        let own = self.own.list(query).await?;
        match self.bug {
            TenantBug::ListShowsOther if own.records.is_empty() => self.other.list(query).await,
            TenantBug::PagesMeetInOther if own.next.is_none() => {
                let mut page = own;
                page.next = self.other.list(query).await?.records.last().map(|row| Cursor::of(row));
                Ok(page)
            }
            _ => Ok(own),
        }
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Records> {
        if self.bug == TenantBug::ExpireReachesOther {
            self.other.expire(now, limit).await?;
        }
        self.own.expire(now, limit).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        if self.bug == TenantBug::PurgeReachesOther {
            self.other.purge(before, limit).await?;
        }
        self.own.purge(before, limit).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        if self.bug == TenantBug::EraseReachesOther {
            self.other.erase(user, limit).await?;
        }
        self.own.erase(user, limit).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        let mut stats = self.own.stats(now).await?;
        if self.bug == TenantBug::StatsCountOther {
            stats.live += self.other.stats(now).await?.live;
        }
        Ok(stats)
    }
}
