//! A small shop that shows what server-side sessions are for: a cart that survives signing in, a list of your devices,
//! sign-out that works from any of them, a code that takes a session along to another device, and a password asked for again before
//! what matters.
//!
//! `cargo run -p axum-devices` serves it on <http://127.0.0.1:3000>. Read [`app()`] first; the pages are plain HTML from the
//! server, and every change is a form that posts and redirects. Nothing here knows where the sessions live: the program opens a
//! database or Redis in `store/`, the tests keep them in memory.

mod account;
mod app;
mod assets;
mod cart;
mod device;
mod error_page;
mod forms;
mod pages;
mod transfer;
mod users;
mod view;
mod words;

pub use account::CONFIRM_AFTER;
pub use app::{Lifetimes, app, manager};
pub use users::{DEMO_USERS, DemoUser};
