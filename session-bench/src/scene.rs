//! A memory store with signed-in users, and the minimum that every validation must do.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use session_core::rules::RequestClient;
use session_core::{
    AuthMethod, ClientInfo, SecretHasher, SecretMatch, SecretPurpose, SessionId, SessionRecord, SessionToken,
    UserId,
};
use session_manager::{NewSession, Session, SessionManager};
use session_memory::MemoryStore;
use tokio::runtime::{Builder, Runtime};

const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// Signed-in users and their tokens.
#[derive(Debug)]
pub struct Scene {
    runtime: Runtime,
    manager: SessionManager,
    tokens: Vec<String>,
    records: Vec<Arc<SessionRecord>>,
}

impl Scene {
    /// Signs users in, with one session each.
    ///
    /// # Panics
    /// If a sign-in fails.
    #[must_use]
    pub fn new(users: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let manager = runtime.block_on(async { SessionManager::builder(MemoryStore::default()).build() });
        let manager = manager.expect("a manager");
        let signed_in: Vec<_> = (0..users)
            .map(|user| runtime.block_on(manager.create(new_session(user))).expect("a session"))
            .map(|created| (created.token.expose().to_string(), created.session.record()))
            .collect();
        let (tokens, records) = signed_in.into_iter().unzip();
        Self { runtime, manager, tokens, records }
    }

    /// Validates the tokens one after the other.
    ///
    /// # Panics
    /// If a token is rejected.
    pub fn validate(&self, times: u32) {
        let client = RequestClient::new(Some([192, 0, 2, 7].into()), Some(USER_AGENT));
        self.runtime.block_on(async {
            for token in self.tokens.iter().cycle().take(times as usize) {
                black_box(self.validate_one(token, &client).await);
            }
        });
    }

    async fn validate_one(&self, token: &str, client: &RequestClient<'_>) -> Session {
        self.manager.validate(token, client).await.expect("a live session")
    }

    /// Counts the heap allocations of one validation.
    ///
    /// # Panics
    /// If the token is rejected.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.validate(100);
        let client = RequestClient::new(Some([192, 0, 2, 7].into()), Some(USER_AGENT));
        self.runtime.block_on(async {
            let mut future = Box::pin(self.validate_one(&self.tokens[0], &client));
            let mut session = None;
            let counted = allocation_counter::measure(|| {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                if let std::task::Poll::Ready(ready) = future.as_mut().poll(&mut context) {
                    session = Some(ready);
                }
            });
            assert!(session.is_some(), "a validation on a memory store must not wait");
            counted.count_total
        })
    }

    /// Returns the floor for the same tokens.
    #[must_use]
    pub fn floor(&self) -> Floor {
        let map = self.records.iter().map(|record| (record.id, Arc::clone(record))).collect();
        Floor { tokens: self.tokens.clone(), map, hasher: SecretHasher::plain() }
    }
}

pub(crate) fn new_session(user: u64) -> NewSession {
    NewSession::for_user(UserId::from(user))
        .with_username("jane.doe")
        .with_client(ClientInfo::new(Some([192, 0, 2, 7].into()), Some(USER_AGENT)))
        .with_auth(AuthMethod::Password)
}

/// The minimum that a validation must do: parse the token, hash its secret, look up the id, and
/// compare the hashes.
#[derive(Debug)]
pub struct Floor {
    tokens: Vec<String>,
    map: HashMap<SessionId, Arc<SessionRecord>>,
    hasher: SecretHasher,
}

impl Floor {
    /// Does the minimum for the tokens, one after the other.
    ///
    /// # Panics
    /// If a token does not match.
    pub fn run(&self, times: u32) {
        for token in self.tokens.iter().cycle().take(times as usize) {
            let token = SessionToken::parse(token).expect("a token");
            let record = &self.map[&token.id()];
            let stored = record.secret.as_ref().expect("a secret");
            let found =
                self.hasher.verify(SecretPurpose::Session, token.id(), token.secret(), &stored.current);
            assert_eq!(found, SecretMatch::Match);
            black_box(record);
        }
    }
}
