//! The conformance suite on the memory store.

#[cfg(feature = "moka")]
mod moka_cache;

mod conformance {
    use session_memory::MemoryStore;

    session_conformance::session_store_suite!(memory, || async { MemoryStore::default() });
}
