//! What the manager counts, through the `metrics` facade.
//!
//! Labels come from fixed sets: no id, no user, no address is ever one. Handles are made when the
//! manager is built, so install the recorder before that.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};
use session_core::{Ended, Error};

use crate::rejection::{Rejection, ValidateError};

/// A method of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Create,
    Load,
    Update,
    Touch,
    End,
    List,
    Expire,
    Purge,
    Erase,
    Stats,
}

impl Op {
    const ALL: [Self; 10] = [
        Self::Create,
        Self::Load,
        Self::Update,
        Self::Touch,
        Self::End,
        Self::List,
        Self::Expire,
        Self::Purge,
        Self::Erase,
        Self::Stats,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Load => "load",
            Self::Update => "update",
            Self::Touch => "touch",
            Self::End => "end",
            Self::List => "list",
            Self::Expire => "expire",
            Self::Purge => "purge",
            Self::Erase => "erase",
            Self::Stats => "stats",
        }
    }
}

/// Seconds per call of the store, and failures by kind.
pub(crate) struct StoreMetrics {
    backend: &'static str,
    seconds: [Histogram; Op::ALL.len()],
}

impl StoreMetrics {
    pub(crate) fn new(backend: &'static str) -> Self {
        let seconds = Op::ALL
            .map(|op| histogram!("session_store_seconds", "backend" => backend, "operation" => op.as_str()));
        Self { backend, seconds }
    }

    pub(crate) fn record(&self, op: Op, took: Duration, error: Option<&Error>) {
        self.seconds[op as usize].record(took);
        if let Some(error) = error {
            let labels =
                [("backend", self.backend), ("operation", op.as_str()), ("kind", error.kind().as_str())];
            counter!("session_store_failures_total", &labels).increment(1);
        }
    }
}

/// What happened to sessions.
pub(crate) struct Metrics {
    live: Counter,
    pub(crate) created: Counter,
    pub(crate) touches_flushed: Counter,
    pub(crate) touches_dropped: Counter,
    pub(crate) purged: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            live: counter!("session_validations_total", "result" => "live"),
            created: counter!("session_created_total"),
            touches_flushed: counter!("session_touches_total", "result" => "flushed"),
            touches_dropped: counter!("session_touches_total", "result" => "dropped"),
            purged: counter!("session_purged_total"),
        }
    }

    pub(crate) fn validated<T>(&self, outcome: &Result<T, ValidateError>) {
        let result = match outcome {
            Ok(_) => return self.live.increment(1),
            Err(ValidateError::Unavailable(_)) => "unavailable",
            Err(ValidateError::Rejected(rejection)) => match rejection {
                Rejection::Denied { .. } => "denied",
                Rejection::Ended(_) => "ended",
                Rejection::Expired(_) => "expired",
                Rejection::Malformed => "malformed",
                Rejection::TokenExpired => "token_expired",
                Rejection::Unknown => "unknown",
                Rejection::UserInactive => "user_inactive",
                Rejection::WrongSecret => "wrong_secret",
            },
        };
        counter!("session_validations_total", "result" => result).increment(1);
    }

    pub(crate) fn ended(&self, ended: &Ended) {
        counter!("session_ended_total", "reason" => ended.reason.as_str()).increment(1);
    }
}
