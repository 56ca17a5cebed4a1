//! Conversion of sessions to documents and back.

mod read;

use std::time::Duration;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use session_core::{
    AuthEvent, ClientInfo, Device, DeviceKind, GeoLocation, LastClient, SessionId, SessionRecord, Timestamp,
    UserId,
};

pub(crate) use read::{Part, Unreadable, read, read_reservation, read_revision, read_state};

/// The version of this layout. A document of a later version is not read.
pub(crate) const FORMAT: i32 = 1;

/// The states that a document can be in.
pub(crate) const ACTIVE: &str = "active";
pub(crate) const ENDED: &str = "ended";
/// Not a session yet: a sign-in has reserved the id, see `limited/`.
pub(crate) const RESERVED: &str = "reserved";

/// The fields that a listing does not read.
pub(crate) const HIDDEN: [&str; 3] = ["secret", "refresh", "data"];

pub(crate) fn uuid(bytes: &[u8; 16]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() })
}

pub(crate) fn id(id: SessionId) -> Bson {
    uuid(id.as_bytes())
}

pub(crate) fn time(time: Timestamp) -> Bson {
    Bson::DateTime(DateTime::from_millis(time.as_millis()))
}

/// Converts a duration. The rules of the core and the builder limit durations to whole milliseconds
/// of at most ten years.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Converts a number. The rules of the core limit numbers to 2^63 - 1.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text(text: Option<&str>) -> Bson {
    text.map_or(Bson::Null, Bson::from)
}

fn bytes(bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes })
}

/// Returns the document of a new session.
pub(crate) fn new(record: &SessionRecord) -> Document {
    let mut document = doc! {
        "_id": id(record.id),
        "format": FORMAT,
        "userId": text(record.user_id.as_ref().map(UserId::as_str)),
        "kind": record.kind.as_str(),
        "createdAt": time(record.created_at),
        "state": ACTIVE,
        "revision": number(record.revision.get()),
        "end": Bson::Null,
        "purgeAt": Bson::Null,
    };
    document.extend(saved(record));
    document.extend(doc! {
        "lastSeenAt": time(record.last_seen_at),
        "lastClient": last_client(&record.last_client),
        "deadlineAt": time(record.expiry(record.created_at).deadline().at),
    });
    document
}

/// Returns the fields that a save replaces. An absent value is written as null: this crate always
/// writes every field, so a missing field means a corrupt document.
pub(crate) fn saved(record: &SessionRecord) -> Document {
    doc! {
        "username": text(record.username.as_deref()),
        "authenticatedAt": time(record.authenticated_at),
        "expiresAt": time(record.expires_at),
        "idleTimeout": record.idle_timeout.map(millis),
        "remembered": record.remembered,
        "credentialVersion": record.credential_version.map(number),
        "secret": record.secret.as_ref().map_or(Bson::Null, |secret| bytes(secret.to_bytes())),
        "refresh": record.refresh.as_ref().map_or(Bson::Null, |refresh| bytes(refresh.to_bytes())),
        "auth": record.auth.iter().map(auth_event).collect::<Vec<_>>(),
        "client": client(&record.client),
        "deviceId": record.device_id.as_ref().map_or(Bson::Null, |device| uuid(device.as_bytes())),
        "label": text(record.label.as_deref()),
        "data": bytes(record.data.to_vec()),
    }
}

/// Returns the values to which an end resets fields.
pub(crate) fn cleared() -> Document {
    doc! { "secret": Bson::Null, "refresh": Bson::Null, "data": bytes(Vec::new()), "deadlineAt": Bson::Null }
}

/// Returns the values to which an erasure resets fields. It also replaces the actor of the end.
pub(crate) fn erased() -> Document {
    doc! {
        "userId": Bson::Null,
        "username": Bson::Null,
        "credentialVersion": Bson::Null,
        "auth": [],
        "client": {},
        "lastClient": {},
        "deviceId": Bson::Null,
        "label": Bson::Null,
    }
}

pub(crate) fn last_client(client: &LastClient) -> Document {
    let ip = client.ip.map(|ip| ip.to_string());
    known([("ip", ip.as_deref()), ("countryCode", client.country_code.as_deref())])
}

/// Returns a document of the known values only, because descriptions have many fields and most are
/// unknown.
fn known<'a>(fields: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Document {
    let known = fields.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
    known.collect()
}

fn auth_event(event: &AuthEvent) -> Bson {
    Bson::Document(doc! { "method": event.method.as_str(), "at": time(event.at) })
}

fn client(client: &ClientInfo) -> Document {
    let ip = client.ip.map(|ip| ip.to_string());
    let mut document = known([("ip", ip.as_deref()), ("userAgent", client.user_agent.as_deref())]);
    let (device, geo) = (device(&client.device), geo(&client.geo));
    let parts = [("device", device), ("geo", geo)];
    document.extend(
        parts
            .into_iter()
            .filter(|(_, part)| !part.is_empty())
            .map(|(name, part)| (name.to_owned(), part.into())),
    );
    document
}

fn device(device: &Device) -> Document {
    known([
        ("kind", device.kind.map(DeviceKind::as_str)),
        ("brand", device.brand.as_deref()),
        ("model", device.model.as_deref()),
        ("os", device.os.as_deref()),
        ("osVersion", device.os_version.as_deref()),
        ("browser", device.browser.as_deref()),
        ("browserVersion", device.browser_version.as_deref()),
    ])
}

fn geo(geo: &GeoLocation) -> Document {
    let mut document = known([
        ("countryCode", geo.country_code.as_deref()),
        ("country", geo.country.as_deref()),
        ("region", geo.region.as_deref()),
        ("city", geo.city.as_deref()),
    ]);
    if let Some((latitude, longitude)) = geo.coordinates {
        document.insert("latitude", latitude);
        document.insert("longitude", longitude);
    }
    document
}

#[cfg(test)]
mod tests;
