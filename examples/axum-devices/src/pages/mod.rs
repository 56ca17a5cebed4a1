//! The pages and their layout.

pub(crate) mod account;
pub(crate) mod devices;
pub(crate) mod shop;
pub(crate) mod sign_in;
pub(crate) mod transfer;

use maud::{DOCTYPE, Markup, html};

use crate::view::{Notice, TimeLeft, View};
use crate::words;

/// Returns a page with the complete layout.
pub(crate) fn page(title: &str, here: &str, view: &View, content: &Markup) -> Markup {
    let time = view.time;
    document(
        title,
        time,
        &html! {
            (header(here, view))
            @if let Some(time) = time { (expiry_banner(time)) }
            main #content { (view.notice.map(notice).unwrap_or_default()) (content) }
        },
    )
}

/// Returns a page that needs no session, for errors of the session itself.
pub(crate) fn bare(title: &str, content: &Markup) -> Markup {
    document(
        title,
        None,
        &html! {
            header.bar { div.bar-inner { (brand()) } }
            main #content { (content) }
        },
    )
}

fn document(title: &str, time: Option<TimeLeft>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Windowsill" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/style.css";
                @if time.is_some() { script src="/assets/countdown.js" defer {} }
            }
            body {
                a.skip href="#content" { "Skip to content" }
                (body)
                footer.foot {
                    p { "Windowsill is the demo shop of session-kit. Nothing is sold." }
                }
            }
        }
    }
}

fn brand() -> Markup {
    html! {
        a.brand href="/" {
            svg viewBox="0 0 24 24" width="26" height="26" aria-hidden="true" {
                path d="M12 22V11" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" {}
                path d="M12 12C12 7 8 4 3 4c0 5 4 8 9 8Z" fill="currentColor" {}
                path d="M12 15c0-4 3.500-7 9-7 0 4.500-4 7-9 7Z" fill="currentColor" opacity=".6" {}
            }
            "Windowsill"
        }
    }
}

fn header(here: &str, view: &View) -> Markup {
    let current = |path: &str| (here == path).then_some("page");
    html! {
        header.bar {
            div.bar-inner {
                (brand())
                nav aria-label="Main" {
                    a href="/" aria-current=[current("/")] {
                        "Shop"
                        @if view.cart.count() > 0 {
                            span.count aria-label={ (view.cart.count()) " in the cart" } { (view.cart.count()) }
                        }
                    }
                    @if view.user.is_some() {
                        a href="/devices" aria-current=[current("/devices")] { "Devices" }
                        a href="/account" aria-current=[current("/account")] { "Account" }
                    }
                }
                div.who {
                    @if let Some(user) = &view.user {
                        span.name { (user) }
                        form method="post" action="/sign-out" { button.quiet type="submit" { "Sign out" } }
                    } @else {
                        a.button.small href="/sign-in" aria-current=[current("/sign-in")] { "Sign in" }
                    }
                }
            }
        }
    }
}

/// Hidden until the script sees that time runs out, and visible at once if little time is left.
fn expiry_banner(time: TimeLeft) -> Markup {
    html! {
        div #expiry.banner role="alert" hidden[time.left > time.warn] data-left=(time.left.as_secs())
            data-grace=(time.grace.as_secs() + 1) data-warn=(time.warn.as_secs()) {
            div.banner-inner {
                p {
                    strong data-text="expiry" { "Your session is about to expire" }
                    " "
                    span.ticking aria-hidden="true" { "in " span data-clock { (words::clock(time.left)) } }
                }
                // A page view counts as use and moves the idle deadline.
                a.button.small href="" data-action="expiry" data-ended="/sign-in" {
                    @if time.renews { "Stay signed in" } @else { "Reload" }
                }
            }
        }
    }
}

fn notice(notice: Notice) -> Markup {
    let class = if notice.is_problem() { "notice problem" } else { "notice" };
    html! { p class=(class) role="status" { (notice.text()) } }
}
