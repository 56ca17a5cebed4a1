//! Messages between nodes and detection of their loss, for authors of an
//! [`InvalidationBus`](crate::InvalidationBus).
//!
//! A bus may lose messages, but never silently. Each node numbers its messages of changes and sends
//! its latest number once a second. A receiver that sees a number out of sequence knows that a
//! message is missing, and reports [`Resync`](crate::BusEvent::Resync). This module implements that
//! protocol without I/O and without a clock; a bus adds the transport.
//!
//! # What a bus does
//! - It hands the bytes of its [`Publisher`]'s messages to the transport in the order of their
//!   [numbers](Outgoing::bytes): changes when it is asked to publish, a heartbeat every second
//!   (with or without subscriptions), and a farewell when the node leaves.
//! - It [decodes](Message::decode) each received message, and drops and counts invalid ones.
//! - It receives its own messages, too. It delivers none of them, but a heartbeat that is recent
//!   enough proves that messages arrive.
//! - It passes messages from other nodes to [`Senders::accept`], and delivers the changes, or a
//!   resync if there is a gap.
//! - While messages arrive, it checks once a second whether a node has [fallen
//!   silent](Senders::any_silent), and reports a resync if so.
//! - When messages arrive again after an interruption, it [restarts the silence
//!   timers](Senders::restart_timers) of all nodes. It also reports a resync, unless it has read the
//!   messages of the interruption.
//!
//! # A message
//! All numbers are big-endian, and nothing follows the last field:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 2 | `SK` |
//! | 2 | 1 | version of this format: 1 |
//! | 3 | 1 | kind: `B` heartbeat, `C` changes, `F` farewell |
//! | 4 | 16 | node, random for each [`Publisher`] |
//! | 20 | 8 | number of the node's latest changes, these included |
//! | 28 | 8 | heartbeat: milliseconds on a clock of the node |
//! | 28 | 16 | changes: the [scope](crate::Scope) of the sessions |
//! | 44 | 2 | number of changes, 1 to 500 |
//! | 46 | 25 each | session id (16), revision (8), whether it ended (1): 0 or 1 |
//!
//! A later version 1 may add kinds: a node that does not know a kind treats the message as changes
//! that it cannot read. A node cannot read a later format version at all, so send one only when
//! every node can read it.
//!
//! # Bounds
//! | bound | value | reason |
//! |---|---|---|
//! | [`Message::MAX_BYTES`] | 12,546 bytes | [`MAX_BATCH`](crate::limits::MAX_BATCH) changes |
//! | [`Publisher::BEAT`] | 1 s | one small message per node and second; a loss is detected one second later |
//! | [`Senders::SILENCE`] | 3 s | two heartbeats may be late; shorter than the time for which a process trusts its own copies |
//! | [`Senders::MAX`] | 1,024 nodes | the node that was silent for longest is evicted, which is a resync |
//!
//! # Security
//! Messages are not authenticated, so the transport must not be open to untrusted parties. An
//! attacker that can forge messages can make caches drop entries, claim that a session ended, and
//! hide a node's changes by using their numbers first; other nodes then detect the changes as late
//! as without a bus. A forged message cannot make an ended session live again.
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
//! drop(publisher.changes(scope, &[ended])?); // dropped by its caller, never sent
//! let beat = publisher.beat(1_000).bytes().to_vec();
//!
//! let (mut senders, mut events) = (Senders::new(), Vec::new());
//! for bytes in [&sent[..], b"not a bus message", &beat] {
//!     let Some(message) = Message::decode(bytes) else { continue };
//!     let received = senders.accept(message, Instant::now());
//!     events.extend(received.is_gap.then_some(BusEvent::Resync));
//!     events.extend(received.changes.map(|(scope, changes)| BusEvent::Changed(scope, changes)));
//! }
//! assert_eq!(events, [BusEvent::Changed(scope, vec![ended]), BusEvent::Resync]);
//! # Ok::<(), session_core::Error>(())
//! ```

mod publisher;
mod senders;
mod wire;

pub use publisher::{Outgoing, Publisher};
pub use senders::{Accepted, Senders};
pub use wire::{Body, Message, NodeId};
