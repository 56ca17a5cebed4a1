//! The bytes of a record.
//!
//! A session is one string, so that loading it is one `GET` of one key. Scripts judge and change sessions too, and therefore what they
//! need stands at fixed places in front (`scripts/record.lua` reads the same table):
//!
//! | bytes, from 0 | what |
//! |---|---|
//! | 0, 1 | format 1; `A`ctive or `E`nded |
//! | 2, 3, 4 | flags: 1 remembered, 2 has a device id; kind; kind of device |
//! | 5 | revision, 8 bytes like every number but the lengths |
//! | 13, 21, 29, 37 | created, authenticated, expires, idle timeout (-1: none) |
//! | 45, 53 | last seen; last client, 19 bytes. A touch replaces these 27 bytes and nothing else |
//! | 72, 88 | id; device id |
//! | 104, 105, 106 | lengths of user id, user name (1 byte each) and profile (4 bytes) |
//! | 110 | user id, user name, profile |
//! | then | active: secrets and data. Ended: time (8 bytes), reason (length and name), by whom |
//!
//! All numbers are big-endian. Profile and secrets are [postcard](https://postcard.jamesmunns.com/wire-format).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use session_core::{
    Actor, AuthEvent, ClientInfo, Device, DeviceId, DeviceKind, EndReason, Ended, Error, GeoLocation,
    LastClient, RefreshState, Result, Revision, SecretState, SessionId, SessionKind, SessionRecord,
    SessionState, Timestamp, UserId,
};

use crate::error::NAME;

/// The format that is written. What an earlier version of this crate wrote must stay readable.
const FORMAT: u8 = 1;

/// The fields at fixed places.
const HEAD: usize = 110;

/// A sighting: when, and the client.
pub(crate) const SIGHTING: usize = 27;

const ACTIVE: u8 = b'A';
const ENDED: u8 = b'E';
const REMEMBERED: u8 = 1;
const HAS_DEVICE: u8 = 2;

/// What a session keeps of a person, and nobody but us reads.
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

/// The secrets of an active session. The data follows, as it is.
#[derive(Debug, Serialize, Deserialize)]
struct Secrets {
    secret: Option<Vec<u8>>,
    refresh: Option<Vec<u8>>,
}

/// How much of an active session is in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// Without secrets and data.
    Redacted,
}

/// Writes a record.
///
/// # Errors
/// `Unsupported` for a kind that this version does not know.
pub(crate) fn write(record: &SessionRecord, operation: &'static str) -> Result<Vec<u8>> {
    let unsupported = || Error::unsupported(NAME, operation).with_detail("a kind of a later version");
    let profile = encoded(&profile_of(record), operation)?;
    let (user, name) = (record.user_id.as_ref().map_or("", UserId::as_str), text(&record.username));
    let mut bytes = Vec::with_capacity(HEAD + user.len() + name.len() + profile.len() + 160 + record.data.len());
    bytes.push(FORMAT);
    bytes.push(if record.ended().is_some() { ENDED } else { ACTIVE });
    bytes.push(
        if record.remembered { REMEMBERED } else { 0 } | if record.device_id.is_some() { HAS_DEVICE } else { 0 },
    );
    bytes.push(kind_code(record.kind).ok_or_else(unsupported)?);
    bytes.push(device_code(record.client.device.kind).ok_or_else(unsupported)?);
    bytes.extend(record.revision.get().to_be_bytes());
    let idle = record.idle_timeout.map_or(-1, |idle| i64::try_from(idle.as_millis()).unwrap_or(i64::MAX));
    let times = [record.created_at, record.authenticated_at, record.expires_at, Timestamp::from_millis(idle)];
    bytes.extend(times.iter().flat_map(|time| time.as_millis().to_be_bytes()));
    bytes.extend(sighting(record.last_seen_at, &record.last_client));
    bytes.extend(record.id.as_bytes());
    bytes.extend(record.device_id.as_ref().map_or([0; 16], |device| *device.as_bytes()));
    // `SessionRecord::check` bounds both names by 255 bytes and the texts of a profile by a few thousand.
    bytes.push(u8::try_from(user.len()).unwrap_or(u8::MAX));
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend(u32::try_from(profile.len()).unwrap_or(u32::MAX).to_be_bytes());
    for part in [user.as_bytes(), name.as_bytes(), &profile] {
        bytes.extend(part);
    }
    match record.ended() {
        Some(ended) => bytes.extend(write_end(ended)),
        None => {
            let secrets = Secrets {
                secret: record.secret.as_ref().map(SecretState::to_bytes),
                refresh: record.refresh.as_ref().map(RefreshState::to_bytes),
            };
            bytes.extend(encoded(&secrets, operation)?);
            bytes.extend(record.data.iter());
        }
    }
    Ok(bytes)
}

fn encoded(value: &impl Serialize, operation: &'static str) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|error| Error::other(NAME, operation, error))
}

/// The sighting of a touch.
pub(crate) fn sighting(at: Timestamp, client: &LastClient) -> [u8; SIGHTING] {
    let mut bytes = [0; SIGHTING];
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

/// The end of a session, as it follows its profile.
pub(crate) fn write_end(ended: &Ended) -> Vec<u8> {
    let mut bytes = ended.at.as_millis().to_be_bytes().to_vec();
    bytes.extend(write_end_after_time(ended.reason, &ended.by));
    bytes
}

/// The same without the time, which a sweep finds out.
pub(crate) fn write_end_after_time(reason: EndReason, by: &Actor) -> Vec<u8> {
    let reason = reason.as_str();
    // The names are a few letters long.
    let mut bytes = vec![u8::try_from(reason.len()).unwrap_or(u8::MAX)];
    bytes.extend(reason.as_bytes());
    bytes.extend(by.to_string().into_bytes());
    bytes
}

/// The profile of nobody.
pub(crate) fn empty_profile(operation: &'static str) -> Result<Vec<u8>> {
    encoded(&Profile::default(), operation)
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

/// Why bytes are not a record. Says nothing of what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) &'static str);

impl Unreadable {
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        Error::corrupt(NAME, operation, self.0)
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

/// Reads a record.
pub(crate) fn read(bytes: &[u8], part: Part) -> Result<SessionRecord, Unreadable> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Err(Unreadable("the stored value is too short"));
    };
    if head[0] != FORMAT {
        return Err(Unreadable("the stored value has another format"));
    }
    let time = |from: usize| Timestamp::from_millis(i64::from_be_bytes(array(head, from)));
    let (user, rest) = split(rest, usize::from(head[104]))?;
    let (name, rest) = split(rest, usize::from(head[105]))?;
    let profile_len = usize::try_from(u32::from_be_bytes(array(head, 106))).unwrap_or(usize::MAX);
    let (profile, tail) = split(rest, profile_len)?;
    let profile: Profile<'_> = postcard::from_bytes(profile)?;

    let id = SessionId::from_bytes(array(head, 72))?;
    let mut record = SessionRecord::new(id, time(13), time(29));
    record.revision = Revision::new(u64::from_be_bytes(array(head, 5)))?;
    record.user_id = if user.is_empty() { None } else { Some(UserId::try_from(utf8(user)?)?) };
    record.username = if name.is_empty() { None } else { Some(utf8(name)?.to_owned()) };
    record.kind = kind_of(head[3])?;
    record.authenticated_at = time(21);
    record.idle_timeout = match i64::from_be_bytes(array(head, 37)) {
        -1 => None,
        idle => Some(Duration::from_millis(
            u64::try_from(idle).map_err(|_| Unreadable("a stored idle timeout is negative"))?,
        )),
    };
    record.last_seen_at = time(45);
    record.last_client = last_client(&head[53..72])?;
    record.remembered = head[2] & REMEMBERED != 0;
    record.device_id = (head[2] & HAS_DEVICE != 0).then(|| DeviceId::from_bytes(array(head, 88)));
    record.credential_version = profile.credential_version;
    record.auth = profile
        .auth
        .iter()
        .map(|(method, at)| Ok(AuthEvent::new(method.parse()?, Timestamp::from_millis(*at))))
        .collect::<Result<_, Unreadable>>()?;
    record.label = profile.label.map(str::to_owned);
    record.client = Arc::new(client_of(&profile, head[4])?);
    match head[1] {
        ENDED => record.state = SessionState::Ended(read_end(tail)?),
        ACTIVE if part == Part::Redacted => {}
        ACTIVE => {
            let (secrets, data): (Secrets, _) = postcard::take_from_bytes(tail)?;
            record.secret = secrets.secret.as_deref().map(SecretState::from_bytes).transpose()?;
            record.refresh = secrets.refresh.as_deref().map(RefreshState::from_bytes).transpose()?;
            record.data = Arc::from(data);
        }
        _ => return Err(Unreadable("the stored state is unknown")),
    }
    Ok(record)
}

/// Reads the end of a session.
pub(crate) fn read_end(tail: &[u8]) -> Result<Ended, Unreadable> {
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
    let mut client = ClientInfo::default();
    client.ip = profile.ip;
    client.user_agent = owned(profile.user_agent);
    let mut made = Device::default();
    made.kind = device_of(device)?;
    made.brand = owned(profile.brand);
    made.model = owned(profile.model);
    made.os = owned(profile.os);
    made.os_version = owned(profile.os_version);
    made.browser = owned(profile.browser);
    made.browser_version = owned(profile.browser_version);
    client.device = made;
    let mut geo = GeoLocation::default();
    geo.country_code = owned(profile.country_code);
    geo.country = owned(profile.country);
    geo.region = owned(profile.region);
    geo.city = owned(profile.city);
    geo.coordinates = profile.coordinates;
    client.geo = geo;
    Ok(client)
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

const fn kind_code(kind: SessionKind) -> Option<u8> {
    Some(match kind {
        SessionKind::Api => b'a',
        SessionKind::External => b'e',
        SessionKind::Web => b'w',
        _ => return None,
    })
}

fn kind_of(code: u8) -> Result<SessionKind, Unreadable> {
    let has = |kind: &&SessionKind| kind_code(**kind) == Some(code);
    SessionKind::ALL.iter().find(has).copied().ok_or(Unreadable("the stored kind is unknown"))
}

/// The code by which scripts filter.
pub(crate) const fn device_code(kind: Option<DeviceKind>) -> Option<u8> {
    Some(match kind {
        None => b'-',
        Some(DeviceKind::Bot) => b'b',
        Some(DeviceKind::Desktop) => b'd',
        Some(DeviceKind::Mobile) => b'm',
        Some(DeviceKind::Other) => b'o',
        Some(DeviceKind::Tablet) => b't',
        Some(DeviceKind::Tv) => b'v',
        Some(_) => return None,
    })
}

fn device_of(code: u8) -> Result<Option<DeviceKind>, Unreadable> {
    let mut kinds = std::iter::once(None).chain(DeviceKind::ALL.iter().copied().map(Some));
    let found = kinds.find(|kind| device_code(*kind) == Some(code));
    found.ok_or(Unreadable("the stored kind of device is unknown"))
}

/// The code of a kind in a filter, `Unsupported` for one of a later version.
pub(crate) fn kind_filter(kind: Option<SessionKind>, operation: &'static str) -> Result<Vec<u8>> {
    kind.map_or(Ok(Vec::new()), |kind| {
        kind_code(kind).map(|code| vec![code]).ok_or_else(|| Error::unsupported(NAME, operation))
    })
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

/// The bytes from a place. All callers name places inside.
fn array<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[from..from + N]);
    array
}

#[cfg(test)]
mod tests;
