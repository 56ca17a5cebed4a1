//! What was saved, and acknowledged, is there.

use std::collections::BTreeSet;

use session_core::{DataLimits, SessionData, SessionRecord};

use crate::checker::Checker;
use crate::history::{Answer, Call, Detail, Violation};

/// The key that one save alone writes.
pub(crate) fn key(number: u32) -> String {
    format!("save {number}")
}

/// The keys in a record that one save alone wrote. None for a record that has ended: its data is
/// gone.
pub(crate) fn keys(record: &SessionRecord) -> Option<BTreeSet<u32>> {
    if record.ended().is_some() {
        return None;
    }
    let data = SessionData::decode(&record.data, &DataLimits::default()).expect("stored data is readable");
    Some(data.keys().filter_map(|key| key.strip_prefix("save ")?.parse().ok()).collect())
}

impl Checker<'_> {
    /// `no-lost-update`: a save that was acknowledged is stored, and stays for as long as the
    /// session is active.
    pub(crate) fn saves_are_kept(&mut self) {
        for event in self.events {
            let (Call::Save, Answer::Done, Detail::Saves(key)) = (event.call, &event.answer, event.detail)
            else {
                continue;
            };
            let states = event.session.map_or(&[][..], |id| self.states(id));
            let stored = states.iter().rev().find(|(at, _)| *at <= event.end);
            let kept = stored.is_some_and(|(_, record)| keys(record).is_none_or(|keys| keys.contains(&key)));
            if !kept {
                self.wrong("no-lost-update", event, "the store does not hold what was saved");
            }
        }
        for (id, states) in self.truth {
            let mut before: Option<(&SessionRecord, BTreeSet<u32>)> = None;
            for (at, record) in states {
                if before.as_ref().is_some_and(|(earlier, _)| earlier.data == record.data) {
                    continue;
                }
                let Some(now) = keys(record) else { break };
                if let Some((_, earlier)) = &before
                    && let Some(lost) = earlier.difference(&now).next()
                {
                    let what = format!("{} is gone", key(*lost));
                    let session = Some(*id);
                    self.found.push(Violation { invariant: "no-lost-update", session, at: *at, what });
                }
                before = Some((record, now));
            }
        }
    }
}
