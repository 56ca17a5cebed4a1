//! Messages between nodes, and how their loss is noticed: for authors of an [`InvalidationBus`](crate::InvalidationBus).
//!
//! A bus may lose messages, but never silently. Each node counts its messages of changes and says once a second how far it has
//! counted. Whoever hears a number that does not follow the last one knows that something is missing, and says
//! [`Resync`](crate::BusEvent::Resync). All of that is here, without I/O and without a clock; a bus adds the transport.
//!
//! # What a bus does
//! - It hands the bytes of its [`Publisher`]'s messages to the transport in the order of their [numbers](Outgoing::bytes): changes when it
//!   is asked to publish, a beat every second whether or not it has subscriptions, a farewell when it leaves.
//! - It [decodes](Message::decode) what arrives, and drops and counts what is no message.
//! - Its own messages come back. It delivers none of them, but a beat that is not too old shows that messages arrive.
//! - It passes the others' to [`Senders::hear`], and delivers the changes, or a resync if there is a gap.
//! - While messages arrive, it asks once a second whether a node has [fallen silent](Senders::any_silent), which is a resync.
//! - When messages arrive again after they did not, it [excuses](Senders::excuse) all nodes, and resyncs unless it has read what came
//!   meanwhile.
//!
//! # A message
//! All numbers are big-endian, and nothing follows the last field:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 2 | `SK` |
//! | 2 | 1 | version of this format: 1 |
//! | 3 | 1 | kind: `B` beat, `C` changes, `F` farewell |
//! | 4 | 16 | node, random for each [`Publisher`] |
//! | 20 | 8 | number of the node's latest changes, these included |
//! | 28 | 8 | of a beat: milliseconds on a clock of the node |
//! | 28 | 16 | of changes: the [scope](crate::Scope) of the sessions |
//! | 44 | 2 | how many, 1 to 500 |
//! | 46 | 25 each | session id (16), revision (8), whether it ended (1): 0 or 1 |
//!
//! A later version 1 may add kinds: whoever does not know one takes it for changes that it cannot read. A later version is not
//! understood at all, so it may only be sent once every node reads it.
//!
//! # Bounds
//! | bound | value | reason |
//! |---|---|---|
//! | [`Message::MAX_BYTES`] | 12,546 bytes | [`MAX_BATCH`](crate::limits::MAX_BATCH) changes |
//! | [`Publisher::BEAT`] | 1 s | one small message per node and second; a loss is known a second later |
//! | [`Senders::SILENCE`] | 3 s | two beats may be late; shorter than a process trusts its own copies |
//! | [`Senders::MAX`] | 1,024 nodes | the longest unheard is forgotten, which is a resync |
//!
//! # Security
//! Messages are not authenticated, so a transport must not be open to everybody. Whoever can forge them can make caches forget, claim that
//! a session ended, and hide a node's changes by using their numbers first: then other nodes find out as late as without a bus. Nobody
//! can bring an ended session back.
//!
//! # Examples
//! ```
//! use std::time::Instant;
//!
//! use session_core::bus::{Message, Publisher, Senders};
//! use session_core::{BusEvent, Invalidation, Revision, Scope, SessionId};
//!
//! let (publisher, scope) = (Publisher::new(), Scope::new("shop-production", None)?);
//! let ended = Invalidation::new(SessionId::derive("example", b"", None), Revision::FIRST, true);
//! let sent = publisher.changes(scope, &[ended])?.bytes().to_vec();
//! drop(publisher.changes(scope, &[ended])?); // its caller gave up, so nobody gets it
//! let beat = publisher.beat(1_000).bytes().to_vec();
//!
//! let (mut senders, mut events) = (Senders::new(), Vec::new());
//! for bytes in [&sent[..], b"of somebody else", &beat] {
//!     let Some(message) = Message::decode(bytes) else { continue };
//!     let heard = senders.hear(message, Instant::now());
//!     events.extend(heard.is_gap.then_some(BusEvent::Resync));
//!     events.extend(heard.changes.map(|(scope, changes)| BusEvent::Changed(scope, changes)));
//! }
//! assert_eq!(events, [BusEvent::Changed(scope, vec![ended]), BusEvent::Resync]);
//! # Ok::<(), session_core::Error>(())
//! ```

mod publisher;
mod senders;
mod wire;

pub use publisher::{Outgoing, Publisher};
pub use senders::{Heard, Senders};
pub use wire::{Body, Message, NodeId};
