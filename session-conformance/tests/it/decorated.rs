//! A fault decorator with nothing armed is the store inside of it, for every case.

use session_conformance::faults::FaultyStore;
use session_conformance::reference::MapStore;

session_conformance::session_store_suite!(faulty, || async { FaultyStore::new(MapStore::default()) });
