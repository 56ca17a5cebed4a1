//! The reasons why no store can be opened, with advice.

use std::error::Error as StdError;

use super::{DEFAULT_URL, OTHER_VARIABLE, PATIENCE, mongo, redis, sql};

/// The reason why no store can be opened, with advice.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}. Choose another one with --collection, like shop_sessions")]
    Collection(session_manager::core::Error),
    #[error("cannot keep the sessions in {place}: {cause}. {advice}")]
    Database { place: String, cause: String, advice: &'static str },
    #[error(
        "the URL of the store names no database. Add one after the host, like mongodb://localhost/shop; options follow it: \
         mongodb://localhost/shop?authSource=admin"
    )]
    NoDatabase,
    #[error("the URL of the store names no file. Add one after `sqlite:`, like {DEFAULT_URL}, or `:memory:`")]
    NoFile,
    #[error("no primary answered in {} s: {place}. Check the host, the port and, if the server requires TLS, `tls=true` in the URL. {}", PATIENCE.as_secs(), mongo::MEMBER)]
    NoPrimary { place: String },
    #[error(
        "the shop is built without TLS. Use a redis:// URL, or add `redis` with its feature `tokio-native-tls-comp` to the dependencies \
         in examples/axum-devices/Cargo.toml"
    )]
    RedisTls,
    #[error(
        "the shop does not support this store. Its URL, in --store, STORE_URL or {OTHER_VARIABLE}, begins with postgres://, \
         mysql://, mariadb://, mongodb://, mongodb+srv://, redis://, redis+unix:// or sqlite:, like {}; without a URL, the sessions are in \
         {DEFAULT_URL}",
        sql::URL
    )]
    Scheme,
    #[error("no answer in {} s: {place}. Check the host and the port in the URL", PATIENCE.as_secs())]
    Silent { place: String },
    #[error("the URL of the store cannot be read: {cause}. It looks like {like}")]
    Url { cause: String, like: &'static str },
}

pub(super) const CREDENTIALS: &str = "Correct the user and the password in the URL";

impl Failure {
    pub(super) fn database(place: String, error: &(dyn StdError + 'static), otherwise: &'static str) -> Self {
        let mut cause = message(error);
        let mut inner = error;
        // The drivers' own errors contain the text of their sources.
        while let Some(source) = inner.source().filter(|_| !is_drivers(inner)) {
            inner = source;
            cause = format!("{cause}: {}", message(inner));
        }
        Self::Database { place, cause, advice: advice(inner).unwrap_or(otherwise) }
    }
}

fn is_drivers(error: &(dyn StdError + 'static)) -> bool {
    sql::is_drivers(error) || redis::is_drivers(error) || mongo::is_drivers(error)
}

fn message(error: &(dyn StdError + 'static)) -> String {
    mongo::message(error).unwrap_or_else(|| error.to_string())
}

fn advice(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    sql::advice(error).or_else(|| redis::advice(error)).or_else(|| mongo::advice(error))
}
