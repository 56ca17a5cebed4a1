//! The "Your devices" page: the user's live and ended sessions.

use axum::extract::State;
use maud::{Markup, html};
use session_axum::SessionError;
use session_manager::core::{SessionId, Timestamp};
use session_manager::{Health, Paging, Provenance, SessionInfo, Source, TierHealth};

use crate::app::AppState;
use crate::device::{self, Picture};
use crate::forms::owner;
use crate::pages::{page, transfer};
use crate::view::{TimeLeft, View};
use crate::words::{self, ago, until};

/// How many ended sessions are shown.
const HISTORY: usize = 10;

pub(crate) async fn show(State(state): State<AppState>, view: View) -> Result<Markup, SessionError> {
    let session = view.session.as_ref().ok_or(SessionError::Required)?;
    let owner = owner(session)?;
    let live = state.manager.list(&owner, Paging::default()).await?.sessions;
    let ended = state.manager.history(&owner, Paging::default().with_limit(HISTORY)).await?.sessions;
    let (here, others): (Vec<_>, Vec<_>) = live.into_iter().partition(|info| info.id == session.id());
    let content = html! {
        div.intro {
            h1 { "Your devices" }
            p.lead { "Everywhere you are signed in. If you do not know one of them, sign it out: it is out at once." }
        }
        (countdown(view.time))
        section aria-labelledby="live" {
            div.section-head {
                h2 #live { "Signed in " span.muted { (here.len() + others.len()) } }
                @if !others.is_empty() {
                    form method="post" action="/devices/others/sign-out" {
                        button.danger type="submit" { "Sign out the others" }
                    }
                }
            }
            ul.devices {
                @for info in &here { (entry(info, session.id(), view.time, view.now)) }
                @for info in &others { (entry(info, session.id(), None, view.now)) }
            }
        }
        (transfer::start())
        (history(&ended, view.now))
        @if state.has_tiers { (provenance_card(session.provenance(), &state.manager.health(), view.now)) }
    };
    Ok(page("Your devices", "/devices", &view, &content))
}

fn countdown(time: Option<TimeLeft>) -> Markup {
    let Some(time) = time else { return html! {} };
    html! {
        section.card.countdown aria-label="This session" {
            div {
                h2 { "This session" }
                p.muted {
                    @if time.renews { "It ends when it is not used for a while. Every page you open starts the clock again." }
                    @else { "It ends at this time, however much it is used." }
                }
            }
            p.clock role="timer" { span data-clock { (words::clock(time.left)) } small { "left" } }
            progress max=(time.left.as_secs()) value=(time.left.as_secs()) data-progress aria-hidden="true" {}
        }
    }
}

fn entry(info: &SessionInfo, current: SessionId, time: Option<TimeLeft>, now: Timestamp) -> Markup {
    let agent = info.client.user_agent.as_deref();
    let name = info.label.clone().unwrap_or_else(|| device::name(agent));
    let is_current = info.id == current;
    let expires = time.map_or(info.expires_at, |time| now.saturating_add(time.left));
    html! {
        li.device.current[is_current] {
            (icon(device::picture(agent)))
            div.device-text {
                h3 {
                    (name)
                    @if is_current { span.badge { "This device" } }
                    @if info.remembered { span.badge.plain { "Remembered" } }
                }
                p.agent { (agent.unwrap_or("Unknown user agent")) }
                dl.facts {
                    div { dt { "Address" } dd { (info.client.last_ip.or(info.client.ip).map_or_else(|| "unknown".to_owned(), |ip| ip.to_string())) } }
                    div { dt { "Last seen" } dd { @if is_current { "now" } @else { (ago(info.last_seen_at, now)) } } }
                    div { dt { "Signed in" } dd { (ago(info.created_at, now)) } }
                    div { dt { "Expires" } dd { (until(expires, now)) } }
                }
            }
            div.device-actions {
                details.rename {
                    summary { "Rename" }
                    form method="post" action={ "/devices/" (info.id) "/rename" } {
                        label { span.hidden { "New name for " (name) }
                            input name="label" value=(info.label.as_deref().unwrap_or_default()) placeholder="Kitchen laptop"
                                maxlength="100" required;
                        }
                        button.small type="submit" { "Save" }
                    }
                }
                form method="post" action={ "/devices/" (info.id) "/sign-out" } {
                    button.quiet type="submit" aria-label={ "Sign out " (name) } { "Sign out" }
                }
            }
        }
    }
}

fn icon(picture: Picture) -> Markup {
    html! {
        span.device-icon aria-hidden="true" {
            svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" stroke-width="1.7"
                stroke-linecap="round" stroke-linejoin="round" {
                @match picture {
                    Picture::Computer => { path d="M5 5h14v10H5zM2.500 19h19" {} }
                    Picture::Phone => { path d="M8 2.500h8a1.500 1.500 0 0 1 1.500 1.500v16a1.500 1.500 0 0 1-1.500 1.500H8A1.500 1.500 0 0 1 6.500 20V4A1.500 1.500 0 0 1 8 2.500ZM11 18.500h2" {} }
                }
            }
        }
    }
}

/// Shows which tier provided the session, and the state of the tiers.
fn provenance_card(provenance: Provenance, health: &Health, now: Timestamp) -> Markup {
    let age = now.since(provenance.verified_at).as_secs();
    html! {
        section.card.known aria-labelledby="known" {
            h2 #known { "How this page knew you" }
            p.muted {
                @match provenance.source {
                    Source::Store => { "The store itself was asked." }
                    Source::Memory => { "This program remembered you, from " (age) " s ago." }
                    _ => { "The shared cache remembered you, from " (age) " s ago." }
                }
            }
            dl.facts {
                div { dt { "In this program’s memory" } dd { (health.copies) " sessions" } }
                @for tier in &health.tiers { div { dt { "Cache " (tier.name) } dd { (condition(tier)) } } }
                @if let Some(healthy) = health.bus_healthy {
                    div { dt { "News of other programs" } dd { @if healthy { "arrive" } @else { "do not arrive" } } }
                }
            }
        }
    }
}

fn condition(tier: &TierHealth) -> String {
    match (tier.healthy, tier.outbox) {
        (true, _) => "works".to_owned(),
        (false, 0) => "away; everything goes on without it".to_owned(),
        (false, waiting) => format!("away; {waiting} changes wait for it"),
    }
}

fn history(ended: &[SessionInfo], now: Timestamp) -> Markup {
    html! {
        section aria-labelledby="past" {
            div.section-head { h2 #past { "Recently signed out" } }
            @if ended.is_empty() {
                p.muted.empty { "Nothing yet. What you sign out shows up here, with the reason." }
            } @else {
                ul.history {
                    @for info in ended {
                        @if let Some(end) = &info.ended {
                            li {
                                span.history-name { (info.label.clone().unwrap_or_else(|| device::name(info.client.user_agent.as_deref()))) }
                                span.history-reason { (words::reason(end.reason)) }
                                span.history-time.muted { (ago(end.at, now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
