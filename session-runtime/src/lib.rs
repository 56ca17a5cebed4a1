//! What the session-kit crates share at run time.
//!
//! [`bus`] makes an [`InvalidationBus`](session_core::InvalidationBus) of any
//! [`Transport`](bus::Transport): a message broker's client, a table with notifications, a channel.
//! Applications get a finished bus from `session-redis` or `session-sqlx`; authors of further
//! transports begin here.

pub mod bus;
