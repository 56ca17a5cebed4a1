//! How a node counts what it says.

use std::sync::OnceLock;

use parking_lot::Mutex;

/// The number of a message. If changes are not even sent, it is used all the same, or nobody would know that they are missing.
pub(super) struct Number<'s> {
    latest: &'s Mutex<u64>,
    is_due: bool,
    own: OnceLock<u64>,
}

impl<'s> Number<'s> {
    pub(super) const fn of(latest: &'s Mutex<u64>, is_due: bool) -> Self {
        Self { latest, is_due, own: OnceLock::new() }
    }

    /// Takes the next one, when this is called first.
    pub(super) fn get(&self) -> u64 {
        *self.own.get_or_init(|| {
            let mut latest = self.latest.lock();
            *latest += u64::from(self.is_due);
            *latest
        })
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.get();
    }
}
