use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use session_manager::core::limits::MAX_PAGE;
use session_manager::core::{Actor, Cursor, Error, SessionId, UserId};
use session_manager::{Ensured, Paging, Refreshed, SessionPage};

use super::body::{
    BAD_QUERY, EndQuery, EndedOthers, Entry, ListQuery, Listing, Pair, Refresh, Rename, RouteError, read,
};
use super::ensure::Verifier;
use crate::context::SessionContext;
use crate::error::SessionError;
use crate::extract::Session;

type Queried<T> = Result<Query<T>, QueryRejection>;

pub(super) async fn list(
    query: Queried<ListQuery>,
    session: Session,
    context: SessionContext,
) -> Result<Json<Listing>, RouteError> {
    let user = user_of(&session)?;
    let paging = query.ok().and_then(|Query(query)| paging(&query)).ok_or(BAD_QUERY)?;
    let SessionPage { sessions, next, .. } = context.manager()?.list(&user, paging).await?;
    let current = session.id();
    let sessions = sessions.into_iter().map(|session| Entry::new(session, current)).collect();
    Ok(Json(Listing { sessions, next: next.map(|cursor| cursor.to_string()) }))
}

fn paging(query: &ListQuery) -> Option<Paging> {
    let after = query.after.as_ref().map(|after| after.parse::<Cursor>()).transpose().ok()?;
    let paging = Paging::default().with_after(after);
    match query.limit {
        None => Some(paging),
        Some(limit) => (1..=MAX_PAGE).contains(&limit).then(|| paging.with_limit(limit)),
    }
}

pub(super) async fn current(session: Session) -> Json<Entry> {
    Json(Entry::new(session.info(), session.id()))
}

pub(super) async fn rename(
    Path(id): Path<String>,
    session: Session,
    context: SessionContext,
    body: Result<Json<Rename>, JsonRejection>,
) -> Result<Json<Entry>, RouteError> {
    let actor = Actor::User(user_of(&session)?);
    let Rename { label } = read(body)?;
    let renamed = context.manager()?.rename(parse(&id)?, label.as_deref(), &actor).await;
    Ok(Json(Entry::new(renamed.map_err(gone)?, session.id())))
}

/// Returns 404 for an ended session: the session of the request is still live, so this is not a
/// 401.
fn gone(error: Error) -> RouteError {
    match error.ended_session() {
        Some(_) => Error::not_found("axum", "rename").into(),
        None => error.into(),
    }
}

pub(super) async fn end(
    Path(id): Path<String>,
    session: Session,
    context: SessionContext,
) -> Result<StatusCode, RouteError> {
    end_one(&id, &session, &context).await
}

/// Which of the two forms of `DELETE /sessions` are mounted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) end: bool,
    pub(super) end_others: bool,
}

pub(super) async fn end_by_query(
    allowed: Allowed,
    query: Queried<EndQuery>,
    session: Session,
    context: SessionContext,
) -> Result<Response, RouteError> {
    let user = user_of(&session)?;
    let Ok(Query(query)) = query else { return Err(BAD_QUERY.into()) };
    match query {
        EndQuery { session_id: Some(id), revoke_all: false } if allowed.end => {
            Ok(end_one(&id, &session, &context).await?.into_response())
        }
        EndQuery { session_id: None, revoke_all: true } if allowed.end_others => {
            let ended = context.manager()?.revoke_others(&session).await?;
            tracing::debug!(%user, ended = ended.len(), "other sessions signed out");
            let token = context.token_in_hand().await?.map(|token| token.expose().to_string());
            let refresh = session.take_refresh_token().filter(|_| token.is_some());
            let refresh_token = refresh.map(|refresh| refresh.expose().to_string());
            Ok(Json(EndedOthers { ended: ended.len(), token, refresh_token }).into_response())
        }
        _ => Err(BAD_QUERY.into()),
    }
}

pub(super) async fn log_out(_session: Session, context: SessionContext) -> Result<StatusCode, RouteError> {
    context.sign_out().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The response of a request that asks for no session, and so sets `Cache-Control` itself.
type Uncached<T> = ([(http::HeaderName, HeaderValue); 1], Json<T>);

const NO_STORE: (http::HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));

pub(super) async fn refresh(context: SessionContext, body: Result<Json<Refresh>, JsonRejection>) -> Response {
    let mut response = exchange(&context, body).await.into_response();
    // RFC 9110 section 15.5.2 requires a challenge with every 401.
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
        response.headers_mut().extend(HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge)]));
    }
    response
}

async fn exchange(
    context: &SessionContext,
    body: Result<Json<Refresh>, JsonRejection>,
) -> Result<Uncached<Pair>, RouteError> {
    let Refresh { refresh_token } = read(body)?;
    let Refreshed { session, token, refresh, .. } = context.refresh(&refresh_token).await?;
    let record = session.record();
    let end = record.secret.as_ref().and_then(|secret| secret.expires_at).unwrap_or(record.expires_at);
    let pair = Pair {
        token: token.expose().to_string(),
        refresh_token: refresh.expose().to_string(),
        expires_in: end.min(record.expires_at).since(context.manager()?.now()).as_secs(),
    };
    Ok(([NO_STORE], Json(pair)))
}

pub(super) async fn ensure(
    verifier: Verifier,
    context: SessionContext,
    parts: Parts,
) -> Result<Uncached<Ensured>, SessionError> {
    let external = verifier.verify(parts).await?.with_client(context.client());
    Ok(([NO_STORE], Json(context.ensure(external).await?)))
}

async fn end_one(id: &str, session: &Session, context: &SessionContext) -> Result<StatusCode, RouteError> {
    let actor = Actor::User(user_of(session)?);
    let id = parse(id)?;
    if id == session.id() {
        context.sign_out().await?;
    } else {
        context.manager()?.revoke(id, &actor).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// An id in another spelling is not found, like an unknown id.
fn parse(id: &str) -> Result<SessionId, Error> {
    id.parse().map_err(|_| Error::not_found("axum", "parse"))
}

/// An anonymous session has no user, and so no devices to list.
fn user_of(session: &Session) -> Result<UserId, SessionError> {
    session.user_id().ok_or(SessionError::Required)
}
