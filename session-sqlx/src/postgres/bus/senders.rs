//! What was heard of the other nodes, and whether something is missing.
//!
//! The log itself has no holes. What can be missing is what a node could not write to it: then the node's own numbers have one.

use std::collections::HashMap;
use std::time::Duration;

use session_core::Invalidation;
use tokio::time::Instant;

use super::wire::{Body, Message, Node};

/// The other nodes, as far as they were heard.
#[derive(Debug)]
pub(super) struct Senders {
    known: HashMap<Node, Sender>,
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
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// What has not been delivered yet.
    pub(super) changes: Option<Vec<Invalidation>>,
    /// Whether changes may be missing.
    pub(super) is_gap: bool,
}

impl Senders {
    pub(super) fn new(limit: usize) -> Self {
        Self { known: HashMap::new(), limit }
    }

    /// Takes in a message of another node.
    ///
    /// A node that is not known is taken for one that has said nothing yet. So whoever has begun to listen late, or has forgotten a node,
    /// sees a gap.
    pub(super) fn hear(&mut self, message: Message, now: Instant) -> Heard {
        let latest = self.known.get(&message.node).map_or(0, |sender| sender.latest);
        let number = message.number;
        let (changes, is_gap, latest) = match message.body {
            // Written twice, because the answer to the first attempt was lost, or written after its number was taken for lost.
            Body::Changes(_) if number <= latest => (None, false, latest),
            Body::Changes(changes) => (Some(changes), number - 1 != latest, number),
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

    /// Whether a node has fallen silent since this was asked before: it may have changes that it cannot tell.
    pub(super) fn any_silent_for(&mut self, silence: Duration, now: Instant) -> bool {
        let mut any = false;
        for sender in self.known.values_mut().filter(|sender| !sender.is_silent) {
            sender.is_silent = now.saturating_duration_since(sender.heard) > silence;
            any |= sender.is_silent;
        }
        any
    }

    /// Begins to wait for all of them anew: until now nothing could be heard.
    pub(super) fn excuse(&mut self, now: Instant) {
        for sender in self.known.values_mut() {
            sender.heard = now;
        }
    }

    /// Whether a node had to be forgotten of which something may be missing. One that was silent has been told of.
    fn note(&mut self, node: Node, sender: Sender) -> bool {
        let is_full = self.known.len() >= self.limit && !self.known.contains_key(&node);
        let longest_silent =
            || self.known.iter().min_by_key(|(_, sender)| sender.heard).map(|(node, _)| *node);
        let forgotten = if is_full { longest_silent() } else { None };
        let forgotten = forgotten.and_then(|node| self.known.remove(&node));
        self.known.insert(node, sender);
        forgotten.is_some_and(|sender| !sender.is_silent)
    }
}

#[cfg(test)]
mod tests {
    use session_core::{Revision, SessionId};

    use super::*;

    const SILENCE: Duration = Duration::from_secs(3);

    fn said(name: u8, number: u64, body: Body) -> Message {
        Message { node: [name; 16], number, body }
    }

    fn changes(name: u8, number: u64) -> Message {
        let id = SessionId::derive("test", b"", None);
        let change = Invalidation::new(id, Revision::new(number.max(1)).unwrap(), false);
        said(name, number, Body::Changes(vec![change]))
    }

    fn beat(name: u8, number: u64) -> Message {
        said(name, number, Body::Beat(0))
    }

    /// What was delivered, and after which of the messages a gap was reported.
    fn hear(senders: &mut Senders, messages: impl IntoIterator<Item = Message>) -> (Vec<u64>, Vec<usize>) {
        let (mut delivered, mut gaps) = (Vec::new(), Vec::new());
        for (place, message) in messages.into_iter().enumerate() {
            let heard = senders.hear(message, Instant::now());
            delivered.extend(heard.changes.iter().flatten().map(|change| change.revision.get()));
            gaps.extend(heard.is_gap.then_some(place));
        }
        (delivered, gaps)
    }

    #[test]
    fn what_comes_in_order_is_delivered_once() {
        let mut senders = Senders::new(8);
        let said = [beat(1, 0), changes(1, 1), beat(1, 1), changes(1, 2), changes(2, 1), changes(1, 3)];
        assert_eq!(hear(&mut senders, said), (vec![1, 2, 1, 3], vec![]));
        assert_eq!(hear(&mut senders, [changes(1, 3), changes(1, 1), beat(1, 3)]), (vec![], vec![]));
    }

    #[test]
    fn a_number_that_was_used_and_not_written_is_a_gap_once() {
        let mut senders = Senders::new(8);
        let skipped = [changes(1, 1), changes(1, 3), changes(1, 4)];
        assert_eq!(hear(&mut senders, skipped), (vec![1, 3, 4], vec![1]));
        assert_eq!(hear(&mut senders, [changes(1, 2), beat(1, 4)]), (vec![], vec![]), "late");
        assert_eq!(hear(&mut senders, [beat(1, 5), beat(1, 5), changes(1, 6)]), (vec![6], vec![0]));
    }

    #[test]
    fn a_node_that_speaks_before_it_is_known_is_a_gap_unless_it_has_said_nothing() {
        assert_eq!(hear(&mut Senders::new(8), [beat(1, 0), beat(1, 0)]), (vec![], vec![]));
        assert_eq!(hear(&mut Senders::new(8), [beat(1, 4), changes(1, 5)]), (vec![5], vec![0]));
    }

    #[test]
    fn a_forged_number_does_not_silence_a_node_for_longer_than_a_beat() {
        let mut senders = Senders::new(8);
        assert_eq!(hear(&mut senders, [changes(1, 1), beat(1, u64::MAX), changes(1, 2)]), (vec![1], vec![1]));
        assert_eq!(hear(&mut senders, [beat(1, 2), changes(1, 3)]), (vec![3], vec![0]));
        assert_eq!(
            hear(&mut senders, [beat(1, 0), changes(1, 0)]),
            (vec![], vec![0]),
            "changes begin with one"
        );
    }

    #[test]
    fn a_farewell_forgets_and_tells_what_is_missing() {
        let mut senders = Senders::new(8);
        let leaves = [changes(1, 1), said(1, 1, Body::Farewell)];
        assert_eq!(hear(&mut senders, leaves), (vec![1], vec![]));
        assert!(!senders.any_silent_for(SILENCE, Instant::now() + 2 * SILENCE), "it is gone");
        assert_eq!(hear(&mut senders, [changes(2, 1), said(2, 2, Body::Farewell)]), (vec![1], vec![1]));
    }

    #[test]
    fn what_a_later_release_says_is_a_gap() {
        let mut senders = Senders::new(8);
        assert_eq!(hear(&mut senders, [changes(1, 1), said(1, 2, Body::Unknown)]), (vec![1], vec![1]));
    }

    #[test]
    fn silence_is_told_once_and_is_not_a_gap_when_it_ends() {
        let (mut senders, start) = (Senders::new(8), Instant::now());
        senders.hear(changes(1, 1), start);
        assert!(!senders.any_silent_for(SILENCE, start + SILENCE));
        let later = start + SILENCE + Duration::from_millis(1);
        assert!(senders.any_silent_for(SILENCE, later) && !senders.any_silent_for(SILENCE, later));
        assert!(!senders.hear(beat(1, 1), later).is_gap);
        senders.excuse(later + SILENCE);
        assert!(!senders.any_silent_for(SILENCE, later + 2 * SILENCE));
        assert!(senders.any_silent_for(SILENCE, later + 3 * SILENCE), "it can fall silent again");
    }

    #[test]
    fn whoever_is_forgotten_for_want_of_room_is_a_gap() {
        let (mut senders, start) = (Senders::new(2), Instant::now());
        let mut say = |message, second| senders.hear(message, start + Duration::from_secs(second)).is_gap;
        assert!(!say(changes(1, 1), 0) && !say(beat(2, 0), 1));
        assert!(say(beat(3, 0), 2), "the first had to go");
        assert!(say(beat(1, 1), 3), "it is heard again, and the second goes");
        assert_eq!(senders.known.len(), 2);
        assert!(senders.any_silent_for(SILENCE, start + Duration::from_secs(60)));
        assert!(!senders.hear(beat(4, 0), start + Duration::from_secs(60)).is_gap, "who was silent may go");
    }
}
