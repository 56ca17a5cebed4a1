//! Scopes: entries of another scope do not exist.

use session_core::{CacheEntry, Scope};

use super::{entry, tombstone};
use crate::CacheHarness;
use crate::fixtures::{SCOPE, at, full, record};

const OTHER: Scope = Scope::from_bytes(*b"another scope...");

/// Returns the same entry in another scope.
fn elsewhere(entry: &CacheEntry) -> CacheEntry {
    let mut entry = entry.clone();
    entry.scope = OTHER;
    entry
}

/// `get` under a scope finds no entry that was put under another scope: neither a record nor a
/// tombstone.
pub async fn get_under_another_scope_is_none(h: CacheHarness) {
    let (live, over) = (record("ann"), record("bob"));
    h.given(&entry(&live, 1, at(0))).await;
    h.given(&tombstone(&over, 2, at(0))).await;
    for id in [live.id, over.id] {
        assert_eq!(h.get_in(OTHER, id).await, None);
        assert!(h.get(id).await.is_some());
    }
}

/// Two scopes each hold an entry of one id. Both are read back whole, and one changes without the
/// other.
pub async fn scopes_hold_entries_of_one_id_side_by_side(h: CacheHarness) {
    let session = full("ann");
    let mut namesake = session.clone();
    namesake.label = Some("another session of this id".to_owned());
    let (here, there) = (entry(&session, 3, at(1)), elsewhere(&entry(&namesake, 3, at(1))));
    h.given(&here).await;
    h.given(&there).await;
    h.assert_holds(&here).await;
    h.assert_holds(&there).await;
    let newer = entry(&session, 4, at(2));
    h.given(&newer).await;
    h.assert_holds(&newer).await;
    h.assert_holds(&there).await;
}

/// An entry is compared with the one in its own scope only: an older entry is stored beside a newer
/// one of another scope, and so is an equal one.
pub async fn older_entry_of_another_scope_is_stored(h: CacheHarness) {
    let session = record("ann");
    let newer = entry(&session, 9, at(9));
    h.given(&newer).await;
    let older = elsewhere(&entry(&session, 1, at(1)));
    assert!(h.put(&older).await, "the revision of another scope kept it out");
    h.assert_holds(&newer).await;
    h.assert_holds(&older).await;
    let (first, second) = (entry(&record("bob"), 1, at(1)), record("bob"));
    h.given(&first).await;
    assert!(h.put(&elsewhere(&first)).await, "an equal entry of another scope kept it out");
    h.given(&entry(&second, 1, at(1))).await;
}

/// A tombstone ends the session of its own scope. Records of another scope are stored and replaced
/// as if the tombstone did not exist.
pub async fn tombstone_of_another_scope_keeps_nothing_out(h: CacheHarness) {
    let session = record("ann");
    let end = tombstone(&session, 5, at(5));
    h.given(&end).await;
    for revision in [1, 2, 9] {
        let live = elsewhere(&entry(&session, revision, at(1)));
        assert!(h.put(&live).await, "the tombstone of another scope kept revision {revision} out");
        h.assert_holds(&live).await;
    }
    h.assert_holds(&end).await;
    assert!(!h.put(&entry(&session, 9, at(9))).await, "the tombstone's own scope refuses the record");
    let other_end = elsewhere(&tombstone(&session, 7, at(7)));
    h.given(&other_end).await;
    h.assert_holds(&other_end).await;
    h.assert_holds(&end).await;
}

/// Removing an id from a scope leaves it in other scopes.
pub async fn remove_leaves_other_scopes_alone(h: CacheHarness) {
    let (live, over) = (record("ann"), record("bob"));
    let (entries, ends) = (entry(&live, 1, at(0)), tombstone(&over, 2, at(0)));
    for entry in [&entries, &ends] {
        h.given(entry).await;
        h.given(&elsewhere(entry)).await;
        h.remove_in(OTHER, entry.id).await;
        assert_eq!(h.get_in(OTHER, entry.id).await, None);
        h.assert_holds(entry).await;
        h.given(&elsewhere(entry)).await;
        h.remove(entry.id).await;
        assert_eq!(h.get(entry.id).await, None);
        h.assert_holds(&elsewhere(entry)).await;
    }
}

/// Scopes differ even if only one bit of any byte differs, or only the bit that would be the case
/// of a letter.
pub async fn scopes_are_compared_byte_by_byte(h: CacheHarness) {
    let session = record("ann");
    h.given(&entry(&session, 9, at(0))).await;
    let changes = (0..16).map(|position| (position, 0x01)).chain([(0, 0x20), (9, 0x20), (15, 0x80)]);
    for (position, bit) in changes {
        let mut bytes = *SCOPE.as_bytes();
        bytes[position] ^= bit;
        let mut other = entry(&session, 1, at(0));
        other.scope = Scope::from_bytes(bytes);
        assert_eq!(h.get_in(other.scope, session.id).await, None, "byte {position} is not compared");
        h.given(&other).await;
        h.assert_holds(&other).await;
    }
    h.assert_holds(&entry(&session, 9, at(0))).await;
}
