//! The suites, applied to correct and to broken implementations.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broken;
mod bytes;
mod decorated;
mod environment;
mod golden;
mod lists;
mod support;

mod conformance {
    use session_conformance::reference::{MapCache, MapStore};
    use session_runtime::bus::{Bus, LocalChannel};

    session_conformance::session_store_suite!(reference, || async { MapStore::default() });
    session_conformance::session_cache_suite!(reference_cache, || async { MapCache::default() });
    session_conformance::session_bus_suite!(reference_bus, || async {
        let channel = LocalChannel::new();
        move || Bus::new(channel.transport())
    });
}
