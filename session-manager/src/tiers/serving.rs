//! Which tier serves: one line of the log at the start and at each change.

use std::sync::Arc;

use parking_lot::Mutex;

use super::health::Source;
use super::shared::SharedTier;

/// The tiers in their order, and which of them the log named last.
#[derive(Default)]
pub(super) struct Serving {
    shared: Mutex<Vec<Arc<SharedTier>>>,
    named: Mutex<Option<Source>>,
}

impl Serving {
    pub(super) fn begin(&self, shared: Vec<Arc<SharedTier>>) {
        *self.shared.lock() = shared;
        let source = self.first();
        *self.named.lock() = Some(source);
        tracing::info!(serving = ?source, "session caches");
    }

    fn first(&self) -> Source {
        let shared = self.shared.lock();
        let serving = shared.iter().find(|tier| tier.is_serving());
        serving.map_or(Source::Store, |tier| Source::Shared(tier.name()))
    }

    /// Logs it once when another tier serves.
    pub(super) fn look(&self) {
        let mut named = self.named.lock();
        let source = self.first();
        let before = named.replace(source);
        if let Some(before) = before.filter(|before| *before != source) {
            tracing::warn!(serving = ?source, before = ?before, "session caches changed");
        }
    }

    /// Lets go of the tiers: they hold who watches them.
    pub(super) fn end(&self) {
        self.shared.lock().clear();
    }
}
