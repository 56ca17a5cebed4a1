//! The application's own data on a session, and how it is encoded.

use std::collections::BTreeMap;
use std::fmt;

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

/// The same, after the marks of the latest saves.
const CODEC_JSON_WITH_SAVES: u8 = 2;

/// How many saves are remembered by their marks.
const SAVES: usize = 4;

/// Names one save, so that whoever repeats it after a lost reply can tell that it was written. Zero is none.
pub type SaveMark = std::num::NonZeroU32;

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
///
/// # Security
/// `Debug` prints the number of keys and nothing else.
#[derive(Clone, Default)]
pub struct SessionData {
    values: BTreeMap<String, Value>,
    /// The marks of the latest saves, the latest first.
    saves: [u32; SAVES],
}

impl PartialEq for SessionData {
    /// Compares the values. Who saved them last does not count.
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl fmt::Debug for SessionData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionData").field("keys", &self.values.len()).finish_non_exhaustive()
    }
}

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

    /// Sets the deepest nesting.
    #[must_use]
    pub const fn with_max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth;
        self
    }

    /// Sets the most values, nested ones included.
    #[must_use]
    pub const fn with_max_elements(mut self, max_elements: usize) -> Self {
        self.max_elements = max_elements;
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
        let typed = self.values.get(key).map(T::deserialize).transpose();
        typed
            .map_err(|source| Error::corrupt("data", "get", "the value has another type").with_source(source))
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if the value is not JSON (a map with keys that are not text, say).
    pub fn insert<T: Serialize + ?Sized>(&mut self, key: impl Into<String>, value: &T) -> Result<()> {
        self.values.insert(key.into(), to_value(value)?);
        Ok(())
    }

    /// Removes a key and tells whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.values.remove(key).is_some()
    }

    /// Returns the JSON value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Sets the JSON value of a key, or removes it.
    pub fn set_value(&mut self, key: &str, value: Option<Value>) {
        match value {
            Some(value) => self.values.insert(key.to_owned(), value),
            None => self.values.remove(key),
        };
    }

    /// Returns the keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Returns true if there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Notes a save by its mark. The latest four are remembered.
    pub fn note_save(&mut self, mark: SaveMark) {
        self.saves.rotate_right(1);
        self.saves[0] = mark.get();
    }

    /// Returns whether this data holds a save, as far as it is remembered.
    #[must_use]
    pub fn holds_save(&self, mark: SaveMark) -> bool {
        self.saves.contains(&mark.get())
    }

    /// Encodes the data; none at all, and never saved, is no bytes. The same data after the same saves always gives the same bytes.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) beyond a limit.
    pub fn encode(&self, limits: &DataLimits) -> Result<Vec<u8>> {
        let was_saved = self.saves != [0; SAVES];
        if self.is_empty() && !was_saved {
            return Ok(Vec::new());
        }
        limits.check(&self.values).map_err(|detail| Error::invalid("encode", detail))?;
        let mut bytes = vec![if was_saved { CODEC_JSON_WITH_SAVES } else { CODEC_JSON }];
        if was_saved {
            bytes.extend(self.saves.iter().flat_map(|mark| mark.to_be_bytes()));
        }
        serde_json::to_writer(&mut bytes, &self.values)
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
        let (saves, json) = match bytes {
            [] => return Ok(Self::default()),
            [CODEC_JSON, json @ ..] => ([0; SAVES], json),
            [CODEC_JSON_WITH_SAVES, rest @ ..] => {
                let (saves, json) = rest
                    .split_first_chunk::<{ 4 * SAVES }>()
                    .ok_or_else(|| corrupt("session data is damaged"))?;
                (marks(saves), json)
            }
            [_, ..] => return Err(corrupt("session data is in an unknown codec")),
        };
        let values = serde_json::from_slice(json)
            .map_err(|source| corrupt("session data is damaged").with_source(source))?;
        limits.check(&values).map_err(corrupt)?;
        Ok(Self { values, saves })
    }
}

fn marks(bytes: &[u8; 4 * SAVES]) -> [u32; SAVES] {
    let mut marks = [0; SAVES];
    for (mark, bytes) in marks.iter_mut().zip(bytes.chunks_exact(4)) {
        *mark = bytes.iter().fold(0, |mark, byte| mark << 8 | u32::from(*byte));
    }
    marks
}

/// Converts a value to JSON.
pub(crate) fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|source| Error::invalid("insert", "the value is not JSON").with_source(source))
}

impl FromIterator<(String, Value)> for SessionData {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(values: I) -> Self {
        Self { values: values.into_iter().collect(), saves: [0; SAVES] }
    }
}
