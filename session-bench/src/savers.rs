//! Many concurrent requests that change one session.

use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::{Fault, FaultyStore};
use session_core::rules::RequestClient;
use session_manager::SessionManager;
use session_memory::MemoryStore;
use tokio::runtime::{Builder, Runtime};

use crate::scene::new_session;

/// The time that the store takes for a load or an update.
const ROUND_TRIP: Duration = Duration::from_millis(3);

/// One session on a store with a long round trip.
#[derive(Debug)]
pub struct Savers {
    runtime: Runtime,
    manager: SessionManager,
    token: String,
}

impl Savers {
    /// Signs a user in.
    ///
    /// # Panics
    /// If the sign-in fails.
    #[must_use]
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let store = FaultyStore::new(MemoryStore::default());
        let faults = store.faults();
        let manager = runtime.block_on(async { SessionManager::builder(store).build().expect("a manager") });
        let created = runtime.block_on(manager.create(new_session(1))).expect("a session");
        for operation in ["load", "update"] {
            faults.arm(Fault::delay(ROUND_TRIP).on(operation));
        }
        Self { runtime, manager, token: created.token.expose().to_string() }
    }

    /// Runs `savers` concurrent requests, `times` times. Each request validates, reads its own key
    /// and saves it.
    ///
    /// # Panics
    /// If a request fails.
    pub fn run(&self, savers: u32, times: u32) {
        for time in 0..times {
            let save = async |saver: u32| {
                let session = self
                    .manager
                    .validate(&self.token, &RequestClient::default())
                    .await
                    .expect("a live session");
                let key = format!("key {saver}");
                let _before: Option<u32> = session.get(&key).expect("a number");
                session.insert(key, &time).expect("a number is JSON");
                session.save().await.expect("no other request changes this key");
            };
            self.runtime.block_on(join_all((0..savers).map(save)));
        }
    }
}

impl Default for Savers {
    fn default() -> Self {
        Self::new()
    }
}
