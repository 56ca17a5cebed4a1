//! Backends that only PostgreSQL provides besides the store: a cache that all nodes share, and a
//! bus between the nodes.

mod bus;
mod cache;
mod lines;
mod schema;

use std::time::Duration;

use sqlx::Postgres;

use crate::dialect::Dialect;

pub use bus::PostgresBus;
pub use cache::PostgresCache;

/// The backend's name in errors and logs.
const NAME: &str = <Postgres as Dialect>::SYNTAX.name;

/// The limit for opening a connection. A call does not have to wait for it: if the call gives up,
/// the next call uses the connection.
const OPENING: Duration = Duration::from_secs(5);

/// Refuses a setting outside of its range.
fn check_range(
    value: Duration,
    (shortest, longest): (Duration, Duration),
    detail: &'static str,
) -> session_core::Result<()> {
    if (shortest..=longest).contains(&value) {
        return Ok(());
    }
    Err(session_core::Error::invalid("configure", detail))
}

/// The time of the server's clock, in milliseconds.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use session_core::ErrorKind;
    use sqlx::postgres::PgPoolOptions;

    use super::*;

    #[tokio::test]
    async fn settings_out_of_their_range_are_refused() {
        let pool = || PgPoolOptions::new().connect_lazy("postgres://localhost/shop").unwrap();
        let (cache, bus) = (|| PostgresCache::new(pool()), || PostgresBus::new(pool()));
        let (milli, day, hour) =
            (Duration::from_millis(1), Duration::from_secs(86_400), Duration::from_secs(3_600));
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let connections = |count| cache().with_connections(NonZeroUsize::new(count).unwrap());
        for accepted in [
            connections(32).is_ok(),
            cache().with_max_ttl(milli).and_then(|cache| cache.with_max_ttl(day)).is_ok(),
            cache().with_timeout(milli).and_then(|cache| cache.with_timeout(minute)).is_ok(),
            bus().with_retention(second).and_then(|bus| bus.with_retention(hour)).is_ok(),
            bus().with_timeout(milli).and_then(|bus| bus.with_timeout(minute)).is_ok(),
        ] {
            assert!(accepted);
        }
        for refused in [
            connections(33).map(drop),
            cache().with_max_ttl(Duration::ZERO).map(drop),
            cache().with_max_ttl(day + milli).map(drop),
            cache().with_timeout(Duration::ZERO).map(drop),
            cache().with_timeout(minute + milli).map(drop),
            bus().with_retention(second - milli).map(drop),
            bus().with_retention(hour + milli).map(drop),
            bus().with_timeout(Duration::ZERO).map(drop),
            bus().with_timeout(minute + milli).map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
