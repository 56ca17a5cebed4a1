//! The application's check of the identity in `POST /sessions/ensure`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::request::Parts;
use session_manager::ExternalSession;

use crate::error::SessionError;

type Verdict = Pin<Box<dyn Future<Output = Result<ExternalSession, SessionError>> + Send>>;

/// The application's function that identifies the sender of a request.
#[derive(Clone)]
pub(super) struct Verifier(Arc<dyn Fn(Parts) -> Verdict + Send + Sync>);

impl Verifier {
    pub(super) fn new<F, R>(verify: F) -> Self
    where
        F: Fn(Parts) -> R + Send + Sync + 'static,
        R: Future<Output = Result<ExternalSession, SessionError>> + Send + 'static,
    {
        Self(Arc::new(move |parts| Box::pin(verify(parts))))
    }

    pub(super) fn verify(&self, parts: Parts) -> Verdict {
        (self.0)(parts)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}
