//! How session data is read and written: the application's within its limits, and the library's own
//! keys beside it.
//!
//! The library keeps what must not be forged under keys that begin with `session-kit.`: the mark of
//! a sign-in, the candidate of a pending one, the offer of a transfer, what a failed operation
//! restores. They have room of their own, so that data which fills its limits can be marked, and
//! limits of a few bytes leave every function usable.

use std::sync::Arc;

use session_core::limits::LIBRARY_DATA;
use session_core::{DataLimits, Error, Result, SessionData};

/// What the library's own keys begin with.
pub(crate) const RESERVED: &str = "session-kit.";

/// The library's own values: at most this many, nested at most this deep.
const LIBRARY_ELEMENTS: usize = 64;
const LIBRARY_DEPTH: usize = 4;

/// Reads and writes the data of stored sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataCodec {
    /// The limits of the application's data.
    own: DataLimits,
    /// The limits of what is stored.
    stored: DataLimits,
}

impl DataCodec {
    pub(crate) fn new(own: DataLimits) -> Self {
        let stored = own
            .with_max_bytes(own.max_bytes.saturating_add(LIBRARY_DATA))
            .with_max_depth(own.max_depth.max(LIBRARY_DEPTH))
            .with_max_elements(own.max_elements.saturating_add(LIBRARY_ELEMENTS));
        Self { own, stored }
    }

    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<SessionData> {
        SessionData::decode(bytes, &self.stored)
    }

    /// Encodes data. Fails if the application's part is beyond its limits.
    pub(crate) fn encode(&self, data: &SessionData) -> Result<Arc<[u8]>> {
        if !data.keys().any(is_reserved) {
            return Ok(data.encode(&self.own)?.into());
        }
        let mut application = data.clone();
        remove_reserved(&mut application);
        application.encode(&self.own)?;
        self.encode_with_room(data)
    }

    /// Encodes data in which only the library's keys changed. It fits although the application's
    /// part is beyond limits that were lowered since it was written.
    pub(crate) fn encode_with_room(&self, data: &SessionData) -> Result<Arc<[u8]>> {
        Ok(data.encode(&self.stored)?.into())
    }
}

pub(crate) fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED)
}

/// Refuses a key of the library.
pub(crate) fn check_key(operation: &'static str, key: &str) -> Result<()> {
    if is_reserved(key) { Err(reserved(operation)) } else { Ok(()) }
}

pub(crate) fn reserved(operation: &'static str) -> Error {
    Error::invalid(operation, "keys that begin with `session-kit.` belong to the library")
}

/// Removes the library's own keys from data that goes on in another session.
pub(crate) fn remove_reserved(data: &mut SessionData) {
    let own: Vec<_> = data.keys().filter(|key| is_reserved(key)).map(str::to_owned).collect();
    own.iter().for_each(|key| data.set_value(key, None));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_keys_never_count_against_the_applications_limits() {
        let codec =
            DataCodec::new(DataLimits::default().with_max_bytes(8).with_max_depth(1).with_max_elements(1));
        let mut data = SessionData::default();
        data.insert("session-kit.test", &[["a long value of the library"]]).unwrap();
        data.insert("k", &1).unwrap();
        let bytes = codec.encode(&data).unwrap();
        assert_eq!(codec.decode(&bytes).unwrap(), data);
        data.insert("k", &"too long").unwrap();
        assert!(codec.encode(&data).is_err(), "the application's part is as limited as before");
        assert!(codec.encode_with_room(&data).is_ok());
    }
}
