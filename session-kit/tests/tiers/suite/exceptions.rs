//! Cases that cannot hold for copies.

use std::collections::BTreeSet;

use session_conformance::store_cases;

/// A case that fails if it reads copies.
pub(crate) struct Exception {
    case: &'static str,
    fails: Fails,
    /// True if the case also fails if the tiers only keep ends.
    without_copies: bool,
    #[expect(dead_code, reason = "explains the exception in the table")]
    because: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fails {
    /// The case is run and must fail, because an unnecessary exception hides a defect.
    Always,
    /// The result depends on timing, so the case is not run.
    Sometimes,
}

const UNKNOWN_RESULT: &str = "a dropped write does not report which sessions it ended, so their copies stay valid until they are stale";

const AS_GIVEN: &str = "`update` caches the record that it is given, and this case gives one that does not stem from the stored record";

const EXCEPTIONS: &[Exception] = &[
    Exception {
        case: "purge_frees_the_id",
        fails: Fails::Always,
        without_copies: true,
        because: "tiers keep an ended session as ended, because ids are not reused",
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
        because: "two lookups are not atomic, and the dropped write may take effect between them",
    },
    Exception {
        case: "cancelled_end_ends_each_session_or_not",
        fails: Fails::Sometimes,
        without_copies: false,
        because: UNKNOWN_RESULT,
    },
    Exception {
        case: "cancelled_expire_ends_each_session_or_not",
        fails: Fails::Sometimes,
        without_copies: false,
        because: UNKNOWN_RESULT,
    },
    Exception {
        case: "updates_and_touches_lose_nothing",
        fails: Fails::Sometimes,
        without_copies: false,
        because: "a touch that is concurrent with an update may be missing in the copy, which then looks idle \
            too early, and the store is read",
    },
];

/// Returns how a case fails, or `None` if it must hold.
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
