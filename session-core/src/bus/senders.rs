//! Messages received from other nodes, and detection of missing ones.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::wire::{Body, Message, NodeId};
use crate::ports::Invalidation;
use crate::scope::Scope;

/// Tracks the messages received from other nodes and detects missing ones.
///
/// Each listener has one and keeps it when its connection is replaced.
#[derive(Debug)]
pub struct Senders {
    known: HashMap<NodeId, Sender>,
    limit: usize,
}

#[derive(Debug)]
struct Sender {
    /// The number of its latest changes.
    latest: u64,
    received_at: Instant,
    /// It has fallen silent, and that was reported.
    is_silent: bool,
}

/// The effect of a received message on the subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a gap that is not reported is a silent loss"]
pub struct Accepted {
    /// Changes that have not been delivered yet.
    pub changes: Option<(Scope, Vec<Invalidation>)>,
    /// Whether changes may be missing, which is a [`Resync`](crate::BusEvent::Resync).
    pub is_gap: bool,
}

impl Senders {
    /// The number of other nodes to track: 1,024. Beyond that, the node that was silent for longest
    /// is evicted, which is a gap.
    pub const MAX: usize = 1024;

    /// The time after which messages of a silent node are assumed lost: 3 seconds.
    pub const SILENCE: Duration = Duration::from_secs(3);

    /// Starts with no known node.
    #[must_use]
    pub fn new() -> Self {
        Self::remembering(Self::MAX)
    }

    fn remembering(limit: usize) -> Self {
        Self { known: HashMap::new(), limit }
    }

    /// Processes a message of another node and returns the changes to deliver.
    ///
    /// Delivers changes once and in order; drops copies and late messages. Treats an unknown node
    /// as one that has sent no changes yet. So a listener that started late, or has evicted a node,
    /// sees a gap.
    pub fn accept(&mut self, message: Message, now: Instant) -> Accepted {
        let latest = self.known.get(&message.node).map_or(0, |sender| sender.latest);
        let number = message.number;
        let (changes, is_gap, latest) = match message.body {
            // A copy, or out of order. Its changes were committed before their absence was reported
            // as a gap.
            Body::Changes(..) if number <= latest => (None, false, latest),
            Body::Changes(scope, changes) => (Some((scope, changes)), number - 1 != latest, number),
            // A number that is too low is a gap as well: another party has forged a message of this
            // node.
            Body::Beat(_) => (None, number != latest, number),
            Body::Farewell => {
                self.known.remove(&message.node);
                return Accepted { changes: None, is_gap: number != latest };
            }
            Body::Unknown => (None, true, latest),
        };
        let is_forgotten = self.note(message.node, Sender { latest, received_at: now, is_silent: false });
        Accepted { changes, is_gap: is_gap || is_forgotten }
    }

    /// Returns true if a node has fallen silent since the last call. Its last changes may be lost,
    /// or it may have changes that it cannot publish.
    pub fn any_silent(&mut self, now: Instant) -> bool {
        let mut any = false;
        for sender in self.known.values_mut().filter(|sender| !sender.is_silent) {
            sender.is_silent = now.saturating_duration_since(sender.received_at) > Self::SILENCE;
            any |= sender.is_silent;
        }
        any
    }

    /// Restarts the silence timer of every node, because no message could arrive until now.
    pub fn restart_timers(&mut self, now: Instant) {
        for sender in self.known.values_mut() {
            sender.received_at = now;
        }
    }

    /// Returns true if a node was evicted whose messages may be lost. Nodes already reported as
    /// silent do not count.
    fn note(&mut self, node: NodeId, sender: Sender) -> bool {
        let is_full = self.known.len() >= self.limit && !self.known.contains_key(&node);
        let longest_silent =
            || self.known.iter().min_by_key(|(_, sender)| sender.received_at).map(|(node, _)| *node);
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

    fn message_of(name: u8, number: u64, body: Body) -> Message {
        Message { node: NodeId([name; 16]), number, body }
    }

    /// The number is the revision.
    fn change(number: u64) -> Invalidation {
        let id = SessionId::derive("test", b"", None);
        Invalidation::new(id, Revision::new(number).unwrap(), false)
    }

    fn changes(name: u8, number: u64) -> Message {
        message_of(name, number, Body::Changes(Scope::from_bytes([7; 16]), vec![change(number)]))
    }

    fn beat(name: u8, number: u64) -> Message {
        message_of(name, number, Body::Beat(0))
    }

    fn farewell(name: u8, number: u64) -> Message {
        message_of(name, number, Body::Farewell)
    }

    /// Returns what was delivered, and the indexes of the messages after which a gap was reported.
    fn receive(senders: &mut Senders, messages: impl IntoIterator<Item = Message>) -> (Vec<u64>, Vec<usize>) {
        let (mut delivered, mut gaps) = (Vec::new(), Vec::new());
        for (place, message) in messages.into_iter().enumerate() {
            let received = senders.accept(message, Instant::now());
            delivered.extend(
                received.changes.iter().flat_map(|(_, changes)| changes).map(|change| change.revision.get()),
            );
            gaps.extend(received.is_gap.then_some(place));
        }
        (delivered, gaps)
    }

    #[test]
    fn messages_in_order_are_delivered_once() {
        let mut senders = Senders::remembering(8);
        let messages = [beat(1, 0), changes(1, 1), beat(1, 1), changes(1, 2), changes(2, 1), changes(1, 3)];
        assert_eq!(receive(&mut senders, messages), (vec![1, 2, 1, 3], vec![]));
        assert_eq!(receive(&mut senders, [changes(1, 3), changes(1, 1), beat(1, 3)]), (vec![], vec![]));
    }

    #[test]
    fn a_missing_message_is_a_gap_once() {
        let mut senders = Senders::remembering(8);
        assert_eq!(
            receive(&mut senders, [changes(1, 1), changes(1, 3), changes(1, 4)]),
            (vec![1, 3, 4], vec![1])
        );
        assert_eq!(receive(&mut senders, [changes(1, 2), beat(1, 4)]), (vec![], vec![]), "late");
        assert_eq!(receive(&mut senders, [beat(1, 5), beat(1, 5), changes(1, 6)]), (vec![6], vec![0]));
    }

    #[test]
    fn an_unknown_node_is_a_gap_unless_it_has_sent_no_changes() {
        assert_eq!(receive(&mut Senders::remembering(8), [beat(1, 0), beat(1, 0)]), (vec![], vec![]));
        assert_eq!(receive(&mut Senders::remembering(8), [beat(1, 4), changes(1, 5)]), (vec![5], vec![0]));
        assert_eq!(receive(&mut Senders::remembering(8), [changes(1, 4), beat(1, 4)]), (vec![4], vec![0]));
    }

    #[test]
    fn a_forged_number_hides_changes_until_the_next_heartbeat_only() {
        let mut senders = Senders::remembering(8);
        assert_eq!(
            receive(&mut senders, [changes(1, 1), beat(1, u64::MAX), changes(1, 2)]),
            (vec![1], vec![1])
        );
        assert_eq!(receive(&mut senders, [beat(1, 2), changes(1, 3)]), (vec![3], vec![0]));
        let none = Message { number: 0, ..changes(1, 9) };
        assert_eq!(receive(&mut senders, [beat(1, 0), none]), (vec![], vec![0]), "changes begin with one");
    }

    #[test]
    fn a_farewell_forgets_the_node_and_reports_a_gap() {
        let mut senders = Senders::remembering(8);
        assert_eq!(receive(&mut senders, [changes(1, 1), farewell(1, 1)]), (vec![1], vec![]));
        assert!(!senders.any_silent(Instant::now() + 2 * SILENCE), "a node that left cannot fall silent");
        assert_eq!(receive(&mut senders, [changes(2, 1), farewell(2, 2)]), (vec![1], vec![1]));
    }

    #[test]
    fn a_message_of_a_later_release_is_a_gap() {
        let unknown = message_of(1, 2, Body::Unknown);
        assert_eq!(receive(&mut Senders::remembering(8), [changes(1, 1), unknown]), (vec![1], vec![1]));
    }

    #[test]
    fn silence_is_reported_once_and_its_end_is_no_gap() {
        let (mut senders, start) = (Senders::remembering(8), Instant::now());
        let _ = senders.accept(changes(1, 1), start);
        assert!(!senders.any_silent(start + SILENCE));
        let _ = senders.accept(beat(2, 0), start + SILENCE);
        let later = start + SILENCE + Duration::from_millis(1);
        assert!(senders.any_silent(later) && !senders.any_silent(later));
        assert!(!senders.accept(beat(1, 1), later).is_gap);
        senders.restart_timers(later + SILENCE);
        assert!(!senders.any_silent(later + 2 * SILENCE));
        assert!(senders.any_silent(later + 3 * SILENCE), "it can fall silent again");
    }

    #[test]
    fn evicting_a_node_is_a_gap_unless_it_was_silent() {
        let (mut senders, start) = (Senders::remembering(2), Instant::now());
        let mut is_gap =
            |message, second| senders.accept(message, start + Duration::from_secs(second)).is_gap;
        assert!(!is_gap(changes(1, 1), 0) && !is_gap(beat(2, 0), 1));
        assert!(is_gap(beat(3, 0), 2), "the first node was evicted");
        assert!(is_gap(beat(1, 1), 3), "the first node returned, and the second was evicted");
        assert_eq!(senders.known.len(), 2);
        assert!(senders.any_silent(start + Duration::from_secs(60)));
        assert!(
            !senders.accept(beat(4, 0), start + Duration::from_secs(60)).is_gap,
            "a silent node was evicted"
        );
    }

    proptest! {
        /// Whatever happens to messages on the way: if one does not arrive, a later message reports
        /// a gap.
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
                    let received = senders.accept(message.clone(), Instant::now());
                    // Only a message of another node could evict this one between the copies, and
                    // there is none.
                    prop_assert_eq!(received.changes.is_some(), copy == 0);
                    prop_assert!(received.is_gap || !at_stake[index]);
                    at_stake[index] = false;
                }
            }
            for name in 1_u8..4 {
                let index = usize::from(name);
                prop_assert!(senders.accept(beat(name, sent[index]), Instant::now()).is_gap || !at_stake[index]);
            }
        }
    }
}
