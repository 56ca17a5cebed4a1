//! The application's own data on a session, and how it is encoded.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::limits::{MAX_DATA, MAX_DATA_DEPTH, MAX_DATA_ELEMENTS};

/// The first byte of encoded data: JSON text follows.
///
/// JSON and not a binary format, because its text stays the same whatever features another crate switches on in
/// `serde_json` (`arbitrary_precision` breaks binary encodings of `Value`), and because an operator can read it.
const CODEC_JSON: u8 = 1;

/// A map of JSON values that belongs to the application.
///
/// # Examples
/// ```
/// use session_core::{DataLimits, SessionData};
///
/// let mut data = SessionData::default();
/// data.insert("cart", &["apple", "pear"])?;
/// let bytes = data.encode(&DataLimits::default())?;
/// let read = SessionData::decode(&bytes, &DataLimits::default())?;
/// assert_eq!(read.get::<Vec<String>>("cart")?.unwrap(), ["apple", "pear"]);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionData(BTreeMap<String, Value>);

/// The bounds of session data, checked when it is encoded and when it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataLimits {
    /// Most encoded bytes, 64 KiB by default.
    pub max_bytes: usize,
    /// Deepest nesting, 32 by default. The JSON parser itself stops at 128.
    pub max_depth: usize,
    /// Most values, nested ones included, 10,000 by default.
    pub max_elements: usize,
}

impl Default for DataLimits {
    fn default() -> Self {
        Self { max_bytes: MAX_DATA, max_depth: MAX_DATA_DEPTH, max_elements: MAX_DATA_ELEMENTS }
    }
}

impl DataLimits {
    /// Sets the most encoded bytes.
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Refuses values that are too deep or too many. Stops at the first that is, so the work is bounded too.
    fn check(&self, values: &BTreeMap<String, Value>) -> Result<(), &'static str> {
        let mut elements = 0_usize;
        let mut open: Vec<(&Value, usize)> = values.values().map(|value| (value, 1)).collect();
        while let Some((value, depth)) = open.pop() {
            elements += 1;
            if depth > self.max_depth {
                return Err("session data is nested too deeply");
            }
            if elements > self.max_elements || open.len() > self.max_elements {
                return Err("session data has too many values");
            }
            match value {
                Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
                Value::Object(items) => open.extend(items.values().map(|item| (item, depth + 1))),
                _ => {}
            }
        }
        Ok(())
    }
}

impl SessionData {
    /// Returns the value of a key in the type that it was stored as, `None` if there is none.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the value is of another shape.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let typed = self.0.get(key).map(T::deserialize).transpose();
        typed
            .map_err(|source| Error::corrupt("data", "get", "the value has another type").with_source(source))
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if the value is not JSON (a map with keys that are not text, say).
    pub fn insert<T: Serialize + ?Sized>(&mut self, key: impl Into<String>, value: &T) -> Result<()> {
        self.0.insert(key.into(), to_value(value)?);
        Ok(())
    }

    /// Removes a key and tells whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    /// Returns the JSON value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Sets the JSON value of a key, or removes it.
    pub fn set_value(&mut self, key: &str, value: Option<Value>) {
        match value {
            Some(value) => self.0.insert(key.to_owned(), value),
            None => self.0.remove(key),
        };
    }

    /// Returns the keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns true if there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Encodes the data; none at all is no bytes. The same data always gives the same bytes.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) beyond a limit.
    pub fn encode(&self, limits: &DataLimits) -> Result<Vec<u8>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        limits.check(&self.0).map_err(|detail| Error::invalid("encode", detail))?;
        let mut bytes = vec![CODEC_JSON];
        serde_json::to_writer(&mut bytes, &self.0)
            .map_err(|source| Error::invalid("encode", "session data is not JSON").with_source(source))?;
        if bytes.len() > limits.max_bytes {
            return Err(Error::invalid("encode", "session data is larger than its limit"));
        }
        Ok(bytes)
    }

    /// Decodes what [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for an unknown codec, damaged bytes or anything beyond a limit. Leave the row
    /// alone then: a newer version of the application may understand it.
    pub fn decode(bytes: &[u8], limits: &DataLimits) -> Result<Self> {
        let corrupt = |detail| Error::corrupt("data", "decode", detail);
        if bytes.len() > limits.max_bytes {
            return Err(corrupt("session data is larger than its limit"));
        }
        let values = match bytes {
            [] => BTreeMap::new(),
            [CODEC_JSON, json @ ..] => serde_json::from_slice(json)
                .map_err(|source| corrupt("session data is damaged").with_source(source))?,
            [_, ..] => return Err(corrupt("session data is in an unknown codec")),
        };
        limits.check(&values).map_err(corrupt)?;
        Ok(Self(values))
    }
}

/// Converts a value to JSON.
pub(crate) fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|source| Error::invalid("insert", "the value is not JSON").with_source(source))
}

impl FromIterator<(String, Value)> for SessionData {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}
