//! The checker finds each kind of violation, and nothing else.

use super::*;

const LIMITS: Limits = Limits {
    max_stale: Duration::from_secs(3),
    l1_max_age: Duration::from_secs(1),
    longest: Duration::from_secs(4),
};

const MS: Nanos = 1_000_000;

/// Returns an operation of 1 ms on one node.
fn event(node: usize, op: Op, at: Nanos, outcome: Outcome) -> Event {
    let (began, ended) = (at * MS, (at + 1) * MS);
    let (session, caches_notified) = ("a".to_owned(), op == Op::End);
    Event { life: node, node, op, session, began, ended, outcome, caches_notified }
}

/// Returns the history of a session that is created at 0 and ended at 1,000 ms on node 0.
fn with(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut history = vec![
        event(0, Op::Create, 0, Outcome::Yes),
        event(1, Op::Validate, 10, Outcome::Yes),
        event(0, Op::End, 1_000, Outcome::Begun),
        event(0, Op::End, 1_000, Outcome::Yes),
    ];
    history.extend(events);
    history
}

#[track_caller]
fn assert_finds(history: &[Event], windows: &[Window], promise: &str) {
    let violations = check(history, windows, &LIMITS).violations;
    assert!(violations.len() == 1 && violations[0].starts_with(promise), "{violations:#?}");
}

#[track_caller]
fn assert_fine(history: &[Event], windows: &[Window]) {
    assert_eq!(check(history, windows, &LIMITS).violations, Vec::<String>::new());
}

fn window(fault: Fault) -> Window {
    Window { fault, from: 500 * MS, until: 6_000 * MS, recovered: 11_000 * MS }
}

#[test]
fn permitted_histories_have_no_violations() {
    assert_fine(
        &with([
            event(1, Op::Validate, 1_500, Outcome::Yes),
            event(1, Op::Validate, 4_000, Outcome::Yes),
            event(1, Op::Validate, 4_001, Outcome::Ended),
            event(1, Op::Authoritative, 999, Outcome::Yes),
            event(1, Op::Save, 4_100, Outcome::Ended),
            event(0, Op::Save, 500, Outcome::Conflict),
        ]),
        &[],
    );
}

#[test]
fn copy_that_outlives_max_stale_is_found() {
    let late = with([event(1, Op::Validate, 4_002, Outcome::Yes)]);
    assert_finds(&late, &[], "bounded-lag: max_stale");
}

#[test]
fn bus_outage_alone_has_the_shorter_limit() {
    let late = with([event(1, Op::Validate, 2_100, Outcome::Yes)]);
    assert_finds(&late, &[window(Fault::Bus { node: 1 })], "bounded-lag: l1_max_age");
    assert_finds(&late, &[window(Fault::Bus { node: 0 })], "bounded-lag: l1_max_age");
    for other in [Fault::Bus { node: 2 }, Fault::Other] {
        assert_fine(&late, &[window(other)]);
    }
    let mut unnotified = late;
    unnotified.iter_mut().for_each(|event| event.caches_notified = false);
    assert_fine(&unnotified, &[window(Fault::Bus { node: 1 })]);
}

#[test]
fn late_answer_extends_the_limit() {
    let slow = Event { ended: 1_501 * MS, ..event(1, Op::Validate, 990, Outcome::Yes) };
    let with_slow = |at| with([slow.clone(), event(1, Op::Validate, at, Outcome::Yes)]);
    let windows = [window(Fault::Bus { node: 1 })];
    assert_fine(&with_slow(2_511), &windows);
    assert_finds(&with_slow(2_512), &windows, "bounded-lag: l1_max_age");
    let elsewhere = Event { node: 2, life: 2, ..slow };
    assert_finds(&with([elsewhere, event(1, Op::Validate, 2_512, Outcome::Yes)]), &windows, "bounded-lag");
}

#[test]
fn forgotten_end_is_found() {
    for op in [Op::Authoritative, Op::Save] {
        assert_finds(&with([event(1, op, 1_002, Outcome::Yes)]), &[], "revocation-wins");
        assert_fine(&with([event(1, op, 1_000, Outcome::Yes)]), &[]);
    }
}

#[test]
fn resurrection_at_a_node_that_knew_the_end_is_found() {
    let refused = event(1, Op::Validate, 1_100, Outcome::Ended);
    let opened = event(1, Op::Validate, 1_102, Outcome::Yes);
    assert_finds(&with([refused.clone(), opened.clone()]), &[], "no-resurrection");
    assert_fine(&with([refused.clone(), Event { life: 7, ..opened.clone() }]), &[]);
    assert_fine(&with([Event { node: 2, life: 2, ..refused }, opened]), &[]);
}

#[test]
fn a_lost_sign_in_is_found() {
    let lost = event(1, Op::Validate, 20, Outcome::Refused("unknown session".to_owned()));
    assert_finds(&with([lost]), &[window(Fault::Store)], "outage-is-not-logout");
}

#[test]
fn unrequested_end_is_found() {
    assert_finds(&with([event(1, Op::Validate, 900, Outcome::Ended)]), &[], "outage-is-not-logout: no node");
    // The node that ended the session may have been killed before it received the answer.
    let mut unanswered = with([event(1, Op::Validate, 1_001, Outcome::Ended)]);
    unanswered.retain(|event| event.op != Op::End || event.outcome == Outcome::Begun);
    assert_fine(&unanswered, &[]);
}

#[test]
fn an_outage_without_a_cause_is_found() {
    let down = with([event(1, Op::Validate, 600, Outcome::Unavailable)]);
    assert_finds(&down, &[window(Fault::Other)], "cache-never-fatal");
    assert_fine(&down, &[window(Fault::Store)]);
    let recovered = with([event(1, Op::Validate, 11_001, Outcome::Unavailable)]);
    assert_finds(&recovered, &[window(Fault::Store)], "cache-never-fatal");
}

#[test]
fn operation_beyond_its_time_limit_is_found() {
    let mut slow = event(1, Op::Validate, 100, Outcome::Yes);
    slow.ended = 4_101 * MS;
    assert_finds(&with([slow]), &[], "bounded-time");
}

#[test]
fn lags_are_grouped_by_condition() {
    let history = with([
        event(1, Op::Validate, 1_100, Outcome::Ended),
        event(2, Op::Validate, 1_005, Outcome::Ended),
        event(0, Op::Validate, 1_001, Outcome::Ended),
    ]);
    let text = |windows: &[Window]| check(&history, windows, &LIMITS).lags.to_string();
    assert!(text(&[]).contains("Healthy: 2 times, p50 5.0ms, p99 5.0ms, at most 100.0ms"), "{}", text(&[]));
    let cut_off = text(&[window(Fault::Bus { node: 1 })]);
    assert!(cut_off.contains("WithoutBus: 1 times") && cut_off.contains("Healthy: 1 times"), "{cut_off}");
    assert!(text(&[window(Fault::Other)]).contains("Faults: 2 times"));
}
