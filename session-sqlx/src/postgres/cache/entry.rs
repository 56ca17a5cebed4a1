//! The encoding of an entry's body.
//!
//! | bytes, from 0 | content |
//! |---|---|
//! | 0, 1 | format 2; `R`ecord or `T`ombstone |
//! | 2, 18 | scope, session id |
//! | 34 | the parts, each preceded by its length in 4 bytes, big-endian |
//!
//! The parts of a record are its fields as JSON, the bytes of both secrets (empty for none), and
//! its data. The only part of a tombstone is the end, as JSON. The JSON is an array without names.
//! JSON cannot represent every floating-point number exactly, so those are written as their bits.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Actor, AuthEvent, CacheBody, CacheEntry, ClientInfo, Device, DeviceId, DeviceKind, Ended, Error,
    GeoLocation, LastClient, RefreshState, Result, Revision, Scope, SecretState, SessionId, SessionRecord,
    SessionState, Timestamp, UserId,
};

use super::super::NAME;

/// The format that is written. An entry of another format is an error.
const FORMAT: u8 = 2;

const RECORD: u8 = b'R';
const TOMBSTONE: u8 = b'T';

type Text<'a> = Option<&'a str>;

/// User, kind, times and flags.
type Session<'a> = (Text<'a>, Text<'a>, &'a str, [i64; 4], Option<u64>, bool, Option<u64>);

/// The client at sign-in.
type Client<'a> = (Option<IpAddr>, Text<'a>, [Text<'a>; 7], [Text<'a>; 4], Option<[u64; 2]>);

/// The last-seen client, the device and the label.
type LastSeen<'a> = (Option<IpAddr>, Text<'a>, Option<[u8; 16]>, Text<'a>);

/// The same types for reading. Strings are owned, because JSON may contain escape sequences.
mod read {
    use super::IpAddr;

    pub(super) type Text = Option<String>;
    pub(super) type Session = (Text, Text, String, [i64; 4], Option<u64>, bool, Option<u64>);
    pub(super) type Client = (Option<IpAddr>, Text, [Text; 7], [Text; 4], Option<[u64; 2]>);
    pub(super) type LastSeen = (Option<IpAddr>, Text, Option<[u8; 16]>, Text);
}

/// The reason why bytes are not an entry. It contains none of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

impl From<Error> for Unreadable {
    fn from(_: Error) -> Self {
        Self("a stored field is outside of its range")
    }
}

impl From<serde_json::Error> for Unreadable {
    fn from(_: serde_json::Error) -> Self {
        Self("the stored fields cannot be read")
    }
}

/// Writes the body of an entry.
///
/// # Errors
/// `Invalid` for an entry that every reader would reject, `Unsupported` for one of a later version.
pub(super) fn write(entry: &CacheEntry, operation: &'static str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match &entry.body {
        CacheBody::Record(record) => {
            if !is_consistent(record, entry.id, entry.revision) {
                return Err(Error::invalid(operation, "the entry contradicts its record"));
            }
            record.check()?;
            put_head(&mut bytes, RECORD, entry);
            put(&mut bytes, &fields(record, operation)?, operation)?;
            put(
                &mut bytes,
                &record.secret.as_ref().map(SecretState::to_bytes).unwrap_or_default(),
                operation,
            )?;
            put(
                &mut bytes,
                &record.refresh.as_ref().map(RefreshState::to_bytes).unwrap_or_default(),
                operation,
            )?;
            put(&mut bytes, &record.data, operation)?;
        }
        CacheBody::Tombstone(ended) => {
            put_head(&mut bytes, TOMBSTONE, entry);
            let end = (ended.reason.as_str(), ended.at.as_millis(), ended.by.to_string());
            put(&mut bytes, &serde_json::to_vec(&end).map_err(unwritable(operation))?, operation)?;
        }
        _ => return Err(Error::unsupported(NAME, operation).with_detail("an entry of a later version")),
    }
    Ok(bytes)
}

fn put_head(bytes: &mut Vec<u8>, kind: u8, entry: &CacheEntry) {
    bytes.extend([FORMAT, kind]);
    bytes.extend(entry.scope.as_bytes());
    bytes.extend(entry.id.as_bytes());
}

fn put(bytes: &mut Vec<u8>, part: &[u8], operation: &'static str) -> Result<()> {
    let length =
        u32::try_from(part.len()).map_err(|_| Error::invalid(operation, "a part is longer than 4 GiB"))?;
    bytes.extend(length.to_be_bytes());
    bytes.extend(part);
    Ok(())
}

fn fields(record: &SessionRecord, operation: &'static str) -> Result<Vec<u8>> {
    let whole = |idle: Duration| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    let times = [record.created_at, record.authenticated_at, record.last_seen_at, record.expires_at];
    let session: Session<'_> = (
        record.user_id.as_ref().map(UserId::as_str),
        record.username.as_deref(),
        record.kind.as_str(),
        times.map(Timestamp::as_millis),
        record.idle_timeout.map(whole),
        record.remembered,
        record.credential_version,
    );
    let ClientInfo { ip, user_agent, device, geo, .. } = &*record.client;
    let texts = [
        &device.brand,
        &device.model,
        &device.os,
        &device.os_version,
        &device.browser,
        &device.browser_version,
    ];
    let [brand, model, os, os_version, browser, browser_version] = texts.map(Option::as_deref);
    let kind = device.kind.map(DeviceKind::as_str);
    let places = [&geo.country_code, &geo.country, &geo.region, &geo.city].map(Option::as_deref);
    let client: Client<'_> = (
        *ip,
        user_agent.as_deref(),
        [kind, brand, model, os, os_version, browser, browser_version],
        places,
        geo.coordinates.map(|(latitude, longitude)| [latitude, longitude].map(f64::to_bits)),
    );
    let last: LastSeen<'_> = (
        record.last_client.ip,
        record.last_client.country_code.as_deref(),
        record.device_id.as_ref().map(|device| *device.as_bytes()),
        record.label.as_deref(),
    );
    serde_json::to_vec(&(session, &record.auth, client, last)).map_err(unwritable(operation))
}

fn unwritable(operation: &'static str) -> impl Fn(serde_json::Error) -> Error {
    move |error| Error::other(NAME, operation, error)
}

/// Reads the body of an entry that was requested by its scope and id.
pub(super) fn read(
    bytes: &[u8],
    (scope, id): (Scope, SessionId),
    revision: Revision,
    verified_at: Timestamp,
    is_tombstone: bool,
) -> Result<CacheEntry, Unreadable> {
    let (head, mut rest) =
        bytes.split_first_chunk::<34>().ok_or(Unreadable("the stored entry is too short"))?;
    if head[0] != FORMAT {
        return Err(Unreadable("the stored entry has another format"));
    }
    if &head[2..18] != scope.as_bytes() {
        return Err(Unreadable("an entry of another scope"));
    }
    if &head[18..] != id.as_bytes() {
        return Err(Unreadable("an entry of another session"));
    }
    let record = match (head[1], is_tombstone) {
        (RECORD, false) => {
            let mut record = record_of(id, revision, part(&mut rest)?)?;
            record.secret = some(part(&mut rest)?).map(SecretState::from_bytes).transpose()?;
            record.refresh = some(part(&mut rest)?).map(RefreshState::from_bytes).transpose()?;
            record.data = Arc::from(part(&mut rest)?);
            record.check()?;
            record
        }
        (TOMBSTONE, true) => {
            let (reason, at, by): (String, i64, String) = serde_json::from_slice(part(&mut rest)?)?;
            let mut record = SessionRecord::new(id, verified_at, verified_at).with_revision(revision);
            let by: Actor = by.parse()?;
            record.state = SessionState::Ended(Ended::new(reason.parse()?, Timestamp::from_millis(at), by));
            record
        }
        _ => return Err(Unreadable("the stored entry is of another kind than its row")),
    };
    if !rest.is_empty() {
        return Err(Unreadable("there are bytes after the stored entry"));
    }
    Ok(CacheEntry::of(scope, Arc::new(record), verified_at))
}

fn some(bytes: &[u8]) -> Option<&[u8]> {
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

fn part<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], Unreadable> {
    let truncated = Unreadable("the stored entry is truncated");
    let (length, after) = rest.split_first_chunk().ok_or(truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| truncated)?;
    let (part, after) = after.split_at_checked(length).ok_or(truncated)?;
    *rest = after;
    Ok(part)
}

fn record_of(id: SessionId, revision: Revision, json: &[u8]) -> Result<SessionRecord, Unreadable> {
    type Fields = (read::Session, Vec<AuthEvent>, read::Client, read::LastSeen);
    let (session, auth, client, last): Fields = serde_json::from_slice(json)?;
    let (user, username, kind, times, idle, remembered, credential_version) = session;
    let [created_at, authenticated_at, last_seen_at, expires_at] = times.map(Timestamp::from_millis);
    let (last_ip, last_country, device_id, label) = last;
    let mut record = SessionRecord::new(id, created_at, expires_at).with_revision(revision);
    record.user_id = parsed(&user)?;
    record.username = username;
    record.kind = kind.parse()?;
    record.authenticated_at = authenticated_at;
    record.last_seen_at = last_seen_at;
    record.idle_timeout = idle.map(Duration::from_millis);
    record.remembered = remembered;
    record.credential_version = credential_version;
    record.auth = auth;
    record.client = Arc::new(client_of(client)?);
    record.last_client = LastClient::new(last_ip, last_country.map(Arc::from));
    record.device_id = device_id.map(DeviceId::from_bytes);
    record.label = label;
    Ok(record)
}

fn client_of((ip, user_agent, device, geo, coordinates): read::Client) -> Result<ClientInfo, Unreadable> {
    let mut client = ClientInfo::default();
    (client.ip, client.user_agent) = (ip, user_agent);
    let mut made = Device::default();
    let kind;
    [kind, made.brand, made.model, made.os, made.os_version, made.browser, made.browser_version] = device;
    made.kind = parsed(&kind)?;
    client.device = made;
    let mut place = GeoLocation::default();
    [place.country_code, place.country, place.region, place.city] = geo;
    place.coordinates = coordinates.map(|bits| {
        let [latitude, longitude] = bits.map(f64::from_bits);
        (latitude, longitude)
    });
    client.geo = place;
    Ok(client)
}

fn parsed<T: FromStr<Err = Error>>(text: &read::Text) -> Result<Option<T>, Unreadable> {
    Ok(text.as_deref().map(str::parse).transpose()?)
}

/// Returns true if a record matches its entry: the same id and revision, and active.
fn is_consistent(record: &SessionRecord, id: SessionId, revision: Revision) -> bool {
    record.id == id && record.revision == revision && record.ended().is_none()
}
