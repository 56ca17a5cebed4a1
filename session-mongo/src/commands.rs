//! The filters and update pipelines that the store sends.
//!
//! A caller's value is always a value here, never an operator. In a filter it is the value of a
//! field. In a pipeline it is wrapped in `$literal`, because the server would read a string that
//! begins with `$` as the name of a field.

use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use session_core::prelude::*;
use session_core::{LastClient, SessionKind};

use crate::document::{
    self, ACTIVE, ENDED, HIDDEN, RESERVED, id, last_client, millis, number, saved, time, uuid,
};

pub(crate) fn with_id(session: SessionId) -> Document {
    doc! { "_id": id(session) }
}

pub(crate) fn with_ids<'a>(ids: impl IntoIterator<Item = &'a Bson>) -> Document {
    doc! { "_id": { "$in": ids.into_iter().cloned().collect::<Vec<_>>() } }
}

/// Returns an expression that evaluates to this value, whatever it looks like.
fn literal(value: impl Into<Bson>) -> Document {
    doc! { "$literal": value.into() }
}

/// Returns the server's own time plus this duration. Used only for deletions by the server itself.
fn server_time_in(duration: Duration) -> Document {
    doc! { "$dateAdd": { "startDate": "$$NOW", "unit": "millisecond", "amount": millis(duration) } }
}

/// Returns the earlier of the absolute expiry and the idle deadline. Without an idle timeout the
/// sum is null, which `$min` ignores.
fn deadline(expires_at: Bson, last_seen_at: Bson, idle_timeout: Bson) -> Document {
    let idle =
        doc! { "$dateAdd": { "startDate": last_seen_at, "unit": "millisecond", "amount": idle_timeout } };
    doc! { "$min": [expires_at, idle] }
}

/// Returns a pipeline that sets the fields of `replaced` to literals, and those of `computed` to
/// expressions over the stored document.
fn changed(replaced: Document, computed: Document) -> Vec<Document> {
    let replaced = replaced.into_iter().map(|(field, value)| (field, literal(value).into()));
    vec![doc! { "$set": replaced.chain(computed).collect::<Document>() }]
}

/// Matches the session if it is active and has this revision.
pub(crate) fn at_revision(session: SessionId, revision: Revision) -> Document {
    doc! { "_id": id(session), "state": ACTIVE, "revision": number(revision.get()) }
}

/// Replaces the fields that a save replaces. Keeps the stored last-seen time if it is later.
pub(crate) fn save(record: &SessionRecord, next: Revision) -> Vec<Document> {
    let mut replaced = saved(record);
    replaced.insert("revision", number(next.get()));
    let seen = time(record.last_seen_at);
    let is_later = doc! { "$gt": ["$lastSeenAt", seen.clone()] };
    let latest = doc! { "$max": ["$lastSeenAt", seen] };
    let idle = record.idle_timeout.map_or(Bson::Null, |idle| millis(idle).into());
    let computed = doc! {
        "lastClient": { "$cond": [is_later, "$lastClient", literal(last_client(&record.last_client))] },
        "deadlineAt": deadline(time(record.expires_at), latest.clone().into(), idle),
        "lastSeenAt": latest,
    };
    changed(replaced, computed)
}

/// Returns a statement of the command `update` that moves a last-seen time forward.
///
/// It skips a document whose deadline cannot be computed: the update would write a deadline that no
/// sweep finds, or would fail and stop the rest of the batch.
pub(crate) fn touch(touch: &Touch, now: Timestamp) -> Document {
    let Touch { id: session, last_seen_at, last_client, .. } = touch;
    let at = time(*last_seen_at);
    let accepts = doc! {
        "_id": id(*session),
        "state": ACTIVE,
        "lastSeenAt": { "$lt": at.clone() },
        "deadlineAt": { "$gt": time(now.max(*last_seen_at)) },
        "expiresAt": { "$type": "date" },
        "idleTimeout": { "$type": ["long", "null"] },
    };
    doc! { "q": accepts, "u": seen(&at, last_client) }
}

fn seen(at: &Bson, client: &LastClient) -> Vec<Bson> {
    let computed = doc! { "deadlineAt": deadline("$expiresAt".into(), at.clone(), "$idleTimeout".into()) };
    let replaced = doc! { "lastSeenAt": at.clone(), "lastClient": last_client(client) };
    changed(replaced, computed).into_iter().map(Bson::Document).collect()
}

/// Matches the active sessions of a scope that names a user. Returns `None` for another scope.
pub(crate) fn of_user(scope: &EndScope) -> Option<Document> {
    Some(match scope {
        EndScope::Device { user, device } => {
            doc! { "userId": user.as_str(), "state": ACTIVE, "deviceId": uuid(device.as_bytes()) }
        }
        EndScope::User(user) => doc! { "userId": user.as_str(), "state": ACTIVE },
        EndScope::UserExcept { user, keep } => {
            doc! { "userId": user.as_str(), "state": ACTIVE, "_id": { "$ne": id(*keep) } }
        }
        _ => return None,
    })
}

/// Restricts a filter to sessions that were not created after `until`. Documents with an unreadable
/// creation time still match, because an end must include them.
///
/// For [`Timestamp::MAX`] there is no restriction: not every server can compare that date.
pub(crate) fn created_until(until: Timestamp, mut filter: Document) -> Document {
    if until < Timestamp::MAX {
        filter.insert("createdAt", doc! { "$not": { "$gt": time(until) } });
    }
    filter
}

/// Matches active sessions.
pub(crate) fn is_active() -> Document {
    doc! { "state": ACTIVE }
}

/// Matches those of the ids that are active.
pub(crate) fn active(ids: impl IntoIterator<Item = Bson>) -> Document {
    doc! { "_id": { "$in": ids.into_iter().collect::<Vec<_>>() }, "state": ACTIVE }
}

/// Matches active sessions that have passed their deadline.
pub(crate) fn due(now: Timestamp) -> Document {
    doc! { "state": ACTIVE, "deadlineAt": { "$lte": time(now) } }
}

/// Matches the live sessions of a user.
pub(crate) fn live_of(user: &UserId, now: Timestamp) -> Document {
    doc! { "userId": user.as_str(), "state": ACTIVE, "deadlineAt": { "$gt": time(now) } }
}

/// Matches sessions that ended before this time.
pub(crate) fn ended_before(before: Timestamp) -> Document {
    doc! { "state": ENDED, "end.at": { "$lt": time(before) } }
}

/// Matches reservations from before this time, which their sign-ins have abandoned.
pub(crate) fn reserved_before(before: Timestamp) -> Document {
    doc! { "state": RESERVED, "deadlineAt": { "$lt": time(before) } }
}

/// Matches the ended sessions of a user.
pub(crate) fn history_of(user: &UserId) -> Document {
    doc! { "userId": user.as_str(), "state": ENDED }
}

/// Matches documents that match both filters.
pub(crate) fn and(one: Document, other: Document) -> Document {
    doc! { "$and": [one, other] }
}

/// Ends a document, whatever else it contains: a repair must not revive a corrupt one.
pub(crate) fn end(ended: &Ended, retention: Duration) -> Vec<Document> {
    end_with(end_of(ended), retention)
}

/// Ends documents as [`end`] does, and marks them with the id of the sign-in, by which it finds
/// them afterwards.
pub(crate) fn evict(ended: &Ended, sign_in: ObjectId, retention: Duration) -> Vec<Document> {
    let mut end = end_of(ended);
    end.insert("signIn", sign_in);
    end_with(end, retention)
}

fn end_of(ended: &Ended) -> Document {
    let Ended { reason, at, by, .. } = ended;
    doc! { "reason": reason.as_str(), "at": time(*at), "by": literal(by.to_string()) }
}

/// Ends documents as [`end`] does, with the time and the reason of the deadline that each has
/// passed.
pub(crate) fn end_by_deadline(retention: Duration) -> Vec<Document> {
    let is_idle = doc! { "$lt": ["$deadlineAt", "$expiresAt"] };
    let (idle, absolute) = (EndReason::IdleTimeout.as_str(), EndReason::AbsoluteTimeout.as_str());
    let reason = doc! { "$cond": [is_idle, idle, absolute] };
    end_with(doc! { "reason": reason, "at": "$deadlineAt", "by": Actor::System.to_string() }, retention)
}

fn end_with(end: Document, retention: Duration) -> Vec<Document> {
    let mut replaced = document::cleared();
    replaced.insert("state", ENDED);
    // An expression replaces the field. A plain document would be merged into the value that a
    // corrupt document has there.
    let end = doc! { "$mergeObjects": [end] };
    let computed = doc! { "revision": next_revision(), "end": end, "purgeAt": server_time_in(retention) };
    changed(replaced, computed)
}

/// Returns the revision plus one. A revision that is not a number stays unchanged, so the document
/// stays corrupt.
fn next_revision() -> Document {
    doc! { "$cond": [{ "$isNumber": "$revision" }, { "$add": ["$revision", 1_i64] }, "$revision"] }
}

/// Erases everything that identifies the user of a session.
pub(crate) fn erase() -> Vec<Document> {
    let by = doc! { "$mergeObjects": ["$end", { "by": Actor::System.to_string() }] };
    changed(document::erased(), doc! { "revision": next_revision(), "end": by })
}

/// Returns the filter of a listing, or `None` for a state filter that this version does not know.
pub(crate) fn listed(query: &ListQuery) -> Option<Document> {
    let mut filter = Document::new();
    let mut add = |name: &str, value: Option<Bson>| {
        if let Some(value) = value {
            filter.insert(name, value);
        }
    };
    add("userId", query.user.as_ref().map(|user| user.as_str().into()));
    add("username", query.username.as_deref().map(Bson::from));
    match query.state {
        // Names both states, so that an index on the user and the state can serve the listing.
        StateFilter::Any => add("state", Some(doc! { "$in": [ACTIVE, ENDED] }.into())),
        StateFilter::Ended => add("state", Some(ENDED.into())),
        StateFilter::Live(now) => {
            add("state", Some(ACTIVE.into()));
            add("deadlineAt", Some(doc! { "$gt": time(now) }.into()));
        }
        _ => return None,
    }
    add("kind", query.kind.map(SessionKind::as_str).map(Bson::from));
    add("deviceId", query.device.map(|device| uuid(device.as_bytes())));
    add("createdAt", created(query).map(Bson::Document));
    add("$or", query.after.map(after));
    Some(filter)
}

/// Returns the bounds of the creation time, if the query has any.
fn created(query: &ListQuery) -> Option<Document> {
    let since = query.created_since.map(|since| ("$gte".to_owned(), time(since)));
    let until = query.after.map(|cursor| ("$lte".to_owned(), time(cursor.created_at)));
    let bounds: Document = since.into_iter().chain(until).collect();
    (!bounds.is_empty()).then_some(bounds)
}

/// Returns the conditions for the sessions after a position.
fn after(cursor: Cursor) -> Bson {
    let at = time(cursor.created_at);
    let earlier = doc! { "createdAt": { "$lt": at.clone() } };
    let same = doc! { "createdAt": at, "_id": { "$lt": id(cursor.id) } };
    Bson::Array(vec![earlier.into(), same.into()])
}

pub(crate) fn newest_first() -> Document {
    doc! { "createdAt": -1, "_id": -1 }
}

/// Excludes the fields that a listing does not read.
pub(crate) fn redacted() -> Document {
    HIDDEN.into_iter().map(|field| (field.to_owned(), Bson::Int32(0))).collect()
}

/// Counts sessions by the reason of their end; live and expired ones have none.
pub(crate) fn counts(now: Timestamp) -> Vec<Document> {
    let is_live = doc! { "$cond": [{ "$gt": ["$deadlineAt", time(now)] }, 1_i64, 0_i64] };
    vec![
        doc! { "$match": { "state": { "$in": [ACTIVE, ENDED] } } },
        doc! { "$group": {
            "_id": "$end.reason",
            "sessions": { "$sum": 1_i64 },
            "live": { "$sum": is_live },
            "oldest": { "$min": "$createdAt" },
            "newest": { "$max": "$createdAt" },
        } },
    ]
}

/// Counts users who have a live session.
pub(crate) fn users(now: Timestamp) -> Vec<Document> {
    vec![
        doc! { "$match": {
            "state": ACTIVE, "deadlineAt": { "$gt": time(now) }, "userId": { "$type": "string" },
        } },
        doc! { "$group": { "_id": "$userId" } },
        doc! { "$count": "users" },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_767_225_600_123);

    /// Collects the callers' strings outside of `$literal`, which a pipeline would interpret.
    fn bare(value: &Bson, found: &mut Vec<String>) {
        match value {
            Bson::String(text) if text.contains("$evil") => found.push(text.clone()),
            Bson::Array(values) => values.iter().for_each(|value| bare(value, found)),
            Bson::Document(document) if document.contains_key("$literal") => {}
            Bson::Document(document) => document.values().for_each(|value| bare(value, found)),
            _ => {}
        }
    }

    fn all_bare(pipeline: Vec<Document>) -> Vec<String> {
        let mut found = Vec::new();
        pipeline.into_iter().for_each(|stage| bare(&stage.into(), &mut found));
        found
    }

    #[test]
    fn strings_of_callers_are_literals_in_pipelines() {
        let session = SessionId::derive("test", b"external", None);
        let mut record = SessionRecord::new(session, AT, Timestamp::from_millis(AT.as_millis() + 1));
        record.username = Some("$evil".to_owned());
        record.label = Some("$$evil".to_owned());
        let client = LastClient::new(None, Some("$evil".into()));
        record.last_client = client.clone();
        assert_eq!(all_bare(save(&record, Revision::FIRST.next())), Vec::<String>::new());

        let ended = Ended::new(EndReason::LoggedOut, AT, "admin:$evil".parse().unwrap());
        assert_eq!(all_bare(end(&ended, Duration::ZERO)), Vec::<String>::new());

        let mut found = Vec::new();
        bare(&touch(&Touch::new(session, AT, client), AT).into(), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn user_id_that_looks_like_an_operator_is_a_string() {
        let user: UserId = r#"{"$ne":null}"#.parse().unwrap();
        let filters = [
            of_user(&EndScope::User(user.clone())).unwrap(),
            listed(&ListQuery::default().with_user(user.clone())).unwrap(),
            live_of(&user, AT),
            history_of(&user),
        ];
        for filter in filters {
            assert_eq!(filter.get_str("userId").unwrap(), user.as_str());
        }
    }
}
