//! Where two features meet. The table of crossings in ARCHITECTURE.md names these tests.

mod carry_over;
mod clocks;
mod deadlines;
mod directory;
mod ends;
mod first_day;
mod limits;
mod outages;
mod savers;
mod second_factor;
mod secrets;
mod settings;
mod stale_handles;
mod tenants;
mod undone;
