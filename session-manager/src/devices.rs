//! Reporting a user's first session on a device.
//!
//! Judged by older sessions only, ended ones included, with one bounded query for that device: two
//! sign-ins at once on a new device are one new device, and a user with a hundred thousand sessions
//! costs no more than one with two.

use std::sync::Arc;

use session_core::{Cursor, EventKind, ListQuery, SessionRecord};

use crate::manager::Shared;

impl Shared {
    /// Looks in the background whether the user was seen on the device before, if anybody wants to
    /// know.
    pub(crate) fn look_for_device(self: &Arc<Self>, record: &Arc<SessionRecord>) {
        if !self.events.is_wanted() || record.device_id.is_none() || record.user_id.is_none() {
            return;
        }
        let (shared, record) = (Arc::clone(self), Arc::clone(record));
        self.tasks.spawn(async move { shared.report_new_device(&record).await });
    }

    async fn report_new_device(&self, record: &SessionRecord) {
        let (Some(user), Some(device)) = (record.user_id.clone(), record.device_id) else { return };
        let older =
            ListQuery::default().with_user(user).with_device(device).with_after(Some(Cursor::of(record)));
        let query = older.with_limit(1);
        let Ok(page) = self.backend.operation().list(&query).await else { return };
        if page.records.is_empty() {
            self.emit(EventKind::NewDevice, record);
        }
    }
}
