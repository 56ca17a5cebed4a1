//! Which tier serves: one line of the log at the start and at each change.

use std::sync::Arc;

use parking_lot::Mutex;
use session_core::{Clock, Timestamp};

use super::health::Source;
use super::shared::SharedTier;

/// Which tier serves, as was last said.
pub(super) struct Serving {
    shared: Mutex<Vec<Arc<SharedTier>>>,
    now: Mutex<(Source, Timestamp)>,
    clock: Arc<dyn Clock>,
}

impl Serving {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let now = Mutex::new((Source::Store, clock.now()));
        Arc::new(Self { shared: Mutex::default(), now, clock })
    }

    pub(super) fn begin(&self, shared: Vec<Arc<SharedTier>>) {
        *self.shared.lock() = shared;
        let source = self.first();
        self.now.lock().0 = source;
        tracing::info!(serving = ?source, "session caches");
    }

    fn first(&self) -> Source {
        let shared = self.shared.lock();
        let serving = shared.iter().find(|tier| tier.is_serving());
        serving.map_or(Source::Store, |tier| Source::Shared(tier.name()))
    }

    /// Says it once when another tier serves.
    pub(super) fn look(&self) {
        let source = self.first();
        let mut now = self.now.lock();
        if now.0 != source {
            tracing::warn!(serving = ?source, before = ?now.0, "session caches changed");
            *now = (source, self.clock.now());
        }
    }

    /// Returns who serves, and since when.
    pub(super) fn now(&self) -> (Source, Timestamp) {
        *self.now.lock()
    }

    /// Lets go of the tiers: they hold who watches them.
    pub(super) fn end(&self) {
        self.shared.lock().clear();
    }
}
