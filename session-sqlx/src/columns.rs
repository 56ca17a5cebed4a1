//! The columns of a session: their names, and the conversion of a record to them and back.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Actor, AuthEvent, ClientInfo, Device, DeviceId, DeviceKind, Ended, Error, GeoLocation, LastClient,
    RefreshState, Revision, SecretState, SessionId, SessionRecord, SessionState, Timestamp, UserId,
};
use sqlx::error::BoxDynError;

use crate::dialect::{Dialect, Value};

/// The column names: first those that keep their value from creation, then those that a save
/// replaces, then those that a last-seen update moves.
const NAMES: [&str; 38] = [
    "id",
    "user_id",
    "kind",
    "created_at",
    "ended_reason",
    "ended_at",
    "ended_by",
    "revision",
    "username",
    "authenticated_at",
    "expires_at",
    "idle_timeout",
    "remembered",
    "credential_version",
    "secret",
    "refresh",
    "auth",
    "ip_address",
    "user_agent",
    "device_kind",
    "device_brand",
    "device_model",
    "os",
    "os_version",
    "browser",
    "browser_version",
    "geo_country_code",
    "geo_country",
    "geo_region",
    "geo_city",
    "geo_latitude",
    "geo_longitude",
    "device_id",
    "label",
    "data",
    "last_ip_address",
    "last_country_code",
    "last_seen_at",
];

/// The names that a save replaces.
const SAVED: std::ops::Range<usize> = 8..35;

/// The columns that an erasure keeps, except the actor of the end, which it overwrites. A column
/// that is not listed here is personal data.
const IMPERSONAL: [&str; 15] = [
    "id",
    "kind",
    "created_at",
    "ended_reason",
    "ended_at",
    "ended_by",
    "revision",
    "authenticated_at",
    "expires_at",
    "idle_timeout",
    "remembered",
    "secret",
    "refresh",
    "data",
    "last_seen_at",
];

/// Returns all columns that statements name. The generated `deadline_at` is not among them.
pub(crate) fn all() -> String {
    NAMES.join(", ")
}

/// Returns the same columns for listings, with NULL in place of secrets and data.
pub(crate) fn history() -> String {
    let shown = NAMES.map(|name| if ["secret", "refresh", "data"].contains(&name) { "NULL" } else { name });
    shown.join(", ")
}

/// Returns the names that `verify` checks.
pub(crate) fn expected() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain(["deadline_at"])
}

pub(crate) fn placeholders() -> String {
    ["?"; NAMES.len()].join(", ")
}

/// Returns the assignments of a save, without those of the last-seen update.
pub(crate) fn save() -> String {
    NAMES[SAVED].iter().map(|name| format!("{name} = ?")).collect::<Vec<_>>().join(", ")
}

/// Returns the assignments of an erasure.
pub(crate) fn erase() -> String {
    let personal = NAMES.iter().filter(|name| !IMPERSONAL.contains(name));
    personal.map(|name| format!("{name} = NULL")).collect::<Vec<_>>().join(", ")
}

/// Binds the values of a record in the order of [`all`].
pub(crate) fn bind<D: Dialect>(
    arguments: &mut D::Arguments,
    record: &SessionRecord,
) -> Result<(), BoxDynError> {
    let ended = record.ended();
    let by = ended.map(|ended| ended.by.to_string());
    let values = [
        Value::Uuid(Some(record.id.as_bytes())),
        Value::Key(record.user_id.as_ref().map(UserId::as_str)),
        Value::Key(Some(record.kind.as_str())),
        Value::Int(Some(record.created_at.as_millis())),
        Value::Key(ended.map(|ended| ended.reason.as_str())),
        Value::Int(ended.map(|ended| ended.at.as_millis())),
        Value::Key(by.as_deref()),
        Value::Int(Some(number(record.revision.get())?)),
    ];
    values.into_iter().try_for_each(|value| D::bind(arguments, value))?;
    bind_saved::<D>(arguments, record)?;
    bind_last_seen::<D>(arguments, record)
}

/// Binds the values of a record in the order of [`save`].
pub(crate) fn bind_saved<D: Dialect>(
    arguments: &mut D::Arguments,
    record: &SessionRecord,
) -> Result<(), BoxDynError> {
    let secret = record.secret.as_ref().map(SecretState::to_bytes);
    let refresh = record.refresh.as_ref().map(RefreshState::to_bytes);
    let auth = (!record.auth.is_empty()).then(|| serde_json::to_string(&record.auth)).transpose()?;
    let ClientInfo { ip, user_agent, device, geo, .. } = &*record.client;
    let ip = ip.map(|ip| ip.to_string());
    let idle = record.idle_timeout.map(|idle| i64::try_from(idle.as_millis())).transpose()?;
    let values = [
        Value::Key(record.username.as_deref()),
        Value::Int(Some(record.authenticated_at.as_millis())),
        Value::Int(Some(record.expires_at.as_millis())),
        Value::Int(idle),
        Value::Flag(record.remembered),
        Value::Int(record.credential_version.map(number).transpose()?),
        Value::Bytes(secret.as_deref()),
        Value::Bytes(refresh.as_deref()),
        Value::Text(auth.as_deref()),
        Value::Text(ip.as_deref()),
        Value::Text(user_agent.as_deref()),
        Value::Text(device.kind.map(DeviceKind::as_str)),
        Value::Text(device.brand.as_deref()),
        Value::Text(device.model.as_deref()),
        Value::Text(device.os.as_deref()),
        Value::Text(device.os_version.as_deref()),
        Value::Text(device.browser.as_deref()),
        Value::Text(device.browser_version.as_deref()),
        Value::Text(geo.country_code.as_deref()),
        Value::Text(geo.country.as_deref()),
        Value::Text(geo.region.as_deref()),
        Value::Text(geo.city.as_deref()),
        Value::Real(geo.coordinates.map(|(latitude, _)| latitude)),
        Value::Real(geo.coordinates.map(|(_, longitude)| longitude)),
        Value::Uuid(record.device_id.as_ref().map(DeviceId::as_bytes)),
        Value::Text(record.label.as_deref()),
        Value::Bytes(Some(&record.data)),
    ];
    values.into_iter().try_for_each(|value| D::bind(arguments, value))
}

fn bind_last_seen<D: Dialect>(
    arguments: &mut D::Arguments,
    record: &SessionRecord,
) -> Result<(), BoxDynError> {
    let LastClient { ip, country_code, .. } = &record.last_client;
    let ip = ip.map(|ip| ip.to_string());
    let values = [
        Value::Text(ip.as_deref()),
        Value::Text(country_code.as_deref()),
        Value::Int(Some(record.last_seen_at.as_millis())),
    ];
    values.into_iter().try_for_each(|value| D::bind(arguments, value))
}

fn number(value: u64) -> Result<i64, BoxDynError> {
    Ok(i64::try_from(value)?)
}

/// Reads a row of [`all`] or [`history`].
pub(crate) fn read<D: Dialect>(row: &D::Row) -> Result<SessionRecord, sqlx::Error> {
    let mut row = Cells::<D> { row, next: 0 };
    let id = row.id()?;
    let user_id = row.parsed()?;
    let kind = row.parsed()?.ok_or_else(|| corrupt("no kind"))?;
    let created_at = row.time()?;
    let state = row.state()?;
    let revision = u64::try_from(row.required()?).map_err(|_| corrupt("a negative revision"))?;
    let mut record = SessionRecord::new(id, created_at, created_at);
    record.user_id = user_id;
    record.kind = kind;
    record.state = state;
    record.revision = Revision::new(revision).map_err(unreadable)?;
    record.username = row.text()?;
    record.authenticated_at = row.time()?;
    record.expires_at = row.time()?;
    record.idle_timeout = row.unsigned()?.map(Duration::from_millis);
    record.remembered = row.flag()?;
    record.credential_version = row.unsigned()?;
    record.secret = row.bytes()?.map(SecretState::from_bytes).transpose().map_err(unreadable)?;
    record.refresh = row.bytes()?.map(RefreshState::from_bytes).transpose().map_err(unreadable)?;
    record.auth = row.auth()?;
    record.client = Arc::new(row.client()?);
    record.device_id = row.uuid()?.map(DeviceId::from_bytes);
    record.label = row.text()?;
    record.data = row.bytes()?.map(Arc::from).unwrap_or_default();
    record.last_client = row.last_client()?;
    record.last_seen_at = row.time()?;
    record.check().map_err(unreadable)?;
    Ok(record)
}

/// Reads the end from the three columns that begin at `first`.
pub(crate) fn read_state<D: Dialect>(row: &D::Row, first: usize) -> Result<SessionState, sqlx::Error> {
    Cells::<D> { row, next: first }.state()
}

/// Reads the columns of a row in order.
struct Cells<'r, D: Dialect> {
    row: &'r D::Row,
    next: usize,
}

impl<'r, D: Dialect> Cells<'r, D> {
    fn take(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    fn bytes(&mut self) -> Result<Option<&'r [u8]>, sqlx::Error> {
        D::bytes(self.row, self.take())
    }

    fn flag(&mut self) -> Result<bool, sqlx::Error> {
        D::flag(self.row, self.take())
    }

    fn str(&mut self) -> Result<Option<&'r str>, sqlx::Error> {
        D::text(self.row, self.take())
    }

    fn text(&mut self) -> Result<Option<String>, sqlx::Error> {
        Ok(self.str()?.map(str::to_owned))
    }

    fn uuid(&mut self) -> Result<Option<[u8; 16]>, sqlx::Error> {
        D::uuid(self.row, self.take())
    }

    fn int(&mut self) -> Result<Option<i64>, sqlx::Error> {
        D::int(self.row, self.take())
    }

    fn real(&mut self) -> Result<Option<f64>, sqlx::Error> {
        D::real(self.row, self.take())
    }

    fn required(&mut self) -> Result<i64, sqlx::Error> {
        self.int()?.ok_or_else(|| corrupt("a number is missing"))
    }

    fn unsigned(&mut self) -> Result<Option<u64>, sqlx::Error> {
        self.int()?.map(u64::try_from).transpose().map_err(|_| corrupt("a negative number"))
    }

    fn time(&mut self) -> Result<Timestamp, sqlx::Error> {
        self.required().map(Timestamp::from_millis)
    }

    fn parsed<T: FromStr<Err = Error>>(&mut self) -> Result<Option<T>, sqlx::Error> {
        self.str()?.map(str::parse).transpose().map_err(unreadable)
    }

    fn ip(&mut self) -> Result<Option<IpAddr>, sqlx::Error> {
        self.str()?.map(str::parse).transpose().map_err(|_| corrupt("not an address"))
    }

    fn id(&mut self) -> Result<SessionId, sqlx::Error> {
        let bytes = self.uuid()?.ok_or_else(|| corrupt("no id"))?;
        SessionId::from_bytes(bytes).map_err(unreadable)
    }

    fn auth(&mut self) -> Result<Vec<AuthEvent>, sqlx::Error> {
        let read = |text| serde_json::from_str(text).map_err(|_| corrupt("not the JSON that was stored"));
        self.str()?.map_or_else(|| Ok(Vec::new()), read)
    }

    fn state(&mut self) -> Result<SessionState, sqlx::Error> {
        let (reason, at, by): (_, _, Option<Actor>) = (self.parsed()?, self.int()?, self.parsed()?);
        match (reason, at, by) {
            (None, None, None) => Ok(SessionState::Active),
            (Some(reason), Some(at), Some(by)) => {
                Ok(SessionState::Ended(Ended::new(reason, Timestamp::from_millis(at), by)))
            }
            _ => Err(corrupt("an incomplete end")),
        }
    }

    fn client(&mut self) -> Result<ClientInfo, sqlx::Error> {
        let mut client = ClientInfo::default();
        client.ip = self.ip()?;
        client.user_agent = self.text()?;
        client.device = self.device()?;
        client.geo = self.geo()?;
        Ok(client)
    }

    fn device(&mut self) -> Result<Device, sqlx::Error> {
        let mut device = Device::default();
        device.kind = self.parsed()?;
        device.brand = self.text()?;
        device.model = self.text()?;
        device.os = self.text()?;
        device.os_version = self.text()?;
        device.browser = self.text()?;
        device.browser_version = self.text()?;
        Ok(device)
    }

    fn geo(&mut self) -> Result<GeoLocation, sqlx::Error> {
        let mut geo = GeoLocation::default();
        geo.country_code = self.text()?;
        geo.country = self.text()?;
        geo.region = self.text()?;
        geo.city = self.text()?;
        geo.coordinates = self.real()?.zip(self.real()?);
        Ok(geo)
    }

    fn last_client(&mut self) -> Result<LastClient, sqlx::Error> {
        let ip = self.ip()?;
        Ok(LastClient::new(ip, self.str()?.map(Arc::from)))
    }
}

fn corrupt(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

fn unreadable(error: Error) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
