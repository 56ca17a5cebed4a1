//! All damage to one field of a document.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, Timestamp, doc};
use session_conformance::fixtures::{at, user};

/// A document with one damaged field.
pub(super) struct Damage {
    /// The path of the field, with dots.
    pub(super) field: String,
    /// The description of its new value.
    pub(super) what: String,
    pub(super) document: Document,
}

impl Damage {
    fn new(field: impl Into<String>, what: impl Into<String>, document: Document) -> Self {
        Self { field: field.into(), what: what.into(), document }
    }

    pub(super) fn name(&self) -> String {
        format!("{}: {}", self.field, self.what)
    }

    /// Returns true if a listing does not read the field.
    pub(super) fn is_hidden(&self) -> bool {
        ["secret", "refresh", "data"].contains(&self.field.as_str())
    }

    fn is_damage(&self) -> bool {
        !is_valid(&self.field, &self.what, is_ended(&self.document))
    }
}

fn is_ended(document: &Document) -> bool {
    document.get_str("state").is_ok_and(|state| state == "ended")
}

/// Returns true if the value is valid for the field. All other values are damage.
fn is_valid(field: &str, what: &str, is_ended: bool) -> bool {
    match field {
        // Only the server reads it.
        "purgeAt" => true,
        "userId" | "username" | "credentialVersion" | "secret" | "refresh" | "deviceId" | "label" => {
            what == "null"
        }
        // The deadline of an active session includes the idle timeout.
        "idleTimeout" => is_ended && what == "null",
        // Descriptions contain only known values.
        _ => (field.starts_with("client.") || field.starts_with("lastClient.")) && what == "missing",
    }
}

/// Returns variants of the document in which one field, at any depth, is missing, has another type
/// or has an invalid value. The id is not damaged.
pub(super) fn damages(stored: &Document) -> Vec<Damage> {
    let all = retyped(stored, "").into_iter().chain(revalued(stored));
    all.filter(|damage| damage.field != "_id" && damage.is_damage()).collect()
}

fn types() -> [(&'static str, Bson); 14] {
    let binary = |subtype| Bson::Binary(Binary { subtype, bytes: vec![7; 16] });
    [
        ("null", Bson::Null),
        ("a text", "x".into()),
        ("an int", Bson::Int32(1)),
        ("a long", Bson::Int64(1)),
        ("a double", Bson::Double(1.0)),
        ("a boolean", Bson::Boolean(true)),
        ("a date", Bson::DateTime(DateTime::from_millis(at(1).as_millis()))),
        ("a timestamp", Bson::Timestamp(Timestamp { time: 1_900_000_000, increment: 1 })),
        ("an array", Bson::Array(vec![Bson::Int32(1)])),
        ("a document", doc! { "x": 1 }.into()),
        ("binary", binary(BinarySubtype::Generic)),
        ("a UUID", binary(BinarySubtype::Uuid)),
        ("an object id", ObjectId::from_bytes([7; 12]).into()),
        ("the largest key", Bson::MaxKey),
    ]
}

fn is_same_type(one: &Bson, other: &Bson) -> bool {
    let subtype = |value: &Bson| match value {
        Bson::Binary(binary) => Some(binary.subtype),
        _ => None,
    };
    one.element_type() == other.element_type() && subtype(one) == subtype(other)
}

fn retyped(stored: &Document, within: &str) -> Vec<Damage> {
    let mut all = Vec::new();
    for (name, value) in stored {
        let field = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        let mut without = stored.clone();
        without.remove(name);
        all.push(Damage::new(field.clone(), "missing", without));
        for (field, what, value) in values_of(value, &field) {
            let mut with = stored.clone();
            with.insert(name.clone(), value);
            all.push(Damage::new(field, what, with));
        }
    }
    all
}

/// Returns values of other types for a field, each with its path and description.
fn values_of(value: &Bson, field: &str) -> Vec<(String, String, Bson)> {
    // For embedded fields, a few unreadable types are enough.
    let some = if field.contains('.') { 5 } else { usize::MAX };
    let others = types().into_iter().filter(|(_, other)| !is_same_type(value, other)).take(some);
    let mut all: Vec<_> = others.map(|(what, other)| (field.to_owned(), what.to_owned(), other)).collect();
    match value {
        Bson::Document(document) => {
            let inner = retyped(document, field).into_iter();
            all.extend(inner.map(|damage| (damage.field, damage.what, damage.document.into())));
        }
        Bson::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                let inner = values_of(value, &format!("{field}.{index}")).into_iter();
                all.extend(inner.map(|(field, what, value)| {
                    let mut values = values.clone();
                    values[index] = value;
                    (field, what, values.into())
                }));
            }
        }
        _ => {}
    }
    all
}

/// Returns variants in which one field has the right type but an invalid value.
fn revalued(stored: &Document) -> Vec<Damage> {
    let state = if is_ended(stored) { invalid_values_of_ended() } else { invalid_values_of_active(stored) };
    let all = state.into_iter().chain(invalid_values());
    all.map(|(field, what, value)| {
        let mut document = stored.clone();
        set(&mut document, field, value);
        Damage::new(field, what, document)
    })
    .collect()
}

fn set(document: &mut Document, field: &str, value: Bson) {
    let Some((outer, inner)) = field.split_once('.') else {
        document.insert(field, value);
        return;
    };
    match document.get_mut(outer).unwrap() {
        Bson::Document(document) => set(document, inner, value),
        Bson::Array(values) => {
            let (index, inner) = inner.split_once('.').unwrap();
            set(values[index.parse::<usize>().unwrap()].as_document_mut().unwrap(), inner, value);
        }
        other => panic!("{outer} is {other}"),
    }
}

fn date(millis: i64) -> Bson {
    Bson::DateTime(DateTime::from_millis(millis))
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}

/// Returns the name of a user whose shard differs from Ann's.
fn stranger() -> String {
    let ann = user("ann").shard();
    let mut names = (0..).map(|number| format!("stranger-{number}"));
    names.find(|name| user(name).shard() != ann).unwrap()
}

type InvalidValue = (&'static str, &'static str, Bson);

/// Values that are invalid in any session.
fn invalid_values() -> Vec<InvalidValue> {
    let short = Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 15] });
    let many = vec![Bson::Document(doc! { "method": "password", "at": date(at(0).as_millis()) }); 100];
    vec![
        ("format", "of a newer version", Bson::Int32(2)),
        ("format", "of no version", Bson::Int32(0)),
        ("state", "unknown", "revoked".into()),
        ("state", "empty", "".into()),
        ("state", "in capitals", "Active".into()),
        ("kind", "unknown", "robot".into()),
        ("revision", "zero", Bson::Int64(0)),
        ("revision", "negative", Bson::Int64(-3)),
        ("credentialVersion", "negative", Bson::Int64(-1)),
        ("expiresAt", "before the creation", date(at(0).as_millis() - 1)),
        ("expiresAt", "in ten years", date(at(0).as_millis() + 315_360_000_000)),
        ("lastSeenAt", "before the creation", date(at(0).as_millis() - 1)),
        ("idleTimeout", "negative", Bson::Int64(-5)),
        ("userId", "empty", "".into()),
        ("userId", "of another shard", stranger().into()),
        ("userId", "too long", "x".repeat(256).into()),
        ("username", "empty", "".into()),
        ("username", "too long", "x".repeat(256).into()),
        ("label", "empty", "".into()),
        ("label", "too long", "x".repeat(101).into()),
        ("deviceId", "too short", short),
        ("secret", "cut", binary(&[1, 0, 5])),
        ("secret", "of an unknown layout", binary(&[&[0x63, 0][..], &[7; 36]].concat())),
        ("refresh", "cut", binary(&[1])),
        ("auth", "too many", Bson::Array(many)),
        ("auth.0.method", "empty", "".into()),
        ("client.ip", "no address", "nowhere".into()),
        ("client.device.kind", "unknown", "toaster".into()),
        ("client.geo.countryCode", "in lower case", "de".into()),
        ("lastClient.ip", "no address", "300.1.1.1".into()),
        ("lastClient.countryCode", "in lower case", "de".into()),
    ]
}

fn invalid_values_of_active(stored: &Document) -> Vec<InvalidValue> {
    let deadline = stored.get_datetime("deadlineAt").unwrap().timestamp_millis();
    let end = doc! { "reason": "logged_out", "at": date(at(1).as_millis()), "by": "system" };
    vec![
        ("state", "ended without an end", "ended".into()),
        ("end", "of an active session", end.into()),
        ("deadlineAt", "too late", date(deadline + 1)),
        ("deadlineAt", "too early", date(deadline - 1)),
        ("lastSeenAt", "not that of the deadline", date(at(5).as_millis())),
        ("idleTimeout", "not that of the deadline", Bson::Int64(1_800_002)),
    ]
}

fn invalid_values_of_ended() -> Vec<InvalidValue> {
    vec![
        ("state", "active after an end", "active".into()),
        ("end.reason", "unknown", "bored".into()),
        ("end.by", "unknown", "robot".into()),
        ("data", "left", binary(&[1])),
        ("deadlineAt", "left", date(at(1_800_001).as_millis())),
    ]
}
