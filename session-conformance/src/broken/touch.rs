//! Mistakes in `touch`.

use std::time::Duration;

use session_core::LastClient;
use session_core::prelude::*;

use super::{BrokenStore, Bug};

impl BrokenStore {
    pub(super) async fn touch_wrongly(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        if self.bug != Bug::TouchTakesAnyBatch {
            check_batch("touch", batch.len())?;
        }
        match self.bug {
            Bug::TouchDeadlocks => {
                let _rows = self.locks.lock_in_order(batch).await;
                return self.map.touch(batch, now).await;
            }
            Bug::TouchOfNothingTouchesAll if batch.is_empty() => {
                for row in self.rows_where(|row| row.ended().is_none()) {
                    self.alter(row.id, |row| row.last_client = LastClient::default());
                }
            }
            Bug::TouchCountsTwice | Bug::TouchTakesAnyBatch => {
                let mut moved = 0;
                for touch in batch {
                    self.alter(touch.id, |row| moved += u64::from(row.touch(touch, now)));
                }
                return Ok(moved);
            }
            Bug::TouchStopsEarly => return self.map.touch(&batch[..batch.len().min(100)], now).await,
            Bug::TouchInserts => {
                for touch in batch.iter().filter(|touch| self.row(touch.id).is_none()) {
                    self.put(SessionRecord::new(touch.id, touch.last_seen_at, Timestamp::MAX));
                }
            }
            Bug::ResurrectingTouch => {
                for touch in batch {
                    self.alter(touch.id, |row| row.state = SessionState::Active);
                }
            }
            Bug::TouchMovesBack => return Ok(self.overwrite(batch, |row, _| row.ended().is_none())),
            Bug::TouchRevives => {
                let forward = |row: &SessionRecord, touch: &Touch| {
                    row.ended().is_none() && touch.last_seen_at > row.last_seen_at
                };
                return Ok(self.overwrite(batch, forward));
            }
            Bug::TouchReachesEnded => {
                return Ok(self.overwrite(batch, |row, touch| touch.last_seen_at > row.last_seen_at));
            }
            _ => {}
        }
        if let Some(moved) = self.touch_late_wrongly(batch, now) {
            return Ok(moved);
        }
        let before: Vec<_> = batch.iter().filter_map(|touch| self.row(touch.id)).collect();
        let moved = self.map.touch(batch, now).await?;
        for old in before.iter().filter(|old| self.row(old.id).as_ref() != Some(old)) {
            self.alter(old.id, |row| match self.bug {
                Bug::TouchRaisesRevision => row.revision = row.revision.next(),
                Bug::TouchForgetsClient => row.last_client = LastClient::default(),
                Bug::TouchMergesClient => row.last_client.ip = row.last_client.ip.or(old.last_client.ip),
                _ => {}
            });
        }
        Ok(if self.bug == Bug::TouchCountsBatch { batch.len() as u64 } else { moved })
    }

    /// Makes the mistakes about touches that arrive after a deadline.
    fn touch_late_wrongly(&self, batch: &[Touch], now: Timestamp) -> Option<u64> {
        let used_in_time = |row: &SessionRecord, touch: &Touch| row.accepts(touch, touch.last_seen_at);
        let late_by = |by| now.saturating_sub(Duration::from_millis(by));
        match self.bug {
            Bug::TouchIgnoresArrival => Some(self.overwrite(batch, used_in_time)),
            Bug::TouchForgivesDelay => {
                Some(self.overwrite(batch, |row, touch| row.accepts(touch, late_by(1_000))))
            }
            Bug::TouchArrivalInclusive => {
                Some(self.overwrite(batch, |row, touch| row.accepts(touch, late_by(1))))
            }
            Bug::TouchArrivalIgnoresAbsolute => Some(self.overwrite(batch, |row, touch| {
                let idle_at = row.idle_timeout.map(|timeout| row.last_seen_at.saturating_add(timeout));
                used_in_time(row, touch) && idle_at.is_none_or(|deadline| now < deadline)
            })),
            Bug::TouchArrivalByFirstDeadline => Some(self.overwrite(batch, |row, touch| {
                used_in_time(row, touch) && self.old_row(row.id).is_some_and(|created| created.is_live(now))
            })),
            Bug::TouchIgnoresUse => Some(
                self.overwrite(batch, |row, touch| touch.last_seen_at > row.last_seen_at && row.is_live(now)),
            ),
            Bug::TouchLateRefusesBatch => {
                let late = |touch: &Touch| self.row(touch.id).is_some_and(|row| !row.is_live(now));
                batch.iter().any(late).then_some(0)
            }
            _ => None,
        }
    }

    /// Applies each touch to the row of its id if the condition holds, and returns how many it
    /// applied.
    fn overwrite(&self, batch: &[Touch], condition: impl Fn(&SessionRecord, &Touch) -> bool) -> u64 {
        let mut moved = 0;
        for touch in batch {
            self.alter(touch.id, |row| {
                if condition(row, touch) {
                    row.last_seen_at = touch.last_seen_at;
                    row.last_client = touch.last_client.clone();
                    moved += 1;
                }
            });
        }
        moved
    }
}
