//! What was heard of the other nodes, and whether something is missing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::wire::{Body, Message, NodeId};
use crate::ports::Invalidation;
use crate::scope::Scope;

/// Remembers what was heard of the other nodes, and notices what is missing.
///
/// Whoever listens has one, and keeps it when its connection is replaced.
#[derive(Debug)]
pub struct Senders {
    known: HashMap<NodeId, Sender>,
    limit: usize,
}

#[derive(Debug)]
struct Sender {
    /// The number of its latest changes.
    latest: u64,
    heard: Instant,
    /// It has fallen silent, and that was told.
    is_silent: bool,
}

/// What a message means for those who listen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a gap that is not told is a silent loss"]
pub struct Heard {
    /// What has not been delivered yet.
    pub changes: Option<(Scope, Vec<Invalidation>)>,
    /// Whether changes may be missing, which is a [`Resync`](crate::BusEvent::Resync).
    pub is_gap: bool,
}

impl Senders {
    /// How many other nodes are remembered: 1,024. Beyond that the longest unheard is forgotten, which is a gap.
    pub const MAX: usize = 1024;

    /// How long nothing may be heard of a node before its messages are taken for lost: 3 seconds.
    pub const SILENCE: Duration = Duration::from_secs(3);

    /// Begins to listen: nobody was heard yet.
    #[must_use]
    pub fn new() -> Self {
        Self::remembering(Self::MAX)
    }

    fn remembering(limit: usize) -> Self {
        Self { known: HashMap::new(), limit }
    }

    /// Takes in a message of another node, and says what is to be delivered.
    ///
    /// Changes are delivered once and in order, whatever comes twice or late. A node that is not known is taken for one that has said
    /// nothing yet. So whoever has begun to listen late, or has forgotten a node, sees a gap.
    pub fn hear(&mut self, message: Message, now: Instant) -> Heard {
        let latest = self.known.get(&message.node).map_or(0, |sender| sender.latest);
        let number = message.number;
        let (changes, is_gap, latest) = match message.body {
            // A copy, or out of order: what it says was committed before the gap was reported that its absence made.
            Body::Changes(..) if number <= latest => (None, false, latest),
            Body::Changes(scope, changes) => (Some((scope, changes)), number - 1 != latest, number),
            // A lower number is as strange as a higher one: somebody has spoken in the node's name.
            Body::Beat(_) => (None, number != latest, number),
            Body::Farewell => {
                self.known.remove(&message.node);
                return Heard { changes: None, is_gap: number != latest };
            }
            Body::Unknown => (None, true, latest),
        };
        let is_forgotten = self.note(message.node, Sender { latest, heard: now, is_silent: false });
        Heard { changes, is_gap: is_gap || is_forgotten }
    }

    /// Returns whether a node has fallen silent since this was asked before: its last changes may have been lost, or it may have some
    /// that it cannot tell.
    pub fn any_silent(&mut self, now: Instant) -> bool {
        let mut any = false;
        for sender in self.known.values_mut().filter(|sender| !sender.is_silent) {
            sender.is_silent = now.saturating_duration_since(sender.heard) > Self::SILENCE;
            any |= sender.is_silent;
        }
        any
    }

    /// Begins to wait for all of them anew: until now nothing could be heard.
    pub fn excuse(&mut self, now: Instant) {
        for sender in self.known.values_mut() {
            sender.heard = now;
        }
    }

    /// Whether a node had to be forgotten of which something may be missing. One that was silent has been told of.
    fn note(&mut self, node: NodeId, sender: Sender) -> bool {
        let is_full = self.known.len() >= self.limit && !self.known.contains_key(&node);
        let longest_silent =
            || self.known.iter().min_by_key(|(_, sender)| sender.heard).map(|(node, _)| *node);
        let forgotten = if is_full { longest_silent() } else { None };
        let forgotten = forgotten.and_then(|node| self.known.remove(&node));
        self.known.insert(node, sender);
        forgotten.is_some_and(|sender| !sender.is_silent)
    }
}

impl Default for Senders {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::SessionId;
    use crate::record::Revision;

    const SILENCE: Duration = Senders::SILENCE;

    fn said(name: u8, number: u64, body: Body) -> Message {
        Message { node: NodeId([name; 16]), number, body }
    }

    /// The revision tells which one it is.
    fn change(number: u64) -> Invalidation {
        let id = SessionId::derive("test", b"", None);
        Invalidation::new(id, Revision::new(number).unwrap(), false)
    }

    fn changes(name: u8, number: u64) -> Message {
        said(name, number, Body::Changes(Scope::from_bytes([7; 16]), vec![change(number)]))
    }

    fn beat(name: u8, number: u64) -> Message {
        said(name, number, Body::Beat(0))
    }

    fn farewell(name: u8, number: u64) -> Message {
        said(name, number, Body::Farewell)
    }

    /// What was delivered, and after which of the messages a gap was reported.
    fn hear(senders: &mut Senders, messages: impl IntoIterator<Item = Message>) -> (Vec<u64>, Vec<usize>) {
        let (mut delivered, mut gaps) = (Vec::new(), Vec::new());
        for (place, message) in messages.into_iter().enumerate() {
            let heard = senders.hear(message, Instant::now());
            delivered.extend(
                heard.changes.iter().flat_map(|(_, changes)| changes).map(|change| change.revision.get()),
            );
            gaps.extend(heard.is_gap.then_some(place));
        }
        (delivered, gaps)
    }

    #[test]
    fn what_comes_in_order_is_delivered_once() {
        let mut senders = Senders::remembering(8);
        let said = [beat(1, 0), changes(1, 1), beat(1, 1), changes(1, 2), changes(2, 1), changes(1, 3)];
        assert_eq!(hear(&mut senders, said), (vec![1, 2, 1, 3], vec![]));
        assert_eq!(hear(&mut senders, [changes(1, 3), changes(1, 1), beat(1, 3)]), (vec![], vec![]));
    }

    #[test]
    fn a_missing_message_is_a_gap_once() {
        let mut senders = Senders::remembering(8);
        assert_eq!(
            hear(&mut senders, [changes(1, 1), changes(1, 3), changes(1, 4)]),
            (vec![1, 3, 4], vec![1])
        );
        assert_eq!(hear(&mut senders, [changes(1, 2), beat(1, 4)]), (vec![], vec![]), "late");
        assert_eq!(hear(&mut senders, [beat(1, 5), beat(1, 5), changes(1, 6)]), (vec![6], vec![0]));
    }

    #[test]
    fn a_node_that_speaks_before_it_is_known_is_a_gap_unless_it_has_said_nothing() {
        assert_eq!(hear(&mut Senders::remembering(8), [beat(1, 0), beat(1, 0)]), (vec![], vec![]));
        assert_eq!(hear(&mut Senders::remembering(8), [beat(1, 4), changes(1, 5)]), (vec![5], vec![0]));
        assert_eq!(hear(&mut Senders::remembering(8), [changes(1, 4), beat(1, 4)]), (vec![4], vec![0]));
    }

    #[test]
    fn a_forged_number_does_not_silence_a_node_for_longer_than_a_beat() {
        let mut senders = Senders::remembering(8);
        assert_eq!(hear(&mut senders, [changes(1, 1), beat(1, u64::MAX), changes(1, 2)]), (vec![1], vec![1]));
        assert_eq!(hear(&mut senders, [beat(1, 2), changes(1, 3)]), (vec![3], vec![0]));
        let none = Message { number: 0, ..changes(1, 9) };
        assert_eq!(hear(&mut senders, [beat(1, 0), none]), (vec![], vec![0]), "changes begin with one");
    }

    #[test]
    fn a_farewell_forgets_and_tells_what_is_missing() {
        let mut senders = Senders::remembering(8);
        assert_eq!(hear(&mut senders, [changes(1, 1), farewell(1, 1)]), (vec![1], vec![]));
        assert!(!senders.any_silent(Instant::now() + 2 * SILENCE), "it is gone");
        assert_eq!(hear(&mut senders, [changes(2, 1), farewell(2, 2)]), (vec![1], vec![1]));
    }

    #[test]
    fn what_a_later_release_says_is_a_gap() {
        let unknown = said(1, 2, Body::Unknown);
        assert_eq!(hear(&mut Senders::remembering(8), [changes(1, 1), unknown]), (vec![1], vec![1]));
    }

    #[test]
    fn silence_is_told_once_and_is_not_a_gap_when_it_ends() {
        let (mut senders, start) = (Senders::remembering(8), Instant::now());
        let _ = senders.hear(changes(1, 1), start);
        assert!(!senders.any_silent(start + SILENCE));
        let _ = senders.hear(beat(2, 0), start + SILENCE);
        let later = start + SILENCE + Duration::from_millis(1);
        assert!(senders.any_silent(later) && !senders.any_silent(later));
        assert!(!senders.hear(beat(1, 1), later).is_gap);
        senders.excuse(later + SILENCE);
        assert!(!senders.any_silent(later + 2 * SILENCE));
        assert!(senders.any_silent(later + 3 * SILENCE), "it can fall silent again");
    }

    #[test]
    fn whoever_is_forgotten_for_want_of_room_is_a_gap() {
        let (mut senders, start) = (Senders::remembering(2), Instant::now());
        let mut say = |message, second| senders.hear(message, start + Duration::from_secs(second)).is_gap;
        assert!(!say(changes(1, 1), 0) && !say(beat(2, 0), 1));
        assert!(say(beat(3, 0), 2), "the first had to go");
        assert!(say(beat(1, 1), 3), "it is heard again, and the second goes");
        assert_eq!(senders.known.len(), 2);
        assert!(senders.any_silent(start + Duration::from_secs(60)));
        assert!(!senders.hear(beat(4, 0), start + Duration::from_secs(60)).is_gap, "who was silent may go");
    }

    proptest! {
        /// Whatever becomes of the messages on the way: if one does not arrive, a gap is reported after it was sent.
        #[test]
        fn no_loss_is_silent(fates in prop::collection::vec((0_u8..10, 1_u8..4), 1..60)) {
            let (mut senders, mut sent, mut at_stake) = (Senders::remembering(2), [0_u64; 4], [false; 4]);
            for (fate, name) in fates {
                let index = usize::from(name);
                sent[index] += 1;
                let message = changes(name, sent[index]);
                if fate < 3 {
                    at_stake[index] = true;
                    continue;
                }
                let copies = if fate < 5 { 2 } else { 1 };
                for copy in 0..copies {
                    let heard = senders.hear(message.clone(), Instant::now());
                    // It may be forgotten between the copies only if others speak, and they do not.
                    prop_assert_eq!(heard.changes.is_some(), copy == 0);
                    prop_assert!(heard.is_gap || !at_stake[index]);
                    at_stake[index] = false;
                }
            }
            for name in 1_u8..4 {
                let index = usize::from(name);
                prop_assert!(senders.hear(beat(name, sent[index]), Instant::now()).is_gap || !at_stake[index]);
            }
        }
    }
}
