//! The messages of a node, and their numbers.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::wire::{Body, NodeId, encode};
use crate::error::{Error, Result};
use crate::ports::Invalidation;
use crate::scope::Scope;
use crate::store::check_batch;

/// Creates the messages of a node.
///
/// A bus has one for as long as it lives; clones of the bus share it.
#[derive(Debug)]
pub struct Publisher {
    node: NodeId,
    /// The number of the latest changes.
    latest: AtomicU64,
}

impl Publisher {
    /// The heartbeat interval: once a second, with the number of the latest changes.
    pub const BEAT: Duration = Duration::from_secs(1);

    /// Creates a node with a random identifier that has sent no changes.
    #[must_use]
    pub fn new() -> Self {
        // The identifier must be unique, but need not be secret.
        let random = || u128::from(RandomState::new().hash_one(()));
        Self { node: NodeId((random() << 64 | random()).to_be_bytes()), latest: AtomicU64::new(0) }
    }

    /// Returns the identifier of this node, which distinguishes its messages from those of other
    /// nodes.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Creates a message about 1 to 500 changed sessions of a scope.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for none and for more than 500. A refused call uses
    /// no number.
    pub fn changes(&self, scope: Scope, changes: &[Invalidation]) -> Result<Outgoing<'_>> {
        check_batch("publish", changes.len())?;
        if changes.is_empty() {
            return Err(Error::invalid("publish", "nothing changed"));
        }
        Ok(self.outgoing(Body::Changes(scope, changes.to_vec())))
    }

    /// Creates a heartbeat with the time of the node's clock in milliseconds. Any clock will do,
    /// because only this node reads the value.
    pub fn beat(&self, clock: u64) -> Outgoing<'_> {
        self.outgoing(Body::Beat(clock))
    }

    /// Creates a farewell, so that other nodes do not report this node as silent.
    pub fn farewell(&self) -> Outgoing<'_> {
        self.outgoing(Body::Farewell)
    }

    fn outgoing(&self, body: Body) -> Outgoing<'_> {
        Outgoing { publisher: self, body, bytes: OnceLock::new() }
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

/// A message to send.
///
/// Changes use a number even if this value is dropped before it is sent. Otherwise other nodes
/// could not detect that they are missing.
#[derive(Debug)]
#[must_use = "changes that are dropped are a gap on other nodes"]
pub struct Outgoing<'p> {
    publisher: &'p Publisher,
    body: Body,
    bytes: OnceLock<Vec<u8>>,
}

impl Outgoing<'_> {
    /// Returns the bytes to send. The first call assigns the number; later calls return the same
    /// bytes.
    ///
    /// Messages must be sent in the order of their numbers, or other nodes see gaps. So make the
    /// first call when the message is next to be sent, and let no other message get a number and
    /// overtake it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get_or_init(|| encode(self.publisher.node, self.number(), &self.body))
    }

    fn number(&self) -> u64 {
        let latest = &self.publisher.latest;
        match self.body {
            Body::Changes(..) => latest.fetch_add(1, Ordering::Relaxed) + 1,
            _ => latest.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        let _ = self.bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Message;
    use crate::error::ErrorKind;
    use crate::id::SessionId;
    use crate::limits::MAX_BATCH;
    use crate::record::Revision;

    const SCOPE: Scope = Scope::from_bytes([7; 16]);

    fn changed(count: usize) -> Vec<Invalidation> {
        vec![Invalidation::new(SessionId::derive("test", b"", None), Revision::FIRST, false); count]
    }

    fn sent(outgoing: &Outgoing<'_>) -> Message {
        Message::decode(outgoing.bytes()).unwrap()
    }

    #[test]
    fn changes_are_numbered_and_other_messages_carry_the_latest() {
        let publisher = Publisher::new();
        let numbers = [
            sent(&publisher.beat(0)),
            sent(&publisher.changes(SCOPE, &changed(1)).unwrap()),
            sent(&publisher.beat(0)),
            sent(&publisher.changes(SCOPE, &changed(MAX_BATCH)).unwrap()),
            sent(&publisher.farewell()),
        ]
        .map(|message| message.number);
        assert_eq!(numbers, [0, 1, 1, 2, 2]);
    }

    #[test]
    fn a_message_has_the_requested_content() {
        let publisher = Publisher::new();
        let message = |body| Message { node: publisher.node(), number: 0, body };
        assert_eq!(sent(&publisher.beat(7)), message(Body::Beat(7)));
        assert_eq!(sent(&publisher.farewell()), message(Body::Farewell));
        let changes = sent(&publisher.changes(SCOPE, &changed(2)).unwrap());
        assert_eq!(changes, Message { number: 1, ..message(Body::Changes(SCOPE, changed(2))) });
    }

    #[test]
    fn a_number_is_assigned_when_the_bytes_are_first_read() {
        let publisher = Publisher::new();
        let (first, second) =
            (publisher.changes(SCOPE, &changed(1)).unwrap(), publisher.changes(SCOPE, &changed(1)).unwrap());
        let beat = publisher.beat(0);
        assert_eq!((sent(&second).number, sent(&beat).number, sent(&first).number), (1, 1, 2));
        assert_eq!((sent(&second).number, sent(&beat).number, sent(&first).number), (1, 1, 2));
    }

    #[test]
    fn unsent_changes_use_one_number() {
        let publisher = Publisher::new();
        drop(publisher.changes(SCOPE, &changed(1)).unwrap());
        assert_eq!(sent(&publisher.beat(0)).number, 1);
        assert_eq!(
            sent(&publisher.changes(SCOPE, &changed(1)).unwrap()).number,
            2,
            "dropped after it was sent"
        );
        drop((publisher.beat(0), publisher.farewell()));
        assert_eq!(sent(&publisher.beat(0)).number, 2);
    }

    #[test]
    fn a_refused_call_uses_no_number() {
        let publisher = Publisher::new();
        for count in [0, MAX_BATCH + 1] {
            assert_eq!(publisher.changes(SCOPE, &changed(count)).unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert_eq!(sent(&publisher.beat(0)).number, 0);
    }

    #[test]
    fn each_node_has_its_own_identifier() {
        let publisher = Publisher::new();
        assert_ne!(publisher.node(), Publisher::default().node());
        assert_eq!(publisher.node(), sent(&publisher.beat(0)).node);
    }
}
