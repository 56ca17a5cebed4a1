//! The letters that stand for kinds of sessions and devices.

use super::Unreadable;
use crate::client::DeviceKind;
use crate::record::SessionKind;

/// Returns the letter that stands for a kind of session.
#[must_use]
pub const fn kind_code(kind: SessionKind) -> u8 {
    match kind {
        SessionKind::Api => b'a',
        SessionKind::External => b'e',
        SessionKind::Web => b'w',
    }
}

pub(super) fn kind_of(code: u8) -> Result<SessionKind, Unreadable> {
    let has = |kind: &&SessionKind| kind_code(**kind) == code;
    SessionKind::ALL.iter().find(has).copied().ok_or(Unreadable("the stored kind is unknown"))
}

pub(super) const fn device_code(kind: Option<DeviceKind>) -> u8 {
    match kind {
        None => b'-',
        Some(DeviceKind::Bot) => b'b',
        Some(DeviceKind::Desktop) => b'd',
        Some(DeviceKind::Mobile) => b'm',
        Some(DeviceKind::Other) => b'o',
        Some(DeviceKind::Tablet) => b't',
        Some(DeviceKind::Tv) => b'v',
    }
}

pub(super) fn device_of(code: u8) -> Result<Option<DeviceKind>, Unreadable> {
    let mut kinds = std::iter::once(None).chain(DeviceKind::ALL.iter().copied().map(Some));
    let found = kinds.find(|kind| device_code(*kind) == code);
    found.ok_or(Unreadable("the stored kind of device is unknown"))
}
