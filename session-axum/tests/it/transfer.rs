use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use session_axum::{NewSession, Session, SessionContext, SessionError, Transport};
use session_conformance::faults::Fault;
use session_manager::Paging;
use session_manager::core::{AuthMethod, EndReason, ErrorKind};

use crate::support::{Answer, Backend, Client, OUTAGES, site};

const WRONG: &str = "That code is mistyped, was used already, or is too old. Ask for a new one.";

/// The site with two more addresses: one shows a code, the other redeems it.
fn app(backend: &Backend) -> Router {
    let offer = async |Path(end): Path<bool>, session: Session, context: SessionContext| {
        let code = context.manager()?.begin_transfer(&session, end).await?;
        Ok::<_, SessionError>(code.expose().to_string())
    };
    let redeem = async |Path(code): Path<String>, context: SessionContext| {
        context.redeem_transfer(&code, NewSession::anonymous()).await.map(drop)
    };
    site().route("/offer/{end}", post(offer)).route("/redeem/{code}", post(redeem)).layer(backend.layer())
}

async fn desk(app: &Router) -> Client {
    let mut desk = Client::new(app.clone());
    desk.post("/add/apple").await;
    desk.post("/sign-in/ann").await;
    desk
}

async fn redeem(client: &mut Client, code: &str) -> Answer {
    client.post(&format!("/redeem/{code}")).await
}

async fn ends(backend: &Backend, user: &str) -> Vec<EndReason> {
    let history = backend.manager.history(&user.parse().unwrap(), Paging::default()).await.unwrap();
    history.sessions.iter().map(|session| session.ended.as_ref().unwrap().reason).collect()
}

#[tokio::test]
async fn a_code_moves_the_session_with_its_data_and_sets_the_cookie() {
    let backend = Backend::new();
    let app = app(&backend);
    for ends_here in [false, true] {
        let mut desk = desk(&app).await;
        let code = desk.post(&format!("/offer/{ends_here}")).await.body;
        let mut phone = Client::new(app.clone()).with_header("user-agent", "phone");
        let answer = redeem(&mut phone, &code.to_lowercase().replace('-', "")).await;
        assert_eq!((answer.status.as_u16(), answer.set_cookies().len()), (200, 1));
        assert_eq!(phone.get("/maybe").await.body, "ann");
        assert_eq!(phone.get("/cart").await.body, r#"["apple"]"#);
        assert_eq!(phone.get("/sessions/current").await.json()["client"]["userAgent"], "phone");
        assert_eq!(desk.get("/maybe").await.body, if ends_here { "no session" } else { "ann" });
        // The code works once.
        let mut thief = Client::new(app.clone());
        redeem(&mut thief, &code).await.assert_problem(404, WRONG);
        assert_eq!(thief.cookie, None);
    }
    assert_eq!(ends(&backend, "ann").await, [EndReason::Transferred]);
}

#[tokio::test]
async fn a_wrong_code_changes_nothing() {
    let backend = Backend::new();
    let app = app(&backend);
    let mut desk = desk(&app).await;
    let code = desk.post("/offer/false").await.body;
    let mut bob = Client::new(app.clone());
    bob.post("/sign-in/bob").await;
    for wrong in ["0000-0000-0000", "UUUU-UUUU-UUUU", "x", &code[..13], &format!("{code}0"), "%C3%A4%00"] {
        let answer = redeem(&mut bob, wrong).await;
        answer.assert_problem(404, WRONG);
        assert_eq!(answer.set_cookies(), Vec::<&str>::new());
    }
    assert_eq!(bob.get("/maybe").await.body, "bob");
    backend.clock.advance(std::time::Duration::from_secs(120));
    redeem(&mut bob, &code).await.assert_problem(404, WRONG);
    assert_eq!(bob.get("/maybe").await.body, "bob");
}

#[tokio::test]
async fn redeeming_replaces_the_previous_session() {
    let backend = Backend::new();
    let app = app(&backend);
    let mut desk = desk(&app).await;

    // An anonymous cart: the transferred one wins, and nothing is left over.
    let mut phone = Client::new(app.clone());
    phone.post("/add/pear").await;
    let anonymous = phone.clone().cookie.unwrap();
    let code = desk.post("/offer/false").await.body;
    redeem(&mut phone, &code).await;
    assert_eq!(phone.get("/cart").await.body, r#"["apple"]"#);
    let mut fixed = Client::new(app.clone()).with_cookie(&anonymous);
    assert_eq!(fixed.get("/maybe").await.body, "no session");

    // The session of another user is signed out.
    let mut bob = Client::new(app.clone());
    bob.post("/sign-in/bob").await;
    bob.post("/add/secret").await;
    let code = desk.post("/offer/false").await.body;
    redeem(&mut bob, &code).await;
    assert_eq!(bob.get("/maybe").await.body, "ann");
    assert_eq!(bob.get("/cart").await.body, r#"["apple"]"#);
    assert_eq!(ends(&backend, "bob").await, [EndReason::LoggedOut]);

    // The session that showed the code, with and without ending it.
    for ends_here in ["false", "true"] {
        let code = desk.post(&format!("/offer/{ends_here}")).await.body;
        redeem(&mut desk, &code).await;
        assert_eq!(desk.get("/maybe").await.body, "ann");
    }
    assert_eq!(backend.stored().await, 3);
}

#[tokio::test]
async fn code_refused_after_signing_out_is_not_used_up() {
    let backend = Backend::new();
    let both = async |Path((first, code)): Path<(String, String)>, context: SessionContext| {
        if first == "out" {
            context.sign_out().await?;
        }
        let redeemed = context.redeem_transfer(&code, NewSession::anonymous()).await;
        context.sign_out().await?;
        redeemed.map(drop)
    };
    let app = app(&backend).route("/both/{first}/{code}", post(both).layer(backend.layer()));
    let mut desk = desk(&app).await;
    let code = desk.post("/offer/false").await.body;
    let mut phone = Client::new(app.clone());
    let refused = phone.post(&format!("/both/out/{code}")).await;
    refused.assert_problem(401, "Sign in to continue.");
    assert_eq!(phone.post(&format!("/both/in/{code}")).await.status, 200);
    assert_eq!(phone.cookie, None);
    assert_eq!(backend.stored().await, 1);
}

#[tokio::test]
async fn too_many_attempts_are_429() {
    let backend = Backend::new();
    let app = app(&backend);
    let mut guesser = Client::new(app);
    for _ in 0..500 {
        let answer = redeem(&mut guesser, "0000-0000-0000").await;
        if answer.status == 429 {
            answer.assert_problem(429, "Too many codes were tried. Wait a moment and type the code again.");
            assert_eq!(answer.header("retry-after"), Some("1"));
            return;
        }
    }
    panic!("500 attempts were allowed");
}

#[tokio::test]
async fn stopped_store_is_503_and_keeps_the_code_valid() {
    for kind in OUTAGES {
        let backend = Backend::new();
        let app = app(&backend);
        let code = desk(&app).await.post("/offer/false").await.body;
        let mut bob = Client::new(app.clone());
        bob.post("/sign-in/bob").await;
        backend.faults.arm(Fault::error(kind));
        redeem(&mut bob, &code).await.assert_unavailable();
        redeem(&mut Client::new(app.clone()), &code).await.assert_unavailable();
        backend.faults.disarm();
        assert_eq!(bob.get("/maybe").await.body, "bob");
        assert_eq!(redeem(&mut bob, &code).await.status, 200);
        assert_eq!(bob.get("/maybe").await.body, "ann");
    }
}

#[tokio::test]
async fn redeeming_succeeds_before_the_old_session_is_ended() {
    let backend = Backend::new();
    let app = app(&backend);
    let code = desk(&app).await.post("/offer/false").await.body;
    let mut bob = Client::new(app.clone());
    bob.post("/sign-in/bob").await;
    // The first `end` uses up the code, the second ends Bob's session.
    backend.faults.arm(Fault::error(ErrorKind::Unavailable).on("end").at_call(2));
    assert_eq!(redeem(&mut bob, &code).await.status, 200);
    assert_eq!(bob.get("/maybe").await.body, "ann");
    for _ in 0..200 {
        if ends(&backend, "bob").await == [EndReason::LoggedOut] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("the end was not retried");
}

#[tokio::test]
async fn api_client_receives_the_transferred_session_in_the_body() {
    let backend = Backend::new();
    let code = desk(&app(&backend)).await.post("/offer/false").await.body;
    let redeem = async |Path(code): Path<String>, context: SessionContext| {
        let signed_in = context.redeem_transfer(&code, NewSession::anonymous()).await?;
        Ok::<_, SessionError>(signed_in.token.unwrap().expose().to_string())
    };
    let layer = backend.layer().with_transport(Transport::Bearer);
    let app = site().route("/redeem/{code}", post(redeem)).layer(layer);
    let answer = Client::new(app.clone()).post(&format!("/redeem/{code}")).await;
    assert_eq!(answer.set_cookies(), Vec::<&str>::new());
    let mut program = Client::new(app).with_header("authorization", &format!("Bearer {}", answer.body));
    assert_eq!(program.get("/maybe").await.body, "ann");
}

/// A site with a sign-in in two steps that adopts each session.
fn two_steps(backend: &Backend) -> Router {
    let begin = async |context: SessionContext| {
        let new = NewSession::for_user("ann".parse()?).with_auth(AuthMethod::Password);
        let pending = context.manager()?.begin_sign_in(new.with_client(context.client())).await?;
        context.adopt(pending).await.map(drop)
    };
    let complete = async |pending: Session, context: SessionContext| {
        let new = NewSession::for_user("ann".parse()?).with_auth(AuthMethod::Totp);
        context.adopt(context.manager()?.complete_sign_in(&pending, new).await?).await.map(drop)
    };
    let too_late = async |context: SessionContext| {
        context.sign_out().await?;
        let created = context.manager()?.create(NewSession::for_user("ann".parse()?)).await?;
        context.adopt(created).await.map(drop)
    };
    site()
        .route("/begin", post(begin))
        .route("/complete", post(complete))
        .route("/too-late", post(too_late))
        .layer(backend.layer())
}

#[tokio::test]
async fn adopted_session_replaces_the_previous_one() {
    let backend = Backend::new();
    let mut client = Client::new(two_steps(&backend));
    client.post("/sign-in/bob").await;
    assert_eq!(client.post("/begin").await.set_cookies().len(), 1);
    assert_eq!(client.get("/maybe").await.body, "anonymous");
    assert_eq!(ends(&backend, "bob").await, [EndReason::LoggedOut]);
    assert_eq!(client.post("/complete").await.set_cookies().len(), 1);
    assert_eq!(client.get("/maybe").await.body, "ann");
    assert_eq!(client.get("/sessions/current").await.json()["assurance"], "aal2");
    assert_eq!(backend.stored().await, 1);

    client.post("/too-late").await.assert_problem(401, "Sign in to continue.");
    assert_eq!((client.cookie, backend.stored().await), (None, 0));
}

#[tokio::test]
async fn nothing_is_adopted_while_the_store_is_unavailable() {
    let backend = Backend::new();
    let mut client = Client::new(two_steps(&backend));
    client.post("/sign-in/bob").await;
    let cookie = client.cookie.clone();
    backend.faults.arm(Fault::error(ErrorKind::Unavailable).on("load"));
    client.post("/begin").await.assert_unavailable();
    backend.faults.disarm();
    assert_eq!(client.cookie, cookie);
    assert_eq!(client.get("/maybe").await.body, "bob");
    assert_eq!(backend.stored().await, 1);
}
