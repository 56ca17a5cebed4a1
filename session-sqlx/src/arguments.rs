//! The values that statements bind, in order.

use session_core::{
    DeviceId, EndScope, Ended, ListQuery, Revision, SessionId, SessionRecord, StateFilter, Timestamp, Touch,
    UserId,
};
use sqlx::error::BoxDynError;

use crate::columns;
use crate::dialect::{Dialect, Value};
use crate::error::StepError;

/// Collects values. [`finish`](Self::finish) returns the first encoding error.
pub(crate) struct Arguments<D: Dialect> {
    values: D::Arguments,
    result: Result<(), BoxDynError>,
}

impl<D: Dialect> Arguments<D> {
    pub(crate) fn new() -> Self {
        Self { values: D::Arguments::default(), result: Ok(()) }
    }

    pub(crate) fn finish(self) -> Result<D::Arguments, StepError> {
        match self.result {
            Ok(()) => Ok(self.values),
            Err(error) => Err(sqlx::Error::Encode(error).into()),
        }
    }

    fn with(mut self, add: impl FnOnce(&mut D::Arguments) -> Result<(), BoxDynError>) -> Self {
        if self.result.is_ok() {
            self.result = add(&mut self.values);
        }
        self
    }

    fn value(self, value: Value<'_>) -> Self {
        self.with(|values| D::bind(values, value))
    }

    pub(crate) fn int(self, int: i64) -> Self {
        self.value(Value::Int(Some(int)))
    }

    pub(crate) fn time(self, time: Timestamp) -> Self {
        self.int(time.as_millis())
    }

    /// Binds a number of rows.
    pub(crate) fn count(self, rows: usize) -> Self {
        self.int(i64::try_from(rows).unwrap_or(i64::MAX))
    }

    pub(crate) fn key(self, text: &str) -> Self {
        self.value(Value::Key(Some(text)))
    }

    pub(crate) fn user(self, user: &UserId) -> Self {
        self.key(user.as_str())
    }

    pub(crate) fn id(self, id: SessionId) -> Self {
        self.value(Value::Uuid(Some(id.as_bytes())))
    }

    fn device(self, device: &DeviceId) -> Self {
        self.value(Value::Uuid(Some(device.as_bytes())))
    }

    pub(crate) fn ids(self, ids: &[SessionId]) -> Self {
        self.stored_ids(&ids.iter().map(|id| *id.as_bytes()).collect::<Vec<_>>())
    }

    /// Binds ids as raw bytes from rows.
    pub(crate) fn stored_ids(self, ids: &[[u8; 16]]) -> Self {
        self.with(|values| D::bind_ids(values, ids))
    }

    /// Binds one id by itself, or several as a list.
    pub(crate) fn ids_or_one(ids: &[SessionId]) -> Self {
        match ids {
            [id] => Self::new().id(*id),
            _ => Self::new().ids(ids),
        }
    }

    pub(crate) fn touches(batch: &[&Touch], now: Timestamp) -> Self {
        Self::new().with(|values| D::bind_touches(values, batch)).time(now)
    }

    pub(crate) fn record(record: &SessionRecord) -> Self {
        Self::new().with(|values| columns::bind::<D>(values, record))
    }

    pub(crate) fn update(record: &SessionRecord, expected: Revision) -> Self {
        let seen = record.last_seen_at;
        let ip = record.last_client.ip.map(|ip| ip.to_string());
        Self::new()
            .with(|values| columns::bind_saved::<D>(values, record))
            .time(seen)
            .value(Value::Text(ip.as_deref()))
            .time(seen)
            .value(Value::Text(record.last_client.country_code.as_deref()))
            .time(seen)
            .time(seen)
            .id(record.id)
            .int(expected.get().cast_signed())
    }

    /// Binds the values that an end sets.
    pub(crate) fn end(ended: &Ended) -> Self {
        Self::new().key(ended.reason.as_str()).key(&ended.by.to_string()).time(ended.at).no_data()
    }

    /// Binds the values that an end by deadline sets.
    pub(crate) fn end_by_deadline() -> Self {
        Self::new().no_data()
    }

    fn no_data(self) -> Self {
        self.value(Value::Bytes(Some(&[])))
    }

    pub(crate) fn scope(self, scope: &EndScope) -> Self {
        match scope {
            EndScope::Device { user, device } => self.user(user).device(device),
            EndScope::Ids(ids) => self.ids(ids),
            EndScope::User(user) => self.user(user),
            EndScope::UserExcept { user, keep } => self.user(user).id(*keep),
            _ => self,
        }
    }

    /// Binds the values of [`Statements::list`](crate::statements::Statements::list).
    pub(crate) fn list(query: &ListQuery) -> Self {
        let mut all = Self::new();
        if let Some(user) = &query.user {
            all = all.user(user);
        }
        if let Some(name) = &query.username {
            all = all.key(name);
        }
        if let StateFilter::Live(now) = query.state {
            all = all.time(now);
        }
        if let Some(kind) = query.kind {
            all = all.key(kind.as_str());
        }
        if let Some(device) = &query.device {
            all = all.device(device);
        }
        if let Some(since) = query.created_since {
            all = all.time(since);
        }
        if let Some(after) = query.after {
            all = all.time(after.created_at).time(after.created_at).id(after.id);
        }
        all.count(query.limit + 1)
    }
}
