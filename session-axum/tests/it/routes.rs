use axum::Router;
use serde_json::json;
use session_axum::{SessionRoute, SessionRoutes};
use session_manager::Paging;
use session_manager::core::{Actor, EndReason, SessionId, SystemRandom, Timestamp};

use crate::support::{Answer, Backend, Client};

const NOT_THERE: &str = "There is no such session.";
const BAD_QUERY: &str = "The query is not understood. See the documentation of this address.";

async fn signed_in(backend: &Backend, user: &str) -> (Client, SessionId) {
    let mut client = Client::new(backend.app()).with_header("user-agent", "curl/8.5");
    client.headers_for_json();
    let id = client.post(&format!("/sign-in/{user}")).await.body.parse().unwrap();
    (client, id)
}

fn ids(answer: &Answer) -> Vec<String> {
    let sessions = answer.json();
    let sessions = sessions["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn list_is_newest_first_and_marks_the_current_session() {
    let backend = Backend::new();
    let (mut first, first_id) = signed_in(&backend, "ann").await;
    backend.clock.advance(std::time::Duration::from_secs(1));
    let (_, second_id) = signed_in(&backend, "ann").await;
    signed_in(&backend, "bob").await;
    let answer = first.get("/sessions").await;
    assert_eq!(answer.status, 200);
    assert_eq!(ids(&answer), [second_id.to_string(), first_id.to_string()]);
    let listing = answer.json();
    assert_eq!(listing["next"], json!(null));
    assert_eq!(
        (&listing["sessions"][0]["current"], &listing["sessions"][1]["current"]),
        (&json!(false), &json!(true))
    );
    let mine = &listing["sessions"][1];
    assert_eq!(mine["userId"], "ann");
    assert_eq!(mine["status"], "active");
    assert_eq!(mine["client"]["ip"], "192.0.2.7");
    assert_eq!(mine["client"]["userAgent"], "curl/8.5");
    assert_eq!(mine["createdAt"], 1_767_225_600_000_i64);
    assert_eq!(mine["expiresAt"], 1_767_225_600_000_i64 + 3_600_000);
    for secret in ["secret", "token", "data"] {
        assert!(mine.get(secret).is_none());
    }
}

#[tokio::test]
async fn the_list_is_read_page_by_page() {
    let backend = Backend::new();
    let (mut client, _) = signed_in(&backend, "ann").await;
    for _ in 0..4 {
        backend.clock.advance(std::time::Duration::from_millis(1));
        signed_in(&backend, "ann").await;
    }
    let all = ids(&client.get("/sessions").await);
    assert_eq!(all.len(), 5);
    let mut seen = Vec::new();
    let mut path = "/sessions?limit=2".to_owned();
    loop {
        let page = client.get(&path).await;
        seen.extend(ids(&page));
        let Some(next) = page.json()["next"].as_str().map(str::to_owned) else { break };
        path = format!("/sessions?limit=2&after={next}");
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn invalid_queries_are_400() {
    let backend = Backend::new();
    let (mut client, id) = signed_in(&backend, "ann").await;
    for query in ["limit=0", "limit=501", "limit=-1", "limit=two", "after=xyz", "after=", "limit=1&limit=2"] {
        client.get(&format!("/sessions?{query}")).await.assert_problem(400, BAD_QUERY);
    }
    let both = format!("sessionId={id}&revokeAll=true");
    for query in ["", "revokeAll=false", "revokeAll=yes", "revokeAll=", "sessionid=x", both.as_str()] {
        client.delete(&format!("/sessions?{query}")).await.assert_problem(400, BAD_QUERY);
    }
    assert_eq!(backend.stored().await, 1);
}

#[tokio::test]
async fn the_current_session_is_shown_and_logged_out() {
    let backend = Backend::new();
    let (mut client, id) = signed_in(&backend, "ann").await;
    let current = client.get("/sessions/current").await.json();
    assert_eq!((&current["id"], &current["current"]), (&json!(id.to_string()), &json!(true)));
    let answer = client.delete("/sessions/current").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
    answer.assert_cookie_removed();
    client.get("/sessions/current").await.assert_problem(401, "Sign in to continue.");
    let history = backend.manager.history(&"ann".parse().unwrap(), Paging::default()).await.unwrap();
    assert_eq!(history.sessions[0].ended.as_ref().unwrap().reason, EndReason::LoggedOut);
}

#[tokio::test]
async fn device_is_renamed_and_its_name_removed() {
    let backend = Backend::new();
    let (mut client, id) = signed_in(&backend, "ann").await;
    let path = format!("/sessions/{id}");
    let renamed = client.patch(&path, r#"{"label": "Kitchen <b>radio</b> 📻"}"#).await;
    assert_eq!(renamed.status, 200);
    assert_eq!(renamed.json()["label"], "Kitchen <b>radio</b> 📻");
    assert_eq!(client.get("/sessions/current").await.json()["label"], "Kitchen <b>radio</b> 📻");
    assert_eq!(client.patch(&path, r#"{"label": null}"#).await.json()["label"], json!(null));
}

#[tokio::test]
async fn invalid_labels_are_refused_without_quoting_the_body() {
    let backend = Backend::new();
    let (mut client, id) = signed_in(&backend, "ann").await;
    let path = format!("/sessions/{id}");
    let body = "The body is not what this address takes. See its documentation.";
    client.patch(&path, "{").await.assert_problem(400, body);
    for wrong in ["{}", "[]", "\"x\"", r#"{"label": 7}"#, r#"{"label": "a", "userId": "bob"}"#] {
        client.patch(&path, wrong).await.assert_problem(422, body);
    }
    let long = format!(r#"{{"label": "{}"}}"#, "x".repeat(101));
    for unfit in [r#"{"label": ""}"#, r#"{"label": "a\u0000b"}"#, long.as_str()] {
        client.patch(&path, unfit).await.assert_problem(422, "A value is empty, too long or not allowed.");
    }
    let huge = format!(r#"{{"label": "{}"}}"#, "x".repeat(5_000));
    client.patch(&path, &huge).await.assert_problem(413, "The body is too large.");
    let mut form = client.clone();
    form.headers_without_type();
    form.patch(&path, r#"{"label": "x"}"#)
        .await
        .assert_problem(415, "Send JSON, with `Content-Type: application/json`.");
}

#[tokio::test]
async fn another_session_of_the_user_is_signed_out() {
    let backend = Backend::new();
    for by_query in [false, true] {
        let (mut laptop, _) = signed_in(&backend, "ann").await;
        let (mut phone, phone_id) = signed_in(&backend, "ann").await;
        let path = if by_query {
            format!("/sessions?sessionId={phone_id}")
        } else {
            format!("/sessions/{phone_id}")
        };
        for _ in 0..2 {
            let answer = laptop.delete(&path).await;
            assert_eq!((answer.status.as_u16(), answer.set_cookies().len()), (204, 0));
        }
        phone.get("/sessions").await.assert_problem(401, "Sign in to continue.");
        assert_eq!(laptop.get("/me").await.status, 200);
    }
}

#[tokio::test]
async fn ending_the_current_session_logs_out() {
    let backend = Backend::new();
    let (mut client, id) = signed_in(&backend, "ann").await;
    client.delete(&format!("/sessions?sessionId={id}")).await.assert_cookie_removed();
    let history = backend.manager.history(&"ann".parse().unwrap(), Paging::default()).await.unwrap();
    assert_eq!(history.sessions[0].ended.as_ref().unwrap().reason, EndReason::LoggedOut);
}

#[tokio::test]
async fn all_other_sessions_are_signed_out() {
    let backend = Backend::new();
    let (mut client, id) = signed_in(&backend, "ann").await;
    let (mut phone, _) = signed_in(&backend, "ann").await;
    signed_in(&backend, "ann").await;
    let (mut bob, _) = signed_in(&backend, "bob").await;
    let answer = client.delete("/sessions?revokeAll=true").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"ended": 2})));
    assert_eq!(ids(&client.get("/sessions").await), [id.to_string()]);
    assert_eq!(phone.get("/me").await.status, 401);
    assert_eq!(bob.get("/me").await.status, 200);
    assert_eq!(client.delete("/sessions?revokeAll=true").await.json(), json!({"ended": 0}));
}

#[tokio::test]
async fn unknown_malformed_and_foreign_ids_look_the_same() {
    let backend = Backend::new();
    let (mut client, _) = signed_in(&backend, "ann").await;
    let (mut bob, foreign) = signed_in(&backend, "bob").await;
    let unknown = SessionId::mint(Timestamp::from_millis(1_767_225_600_000), None, &SystemRandom).unwrap();
    let (foreign, unknown) = (foreign.to_string(), unknown.to_string());
    let shouted = foreign.to_uppercase();
    for id in [foreign.as_str(), &unknown, &shouted, "0", "me", "%20", "..%2Fcurrent"] {
        client.delete(&format!("/sessions/{id}")).await.assert_problem(404, NOT_THERE);
        client.delete(&format!("/sessions?sessionId={id}")).await.assert_problem(404, NOT_THERE);
        client.patch(&format!("/sessions/{id}"), r#"{"label": "x"}"#).await.assert_problem(404, NOT_THERE);
    }
    assert_eq!(bob.get("/sessions/current").await.json()["label"], json!(null));
}

#[tokio::test]
async fn an_ended_session_cannot_be_renamed() {
    let backend = Backend::new();
    let (mut client, _) = signed_in(&backend, "ann").await;
    let (_, other) = signed_in(&backend, "ann").await;
    backend.manager.revoke(other, &Actor::System).await.unwrap();
    client.patch(&format!("/sessions/{other}"), r#"{"label": "x"}"#).await.assert_problem(404, NOT_THERE);
}

#[tokio::test]
async fn session_without_a_user_has_no_devices() {
    let backend = Backend::new();
    let mut visitor = Client::new(backend.app());
    let mut anonymous = visitor.clone();
    anonymous.post("/add/apple").await;
    for client in [&mut visitor, &mut anonymous] {
        client.get("/sessions").await.assert_problem(401, "Sign in to continue.");
        client.delete("/sessions?revokeAll=true").await.assert_problem(401, "Sign in to continue.");
        client.delete("/sessions/0").await.assert_problem(401, "Sign in to continue.");
    }
    assert_eq!(anonymous.get("/sessions/current").await.json()["userId"], json!(null));
    assert_eq!(anonymous.delete("/sessions/current").await.status, 204);
}

#[tokio::test]
async fn unselected_routes_do_not_exist() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let (other, _) = backend.session("ann").await;
    let mounted = |routes: SessionRoutes| {
        let app: Router = routes.into_router();
        Client::new(app.layer(backend.layer())).with_token(&token)
    };
    let mut read_only = mounted(SessionRoutes::only([SessionRoute::List, SessionRoute::Current]));
    assert_eq!(read_only.get("/sessions").await.status, 200);
    assert_eq!(read_only.get("/sessions/current").await.status, 200);
    assert_eq!(read_only.delete("/sessions/current").await.status, 405);
    assert_eq!(read_only.delete("/sessions?revokeAll=true").await.status, 405);
    assert_eq!(read_only.delete(&format!("/sessions/{}", other.id())).await.status, 404);

    let mut not_all = mounted(SessionRoutes::default().without(SessionRoute::EndOthers));
    not_all.delete("/sessions?revokeAll=true").await.assert_problem(400, BAD_QUERY);
    let mut not_one = mounted(SessionRoutes::default().without(SessionRoute::End));
    not_one.delete(&format!("/sessions?sessionId={}", other.id())).await.assert_problem(400, BAD_QUERY);
    assert_eq!(not_one.delete(&format!("/sessions/{}", other.id())).await.status, 405);
    assert_eq!(not_all.delete(&format!("/sessions/{}", other.id())).await.status, 204);
}
