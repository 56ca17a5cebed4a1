//! The sessions that the cases use.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Actor, AuthEvent, AuthMethod, ClientInfo, DeviceId, DeviceKind, EndReason, Ended, LastClient, OnExceed,
    PreviousSecret, RefreshState, RotationSalt, Scope, SecretHash, SecretState, SessionId, SessionLimit,
    SessionRecord, SystemRandom, Timestamp, Touch, UserId,
};

/// The time at which every case begins.
pub const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_123);

/// The scope of the cache entries of most cases.
pub const SCOPE: Scope = Scope::from_bytes(*b"scope of a suite");

/// Returns the time `millis` after [`NOW`].
#[must_use]
pub fn at(millis: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_millis(millis))
}

/// Creates a user id.
#[must_use]
pub fn user(name: &str) -> UserId {
    name.parse().expect("a user id")
}

/// Creates an id for a session that begins at `created_at`.
#[must_use]
pub fn id_at(created_at: Timestamp, user: Option<&UserId>) -> SessionId {
    SessionId::mint(created_at, user, &SystemRandom).expect("an id")
}

/// Creates a device id.
#[must_use]
pub fn device_id() -> DeviceId {
    DeviceId::mint(&SystemRandom).expect("a device id")
}

/// Returns a hash that no secret matches, different for each number.
#[must_use]
pub fn hash(number: u8) -> SecretHash {
    let mut bytes = [number; SecretHash::LEN];
    bytes[..4].copy_from_slice(&[0, 0, 0, number % 3]);
    SecretHash::from_bytes(bytes)
}

/// Returns an anonymous session that begins at [`NOW`] and lasts an hour.
#[must_use]
pub fn anonymous() -> SessionRecord {
    let mut record = SessionRecord::new(id_at(NOW, None), NOW, at(3_600_000));
    record.secret = Some(SecretState::new(hash(1)));
    record
}

/// Returns a user's session that begins at [`NOW`] and lasts an hour.
#[must_use]
pub fn record(name: &str) -> SessionRecord {
    record_at(name, 0)
}

/// Returns a user's session that begins `millis` after [`NOW`] and ends an hour after [`NOW`].
#[must_use]
pub fn record_at(name: &str, millis: u64) -> SessionRecord {
    let user = user(name);
    let mut record = SessionRecord::new(id_at(at(millis), Some(&user)), at(millis), at(3_600_000));
    record.user_id = Some(user);
    record.username = Some(format!("name of {name}"));
    record.secret = Some(SecretState::new(hash(1)));
    record
}

/// Returns a session with every field filled.
#[must_use]
pub fn full(name: &str) -> SessionRecord {
    let mut record = record(name);
    record.idle_timeout = Some(Duration::from_millis(1_800_001));
    record.remembered = true;
    record.credential_version = Some(u64::from(u32::MAX) + 7);
    let mut secret = SecretState::new(hash(4));
    secret.expires_at = Some(at(900_000));
    secret.previous = Some(PreviousSecret::new(hash(5), RotationSalt::from_bytes([9; 32]), NOW));
    record.secret = Some(secret);
    let mut refresh = RefreshState::new(hash(6), at(7_200_000));
    refresh.secret.expires_at = Some(at(7_100_000));
    refresh.secret.previous = Some(PreviousSecret::new(hash(9), RotationSalt::from_bytes([3; 32]), at(2)));
    refresh.generation = 3;
    refresh.spent = vec![hash(7), hash(8)];
    record.refresh = Some(refresh);
    record.auth = vec![AuthEvent::new(AuthMethod::Password, NOW), AuthEvent::new(AuthMethod::Totp, at(1))];
    record.authenticated_at = at(1);
    record.client = Arc::new(client());
    record.last_client = LastClient::new("2001:db8::7".parse().ok(), Some("FR".into()));
    record.device_id = Some(device_id());
    record.label = Some("kitchen tablet".to_owned());
    record.data = Arc::from(&b"\x01{\"cart\":[\"apple\"]}"[..]);
    record
}

/// Returns the session of [`full`] with fixed ids, for golden files.
#[must_use]
pub fn fixed(name: &str) -> SessionRecord {
    let mut record = full(name);
    record.id = SessionId::derive("golden", b"1", record.user_id.as_ref());
    record.device_id = Some(DeviceId::from_bytes([5; 16]));
    record
}

fn client() -> ClientInfo {
    let text = |text: &str| Some(text.to_owned());
    let mut client = ClientInfo::new("192.0.2.7".parse().ok(), Some("Mozilla/5.0 (Test; rv:1.0)"));
    client.device.kind = Some(DeviceKind::Tablet);
    client.device.brand = text("Brand");
    client.device.model = text("Model X");
    client.device.os = text("OS");
    client.device.os_version = text("1.2.3");
    client.device.browser = text("Browser");
    client.device.browser_version = text("128.0");
    client.geo.country_code = text("DE");
    client.geo.country = text("Deutschland");
    client.geo.region = text("Bayern");
    client.geo.city = text("München");
    client.geo.coordinates = Some((48.137, 11.575));
    client
}

/// Returns a session with every field filled that begins `millis` after [`NOW`].
#[must_use]
pub fn full_at(name: &str, millis: u64) -> SessionRecord {
    let mut record = full(name);
    record.id = id_at(at(millis), record.user_id.as_ref());
    (record.created_at, record.last_seen_at) = (at(millis), at(millis));
    record
}

/// Returns the end that most cases use.
#[must_use]
pub fn logged_out(millis: u64) -> Ended {
    Ended::new(EndReason::LoggedOut, at(millis), Actor::System)
}

/// Returns a limit of `max` sessions, evaluated at `millis` after [`NOW`].
#[must_use]
pub fn limit(max: u32, on_exceed: OnExceed, millis: u64) -> SessionLimit {
    SessionLimit::new(NonZeroU32::new(max).expect("a limit above zero"), on_exceed, at(millis))
}

/// Returns a touch of a session `millis` after [`NOW`].
#[must_use]
pub fn touch(id: SessionId, millis: u64) -> Touch {
    Touch::new(id, at(millis), LastClient::new("198.51.100.4".parse().ok(), Some("NL".into())))
}
