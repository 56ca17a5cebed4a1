//! Moving a session to another device with a code.
//!
//! The new session keeps the absolute end and the time of authentication of its source: moving it
//! neither prolongs it nor makes an old sign-in fresh.
//!
//! | meets | how |
//! |---|---|
//! | several attempts with one code | ending the offer decides which one may go on |
//! | a source that ended meanwhile | nothing is created |
//! | limits, directory | as for every sign-in; a source that ends then does not count |
//! | tenants | a code is an id in its own store; another tenant's store does not know it |

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::{Encoding, Specification};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use session_core::{
    Actor, EndReason, EndScope, Ended, Error, Result, SessionData, SessionId, SessionKind, SessionRecord,
};
use zeroize::Zeroizing;

use crate::backend::Operation;
use crate::create::Created;
use crate::manager::SessionManager;
use crate::new_session::NewSession;
use crate::session::Session;

/// How long a code counts.
const LIFETIME: Duration = Duration::from_secs(2 * 60);

/// Attempts to redeem: 10 a second on average, 20 at once, per client and process. With 60 bits and
/// 2 minutes, guessing is hopeless far above that.
const ATTEMPTS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const ATTEMPTS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// Most clients whose attempts are remembered. Who has more addresses than that may try more often,
/// and still guesses nothing.
const MAX_CLIENTS: usize = 10_000;

/// Characters of a code: 12 of 32, 60 bits.
const CODE_LEN: usize = 12;

/// A code that moves a session, once, within 2 minutes: `ABCD-EFGH-JKMN`.
///
/// # Security
/// As good as a password for 2 minutes: show it only to the session's user. `Debug`
/// does not.
pub struct TransferCode(Zeroizing<String>);

impl TransferCode {
    /// Returns the code's text, in groups of four. The text is wiped on drop.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let (one, rest) = self.0.split_at(4);
        let (two, three) = rest.split_at(4);
        Zeroizing::new(format!("{one}-{two}-{three}"))
    }

    /// Reads what a person typed: in any case, with or without hyphens and spaces.
    fn parse(text: &str) -> Result<Self> {
        let malformed = || Error::invalid("redeem", "not a transfer code");
        if text.len() > 4 * CODE_LEN {
            return Err(malformed());
        }
        let typed = text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_ascii_uppercase());
        let code = Zeroizing::new(typed.collect::<String>());
        let known = |c: char| ALPHABET.contains(c);
        if code.len() == CODE_LEN && code.chars().all(known) { Ok(Self(code)) } else { Err(malformed()) }
    }

    /// The id of the record that waits for the code. The store never sees the code itself.
    fn id(&self) -> SessionId {
        SessionId::derive("transfer", self.0.as_bytes(), None)
    }
}

impl fmt::Debug for TransferCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransferCode(***)")
    }
}

/// [Crockford's](https://www.crockford.com/base32.html): no letters that look like digits.
const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn encoding() -> Result<Encoding> {
    let mut specification = Specification::new();
    specification.symbols.push_str(ALPHABET);
    specification.encoding().map_err(|source| Error::other("manager", "transfer", source))
}

/// What waits for a code.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    source: SessionId,
    end_source: bool,
}

const OFFER_KEY: &str = "session-kit.transfer";

/// Slows guessing down, for each client by itself, so that a client that guesses stops no other.
pub(crate) struct Attempts(Cache<Option<IpNet>, Arc<DefaultDirectRateLimiter>>);

impl Default for Attempts {
    fn default() -> Self {
        Self(Cache::new(MAX_CLIENTS))
    }
}

impl Attempts {
    /// Counts an attempt. Returns true if it may be made.
    fn allow(&self, client: Option<IpAddr>) -> bool {
        let limiter = || {
            Arc::new(RateLimiter::direct(
                Quota::per_second(ATTEMPTS_PER_SECOND).allow_burst(ATTEMPTS_AT_ONCE),
            ))
        };
        let known = self.0.get_or_insert_with(&client.and_then(network), || Ok::<_, Infallible>(limiter()));
        known.is_ok_and(|limiter| limiter.check().is_ok())
    }
}

/// An IPv4 address, or the /64 that one customer has of IPv6.
fn network(ip: IpAddr) -> Option<IpNet> {
    let prefix = if ip.is_ipv4() { 32 } else { 64 };
    IpNet::new(ip, prefix).ok().map(|network| network.trunc())
}

impl SessionManager {
    /// Offers a session to another device: a client that [redeems](Self::redeem_transfer) the code
    /// within 2 minutes gets a session of the same user. With `end_source` the session itself ends
    /// then.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for an anonymous session; else as the store
    /// and the generator answer.
    pub async fn begin_transfer(&self, session: &Session, end_source: bool) -> Result<TransferCode> {
        if session.user_id().is_none() {
            return Err(Error::invalid("transfer", "an anonymous session cannot be transferred"));
        }
        let mut bytes = Zeroizing::new([0; 8]);
        self.shared().random.fill(&mut *bytes)?;
        let mut text = Zeroizing::new(encoding()?.encode(&*bytes));
        text.truncate(CODE_LEN);
        let code = TransferCode(text);
        let record = self.offer(&code, &Offer { source: session.id(), end_source })?;
        self.insert(record, None, self.now(), &mut self.backend().operation()).await?;
        Ok(code)
    }

    /// An anonymous record without secret: nothing opens it, it is listed nowhere, and it counts
    /// for no limit.
    fn offer(&self, code: &TransferCode, offer: &Offer) -> Result<Arc<SessionRecord>> {
        let now = self.now();
        let mut data = SessionData::default();
        data.insert(OFFER_KEY, offer)?;
        let mut record = SessionRecord::new(code.id(), now, now.saturating_add(LIFETIME));
        record.kind = SessionKind::External;
        record.data = self.settings().codec().encode(&data)?;
        Ok(Arc::new(record))
    }

    /// Redeems a code: creates a session of the same user, with the data and the authentications of
    /// the source. Of several attempts with one code, exactly one succeeds.
    ///
    /// The client, the device and the label of `new` count; its user does not.
    ///
    /// # Errors
    /// [`NotFound`](session_core::ErrorKind::NotFound) for a code that is wrong, used or older than
    /// 2 minutes, or whose source ended meanwhile;
    /// [`LimitExceeded`](session_core::ErrorKind::LimitExceeded) beyond 10 attempts a second of one
    /// client; else as [`create`](Self::create). A code is used up by an attempt that the store
    /// failed later, and not by one that was invalid.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn redeem_transfer(&self, code: &str, new: NewSession) -> Result<Created> {
        if !self.shared().transfer_attempts.allow(new.client_ip()) {
            return Err(
                Error::limit_exceeded("manager", "redeem", Vec::new()).with_detail("too many attempts")
            );
        }
        let code = TransferCode::parse(code).map_err(|_| unknown_code())?;
        let manager = self.clone();
        self.finish(Box::pin(async move { manager.redeem_now(&code, new).await })).await
    }

    async fn redeem_now(&self, code: &TransferCode, new: NewSession) -> Result<Created> {
        let now = self.now();
        let mut operation = self.backend().operation();
        let waiting =
            operation.load(code.id()).await?.filter(|record| record.is_live(now)).ok_or_else(unknown_code)?;
        let data = self.settings().codec().decode(&waiting.data)?;
        let offer: Offer = data.get(OFFER_KEY)?.ok_or_else(unknown_code)?;
        // Before the code is used up: what is wrong about the new session must not cost it.
        let source = self.live_source(&offer, &mut operation).await?;
        self.check_new(&new.clone().continuing(&source, self.settings().codec())?, now)?;
        let shared = self.shared();
        // Only one of all attempts ends the offer.
        let used = Ended::new(EndReason::Transferred, now, Actor::System);
        if shared.end_sessions(&mut operation, EndScope::id(waiting.id), used).await?.is_empty() {
            return Err(unknown_code());
        }
        let source = self.live_source(&offer, &mut operation).await?;
        let mut new = new.continuing(&source, self.settings().codec())?;
        new.gives_way = offer.end_source.then_some(source.id);
        let created = self.create_now(new, &mut operation).await?;
        if offer.end_source {
            let by = source.user_id.clone().map_or(Actor::System, Actor::User);
            let ended = Ended::new(EndReason::Transferred, now, by);
            shared.end_sessions(&mut operation, EndScope::id(source.id), ended).await?;
        }
        Ok(created)
    }

    /// Reads the session that a code moves.
    async fn live_source(&self, offer: &Offer, operation: &mut Operation<'_>) -> Result<Arc<SessionRecord>> {
        let found = operation.load(offer.source).await?;
        found.filter(|record| record.is_live(self.now())).ok_or_else(unknown_code)
    }
}

fn unknown_code() -> Error {
    Error::not_found("manager", "redeem").with_detail("the code is wrong, used or too old")
}
