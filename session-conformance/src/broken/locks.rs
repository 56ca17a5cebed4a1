//! Locks that are held too long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use session_core::{SessionId, Touch};
use tokio::sync::{Mutex as Lock, OwnedMutexGuard, Semaphore};

use super::store::let_others_run;

/// One lock per row, and one for the table.
#[derive(Debug)]
pub(super) struct Locks {
    rows: Mutex<BTreeMap<SessionId, Arc<Lock<()>>>>,
    table: Semaphore,
}

impl Default for Locks {
    fn default() -> Self {
        Self { rows: Mutex::default(), table: Semaphore::new(1) }
    }
}

impl Locks {
    fn row(&self, id: SessionId) -> Arc<Lock<()>> {
        Arc::clone(self.rows.lock().entry(id).or_default())
    }

    /// Locks the rows one after another, in the order of the batch. Two batches in different orders
    /// wait for each other.
    pub(super) async fn lock_in_order(&self, batch: &[Touch]) -> Vec<OwnedMutexGuard<()>> {
        let mut locked = BTreeSet::new();
        let mut guards = Vec::new();
        for touch in batch.iter().filter(|touch| locked.insert(touch.id)) {
            guards.push(self.row(touch.id).lock_owned().await);
            let_others_run().await;
        }
        guards
    }

    /// Acquires the table lock so that only [`unlock`](Self::unlock) releases it. A dropped future
    /// does not.
    pub(super) async fn lock(&self) {
        if let Ok(permit) = self.table.acquire().await {
            permit.forget();
        }
        let_others_run().await;
    }

    pub(super) fn unlock(&self) {
        self.table.add_permits(1);
    }
}
