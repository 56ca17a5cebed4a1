//! Work on several shards: concurrent and bounded.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use redis::Value;
use session_core::{SessionId, Shard};
use tokio::time::{Instant, timeout_at};

use crate::error::Trouble;
use crate::keys::KeyPrefix;
use crate::store::RedisStore;

/// Maximum number of commands that one call has in flight.
const AT_ONCE: usize = 64;

/// The sorted set of a shard that a sweep reads.
pub(crate) type Index = fn(&KeyPrefix, Shard) -> String;

impl RedisStore {
    /// Groups items so that one script call can take each group: all items, or in a cluster those
    /// of each shard.
    pub(crate) fn groups<I: Copy>(&self, items: &[I], id: impl Fn(I) -> SessionId) -> Vec<Vec<I>> {
        if !self.connection.is_cluster() {
            return if items.is_empty() { Vec::new() } else { vec![items.to_vec()] };
        }
        let mut groups: BTreeMap<Shard, Vec<I>> = BTreeMap::new();
        for item in items {
            groups.entry(id(*item).shard()).or_default().push(*item);
        }
        groups.into_values().collect()
    }

    /// Returns the shards that have members of an index between two scores, each with the number of
    /// members, and the failure if some shards could not be queried.
    ///
    /// This is much cheaper than a script for each shard: a store with few sessions has them in few
    /// of its 1,024 shards.
    pub(crate) async fn filled(
        &self,
        index: Index,
        from: &str,
        up_to: &str,
    ) -> Result<(Vec<(Shard, usize)>, Option<Trouble>), Trouble> {
        let count = |shard| {
            let mut command = redis::cmd("ZCOUNT");
            command.arg(index(&self.prefix, shard)).arg(from).arg(up_to);
            command
        };
        let counts = self.connection.results_of_each(Shard::all().map(count).collect()).await?;
        let (mut due, mut failure) = (Vec::new(), None);
        for (shard, count) in Shard::all().zip(counts) {
            match count {
                Ok(Value::Int(count)) => due.push((shard, usize::try_from(count).unwrap_or_default())),
                Ok(_) => return Err(self.mismatched("count")),
                Err(trouble) => failure = Some(trouble),
            }
        }
        due.retain(|(_, count)| *count > 0);
        Ok((due, failure))
    }
}

/// Runs steps concurrently, up to [`AT_ONCE`] at a time, and returns their results in order.
///
/// The steps are boxed because the compiler cannot prove the futures of closures to be `Send` for
/// any lifetime (rust-lang/rust#110338).
pub(crate) async fn side_by_side<T>(steps: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(steps).buffered(AT_ONCE).collect().await
}

/// Runs steps as [`side_by_side`] does, but only until a deadline. Steps that are unfinished at
/// that time are cancelled, and the last result is [`Trouble::Late`].
pub(crate) async fn side_by_side_until<T>(
    until: Instant,
    steps: Vec<BoxFuture<'_, Result<T, Trouble>>>,
) -> Vec<Result<T, Trouble>> {
    let (mut running, mut results) = (stream::iter(steps).buffered(AT_ONCE), Vec::new());
    loop {
        match timeout_at(until, running.next()).await {
            Ok(Some(result)) => results.push(result),
            Ok(None) => return results,
            Err(late) => {
                results.push(Err(late.into()));
                return results;
            }
        }
    }
}

/// Divides a limit among shards with due members, in the given order.
pub(crate) fn shares(due: Vec<(Shard, usize)>, limit: usize) -> Vec<(Shard, usize)> {
    let mut left = limit;
    let mut shares = Vec::new();
    for (shard, count) in due {
        let share = count.min(left);
        left -= share;
        if share > 0 {
            shares.push((shard, share));
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_divided_and_never_exceeded() {
        let shards: Vec<_> = Shard::all().take(3).collect();
        let due = vec![(shards[0], 2), (shards[1], 5), (shards[2], 1)];
        assert_eq!(shares(due.clone(), 4), [(shards[0], 2), (shards[1], 2)]);
        assert_eq!(shares(due.clone(), 100).iter().map(|(_, share)| share).sum::<usize>(), 8);
        assert_eq!(shares(due, 0), []);
    }
}
