//! The letters that stand for kinds of sessions and devices.

use session_core::{DeviceKind, Error, Result, SessionKind};

use super::Unreadable;
use crate::error::NAME;

pub(super) const fn kind_code(kind: SessionKind) -> Option<u8> {
    Some(match kind {
        SessionKind::Api => b'a',
        SessionKind::External => b'e',
        SessionKind::Web => b'w',
        _ => return None,
    })
}

pub(super) fn kind_of(code: u8) -> Result<SessionKind, Unreadable> {
    let has = |kind: &&SessionKind| kind_code(**kind) == Some(code);
    SessionKind::ALL.iter().find(has).copied().ok_or(Unreadable("the stored kind is unknown"))
}

/// Returns the code by which scripts filter.
pub(super) const fn device_code(kind: Option<DeviceKind>) -> Option<u8> {
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

pub(super) fn device_of(code: u8) -> Result<Option<DeviceKind>, Unreadable> {
    let mut kinds = std::iter::once(None).chain(DeviceKind::ALL.iter().copied().map(Some));
    let found = kinds.find(|kind| device_code(*kind) == Some(code));
    found.ok_or(Unreadable("the stored kind of device is unknown"))
}

/// Returns the code of a kind in a filter. `Unsupported` for a kind of a later version.
pub(crate) fn kind_filter(kind: Option<SessionKind>, operation: &'static str) -> Result<Vec<u8>> {
    kind.map_or(Ok(Vec::new()), |kind| {
        kind_code(kind).map(|code| vec![code]).ok_or_else(|| Error::unsupported(NAME, operation))
    })
}
