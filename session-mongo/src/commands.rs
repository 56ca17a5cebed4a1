//! What is asked of the server: filters, and the pipelines by which documents change.
//!
//! What callers pass is a value here, never an operator: in a filter it stands beside the name of a field, and in a pipeline inside
//! of `$literal`, because there a text that begins with `$` would be read as the name of a field.

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

/// An expression that is this value and nothing else.
fn literal(value: impl Into<Bson>) -> Document {
    doc! { "$literal": value.into() }
}

/// A time of the server's own clock plus this. Only for what the server deletes by itself.
fn server_time_in(duration: Duration) -> Document {
    doc! { "$dateAdd": { "startDate": "$$NOW", "unit": "millisecond", "amount": millis(duration) } }
}

/// The earlier one of the absolute end and of the end of idleness after a sighting. Without an idle timeout the sum is null, which
/// `$min` passes over.
fn deadline(expires_at: Bson, last_seen_at: Bson, idle_timeout: Bson) -> Document {
    let idle =
        doc! { "$dateAdd": { "startDate": last_seen_at, "unit": "millisecond", "amount": idle_timeout } };
    doc! { "$min": [expires_at, idle] }
}

/// Changes a document to one with these fields replaced, then these computed from what was there.
fn changed(replaced: Document, computed: Document) -> Vec<Document> {
    let replaced = replaced.into_iter().map(|(field, value)| (field, literal(value).into()));
    vec![doc! { "$set": replaced.chain(computed).collect::<Document>() }]
}

/// An active session of a revision.
pub(crate) fn at_revision(session: SessionId, revision: Revision) -> Document {
    doc! { "_id": id(session), "state": ACTIVE, "revision": number(revision.get()) }
}

/// Replaces what a save replaces. The later sighting stands.
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

/// One statement of the command `update` that moves a last-seen time forward. Not of a document
/// whose deadline cannot be computed: it would get one that no sweep finds, or fail, and keep the
/// others of the batch waiting.
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

/// Active sessions of a user, in a scope that names one. `None` for another scope.
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

/// The sessions of a filter that were not created after a time, and those of which that cannot be
/// read: an end must not leave them out. There is nothing after [`Timestamp::MAX`], which not every
/// server can compare.
pub(crate) fn created_until(until: Timestamp, mut filter: Document) -> Document {
    if until < Timestamp::MAX {
        filter.insert("createdAt", doc! { "$not": { "$gt": time(until) } });
    }
    filter
}

/// What is active.
pub(crate) fn is_active() -> Document {
    doc! { "state": ACTIVE }
}

/// Those of these that are active.
pub(crate) fn active(ids: impl IntoIterator<Item = Bson>) -> Document {
    doc! { "_id": { "$in": ids.into_iter().collect::<Vec<_>>() }, "state": ACTIVE }
}

/// Active sessions past a deadline.
pub(crate) fn due(now: Timestamp) -> Document {
    doc! { "state": ACTIVE, "deadlineAt": { "$lte": time(now) } }
}

/// The live sessions of a user.
pub(crate) fn live_of(user: &UserId, now: Timestamp) -> Document {
    doc! { "userId": user.as_str(), "state": ACTIVE, "deadlineAt": { "$gt": time(now) } }
}

/// Sessions that ended before.
pub(crate) fn ended_before(before: Timestamp) -> Document {
    doc! { "state": ENDED, "end.at": { "$lt": time(before) } }
}

/// Ids that a sign-in reserved before, and has not come back to.
pub(crate) fn reserved_before(before: Timestamp) -> Document {
    doc! { "state": RESERVED, "deadlineAt": { "$lt": time(before) } }
}

/// Ended sessions of a user.
pub(crate) fn history_of(user: &UserId) -> Document {
    doc! { "userId": user.as_str(), "state": ENDED }
}

/// The conditions of both.
pub(crate) fn and(one: Document, other: Document) -> Document {
    doc! { "$and": [one, other] }
}

/// Ends a document, whatever else is in it: a damaged one must not come back to life once it is repaired.
pub(crate) fn end(ended: &Ended, retention: Duration) -> Vec<Document> {
    end_with(end_of(ended), retention)
}

/// The same for a sign-in, which finds by its name what it ended.
pub(crate) fn evict(ended: &Ended, sign_in: ObjectId, retention: Duration) -> Vec<Document> {
    let mut end = end_of(ended);
    end.insert("signIn", sign_in);
    end_with(end, retention)
}

fn end_of(ended: &Ended) -> Document {
    let Ended { reason, at, by, .. } = ended;
    doc! { "reason": reason.as_str(), "at": time(*at), "by": literal(by.to_string()) }
}

/// The same by the deadline that each document passed.
pub(crate) fn end_by_deadline(retention: Duration) -> Vec<Document> {
    let is_idle = doc! { "$lt": ["$deadlineAt", "$expiresAt"] };
    let (idle, absolute) = (EndReason::IdleTimeout.as_str(), EndReason::AbsoluteTimeout.as_str());
    let reason = doc! { "$cond": [is_idle, idle, absolute] };
    end_with(doc! { "reason": reason, "at": "$deadlineAt", "by": Actor::System.to_string() }, retention)
}

fn end_with(end: Document, retention: Duration) -> Vec<Document> {
    let mut replaced = document::cleared();
    replaced.insert("state", ENDED);
    // As an expression, because the fields of a document would be set within what a damaged one has there.
    let end = doc! { "$mergeObjects": [end] };
    let computed = doc! { "revision": next_revision(), "end": end, "purgeAt": server_time_in(retention) };
    changed(replaced, computed)
}

/// A revision that is no number stays what it is, and the document stays unreadable.
fn next_revision() -> Document {
    doc! { "$cond": [{ "$isNumber": "$revision" }, { "$add": ["$revision", 1_i64] }, "$revision"] }
}

/// Takes away what tells whose a session was.
pub(crate) fn erase() -> Vec<Document> {
    let by = doc! { "$mergeObjects": ["$end", { "by": Actor::System.to_string() }] };
    changed(document::erased(), doc! { "revision": next_revision(), "end": by })
}

/// What a listing looks for. `None` for a state of a later version.
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
        // Spelled out, so that an index which begins with the user and the state is of use.
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

/// The bounds of the creation.
fn created(query: &ListQuery) -> Option<Document> {
    let since = query.created_since.map(|since| ("$gte".to_owned(), time(since)));
    let until = query.after.map(|cursor| ("$lte".to_owned(), time(cursor.created_at)));
    let bounds: Document = since.into_iter().chain(until).collect();
    (!bounds.is_empty()).then_some(bounds)
}

/// What comes after a position.
fn after(cursor: Cursor) -> Bson {
    let at = time(cursor.created_at);
    let earlier = doc! { "createdAt": { "$lt": at.clone() } };
    let same = doc! { "createdAt": at, "_id": { "$lt": id(cursor.id) } };
    Bson::Array(vec![earlier.into(), same.into()])
}

/// Newest first.
pub(crate) fn newest_first() -> Document {
    doc! { "createdAt": -1, "_id": -1 }
}

/// Without what a listing does not read.
pub(crate) fn redacted() -> Document {
    HIDDEN.into_iter().map(|field| (field.to_owned(), Bson::Int32(0))).collect()
}

/// Counts by state and reason of the end.
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

    /// Texts of callers, outside of `$literal`, that a pipeline would read as something else.
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
    fn texts_of_callers_are_literals_in_pipelines() {
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
    fn a_user_id_that_looks_like_an_operator_is_a_text() {
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
