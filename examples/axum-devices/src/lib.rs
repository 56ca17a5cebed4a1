//! A small shop that shows what server-side sessions are for: a cart that survives signing in, a list of your devices, and
//! sign-out that works from any of them.
//!
//! `cargo run -p axum-devices` serves it on <http://127.0.0.1:3000>. Read [`app()`] first; the pages are plain HTML from the
//! server, and every change is a form that posts and redirects.

mod app;
mod assets;
mod cart;
mod device;
mod error_page;
mod forms;
mod pages;
mod users;
mod view;
mod words;

pub use app::{Lifetimes, app, manager};
pub use users::{DEMO_USERS, DemoUser};
