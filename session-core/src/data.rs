//! The application's data of a session, and its encoding.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::limits::{MAX_DATA, MAX_DATA_DEPTH, MAX_DATA_ELEMENTS};

/// The first byte of encoded data: JSON text follows.
///
/// JSON instead of a binary format, because the text does not depend on the features that other
/// crates enable in `serde_json` (`arbitrary_precision` breaks binary encodings of `Value`), and
/// because an operator can read it.
const CODEC_JSON: u8 = 1;

/// The first byte of encoded data that begins with the marks of the latest saves; JSON text
/// follows.
const CODEC_JSON_WITH_SAVES: u8 = 2;

/// The number of latest saves whose marks are kept.
const SAVES: usize = 4;

/// The mark of one save. A caller that repeats the save after a lost reply can detect that it was
/// written. Zero means no mark.
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
    /// The marks of the latest saves, newest first.
    saves: [u32; SAVES],
}

impl PartialEq for SessionData {
    /// Compares the values and ignores the marks of saves.
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl fmt::Debug for SessionData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionData").field("keys", &self.values.len()).finish_non_exhaustive()
    }
}

/// The bounds of session data, checked on encoding and on decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataLimits {
    /// The maximum number of encoded bytes, 64 KiB by default.
    pub max_bytes: usize,
    /// The maximum nesting depth, 32 by default. The JSON parser itself stops at 128.
    pub max_depth: usize,
    /// The maximum number of values, nested ones included, 10,000 by default.
    pub max_elements: usize,
}

impl Default for DataLimits {
    fn default() -> Self {
        Self { max_bytes: MAX_DATA, max_depth: MAX_DATA_DEPTH, max_elements: MAX_DATA_ELEMENTS }
    }
}

impl DataLimits {
    /// Sets the maximum number of encoded bytes.
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Sets the maximum nesting depth.
    #[must_use]
    pub const fn with_max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth;
        self
    }

    /// Sets the maximum number of values, nested ones included.
    #[must_use]
    pub const fn with_max_elements(mut self, max_elements: usize) -> Self {
        self.max_elements = max_elements;
        self
    }

    /// Refuses values that are nested too deeply or too many. Stops at the first violation, so the
    /// work is bounded too.
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
    /// Returns the value of a key in the type that it was stored as, or `None` if the key is
    /// absent.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the value has another shape.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let typed = self.values.get(key).map(T::deserialize).transpose();
        // The source would show the value.
        typed.map_err(|_| Error::corrupt("data", "get", "the value has another type"))
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if the value is not JSON (for example, a map whose
    /// keys are not text).
    pub fn insert<T: Serialize + ?Sized>(&mut self, key: impl Into<String>, value: &T) -> Result<()> {
        self.values.insert(key.into(), to_value(value)?);
        Ok(())
    }

    /// Removes a key. Returns true if it was present.
    pub fn remove(&mut self, key: &str) -> bool {
        self.values.remove(key).is_some()
    }

    /// Returns the JSON value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Sets the JSON value of a key; `None` removes the key.
    pub fn set_value(&mut self, key: &str, value: Option<Value>) {
        match value {
            Some(value) => self.values.insert(key.to_owned(), value),
            None => self.values.remove(key),
        };
    }

    /// Returns the keys in sorted order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Returns true if there are no keys.
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

    /// Adds the mark of a save. Keeps the latest four marks.
    pub fn note_save(&mut self, mark: SaveMark) {
        self.saves.rotate_right(1);
        self.saves[0] = mark.get();
    }

    /// Returns true if this data contains the mark of a save among the latest four.
    #[must_use]
    pub fn holds_save(&self, mark: SaveMark) -> bool {
        self.saves.contains(&mark.get())
    }

    /// Encodes the data. Data without keys and without saves encodes to no bytes. The same data
    /// after the same saves always encodes to the same bytes.
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

    /// Decodes the output of [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for an unknown codec, corrupt bytes or a violated
    /// limit. Leave the row unchanged in that case: a newer version of the application may be able
    /// to read it.
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
                    .ok_or_else(|| corrupt("session data is corrupt"))?;
                (marks(saves), json)
            }
            [_, ..] => return Err(corrupt("session data is in an unknown codec")),
        };
        let values = serde_json::from_slice(json)
            .map_err(|source| corrupt("session data is corrupt").with_source(source))?;
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
