//! The page that shows a code for another device, and the page that redeems it.

use maud::{Markup, html};

use crate::pages::page;
use crate::view::{Notice, View};

/// Seconds for which the manager accepts a code.
const LIFETIME: u32 = 120;

/// Returns the card on the devices page that starts a transfer.
pub(crate) fn start() -> Markup {
    html! {
        section.card.move aria-labelledby="move" {
            div {
                h2 #move { "Use this session on my phone" }
                p.muted { "Get a code, type it there, and go on with the same cart. No password to type on a small screen." }
            }
            form method="post" action="/devices/transfer" {
                label.check {
                    input type="checkbox" name="end" value="yes";
                    span { "and sign out here" }
                }
                button.small type="submit" { "Show a code" }
            }
        }
    }
}

pub(crate) fn code(view: &View, code: &str, host: &str, ends_here: bool) -> Markup {
    let content = html! {
        div.narrow.wide {
            section.card.centred #transfer data-left=(LIFETIME) {
                h1 { "Your code" }
                p.muted.below { "On the other device, open " strong { (host) "/redeem" } " and type:" }
                p.code { @for (at, part) in code.split('-').enumerate() { @if at > 0 { wbr; } span { @if at > 0 { "-" } (part) } } }
                p.code-left role="timer" {
                    span data-live { "Counts once, for " span data-code-clock { "2:00" } }
                    span data-over hidden { "This code is too old now." }
                }
                progress max=(LIFETIME) value=(LIFETIME) data-code-progress aria-hidden="true" {}
                p.muted.below data-live {
                    @if ends_here { "When it is used, this device is signed out." }
                    @else { "Both devices stay signed in." }
                }
                form method="post" action="/devices/transfer" data-over hidden {
                    @if ends_here { input type="hidden" name="end" value="yes"; }
                    button type="submit" { "Show a new code" }
                }
                p { a href="/devices" { "Back to your devices" } }
            }
            p.muted.aside { "Keep it secret: the first person to type it is signed in as you." }
        }
        script src="/assets/transfer.js" defer {}
    };
    page("Your code", "/devices", view, &content)
}

pub(crate) async fn redeem(view: View) -> Markup {
    let is_wrong = view.notice == Some(Notice::WrongCode);
    let content = html! {
        div.narrow {
            section.card {
                h1 { "Have a code?" }
                p.muted.below { "You get one on a device where you are signed in, under “Devices”." }
                form.stack method="post" action="/redeem" {
                    label { "Code"
                        input.code-input name="code" placeholder="XXXX-XXXX-XXXX" maxlength="24" autocomplete="off"
                            autocapitalize="characters" spellcheck="false" required autofocus
                            aria-invalid=[is_wrong.then_some("true")];
                    }
                    button type="submit" { "Continue here" }
                    @if view.user.is_none() { a.centred href="/sign-in" { "Sign in with a password" } }
                }
            }
            @if let Some(user) = &view.user {
                p.muted.aside { "You are signed in as " (user) ". A code that is right signs you out first." }
            } @else if view.cart.count() > 0 {
                p.muted.aside { "The cart comes from the other device, and replaces the one here." }
            }
        }
    };
    page("Have a code?", "/redeem", &view, &content)
}
