//! A small shop that demonstrates server-side sessions: a cart that survives signing in, a list of
//! your devices, signing out any of them from any other, a code that moves a session to another
//! device, and a password that is asked for again before sensitive pages.
//!
//! `cargo run -p axum-devices` serves it on <http://127.0.0.1:3000>. Read [`app()`] first; the
//! pages are plain HTML from the server, and every change is a form that posts and redirects. This
//! library does not depend on the store: the program opens a database or Redis in `store/`, the
//! tests keep sessions in memory.

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
