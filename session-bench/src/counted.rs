//! The number of store calls of an operation.

use session_conformance::faults::{Faults, FaultyStore};
use session_core::UserId;
use session_core::rules::RequestClient;
use session_manager::{Created, NewSession, SessionManager};
use session_memory::MemoryStore;
use tokio::runtime::{Builder, Runtime};

/// A signed-in user on a store that counts its calls.
#[derive(Debug)]
pub struct Counted {
    runtime: Runtime,
    manager: SessionManager,
    faults: Faults,
    created: Created,
}

impl Counted {
    /// Signs a user in.
    ///
    /// # Panics
    /// If the sign-in fails.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it signs a user in")]
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let store = FaultyStore::new(MemoryStore::default());
        let faults = store.faults();
        let manager = runtime.block_on(async { SessionManager::builder(store).build() }).expect("a manager");
        let new = NewSession::for_user(UserId::from(1_u64)).with_refresh(true);
        let created = runtime.block_on(manager.create(new)).expect("a session");
        faults.reset_calls();
        Self { runtime, manager, faults, created }
    }

    /// Rotates the secret, and returns the number of store calls.
    ///
    /// # Panics
    /// If the operation fails.
    #[must_use]
    pub fn rotate(&self) -> u64 {
        self.runtime.block_on(self.manager.rotate(&self.created.session)).expect("a rotation");
        self.faults.all_calls()
    }

    /// Refreshes the tokens, and returns the number of store writes.
    ///
    /// # Panics
    /// If the operation fails.
    #[must_use]
    pub fn refresh(&self) -> u64 {
        let token = self.created.refresh.as_ref().expect("a refresh token").expose();
        let client = RequestClient::default();
        self.runtime.block_on(self.manager.refresh(&token, &client)).expect("a new pair");
        self.faults.all_calls() - self.faults.calls("load")
    }

    /// Saves an unchanged session, and returns the number of store calls.
    ///
    /// # Panics
    /// If the operation fails.
    #[must_use]
    pub fn save_unchanged(&self) -> u64 {
        self.runtime.block_on(self.created.session.save()).expect("a save");
        self.faults.all_calls()
    }
}
