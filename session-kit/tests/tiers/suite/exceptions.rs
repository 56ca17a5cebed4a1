//! Cases that cannot hold for copies.

use std::collections::BTreeSet;

use session_conformance::store_cases;

/// A case that fails if it is read from copies.
pub(crate) struct Exception {
    case: &'static str,
    fails: Fails,
    /// Whether it fails even where nothing but ends is remembered.
    without_copies: bool,
    #[expect(dead_code, reason = "for who reads the table")]
    because: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fails {
    /// It is run, and must fail: an exception that nobody needs hides something.
    Always,
    /// It depends on who is quicker, so it is not run.
    Sometimes,
}

const NOBODY_KNOWS: &str = "whoever gives up a write never learns which sessions it ended, so copies are found out when they are stale";

const AS_GIVEN: &str =
    "a copy of what was written is what the caller gave, and here that does not stem from the stored record";

const EXCEPTIONS: &[Exception] = &[
    Exception {
        case: "purge_frees_the_id",
        fails: Fails::Always,
        without_copies: true,
        because: "what ended is remembered as ended, and nobody uses an id twice",
    },
    Exception {
        case: "update_keeps_kind_and_creation",
        fails: Fails::Always,
        without_copies: false,
        because: AS_GIVEN,
    },
    Exception {
        case: "update_never_gives_an_anonymous_session_a_user",
        fails: Fails::Always,
        without_copies: false,
        because: AS_GIVEN,
    },
    Exception {
        case: "update_never_moves_a_session_to_another_user",
        fails: Fails::Always,
        without_copies: false,
        because: AS_GIVEN,
    },
    Exception {
        case: "cancelled_create_under_a_limit_leaves_all_or_nothing",
        fails: Fails::Sometimes,
        without_copies: true,
        because: "two sessions that are looked up are not one look, and what is given up may happen in between",
    },
    Exception {
        case: "cancelled_end_ends_each_session_or_not",
        fails: Fails::Sometimes,
        without_copies: false,
        because: NOBODY_KNOWS,
    },
    Exception {
        case: "cancelled_expire_ends_each_session_or_not",
        fails: Fails::Sometimes,
        without_copies: false,
        because: NOBODY_KNOWS,
    },
    Exception {
        case: "updates_and_touches_lose_nothing",
        fails: Fails::Sometimes,
        without_copies: false,
        because: "a sighting that meets an update of the same session may be missing in its copy, which then looks idle \
            too early, and the store is asked",
    },
];

/// How a case fails, if it does.
pub(crate) fn of(case: &str, copies: bool) -> Option<Fails> {
    let exception = EXCEPTIONS.iter().find(|exception| exception.case == case)?;
    (copies || exception.without_copies).then_some(exception.fails)
}

#[test]
fn every_exception_is_a_case_and_named_once() {
    let cases: BTreeSet<_> = store_cases().iter().map(session_conformance::StoreCase::name).collect();
    let named: BTreeSet<_> = EXCEPTIONS.iter().map(|exception| exception.case).collect();
    assert_eq!(named.len(), EXCEPTIONS.len());
    assert!(named.is_subset(&cases), "{:?}", named.difference(&cases));
}
