//! What is written to the log.
//!
//! All numbers are big-endian, and nothing follows the last field:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 2 | `SK` |
//! | 2 | 1 | version of this format: 1 |
//! | 3 | 1 | kind: `B` beat, `C` changes, `F` farewell |
//! | 4 | 16 | node, random for each bus |
//! | 20 | 8 | number of the node's latest changes, these included |
//! | 28 | 8 | of a beat: milliseconds on a clock of the node |
//! | 28 | 25 each | of changes, 1 to 500: session id (16), revision (8), whether it ended (1): 0 or 1 |
//!
//! A later version 1 may add kinds: whoever does not know one takes it for changes that it cannot read. A later version is not
//! understood at all, so it may only be written once every node reads it.

use session_core::limits::MAX_BATCH;
use session_core::{Invalidation, Revision, SessionId};

/// Names a bus, as long as it lives.
pub(super) type Node = [u8; 16];

const MAGIC: [u8; 3] = *b"SK\x01";

const HEADER: usize = 28;

const CHANGE: usize = 25;

/// The longest message: 12,528 bytes.
pub(super) const MAX_MESSAGE: usize = HEADER + MAX_BATCH * CHANGE;

/// One message of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) node: Node,
    pub(super) number: u64,
    pub(super) body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// The node is there, and its clock stands at so many milliseconds.
    Beat(u64),
    /// Sessions changed.
    Changes(Vec<Invalidation>),
    /// The node leaves.
    Farewell,
    /// Something that a later release knows.
    Unknown,
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(match self.body {
            Body::Beat(_) => b'B',
            Body::Changes(_) => b'C',
            Body::Farewell => b'F',
            Body::Unknown => b'?',
        });
        bytes.extend(self.node);
        bytes.extend(self.number.to_be_bytes());
        match &self.body {
            Body::Beat(clock) => bytes.extend(clock.to_be_bytes()),
            Body::Changes(changes) => {
                for change in changes {
                    bytes.extend(change.id.as_bytes());
                    bytes.extend(change.revision.get().to_be_bytes());
                    bytes.push(u8::from(change.ended));
                }
            }
            Body::Farewell | Body::Unknown => {}
        }
        bytes
    }

    /// Reads a message, `None` if it is none of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&MAGIC)?;
        let [kind] = take(&mut rest)?;
        let node = take(&mut rest)?;
        let number = u64::from_be_bytes(take(&mut rest)?);
        let body = match kind {
            b'B' => Body::Beat(u64::from_be_bytes(take(&mut rest)?)),
            b'C' => Body::Changes(changes(&mut rest)?),
            b'F' => Body::Farewell,
            _ => return Some(Self { node, number, body: Body::Unknown }),
        };
        rest.is_empty().then_some(Self { node, number, body })
    }
}

fn changes(rest: &mut &[u8]) -> Option<Vec<Invalidation>> {
    let (count, odd) = (rest.len() / CHANGE, rest.len() % CHANGE);
    if odd != 0 || !(1..=MAX_BATCH).contains(&count) {
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
    use super::*;

    const NODE: Node = *b"sixteen bytes ok";

    fn message(number: u64, body: Body) -> Message {
        Message { node: NODE, number, body }
    }

    fn changes_of(count: u64) -> Message {
        let mut id = [0; 16];
        (id[6], id[8], id[15]) = (0x70, 0x80, 9);
        let id = SessionId::from_bytes(id).unwrap();
        let change = |n| Invalidation::new(id, Revision::new(n + 5).unwrap(), n % 2 == 0);
        message(3, Body::Changes((0..count).map(change).collect()))
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let beat = message(0x0102, Body::Beat(0x0a)).encode();
        assert_eq!(beat, b"SK\x01Bsixteen bytes ok\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x0a");
        assert_eq!(message(1, Body::Farewell).encode(), b"SK\x01Fsixteen bytes ok\0\0\0\0\0\0\0\x01");
        let expected = b"SK\x01Csixteen bytes ok\0\0\0\0\0\0\0\x03\
            \0\0\0\0\0\0\x70\0\x80\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x05\x01";
        assert_eq!(changes_of(1).encode(), expected);
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for message in [message(7, Body::Beat(u64::MAX)), message(u64::MAX, Body::Farewell), changes_of(2)] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn the_longest_message_is_as_long_as_it_may_be() {
        let longest = changes_of(500);
        assert_eq!((longest.encode().len(), MAX_MESSAGE), (MAX_MESSAGE, 12_528));
        assert_eq!(Message::decode(&longest.encode()), Some(longest));
        assert_eq!(Message::decode(&changes_of(501).encode()), None);
        assert_eq!(Message::decode(&changes_of(0).encode()), None, "nothing changed");
    }

    #[test]
    fn every_missing_and_every_added_byte_is_noticed() {
        for body in [Body::Beat(1), Body::Farewell, changes_of(1).body] {
            let mut bytes = message(1, body).encode();
            for length in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..length]), None, "{length} bytes");
            }
            bytes.push(0);
            assert_eq!(Message::decode(&bytes), None, "one byte more");
        }
    }

    #[test]
    fn what_no_session_can_have_is_refused() {
        let good = changes_of(1).encode();
        for (offset, byte, what) in [
            (0, b'k', "a foreign message"),
            (2, 2, "another version"),
            (34, 0x40, "an id of another version"),
            (51, 0, "revision zero"),
            (44, 0xff, "a revision that databases cannot hold"),
            (52, 2, "neither ended nor not"),
        ] {
            let mut bad = good.clone();
            bad[offset] = byte;
            assert_eq!(Message::decode(&bad), None, "{what}");
        }
    }

    #[test]
    fn a_kind_of_a_later_release_is_known_to_be_one() {
        let mut bytes = changes_of(1).encode();
        bytes[3] = b'Z';
        assert_eq!(Message::decode(&bytes), Some(message(3, Body::Unknown)));
    }
}
