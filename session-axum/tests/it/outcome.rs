use axum::routing::post;
use proptest::prelude::*;
use session_axum::{NewSession, SessionContext, SessionError};
use session_manager::core::{ClientInfo, EndReason};
use session_manager::{Paging, UserLimit};

use crate::support::{Backend, Client};

#[tokio::test]
async fn sign_in_keeps_the_anonymous_cart() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app());
    assert_eq!(client.post("/add/apple").await.set_cookies().len(), 1);
    let anonymous = client.cookie.clone();
    assert_eq!(client.post("/add/pear").await.set_cookies(), Vec::<&str>::new());
    assert_eq!(client.get("/maybe").await.body, "anonymous");

    client.post("/sign-in/ann").await;
    assert_ne!(client.cookie, anonymous);
    assert_eq!(client.get("/maybe").await.body, "ann");
    assert_eq!(client.get("/cart").await.body, r#"["apple","pear"]"#);
    assert_eq!(backend.stored().await, 1);
    // The old token is worthless.
    let mut fixed = Client::new(backend.app()).with_cookie(&anonymous.unwrap());
    assert_eq!(fixed.get("/maybe").await.body, "no session");
}

#[tokio::test]
async fn sign_in_keeps_data_changed_in_the_same_request() {
    let backend = Backend::new();
    let handler = async |context: SessionContext| -> Result<(), SessionError> {
        context.insert("cart", &["apple"]).await?;
        context.insert("cart", &["apple", "pear"]).await?;
        context.sign_in(NewSession::for_user("ann".parse()?)).await?;
        context.insert("theme", "dark").await.map(drop)
    };
    let app = crate::support::site().route("/both", post(handler)).layer(backend.layer());
    let mut client = Client::new(app);
    assert_eq!(client.post("/both").await.set_cookies().len(), 1);
    assert_eq!(client.get("/cart").await.body, r#"["apple","pear"]"#);
    assert_eq!(client.get("/maybe").await.body, "ann");
    assert_eq!(backend.stored().await, 1);
}

#[tokio::test]
async fn next_user_of_a_browser_gets_no_data_of_the_previous_one() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app());
    client.post("/sign-in/ann").await;
    client.post("/add/secret").await;
    client.post("/sign-in/bob").await;
    assert_eq!(client.get("/maybe").await.body, "bob");
    assert_eq!(client.get("/cart").await.body, "[]");
    let history = backend.manager.history(&"ann".parse().unwrap(), Paging::default()).await.unwrap();
    assert_eq!(history.sessions[0].ended.as_ref().unwrap().reason, EndReason::LoggedOut);
}

#[tokio::test]
async fn new_session_records_its_client() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app())
        .with_header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .with_header("x-forwarded-for", "198.51.100.66")
        .with_header("forwarded", "for=198.51.100.66");
    client.post("/sign-in/ann").await;
    let sessions = backend.manager.list(&"ann".parse().unwrap(), Paging::default()).await.unwrap().sessions;
    assert_eq!(sessions[0].client.ip, Some("192.0.2.7".parse().unwrap()));
    assert!(sessions[0].client.user_agent.as_deref().unwrap().ends_with("Firefox/140.0"));
}

#[tokio::test]
async fn application_can_override_the_client() {
    let backend = Backend::new();
    let handler = async |context: SessionContext| -> Result<String, SessionError> {
        let client = ClientInfo::new("198.51.100.7".parse().ok(), Some("Kiosk/1"));
        let new = NewSession::for_user("ann".parse()?).with_client(client);
        let signed_in = context.sign_in(new).await?;
        Ok(signed_in.session.record().client.user_agent.clone().unwrap_or_default())
    };
    let app = crate::support::site().route("/kiosk", post(handler)).layer(backend.layer());
    assert_eq!(Client::new(app).post("/kiosk").await.body, "Kiosk/1");
}

#[tokio::test]
async fn signing_out_removes_the_cookie_and_ends_the_session() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let mut client = Client::new(backend.app()).with_token(&token);
    client.post("/sign-out").await.assert_cookie_removed();
    assert_eq!(client.cookie, None);
    assert_eq!(Client::new(backend.app()).with_token(&token).get("/maybe").await.body, "no session");
    assert_eq!(backend.stored().await, 0);
}

#[tokio::test]
async fn cookie_is_set_even_if_the_handler_fails_after_sign_in() {
    let backend = Backend::new();
    let handler = async |context: SessionContext| -> Result<(), SessionError> {
        context.sign_in(NewSession::for_user("ann".parse()?)).await?;
        Err(SessionError::LayerMissing)
    };
    let app = crate::support::site().route("/oops", post(handler)).layer(backend.layer());
    let mut client = Client::new(app);
    let answer = client.post("/oops").await;
    assert_eq!((answer.status.as_u16(), answer.set_cookies().len()), (500, 1));
    assert_eq!(client.get("/maybe").await.body, "ann");
}

#[tokio::test]
async fn handler_can_retry_a_refused_sign_in() {
    let limit = UserLimit::new(std::num::NonZeroU32::MIN, session_manager::core::OnExceed::Refuse);
    let backend = Backend::with(|builder| builder.with_limit(limit));
    let handler = async |context: SessionContext| -> Result<String, SessionError> {
        let new = || NewSession::for_user("ann".parse().unwrap());
        match context.sign_in(new()).await {
            Err(SessionError::Failed(error)) if !error.live_sessions().is_empty() => {
                assert!(context.session().await?.is_none());
                for other in error.live_sessions() {
                    context.manager()?.revoke(other.id, &session_manager::core::Actor::System).await?;
                }
                context.sign_in(new()).await?;
                Ok("made room".to_owned())
            }
            other => other.map(|_| "there was room".to_owned()),
        }
    };
    let app = crate::support::site().route("/enter", post(handler)).layer(backend.layer());
    let (_, bob) = backend.session("bob").await;
    let (_, _ann) = backend.session("ann").await;
    let mut client = Client::new(app).with_token(&bob);
    assert_eq!(client.post("/enter").await.body, "made room");
    assert_eq!(client.get("/maybe").await.body, "ann");
    let refused = Client::new(backend.app()).post("/sign-in/ann").await;
    refused.assert_problem(409, "You are signed in on too many devices. Sign out on one of them first.");
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Insert,
    SignIn,
    SignOut,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Signing out wins, then signing in, then an anonymous session, in any order of calls.
    #[test]
    fn the_outcome_does_not_depend_on_the_order_of_calls(
        calls in proptest::collection::vec(
            prop_oneof![Just(Call::Insert), Just(Call::SignIn), Just(Call::SignOut)], 0..6),
        starts_signed_in in any::<bool>(),
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let backend = Backend::new();
            let expected = if calls.iter().any(|call| matches!(call, Call::SignOut)) {
                "no session"
            } else if calls.iter().any(|call| matches!(call, Call::SignIn)) {
                "ann"
            } else if starts_signed_in {
                "bob"
            } else if calls.is_empty() {
                "no session"
            } else {
                "anonymous"
            };
            let handler = async move |context: SessionContext| {
                for call in calls {
                    // A call after signing out is refused, which is part of the outcome.
                    let _ = match call {
                        Call::Insert => context.insert("key", &1).await.map(drop),
                        Call::SignIn => {
                            context.sign_in(NewSession::for_user("ann".parse().unwrap())).await.map(drop)
                        }
                        Call::SignOut => context.sign_out().await,
                    };
                }
            };
            let app = crate::support::site().route("/call", post(handler)).layer(backend.layer());
            let mut client = Client::new(app);
            if starts_signed_in {
                let (_, token) = backend.session("bob").await;
                client = client.with_token(&token);
            }
            let answer = client.post("/call").await;
            assert!(answer.set_cookies().len() <= 1);
            assert_eq!(client.get("/maybe").await.body, expected);
            // Every session left in the store belongs to the client.
            assert_eq!(backend.stored().await, usize::from(client.cookie.is_some()));
        });
    }
}
