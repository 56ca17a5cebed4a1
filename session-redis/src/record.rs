//! The bytes of a session: those of [`session_core::bytes`], which the scripts read and change.

pub(crate) use session_core::bytes::{
    Part, Unreadable, beginning_at, empty_profile, kind_code, last_seen, read, read_end, write, write_end,
    write_end_after_time,
};
