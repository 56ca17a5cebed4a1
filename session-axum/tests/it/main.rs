//! The layer, the extractors and the routes, with real requests on a real store that can be made to fail.
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
