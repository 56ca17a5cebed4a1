//! Error pages: replaces the problem+json of the session layer for browsers.

use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};

use crate::forms::PAGES;
use crate::pages;

/// Replaces problems by pages for clients that accept HTML. Wraps everything, because a failed
/// write of the session replaces the response after the handler.
pub(crate) async fn for_browsers(request: Request, next: Next) -> Response {
    let reads_html = accepts_html(request.headers());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|it| it == "application/problem+json");
    if !(reads_html && is_problem) {
        return response;
    }
    match response.status() {
        StatusCode::UNAUTHORIZED => to_sign_in(&method, &uri, response),
        status => with_page(status, response),
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

fn to_sign_in(method: &Method, uri: &Uri, mut response: Response) -> Response {
    let next =
        Some(uri.path()).filter(|path| *method == Method::GET && PAGES.contains(path)).unwrap_or("/devices");
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(location) = HeaderValue::try_from(format!("/sign-in?next={next}&notice=sign-in")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Keeps the headers: the cookie, `Retry-After` and those for caches.
fn with_page(status: StatusCode, response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(axum::http::header::CONTENT_LENGTH);
    let page = Html(explain(status).into_string()).into_response();
    parts.headers.extend(page.headers().clone());
    Response::from_parts(parts, page.into_body())
}

pub(crate) async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Html(explain(StatusCode::NOT_FOUND).into_string())).into_response()
}

fn explain(status: StatusCode) -> Markup {
    let (title, text, back) = match status.as_u16() {
        403 => (
            "That came from somewhere else",
            "The form was not sent from this site, so nothing was changed. Open the page here and try again.",
            "Back to the shop",
        ),
        404 => ("Nothing here", "The page, or the device, does not exist any more.", "Back to the shop"),
        409 => (
            "Two changes at once",
            "Another window changed the same thing a moment ago. Nothing is lost: look at how it is now and repeat your \
             change.",
            "Look at it now",
        ),
        413 => (
            "That is too much",
            "Your cart cannot hold any more. Take something out first.",
            "Back to the cart",
        ),
        429 => (
            "Slowly, please",
            "Too many codes were tried in a short time. Nothing was changed. Wait a moment and type your code again.",
            "Type the code again",
        ),
        503 => (
            "One moment, please",
            "Sessions are not reachable right now. You are still signed in and your cart is safe. Try again in a few \
             seconds.",
            "Try again",
        ),
        400..=499 => {
            ("That did not work", "The request was not understood. Nothing was changed.", "Back to the shop")
        }
        _ => (
            "Something went wrong",
            "That is on us, and it is in our log. Try again later.",
            "Back to the shop",
        ),
    };
    let target = if status == StatusCode::TOO_MANY_REQUESTS { "/redeem" } else { "/" };
    pages::bare(
        title,
        &html! {
            section.message {
                p.message-code { (status.as_u16()) }
                h1 { (title) }
                p { (text) }
                a.button href=(target) { (back) }
            }
        },
    )
}
