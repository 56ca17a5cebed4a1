//! Real requests to the layer, the extractors and the routes, on a real store with injected
//! failures.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod bad_cookies;
mod commit;
mod cookie;
mod ensure;
mod headers;
mod lazy;
mod origin;
mod outage;
mod outcome;
mod refresh;
mod renewal;
mod routes;
mod support;
mod transfer;
mod transport;
