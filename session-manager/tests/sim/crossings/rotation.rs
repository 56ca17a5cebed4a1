//! Secrets that are replaced, on the timer and at once, while replies of the store are lost.

use session_core::{SecretState, SessionRecord, Successor};

use crate::checker::Checker;
use crate::history::{Call, Violation};
use crate::workload::Client;

pub(crate) async fn step(client: &Client) {
    let number = client.sim.draw(|rng| rng.u32(..100));
    let Some(mut known) = client.hot() else { return client.create().await };
    match number {
        0..=4 => client.create().await,
        5..=14 => client.rotate(&known).await,
        15..=17 => client.revoke_others(&known).await,
        18..=22 => client.save(&known).await,
        23 => client.revoke(&known).await,
        24..=31 => drop(client.open(Call::Authoritative, &known).await),
        32..=49 if known.tokens.len() > 1 => {
            // A tab that has not received the latest token.
            known.tokens.pop();
            drop(client.open(Call::Validate, &known).await);
        }
        _ => drop(client.open(Call::Validate, &known).await),
    }
}

fn successor(record: &SessionRecord) -> Option<Successor> {
    record.secret.as_ref().and_then(SecretState::successor)
}

impl Checker<'_> {
    /// `one-successor-at-a-time`: the timer makes no secret before the last one that it made was
    /// presented.
    pub(crate) fn secrets_wait_for_their_successor(&mut self) {
        for (id, states) in self.truth {
            for ((_, before), (at, after)) in states.iter().zip(&states[1..]) {
                let (Some(old), Some(new)) = (&before.secret, &after.secret) else { continue };
                if old.current == new.current || after.refresh.is_some() {
                    continue;
                }
                match (successor(before), successor(after)) {
                    (Some(Successor::Unpresented), Some(Successor::Unpresented)) => {
                        let what = "a second successor before the first was presented".to_owned();
                        let (invariant, session) = ("one-successor-at-a-time", Some(*id));
                        self.found.push(Violation { invariant, session, at: *at, what });
                    }
                    (_, Some(Successor::Unpresented)) => self.sim.count("rotation on the timer"),
                    (Some(Successor::Unconfirmed), None) => self.sim.count("replacement taken back"),
                    (_, Some(Successor::Unconfirmed)) => self.sim.count("replacement at once"),
                    _ => {}
                }
            }
        }
    }
}
