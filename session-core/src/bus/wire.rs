//! The wire format of a message. [The module](super) documents the layout.

use crate::id::SessionId;
use crate::limits::MAX_BATCH;
use crate::ports::Invalidation;
use crate::record::Revision;
use crate::scope::Scope;

/// The identifier of a node: of one [`Publisher`](super::Publisher), for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub(super) [u8; 16]);

const MAGIC: [u8; 3] = *b"SK\x01";

const HEADER: usize = 28;

const SCOPE: usize = 16;

const CHANGE: usize = 25;

/// One message of a node, as other nodes receive it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The node that sent the message.
    pub node: NodeId,
    /// The number of the node's latest changes, including those in this message. Numbers start at
    /// 1.
    pub number: u64,
    /// The content.
    pub body: Body,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Heartbeat: the node is alive, and its clock shows this many milliseconds.
    Beat(u64),
    /// Sessions of a scope changed; 1 to 500 changes.
    Changes(Scope, Vec<Invalidation>),
    /// The node leaves.
    Farewell,
    /// A kind that only a later release knows.
    Unknown,
}

/// Encodes a message.
pub(super) fn encode(node: NodeId, number: u64, body: &Body) -> Vec<u8> {
    let (kind, length) = match body {
        Body::Beat(_) => (b'B', 8),
        Body::Changes(_, changes) => (b'C', SCOPE + 2 + changes.len() * CHANGE),
        Body::Farewell => (b'F', 0),
        Body::Unknown => (b'?', 0),
    };
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(kind);
    bytes.extend_from_slice(&node.0);
    bytes.extend_from_slice(&number.to_be_bytes());
    match body {
        Body::Beat(clock) => bytes.extend_from_slice(&clock.to_be_bytes()),
        Body::Changes(scope, changes) => {
            bytes.extend_from_slice(scope.as_bytes());
            // The publisher ensures that there are at most 500 changes.
            bytes.extend_from_slice(&u16::try_from(changes.len()).unwrap_or(u16::MAX).to_be_bytes());
            for change in changes {
                bytes.extend_from_slice(change.id.as_bytes());
                bytes.extend_from_slice(&change.revision.get().to_be_bytes());
                bytes.push(u8::from(change.ended));
            }
        }
        Body::Farewell | Body::Unknown => {}
    }
    bytes
}

impl Message {
    /// The length of the longest message: 12,546 bytes. A transport may refuse longer ones.
    pub const MAX_BYTES: usize = HEADER + SCOPE + 2 + MAX_BATCH * CHANGE;

    /// Decodes a message. Returns `None` for bytes that no bus of this version writes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > Self::MAX_BYTES {
            return None;
        }
        let mut rest = bytes.strip_prefix(&MAGIC)?;
        let [kind] = take(&mut rest)?;
        let node = NodeId(take(&mut rest)?);
        let number = u64::from_be_bytes(take(&mut rest)?);
        let body = match kind {
            b'B' => Body::Beat(u64::from_be_bytes(take(&mut rest)?)),
            b'C' => Body::Changes(Scope::from_bytes(take(&mut rest)?), changes(&mut rest)?),
            b'F' => Body::Farewell,
            _ => return Some(Self { node, number, body: Body::Unknown }),
        };
        rest.is_empty().then_some(Self { node, number, body })
    }
}

fn changes(rest: &mut &[u8]) -> Option<Vec<Invalidation>> {
    let count = usize::from(u16::from_be_bytes(take(rest)?));
    if !(1..=MAX_BATCH).contains(&count) || rest.len() != count * CHANGE {
        return None;
    }
    (0..count)
        .map(|_| {
            let id = SessionId::from_bytes(take(rest)?).ok()?;
            let revision = Revision::new(u64::from_be_bytes(take(rest)?)).ok()?;
            let ended = match take(rest)? {
                [0] => false,
                [1] => true,
                _ => return None,
            };
            Some(Invalidation::new(id, revision, ended))
        })
        .collect()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const NODE: NodeId = NodeId(*b"sixteen bytes ok");
    const SCOPE_OF: Scope = Scope::from_bytes(*b"sixteen more too");

    impl Message {
        fn encode(&self) -> Vec<u8> {
            encode(self.node, self.number, &self.body)
        }
    }

    fn id(tail: u8) -> SessionId {
        let mut bytes = [0; 16];
        (bytes[6], bytes[8], bytes[15]) = (0x70, 0x80, tail);
        SessionId::from_bytes(bytes).unwrap()
    }

    fn changes_of(count: usize) -> Message {
        let change = |n: usize| {
            let revision = Revision::new(n as u64 + 1).unwrap();
            Invalidation::new(id(n.to_be_bytes()[7]), revision, n % 2 == 1)
        };
        message_of(7, Body::Changes(SCOPE_OF, (0..count).map(change).collect()))
    }

    fn message_of(number: u64, body: Body) -> Message {
        Message { node: NODE, number, body }
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let beat = message_of(0x0102, Body::Beat(0x0a));
        assert_eq!(beat.encode(), b"SK\x01Bsixteen bytes ok\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x0a");
        assert_eq!(message_of(1, Body::Farewell).encode(), b"SK\x01Fsixteen bytes ok\0\0\0\0\0\0\0\x01");
        let ended = Invalidation::new(id(9), Revision::new(5).unwrap(), true);
        let ended = message_of(3, Body::Changes(SCOPE_OF, vec![ended]));
        let expected = b"SK\x01Csixteen bytes ok\0\0\0\0\0\0\0\x03sixteen more too\0\x01\
            \0\0\0\0\0\0\x70\0\x80\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x05\x01";
        assert_eq!(ended.encode(), expected);
    }

    #[test]
    fn the_largest_batch_is_exactly_as_long_as_allowed() {
        let longest = changes_of(MAX_BATCH);
        assert_eq!((longest.encode().len(), Message::MAX_BYTES), (12_546, 12_546));
        let mut bytes = longest.encode();
        assert_eq!(Message::decode(&bytes), Some(longest));
        bytes.push(0);
        bytes[3] = b'Z';
        assert_eq!(Message::decode(&bytes), None, "too long, even of a later release");
        assert_eq!(Message::decode(&changes_of(MAX_BATCH + 1).encode()), None);
        assert_eq!(Message::decode(&changes_of(0).encode()), None, "nothing changed");
    }

    #[test]
    fn the_highest_numbers_survive_a_round_trip() {
        for message in [message_of(7, Body::Beat(u64::MAX)), message_of(u64::MAX, Body::Farewell)] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn a_missing_or_added_byte_is_detected() {
        for body in [Body::Beat(1), Body::Farewell, changes_of(1).body, changes_of(2).body] {
            let message = message_of(1, body);
            let mut bytes = message.encode();
            for length in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..length]), None, "{length} bytes of {message:?}");
            }
            bytes.push(0);
            assert_eq!(Message::decode(&bytes), None, "one byte after {message:?}");
        }
    }

    #[test]
    fn invalid_header_or_session_fields_are_refused() {
        let good = changes_of(1).encode();
        assert!(Message::decode(&good).is_some());
        for (offset, byte, what) in [
            (0, b'k', "a foreign message"),
            (2, 2, "an unknown format version"),
            (45, 0, "no changes, and more bytes"),
            (45, 2, "a count above the number of changes"),
            (52, 0x40, "an id of another version"),
            (69, 0, "revision zero"),
            (62, 0xff, "a revision that databases cannot hold"),
            (70, 2, "an `ended` flag that is neither 0 nor 1"),
        ] {
            let mut bad = good.clone();
            bad[offset] = byte;
            assert_eq!(Message::decode(&bad), None, "{what}");
        }
    }

    #[test]
    fn a_kind_of_a_later_release_decodes_as_unknown() {
        let mut bytes = changes_of(1).encode();
        bytes[3] = b'Z';
        assert_eq!(Message::decode(&bytes), Some(message_of(7, Body::Unknown)));
    }

    fn any_change() -> impl Strategy<Value = Invalidation> {
        (any::<[u8; 16]>(), 1..=i64::MAX.unsigned_abs(), any::<bool>()).prop_map(
            |(mut id, revision, ended)| {
                (id[6], id[8]) = (id[6] & 0x0f | 0x70, id[8] & 0x3f | 0x80);
                Invalidation::new(SessionId::from_bytes(id).unwrap(), Revision::new(revision).unwrap(), ended)
            },
        )
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let body = prop_oneof![
            any::<u64>().prop_map(Body::Beat),
            Just(Body::Farewell),
            (any::<[u8; 16]>(), vec(any_change(), 1..8))
                .prop_map(|(scope, changes)| Body::Changes(Scope::from_bytes(scope), changes)),
        ];
        (any::<[u8; 16]>(), any::<u64>(), body).prop_map(|(node, number, body)| Message {
            node: NodeId(node),
            number,
            body,
        })
    }

    proptest! {
        #[test]
        fn a_message_survives_a_round_trip(message in any_message()) {
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }

        #[test]
        fn arbitrary_bytes_have_at_most_one_encoding(
            mut bytes in vec(any::<u8>(), 0..200), known in any::<bool>(),
        ) {
            if known && bytes.len() > 3 {
                bytes[..3].copy_from_slice(&MAGIC);
                bytes[3] = b"BCF"[usize::from(bytes[3]) % 3];
            }
            if let Some(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), bytes, "the encoding is not unique");
            }
        }

        #[test]
        fn one_wrong_byte_is_refused_or_changes_the_message(
            message in any_message(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = message.encode();
            let place = place.index(bytes.len());
            prop_assume!(bytes[place] != byte);
            bytes[place] = byte;
            prop_assert_ne!(Message::decode(&bytes), Some(message));
        }
    }
}
