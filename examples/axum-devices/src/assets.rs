//! The style sheet, the scripts and the icon, embedded in the binary.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let file = |mime: &'static str, body: &'static str| {
        get(async move || ([(CONTENT_TYPE, mime), (CACHE_CONTROL, "max-age=300")], body).into_response())
    };
    Router::new()
        .route("/assets/style.css", file("text/css; charset=utf-8", include_str!("assets/style.css")))
        .route(
            "/assets/countdown.js",
            file("text/javascript; charset=utf-8", include_str!("assets/countdown.js")),
        )
        .route(
            "/assets/transfer.js",
            file("text/javascript; charset=utf-8", include_str!("assets/transfer.js")),
        )
        .route("/assets/icon.svg", file("image/svg+xml", include_str!("assets/icon.svg")))
}
