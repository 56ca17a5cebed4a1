//! The bytes of a record, for stores that keep a session as one value.
//!
//! [`SessionRecord::to_bytes`] and [`SessionRecord::from_bytes`] are all that an embedded store
//! needs. The rest of this module is for stores whose scripts check and change a session in place:
//! the fields that those need have fixed positions at the beginning.
//!
//! | bytes, from 0 | what |
//! |---|---|
//! | 0, 1 | format 1; `A`ctive or `E`nded |
//! | 2, 3 | kind; length of the user id |
//! | 4 | revision, 8 bytes like every number but the lengths |
//! | 12, 20, 28 | created, expires, idle timeout (-1: none) |
//! | 36, 44 | last seen; last client, 19 bytes. A touch replaces these 27 bytes and nothing else |
//! | 63, 79 | id; user id |
//! | then | flags: 1 remembered, 2 has a device id; kind of device; authenticated; device id; lengths of user name (1 byte) and profile (4) |
//! | then | user name, profile |
//! | then, if active | the session token's hashes and the refresh token's, each after its length (2 bytes, 0 for none); data |
//! | then, if ended | time (8 bytes), reason (length and name), by whom |
//!
//! Fields that a save rarely changes form the beginning of the value, except for the revision. So a
//! script can check with one comparison that none of them changed.
//!
//! All numbers are big-endian. The profile is [postcard](https://postcard.jamesmunns.com/wire-format).
//!
//! # Compatibility
//! Values that a released version wrote stay readable; golden files in `session-conformance` prove
//! it. A value in a later format, or with a kind or reason that this version does not know, is
//! unreadable and is left unchanged: a newer node can read it.

mod codes;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::AuthEvent;
use crate::client::{ClientInfo, Device, GeoLocation, LastClient};
use crate::credentials::{RefreshState, SecretState};
use crate::end::{Actor, EndReason, Ended, SessionState};
use crate::error::{Error, Result};
use crate::id::{DeviceId, SessionId, UserId};
use crate::record::{Revision, SessionRecord};
use crate::time::Timestamp;

pub use codes::kind_code;
use codes::{device_code, device_of, kind_of};

/// The format that is written.
const FORMAT: u8 = 1;

/// The length of the fields at fixed positions, without the user id that follows them.
pub const HEAD: usize = 79;

/// Length of the fields that follow the user id.
const MORE: usize = 31;

const REVISION: std::ops::Range<usize> = 4..12;

/// The length of a last-seen update: the time and the client.
pub const LAST_SEEN: usize = 27;

const ACTIVE: u8 = b'A';
const ENDED: u8 = b'E';
const REMEMBERED: u8 = 1;
const HAS_DEVICE: u8 = 2;

/// The fields that no script reads.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Profile<'a> {
    credential_version: Option<u64>,
    #[serde(borrow)]
    auth: Vec<(&'a str, i64)>,
    ip: Option<IpAddr>,
    user_agent: Option<&'a str>,
    brand: Option<&'a str>,
    model: Option<&'a str>,
    os: Option<&'a str>,
    os_version: Option<&'a str>,
    browser: Option<&'a str>,
    browser_version: Option<&'a str>,
    country_code: Option<&'a str>,
    country: Option<&'a str>,
    region: Option<&'a str>,
    city: Option<&'a str>,
    coordinates: Option<(f64, f64)>,
    label: Option<&'a str>,
}

/// How much of an active session the bytes contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is nothing between the two")]
pub enum Part {
    /// All of it.
    Whole,
    /// All but the secrets and the data, which may be missing.
    Redacted,
}

impl SessionRecord {
    /// Returns the record as bytes, which [`from_bytes`](Self::from_bytes) of this and of every
    /// later version reads.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a record that fails [`check`](Self::check).
    ///
    /// # Security
    /// The bytes contain the session's data and the hashes of its secrets.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        write(self, self.revision)
    }

    /// Parses the output of [`to_bytes`](Self::to_bytes).
    ///
    /// # Examples
    /// ```
    /// use session_core::{SessionId, SessionRecord, SystemRandom, Timestamp};
    ///
    /// let (now, end) = (Timestamp::from_millis(1_767_225_600_000), Timestamp::from_millis(1_767_229_200_000));
    /// let record = SessionRecord::new(SessionId::mint(now, None, &SystemRandom)?, now, end);
    /// assert_eq!(SessionRecord::from_bytes(&record.to_bytes()?)?, record);
    /// # Ok::<(), session_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for anything else, and for a record of a later
    /// version. Leave the stored value unchanged in that case.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        read(bytes, Part::Whole).map_err(|unreadable| unreadable.into_error("record", "decode"))
    }
}

/// Serializes a record that [`SessionRecord::check`] accepts, with the given revision.
///
/// # Errors
/// [`Other`](crate::ErrorKind::Other) if a field cannot be serialized, which does not happen.
pub fn write(record: &SessionRecord, revision: Revision) -> Result<Vec<u8>> {
    let (user, name) = (record.user_id.as_ref().map_or("", UserId::as_str), text(&record.username));
    // A profile with all of its fields set takes a few hundred bytes.
    let mut bytes = Vec::with_capacity(HEAD + user.len() + MORE + name.len() + 512 + record.data.len());
    bytes.push(FORMAT);
    bytes.push(if record.ended().is_some() { ENDED } else { ACTIVE });
    bytes.push(kind_code(record.kind));
    // `SessionRecord::check` limits both names to 255 bytes, and the texts of a profile to a few
    // thousand.
    bytes.push(u8::try_from(user.len()).unwrap_or(u8::MAX));
    bytes.extend(revision.get().to_be_bytes());
    let idle = record.idle_timeout.map_or(-1, |idle| i64::try_from(idle.as_millis()).unwrap_or(i64::MAX));
    for time in [record.created_at, record.expires_at, Timestamp::from_millis(idle)] {
        bytes.extend(time.as_millis().to_be_bytes());
    }
    bytes.extend(last_seen(record.last_seen_at, &record.last_client));
    bytes.extend(record.id.as_bytes());
    bytes.extend(user.as_bytes());
    let remembered = if record.remembered { REMEMBERED } else { 0 };
    bytes.push(remembered | if record.device_id.is_some() { HAS_DEVICE } else { 0 });
    bytes.push(device_code(record.client.device.kind));
    bytes.extend(record.authenticated_at.as_millis().to_be_bytes());
    bytes.extend(record.device_id.as_ref().map_or([0; 16], |device| *device.as_bytes()));
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    let place = bytes.len();
    bytes.extend([0; 4]);
    bytes.extend(name.as_bytes());
    let before = bytes.len();
    let mut bytes = encoded(&profile_of(record), bytes)?;
    let profile = u32::try_from(bytes.len() - before).unwrap_or(u32::MAX);
    bytes[place..place + 4].copy_from_slice(&profile.to_be_bytes());
    match record.ended() {
        Some(ended) => bytes.extend(write_end(ended)),
        None => {
            write_secret(&mut bytes, record.secret.as_ref().map(SecretState::to_bytes));
            write_secret(&mut bytes, record.refresh.as_ref().map(RefreshState::to_bytes));
            bytes.extend(&*record.data);
        }
    }
    Ok(bytes)
}

/// Returns the beginning that a stored value must have so that `value` can replace it directly:
/// that of `value`, but with the given revision.
#[must_use]
pub fn beginning_at(value: &[u8], revision: Revision) -> Vec<u8> {
    let end = HEAD + value.get(3).map_or(0, |len| usize::from(*len));
    let mut front = value.get(..end).unwrap_or_default().to_vec();
    if let Some(place) = front.get_mut(REVISION) {
        place.copy_from_slice(&revision.get().to_be_bytes());
    }
    front
}

/// Writes a secret, which takes a few hundred bytes, after its length.
fn write_secret(bytes: &mut Vec<u8>, secret: Option<Vec<u8>>) {
    let secret = secret.unwrap_or_default();
    bytes.extend(u16::try_from(secret.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(secret);
}

fn encoded(profile: &Profile<'_>, bytes: Vec<u8>) -> Result<Vec<u8>> {
    postcard::to_extend(profile, bytes).map_err(|error| Error::other("record", "encode", error))
}

/// Serializes a last-seen update.
#[must_use]
pub fn last_seen(at: Timestamp, client: &LastClient) -> [u8; LAST_SEEN] {
    let mut bytes = [0; LAST_SEEN];
    bytes[..8].copy_from_slice(&at.as_millis().to_be_bytes());
    match client.ip {
        Some(IpAddr::V4(ip)) => {
            bytes[8] = 4;
            bytes[9..13].copy_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            bytes[8] = 6;
            bytes[9..25].copy_from_slice(&ip.octets());
        }
        None => {}
    }
    if let Some([a, b]) = client.country_code.as_deref().map(str::as_bytes) {
        bytes[25..].copy_from_slice(&[*a, *b]);
    }
    bytes
}

/// Serializes the end of a session, which follows its profile.
#[must_use]
pub fn write_end(ended: &Ended) -> Vec<u8> {
    let mut bytes = ended.at.as_millis().to_be_bytes().to_vec();
    bytes.extend(write_end_after_time(ended.reason, &ended.by));
    bytes
}

/// Serializes an end without its time, which a sweep's script determines.
#[must_use]
pub fn write_end_after_time(reason: EndReason, by: &Actor) -> Vec<u8> {
    let reason = reason.as_str();
    // The names are a few letters long.
    let mut bytes = vec![u8::try_from(reason.len()).unwrap_or(u8::MAX)];
    bytes.extend(reason.as_bytes());
    bytes.extend(by.to_string().into_bytes());
    bytes
}

/// Serializes a profile without any data, for a script that erases a user.
///
/// # Errors
/// As [`write()`].
pub fn empty_profile() -> Result<Vec<u8>> {
    encoded(&Profile::default(), Vec::new())
}

fn profile_of(record: &SessionRecord) -> Profile<'_> {
    let ClientInfo { ip, user_agent, device, geo, .. } = &*record.client;
    Profile {
        credential_version: record.credential_version,
        auth: record.auth.iter().map(|event| (event.method.as_str(), event.at.as_millis())).collect(),
        ip: *ip,
        user_agent: user_agent.as_deref(),
        brand: device.brand.as_deref(),
        model: device.model.as_deref(),
        os: device.os.as_deref(),
        os_version: device.os_version.as_deref(),
        browser: device.browser.as_deref(),
        browser_version: device.browser_version.as_deref(),
        country_code: geo.country_code.as_deref(),
        country: geo.country.as_deref(),
        region: geo.region.as_deref(),
        city: geo.city.as_deref(),
        coordinates: geo.coordinates,
        label: record.label.as_deref(),
    }
}

/// Why bytes are not a record. Never reveals their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "stores state reasons of their own")]
pub struct Unreadable(pub &'static str);

impl Unreadable {
    /// Returns a [`Corrupt`](crate::ErrorKind::Corrupt) error of a backend.
    #[must_use]
    pub fn into_error(self, backend: &'static str, operation: &'static str) -> Error {
        Error::corrupt(backend, operation, self.0)
    }
}

impl From<Error> for Unreadable {
    fn from(_: Error) -> Self {
        Self("a stored field is outside of its range")
    }
}

impl From<postcard::Error> for Unreadable {
    fn from(_: postcard::Error) -> Self {
        Self("the stored fields cannot be read")
    }
}

/// Parses a record.
///
/// # Errors
/// [`Unreadable`] for anything that [`write()`] did not write.
pub fn read(bytes: &[u8], part: Part) -> Result<SessionRecord, Unreadable> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Err(Unreadable("the stored value is too short"));
    };
    if head[0] != FORMAT {
        return Err(Unreadable("the stored value has another format"));
    }
    let time = |from: usize| Timestamp::from_millis(i64::from_be_bytes(array(head, from)));
    let (user, rest) = split(rest, usize::from(head[3]))?;
    let (more, rest) = split(rest, MORE)?;
    let (name, rest) = split(rest, usize::from(more[26]))?;
    let profile_len = usize::try_from(u32::from_be_bytes(array(more, 27))).unwrap_or(usize::MAX);
    let (profile, tail) = split(rest, profile_len)?;
    let profile: Profile<'_> = postcard::from_bytes(profile)?;

    let id = SessionId::from_bytes(array(head, 63))?;
    let mut record = SessionRecord::new(id, time(12), time(20));
    record.revision = Revision::new(u64::from_be_bytes(array(head, 4)))?;
    record.user_id = if user.is_empty() { None } else { Some(UserId::try_from(utf8(user)?)?) };
    record.username = if name.is_empty() { None } else { Some(utf8(name)?.to_owned()) };
    record.kind = kind_of(head[2])?;
    record.authenticated_at = Timestamp::from_millis(i64::from_be_bytes(array(more, 2)));
    record.idle_timeout = match i64::from_be_bytes(array(head, 28)) {
        -1 => None,
        idle => Some(Duration::from_millis(
            u64::try_from(idle).map_err(|_| Unreadable("a stored idle timeout is negative"))?,
        )),
    };
    record.last_seen_at = time(36);
    record.last_client = last_client(&head[44..63])?;
    record.remembered = more[0] & REMEMBERED != 0;
    record.device_id = (more[0] & HAS_DEVICE != 0).then(|| DeviceId::from_bytes(array(more, 10)));
    record.credential_version = profile.credential_version;
    record.auth = profile
        .auth
        .iter()
        .map(|(method, at)| Ok(AuthEvent::new(method.parse()?, Timestamp::from_millis(*at))))
        .collect::<Result<_, Unreadable>>()?;
    record.label = profile.label.map(str::to_owned);
    record.client = Arc::new(client_of(&profile, more[1])?);
    match head[1] {
        ENDED => record.state = SessionState::Ended(read_end(tail)?),
        ACTIVE if part == Part::Redacted => {}
        ACTIVE => {
            let (secret, rest) = read_secret(tail)?;
            let (refresh, data) = read_secret(rest)?;
            record.secret = secret.map(SecretState::from_bytes).transpose()?;
            record.refresh = refresh.map(RefreshState::from_bytes).transpose()?;
            record.data = Arc::from(data);
        }
        _ => return Err(Unreadable("the stored state is unknown")),
    }
    Ok(record)
}

/// Splits off a secret. Returns its bytes, and the bytes that follow.
fn read_secret(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Unreadable> {
    let Some((len, rest)) = bytes.split_first_chunk::<2>() else {
        return Err(Unreadable("the stored value is cut off"));
    };
    let (secret, rest) = split(rest, usize::from(u16::from_be_bytes(*len)))?;
    Ok((if secret.is_empty() { None } else { Some(secret) }, rest))
}

/// Parses the end of a session.
///
/// # Errors
/// [`Unreadable`] for anything that [`write_end`] did not write.
pub fn read_end(tail: &[u8]) -> Result<Ended, Unreadable> {
    let Some((at, rest)) = tail.split_first_chunk::<8>() else {
        return Err(Unreadable("the stored end is too short"));
    };
    let (len, rest) = rest.split_first().ok_or(Unreadable("the stored end is too short"))?;
    let (reason, by) = split(rest, usize::from(*len))?;
    let at = Timestamp::from_millis(i64::from_be_bytes(*at));
    Ok(Ended::new(utf8(reason)?.parse()?, at, utf8(by)?.parse()?))
}

fn client_of(profile: &Profile<'_>, device: u8) -> Result<ClientInfo, Unreadable> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let device = Device {
        kind: device_of(device)?,
        brand: owned(profile.brand),
        model: owned(profile.model),
        os: owned(profile.os),
        os_version: owned(profile.os_version),
        browser: owned(profile.browser),
        browser_version: owned(profile.browser_version),
    };
    let geo = GeoLocation {
        country_code: owned(profile.country_code),
        country: owned(profile.country),
        region: owned(profile.region),
        city: owned(profile.city),
        coordinates: profile.coordinates,
    };
    Ok(ClientInfo {
        ip: profile.ip,
        user_agent: owned(profile.user_agent),
        device,
        geo,
        ..Default::default()
    })
}

fn last_client(bytes: &[u8]) -> Result<LastClient, Unreadable> {
    let ip = match bytes[0] {
        0 => None,
        4 => Some(IpAddr::V4(Ipv4Addr::from(array::<4>(bytes, 1)))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(array::<16>(bytes, 1)))),
        _ => return Err(Unreadable("a stored address is of an unknown family")),
    };
    let country = match &bytes[17..19] {
        [0, 0] => None,
        country => Some(Arc::from(utf8(country)?)),
    };
    Ok(LastClient::new(ip, country))
}

fn text(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

fn utf8(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable("a stored text is not UTF-8"))
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), Unreadable> {
    bytes.split_at_checked(at).ok_or(Unreadable("the stored value is cut off"))
}

/// Returns the bytes at a position. Callers name positions inside the array.
fn array<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[from..from + N]);
    array
}
