use std::sync::Arc;
use std::time::Duration;

use super::{NOW, after, record};
use crate::limits::{MAX_AUTH_EVENTS, MAX_LIFETIME};
use crate::{
    Actor, AssuranceLevel, AuthEvent, AuthMethod, Cursor, EndReason, Ended, LastClient, RefreshState,
    Revision, SecretHash, SecretState, SessionId, SessionKind, SessionRecord, SessionStatus, SystemRandom,
    Touch,
};

type Change = fn(&mut SessionRecord);

fn hash() -> SecretHash {
    SecretHash::from_bytes([7; SecretHash::LEN])
}

fn ended(reason: EndReason) -> Ended {
    Ended::new(reason, NOW, Actor::System)
}

#[test]
fn an_end_clears_data_and_secrets_and_keeps_the_history() {
    let mut before = record();
    before.data = Arc::from(&b"\x01{}"[..]);
    before.secret = Some(SecretState::new(hash()));
    before.refresh = Some(RefreshState::new(hash(), after(10)));
    before.label = Some("kitchen".to_owned());
    let after_end = before.clone().into_ended(ended(EndReason::LoggedOut));
    assert!(after_end.secret.is_none() && after_end.refresh.is_none() && after_end.data.is_empty());
    assert_eq!(after_end.label, before.label);
    assert_eq!(after_end.revision, before.revision.next());
    assert_eq!(after_end.status(NOW), SessionStatus::LoggedOut);
    assert!(!after_end.is_live(NOW));
    assert!(after_end.check().is_ok());
}

#[test]
fn records_that_a_backend_cannot_keep_are_refused() {
    let broken: [(&str, Change); 14] = [
        ("end before beginning", |r| r.expires_at = r.created_at),
        ("too long", |r| r.expires_at = after(0).saturating_add(MAX_LIFETIME + Duration::from_millis(1))),
        ("seen before beginning", |r| r.last_seen_at = crate::Timestamp::EPOCH),
        ("idle of zero", |r| r.idle_timeout = Some(Duration::ZERO)),
        ("idle below a millisecond", |r| r.idle_timeout = Some(Duration::from_micros(1_500))),
        ("another user's shard", |r| r.user_id = Some("bob".parse().unwrap())),
        ("empty name", |r| r.username = Some(String::new())),
        ("long name", |r| r.username = Some("a".repeat(256))),
        ("name with NUL", |r| r.username = Some("a\0".to_owned())),
        ("empty label", |r| r.label = Some(String::new())),
        ("long label", |r| r.label = Some("é".repeat(101))),
        ("external with secret", |r| {
            r.kind = SessionKind::External;
            r.secret = Some(SecretState::new(hash()));
        }),
        ("ended with data", |r| {
            r.state = crate::SessionState::Ended(ended(EndReason::LoggedOut));
            r.data = Arc::from(&b"x"[..]);
        }),
        ("too many authentications", |r| {
            r.auth = vec![AuthEvent::new(AuthMethod::Totp, NOW); MAX_AUTH_EVENTS + 1];
        }),
    ];
    assert!(record().check().is_ok());
    for (name, change) in broken {
        let mut record = record();
        change(&mut record);
        assert!(record.check().is_err(), "{name}");
    }
}

#[test]
fn an_update_keeps_immutable_fields_and_the_later_touch() {
    let mut stored = record();
    stored.last_seen_at = after(50);
    stored.last_client = LastClient::new("192.0.2.1".parse().ok(), None);
    let mut new = record();
    new.kind = SessionKind::Api;
    new.created_at = after(1);
    new.label = Some("phone".to_owned());
    new.revision = Revision::new(77).unwrap();
    let result = stored.updated_by(&new);
    assert_eq!((result.id, result.kind, result.created_at), (stored.id, stored.kind, stored.created_at));
    assert_eq!(result.user_id, stored.user_id);
    assert_eq!((result.last_seen_at, &result.last_client), (stored.last_seen_at, &stored.last_client));
    assert_eq!(result.label.as_deref(), Some("phone"));
    assert_eq!(result.revision.get(), 2);
}

#[test]
fn a_touch_moves_forward_only_and_never_revives() {
    let touch = |record: &mut SessionRecord, at| {
        record.touch(&Touch::new(record.id, after(at), LastClient::default()), after(0))
    };
    let mut record = record();
    record.idle_timeout = Some(Duration::from_millis(100));
    assert!(touch(&mut record, 60));
    assert!(!touch(&mut record, 60), "the same time is not later");
    assert!(!touch(&mut record, 10));
    assert!(touch(&mut record, 159));
    assert!(!touch(&mut record, 259), "the deadline had passed");
    let mut over = record.into_ended(ended(EndReason::LoggedOut));
    assert!(!touch(&mut over, 160));
}

#[test]
fn a_touch_that_arrives_after_the_deadline_does_not_count() {
    let mut record = record();
    record.idle_timeout = Some(Duration::from_millis(100));
    let early = Touch::new(record.id, after(90), LastClient::default());
    assert!(!record.accepts(&early, after(100)), "the session had expired when the touch arrived");
    assert!(record.accepts(&early, after(99)));
    assert!(record.touch(&early, after(99)));
    let late = Touch::new(record.id, after(190), LastClient::default());
    assert!(!record.touch(&late, after(0)), "a clock that lags revives nothing");
}

#[test]
fn repetitions_of_one_method_do_not_displace_another() {
    let mut record = record();
    record.push_auth(AuthEvent::new(AuthMethod::Password, after(0)));
    for n in 1..40 {
        record.push_auth(AuthEvent::new(AuthMethod::Totp, after(n)));
    }
    assert_eq!(record.auth.len(), MAX_AUTH_EVENTS);
    assert_eq!(record.auth[0], AuthEvent::new(AuthMethod::Password, after(0)));
    assert_eq!(record.auth[MAX_AUTH_EVENTS - 1].at, after(39));
    assert_eq!(record.assurance(), AssuranceLevel::Aal2);
}

#[test]
fn a_step_up_decays_to_the_level_of_one_factor() {
    let mut record = record();
    record.push_auth(AuthEvent::new(AuthMethod::Password, after(0)));
    record.push_auth(AuthEvent::new(AuthMethod::Totp, after(0)));
    let minute = Some(Duration::from_millis(60));
    assert_eq!(record.assurance_at(after(59), minute), AssuranceLevel::Aal2);
    assert_eq!(record.assurance_at(after(60), minute), AssuranceLevel::Aal1);
    assert_eq!(record.assurance_at(after(60), None), AssuranceLevel::Aal2);
}

#[test]
fn authentications_are_bounded_and_the_newest_stay() {
    let mut record = record();
    for n in 0..20 {
        record.push_auth(AuthEvent::new(AuthMethod::Totp, after(n)));
    }
    assert_eq!(record.auth.len(), MAX_AUTH_EVENTS);
    assert_eq!((record.auth[0].at, record.authenticated_at), (after(4), after(19)));
}

#[test]
fn debug_prints_neither_secret_nor_data_nor_label() {
    let mut record = record();
    record.data = Arc::from(&b"\x01{\"card\":\"4111\"}"[..]);
    record.label = Some("bedroom".to_owned());
    record.secret = Some(SecretState::new(hash()));
    let shown = format!("{record:?}");
    for hidden in ["4111", "card", "bedroom", "07, 07", "7, 7"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}

#[test]
fn revisions_that_databases_cannot_hold_are_refused() {
    assert!(Revision::new(0).is_err());
    assert!(Revision::new(u64::MAX).is_err());
    assert_eq!(Revision::new(1).unwrap(), Revision::FIRST);
}

#[test]
fn damaged_cursors_are_refused() {
    let text = Cursor::new(NOW, SessionId::mint(NOW, None, &SystemRandom).unwrap()).to_string();
    for bad in ["", "x", &text[1..], &format!("{text}A"), &"A".repeat(32)] {
        assert!(bad.parse::<Cursor>().is_err(), "{bad}");
    }
}
