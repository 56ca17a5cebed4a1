//! Mistakes in the stored content.

use std::net::IpAddr;
use std::sync::Arc;

use session_core::limits::MAX_PAYLOAD;
use session_core::{PreviousSecret, SecretState, SessionKind, SessionRecord, Successor, Timestamp};

use super::{BrokenStore, Bug};

impl BrokenStore {
    /// Returns the record as this store would keep it.
    pub(super) fn as_kept(&self, record: Arc<SessionRecord>) -> Arc<SessionRecord> {
        let mut kept = SessionRecord::clone(&record);
        match self.bug {
            Bug::SecondsOnly => {
                for time in [&mut kept.created_at, &mut kept.last_seen_at, &mut kept.expires_at] {
                    *time = Timestamp::from_millis(time.as_millis() / 1_000 * 1_000);
                }
            }
            Bug::DataEndsAtNul => {
                let end = kept.data.iter().position(|byte| *byte == 0).unwrap_or(kept.data.len());
                kept.data = kept.data[..end].into();
            }
            Bug::DataCutAt32KiB if kept.data.len() <= MAX_PAYLOAD => {
                kept.data = kept.data[..kept.data.len().min(32 * 1024)].into();
            }
            Bug::DataAsText => kept.data = String::from_utf8_lossy(&kept.data).as_bytes().into(),
            Bug::AbsentBecomesEmpty => {
                Arc::make_mut(&mut kept.client).user_agent.get_or_insert_default();
            }
            Bug::TrimmedTexts => kept.label = kept.label.map(|label| label.trim().to_owned()),
            Bug::AsciiOnly => {
                let city = &mut Arc::make_mut(&mut kept.client).geo.city;
                *city = city.take().map(|city| city.replace(|letter: char| !letter.is_ascii(), "?"));
            }
            Bug::SinglePrecision => {
                let coordinates = &mut Arc::make_mut(&mut kept.client).geo.coordinates;
                *coordinates = coordinates.map(|(north, east)| (single(north), single(east)));
            }
            Bug::AddressesOfFourBytes => {
                let ip = &mut Arc::make_mut(&mut kept.client).ip;
                *ip = ip.filter(IpAddr::is_ipv4);
            }
            Bug::AuthenticationsSorted => kept.auth.sort_by_key(|event| (event.at, event.method.to_string())),
            Bug::SpentHashesReversed => kept.refresh.iter_mut().for_each(|refresh| refresh.spent.reverse()),
            Bug::KindForgotten => kept.kind = SessionKind::Web,
            Bug::NarrowNumbers => {
                kept.credential_version = kept.credential_version.map(|version| version & 0xffff_ffff);
            }
            Bug::PreviousSecretForgotten => kept.secret.iter_mut().for_each(|secret| secret.previous = None),
            Bug::SuccessorForgotten => {
                kept.secret.iter_mut().for_each(|secret| set_successor(secret, |_| Successor::Unpresented));
            }
            Bug::RefreshSuccessorForgotten => {
                let secrets = kept.refresh.iter_mut().map(|refresh| &mut refresh.secret);
                secrets.for_each(|secret| set_successor(secret, |_| Successor::Unpresented));
            }
            Bug::PresentationAtRotation => {
                let presented = |previous: &PreviousSecret| match previous.successor {
                    Successor::Presented(_) => Successor::Presented(previous.rotated_at),
                    other => other,
                };
                kept.secret.iter_mut().for_each(|secret| set_successor(secret, presented));
            }
            Bug::SecretDeadlineForgotten => {
                kept.secret.iter_mut().for_each(|secret| secret.expires_at = None);
            }
            _ => return record,
        }
        Arc::new(kept)
    }
}

/// Changes the stored state of a replaced secret's successor.
fn set_successor(secret: &mut SecretState, successor: impl Fn(&PreviousSecret) -> Successor) {
    if let Some(previous) = &mut secret.previous {
        previous.successor = successor(previous);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "this is the mistake")]
fn single(number: f64) -> f64 {
    f64::from(number as f32)
}
