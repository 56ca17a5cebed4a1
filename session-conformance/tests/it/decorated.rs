//! A fault decorator without armed faults behaves like the wrapped store in every case.

use session_conformance::faults::FaultyStore;
use session_conformance::reference::MapStore;

session_conformance::session_store_suite!(faulty, || async { FaultyStore::new(MapStore::default()) });
