//! The sign-in page.

use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use crate::forms::PAGES;
use crate::pages::page;
use crate::users::DEMO_USERS;
use crate::view::{Notice, View};

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    next: Option<String>,
}

pub(crate) async fn show(Query(asked): Query<Asked>, view: View) -> Response {
    let next = asked.next.filter(|next| PAGES.contains(&next.as_str())).unwrap_or_else(|| "/".to_owned());
    if view.user.is_some() {
        return Redirect::to(&next).into_response();
    }
    page("Sign in", "/sign-in", &view, &form(&next, view.notice)).into_response()
}

fn form(next: &str, notice: Option<Notice>) -> Markup {
    let is_wrong = notice == Some(Notice::Wrong);
    html! {
        div.narrow {
            section.card {
                h1 { "Sign in" }
                form.stack method="post" action="/sign-in" {
                    input type="hidden" name="next" value=(next);
                    label { "Name"
                        input name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required
                            autofocus aria-invalid=[is_wrong.then_some("true")];
                    }
                    label { "Password"
                        input name="password" type="password" autocomplete="current-password" required
                            aria-invalid=[is_wrong.then_some("true")];
                    }
                    label.check {
                        input type="checkbox" name="remember" value="yes";
                        span { "Remember me on this device" small { "for 30 days, also when you do not come by" } }
                    }
                    button type="submit" { "Sign in" }
                    a.centred href="/redeem" { "Have a code?" }
                }
            }
            section.card.hint aria-labelledby="demo" {
                h2 #demo { "Two people you can be" }
                dl.users {
                    @for user in DEMO_USERS {
                        div { dt { (user.id) } dd { code { (user.password) } } }
                    }
                }
                p.muted { "Sign in from two browsers to see both under “Devices”." }
            }
        }
    }
}
