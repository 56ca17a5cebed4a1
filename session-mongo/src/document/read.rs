//! Conversion of a document to a session.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{DateTime, RawArray, RawBsonRef, RawDocument};
use session_core::{
    Actor, AuthEvent, AuthMethod, ClientInfo, Device, DeviceId, Ended, GeoLocation, LastClient, RefreshState,
    Revision, SecretState, SessionId, SessionRecord, SessionState, Timestamp,
};

use super::{ACTIVE, ENDED, FORMAT, RESERVED};

/// Which part of a document to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// All fields except the [`HIDDEN`](super::HIDDEN) ones.
    Redacted,
    Whole,
}

/// The reason why a document is not a valid session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unreadable(pub(crate) &'static str);

type Read<T> = Result<T, Unreadable>;

/// Reads a session. Returns `None` for a reservation.
pub(crate) fn read(document: &RawDocument, part: Part) -> Read<Option<SessionRecord>> {
    let fields = Fields(document);
    if fields.state()? == RESERVED {
        return Ok(None);
    }
    if fields.required("format", RawBsonRef::as_i32)? != FORMAT {
        return Err(Unreadable("the document has an unknown format version"));
    }
    let created_at = fields.time("createdAt")?;
    let mut record = SessionRecord::new(fields.id("_id")?, created_at, fields.time("expiresAt")?);
    record.revision = fields.revision()?;
    record.user_id = fields.parsed("userId")?;
    record.username = fields.text("username")?;
    record.kind = fields.parsed("kind")?.ok_or(Unreadable("the kind is null"))?;
    record.state = read_state(document)?;
    record.authenticated_at = fields.time("authenticatedAt")?;
    record.last_seen_at = fields.time("lastSeenAt")?;
    record.idle_timeout = fields.unsigned("idleTimeout")?.map(Duration::from_millis);
    record.remembered = fields.required("remembered", RawBsonRef::as_bool)?;
    record.credential_version = fields.unsigned("credentialVersion")?;
    record.auth = fields.required("auth", RawBsonRef::as_array).and_then(read_auth)?;
    record.client = Arc::new(read_client(&fields.part("client")?)?);
    record.last_client = read_last_client(&fields.part("lastClient")?)?;
    record.device_id = fields.uuid("deviceId")?.map(DeviceId::from_bytes);
    record.label = fields.text("label")?;
    if part == Part::Whole {
        record.secret =
            fields.bytes("secret")?.map(SecretState::from_bytes).transpose().map_err(unreadable)?;
        record.refresh =
            fields.bytes("refresh")?.map(RefreshState::from_bytes).transpose().map_err(unreadable)?;
        record.data = fields.bytes("data")?.ok_or(Unreadable("the data is null"))?.into();
    }
    record.check().map_err(unreadable)?;
    check_deadline(&fields, &record)?;
    Ok(Some(record))
}

/// Reads only the state, with the end of an ended session.
pub(crate) fn read_state(document: &RawDocument) -> Read<SessionState> {
    let fields = Fields(document);
    let end = fields.optional("end", RawBsonRef::as_document)?;
    match (fields.state()?, end) {
        (ACTIVE, None) => Ok(SessionState::Active),
        (ENDED, Some(end)) => read_end(end).map(SessionState::Ended),
        _ => Err(Unreadable("the state and the end disagree")),
    }
}

fn read_end(end: &RawDocument) -> Read<Ended> {
    let end = Fields(end);
    let reason = end.parsed("reason")?.ok_or(Unreadable("the reason of the end is null"))?;
    let by: Actor = end.parsed("by")?.ok_or(Unreadable("the actor of the end is null"))?;
    Ok(Ended::new(reason, end.time("at")?, by))
}

/// Reads the id of a reservation. Returns `None` if the document is a session.
pub(crate) fn read_reservation(document: &RawDocument) -> Read<Option<ObjectId>> {
    let fields = Fields(document);
    if fields.state()? != RESERVED {
        return Ok(None);
    }
    fields.required("reservation", RawBsonRef::as_object_id).map(Some)
}

pub(crate) fn read_revision(document: &RawDocument) -> Read<Revision> {
    Fields(document).revision()
}

/// Checks that the stored deadline, which sweeps use, is the one that follows from the other
/// fields. Otherwise a sweep would end the session at another time than validation rejects it.
fn check_deadline(fields: &Fields<'_>, record: &SessionRecord) -> Read<()> {
    let stored = fields.optional("deadlineAt", RawBsonRef::as_datetime)?;
    let deadline =
        record.ended().is_none().then(|| record.expiry(record.created_at).deadline().at.as_millis());
    if stored.map(DateTime::timestamp_millis) == deadline {
        return Ok(());
    }
    Err(Unreadable("the deadline does not match the session"))
}

/// Typed access to the fields of a document.
struct Fields<'d>(&'d RawDocument);

impl<'d> Fields<'d> {
    /// Reads a field that is always present, and null if it has no value.
    fn optional<T>(&self, name: &str, typed: impl Fn(RawBsonRef<'d>) -> Option<T>) -> Read<Option<T>> {
        match self.0.get(name).map_err(|_| Unreadable("not a document"))? {
            None => Err(Unreadable("a field is missing")),
            Some(RawBsonRef::Null) => Ok(None),
            Some(value) => typed(value).map(Some).ok_or(Unreadable("a field has the wrong type")),
        }
    }

    fn required<T>(&self, name: &str, typed: impl Fn(RawBsonRef<'d>) -> Option<T>) -> Read<T> {
        self.optional(name, typed)?.ok_or(Unreadable("a field is null"))
    }

    fn state(&self) -> Read<&'d str> {
        self.required("state", RawBsonRef::as_str)
    }

    fn revision(&self) -> Read<Revision> {
        let revision = self.unsigned("revision")?.ok_or(Unreadable("the revision is null"))?;
        Revision::new(revision).map_err(unreadable)
    }

    fn time(&self, name: &str) -> Read<Timestamp> {
        let time = self.required(name, RawBsonRef::as_datetime)?;
        Ok(Timestamp::from_millis(time.timestamp_millis()))
    }

    fn unsigned(&self, name: &str) -> Read<Option<u64>> {
        let number = self.optional(name, RawBsonRef::as_i64)?;
        number.map(u64::try_from).transpose().map_err(|_| Unreadable("a number is negative"))
    }

    fn str(&self, name: &str) -> Read<Option<&'d str>> {
        self.optional(name, RawBsonRef::as_str)
    }

    fn text(&self, name: &str) -> Read<Option<String>> {
        Ok(self.str(name)?.map(str::to_owned))
    }

    fn parsed<T: FromStr<Err = session_core::Error>>(&self, name: &str) -> Read<Option<T>> {
        self.str(name)?.map(str::parse).transpose().map_err(unreadable)
    }

    fn binary(&self, name: &str, subtype: BinarySubtype) -> Read<Option<&'d [u8]>> {
        let typed = |value: RawBsonRef<'d>| value.as_binary().filter(|binary| binary.subtype == subtype);
        Ok(self.optional(name, typed)?.map(|binary| binary.bytes))
    }

    fn bytes(&self, name: &str) -> Read<Option<&'d [u8]>> {
        self.binary(name, BinarySubtype::Generic)
    }

    fn uuid(&self, name: &str) -> Read<Option<[u8; 16]>> {
        let bytes = self.binary(name, BinarySubtype::Uuid)?;
        bytes.map(<[u8; 16]>::try_from).transpose().map_err(|_| Unreadable("a UUID has the wrong length"))
    }

    fn id(&self, name: &str) -> Read<SessionId> {
        let bytes = self.uuid(name)?.ok_or(Unreadable("an id is null"))?;
        SessionId::from_bytes(bytes).map_err(unreadable)
    }

    fn part(&self, name: &str) -> Read<Described<'d>> {
        self.required(name, RawBsonRef::as_document).map(|part| Described(Some(part)))
    }
}

/// Typed access to a description, which contains the known values only.
struct Described<'d>(Option<&'d RawDocument>);

impl<'d> Described<'d> {
    fn field<T>(&self, name: &str, typed: impl Fn(RawBsonRef<'d>) -> Option<T>) -> Read<Option<T>> {
        let Some(document) = self.0 else { return Ok(None) };
        match document.get(name) {
            Ok(None) => Ok(None),
            Ok(Some(value)) => typed(value).map(Some).ok_or(Unreadable("a description has the wrong type")),
            Err(_) => Err(Unreadable("not a document")),
        }
    }

    fn text(&self, name: &str) -> Read<Option<String>> {
        self.field(name, |value| value.as_str().map(str::to_owned))
    }

    fn ip(&self) -> Read<Option<IpAddr>> {
        self.field("ip", |value| value.as_str()?.parse().ok())
    }

    fn part(&self, name: &str) -> Read<Self> {
        self.field(name, RawBsonRef::as_document).map(Self)
    }
}

fn read_auth(events: &RawArray) -> Read<Vec<AuthEvent>> {
    let read = |event: RawBsonRef<'_>| {
        let event = Fields(event.as_document().ok_or(Unreadable("an authentication has the wrong type"))?);
        let method: AuthMethod =
            event.parsed("method")?.ok_or(Unreadable("an authentication has no method"))?;
        Ok(AuthEvent::new(method, event.time("at")?))
    };
    events.into_iter().map(|event| read(event.map_err(|_| Unreadable("not an array"))?)).collect()
}

fn read_client(fields: &Described<'_>) -> Read<ClientInfo> {
    let mut client = ClientInfo::default();
    client.ip = fields.ip()?;
    client.user_agent = fields.text("userAgent")?;
    client.device = read_device(&fields.part("device")?)?;
    client.geo = read_geo(&fields.part("geo")?)?;
    Ok(client)
}

fn read_device(fields: &Described<'_>) -> Read<Device> {
    let mut device = Device::default();
    device.kind = fields.field("kind", |value| value.as_str()?.parse().ok())?;
    device.brand = fields.text("brand")?;
    device.model = fields.text("model")?;
    device.os = fields.text("os")?;
    device.os_version = fields.text("osVersion")?;
    device.browser = fields.text("browser")?;
    device.browser_version = fields.text("browserVersion")?;
    Ok(device)
}

fn read_geo(fields: &Described<'_>) -> Read<GeoLocation> {
    let mut geo = GeoLocation::default();
    geo.country_code = fields.text("countryCode")?;
    geo.country = fields.text("country")?;
    geo.region = fields.text("region")?;
    geo.city = fields.text("city")?;
    let degrees = |name| fields.field(name, RawBsonRef::as_f64);
    geo.coordinates = degrees("latitude")?.zip(degrees("longitude")?);
    Ok(geo)
}

fn read_last_client(fields: &Described<'_>) -> Read<LastClient> {
    let country = fields.field("countryCode", |value| value.as_str().map(Arc::from))?;
    Ok(LastClient::new(fields.ip()?, country))
}

fn unreadable(_: session_core::Error) -> Unreadable {
    Unreadable("a field has an invalid value")
}
