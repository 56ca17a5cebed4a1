//! Listings and statistics.

use std::sync::Arc;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf};
use session_core::prelude::*;

use crate::commands;
use crate::document::{self, Part};
use crate::error::{NAME, Trouble};
use crate::store::{MongoStore, whole};

impl MongoStore {
    pub(crate) async fn page(&self, query: &ListQuery) -> Result<Page, Trouble> {
        let filter = commands::listed(query).ok_or_else(|| Error::unsupported(NAME, "list"))?;
        // One more record than requested shows whether there is a next page.
        let limit = u32::try_from(query.limit).unwrap_or(u32::MAX).saturating_add(1);
        let found = self.listings.find(filter).sort(commands::newest_first());
        let found = found.projection(commands::redacted()).limit(i64::from(limit)).batch_size(limit).await?;
        let found: Vec<RawDocumentBuf> = found.try_collect().await?;
        let records: Result<Vec<_>, Trouble> = found.iter().map(|found| listed(found, query)).collect();
        Ok(Page::cut(records?, query.limit))
    }

    pub(crate) async fn count(&self, now: Timestamp) -> Result<StoreStats, Trouble> {
        let mut stats = StoreStats::default();
        let listings = self.listings.clone_with_type::<Document>();
        let groups: Vec<Document> = listings.aggregate(commands::counts(now)).await?.try_collect().await?;
        for group in &groups {
            add(&mut stats, group)?;
        }
        let users: Vec<Document> = listings.aggregate(commands::users(now)).await?.try_collect().await?;
        stats.users =
            users.first().map_or(Some(0), |users| users.get("users").and_then(whole)).ok_or(UNEXPECTED)?;
        Ok(stats)
    }
}

const UNEXPECTED: document::Unreadable = document::Unreadable("a statistic has the wrong type");

/// Reads a record, and checks that the query matches it. Any other record would show a user the
/// sessions of another user: the collection has a case-insensitive collation, or the reply belongs
/// to another command.
fn listed(document: &RawDocumentBuf, query: &ListQuery) -> Result<Arc<SessionRecord>, Trouble> {
    let record = document::read(document, Part::Redacted)?;
    let record = record.filter(|record| query.matches(record)).ok_or_else(|| Trouble::unrequested("list"))?;
    Ok(Arc::new(record))
}

/// Adds a group of sessions: those that ended for one reason, or those that have not ended.
fn add(stats: &mut StoreStats, group: &Document) -> Result<(), Trouble> {
    let count = |name| group.get(name).and_then(whole).ok_or(UNEXPECTED);
    let time = |name| group.get_datetime(name).ok().copied().map(DateTime::timestamp_millis);
    let (sessions, live) = (count("sessions")?, count("live")?);
    match group.get("_id") {
        Some(Bson::String(reason)) => {
            stats.ended.insert(reason.parse().map_err(|_| UNEXPECTED)?, sessions);
        }
        _ => {
            stats.live += live;
            stats.expired += sessions.saturating_sub(live);
        }
    }
    let [oldest, newest] = ["oldest", "newest"].map(|name| time(name).map(Timestamp::from_millis));
    stats.oldest = [stats.oldest, oldest].into_iter().flatten().min();
    stats.newest = [stats.newest, newest].into_iter().flatten().max();
    Ok(())
}
