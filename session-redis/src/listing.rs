//! Listings and statistics: reads pages from sorted sets.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use futures_util::FutureExt;
use redis::{Cmd, Value};
use session_core::Shard;
use session_core::prelude::*;

use crate::error::{NAME, Trouble};
use crate::keys::KeyPrefix;
use crate::record::{self, Part};
use crate::script;
use crate::shards::side_by_side;
use crate::store::RedisStore;

/// Maximum number of sessions that one run of a script reads, so that it blocks the server for a
/// millisecond at most.
const MAX_SCAN: usize = 500;

/// A scan of the sessions of a shard, newest first.
#[derive(Debug)]
struct Scan {
    shard: Shard,
    keys: Vec<String>,
    /// Score and id after which the scan continues.
    after: Option<(Vec<u8>, Vec<u8>)>,
    /// How many sessions the next step reads.
    batch: usize,
    found: VecDeque<Arc<SessionRecord>>,
    is_finished: bool,
}

impl Scan {
    fn needs_records(&self) -> bool {
        self.found.is_empty() && !self.is_finished
    }

    fn next(&self) -> Option<Cursor> {
        self.found.front().map(|record| Cursor::of(record))
    }
}

impl RedisStore {
    pub(crate) async fn page(&self, query: &ListQuery) -> Result<Page, Trouble> {
        let filter = Filter::of(query)?;
        let mut scans = self.scans(query, &filter).await?;
        let mut found = Vec::new();
        // One more record than the page shows whether there is a next page.
        while found.len() <= query.limit {
            scans = self.read_more(scans, &filter).await?;
            let newest = scans.iter_mut().max_by_key(|scan| scan.next());
            let Some(record) = newest.and_then(|scan| scan.found.pop_front()) else { break };
            found.push(record);
        }
        Ok(Page::cut(found, query.limit))
    }

    /// Starts one scan for a user, or one for each shard that has sessions of the time in question.
    async fn scans(&self, query: &ListQuery, filter: &Filter) -> Result<Vec<Scan>, Trouble> {
        let after = query.after.map(|after| {
            (after.created_at.as_millis().to_string().into_bytes(), after.id.to_string().into_bytes())
        });
        let scan = |shard, keys, batch| Scan {
            shard,
            keys,
            after: after.clone(),
            batch,
            found: VecDeque::new(),
            is_finished: false,
        };
        let Some(user) = &query.user else {
            let newest =
                query.after.map_or("+inf".to_owned(), |after| after.created_at.as_millis().to_string());
            let shards = self.all_filled(&filter.since, &newest).await?;
            let few = (2 * query.limit / shards.len().max(1) + 2).min(MAX_SCAN);
            return Ok(shards
                .into_iter()
                .map(|shard| scan(shard, vec![self.prefix.created(shard)], few))
                .collect());
        };
        let (active, history) = (self.prefix.user(user), self.prefix.history(user));
        let keys = match query.state {
            StateFilter::Any => vec![active, history],
            StateFilter::Ended => vec![history],
            StateFilter::Live(_) => vec![active],
            _ => return Err(Error::unsupported(NAME, "list").into()),
        };
        Ok(vec![scan(user.shard(), keys, (query.limit + 1).min(MAX_SCAN))])
    }

    /// Returns the shards that have sessions which were created between two times. Fails unless all
    /// shards replied: a page has no gaps.
    async fn all_filled(&self, from: &str, up_to: &str) -> Result<Vec<Shard>, Trouble> {
        let (filled, failure) = self.filled(KeyPrefix::created, from, up_to).await?;
        failure.map_or_else(|| Ok(filled.into_iter().map(|(shard, _)| shard).collect()), Err)
    }

    /// Continues the scans that have no records left.
    async fn read_more(&self, scans: Vec<Scan>, filter: &Filter) -> Result<Vec<Scan>, Trouble> {
        if !scans.iter().any(Scan::needs_records) {
            return Ok(scans);
        }
        let steps = scans.into_iter().map(|scan| self.read_until_found(scan, filter).boxed()).collect();
        side_by_side(steps).await.into_iter().collect()
    }

    async fn read_until_found(&self, mut scan: Scan, filter: &Filter) -> Result<Scan, Trouble> {
        while scan.needs_records() {
            self.step(&mut scan, filter).await?;
        }
        Ok(scan)
    }

    async fn step(&self, scan: &mut Scan, filter: &Filter) -> Result<(), Trouble> {
        let mut call = script::LIST.call(&scan.keys);
        let (score, id) = scan.after.clone().unwrap_or_default();
        call.arg(self.prefix.of_shard(scan.shard)).arg(score).arg(id).arg(&filter.since).arg(scan.batch);
        filter.add_to(&mut call);
        let Value::Array(mut parts) = self.connection.script(&script::LIST, &call).await? else {
            return Err(self.mismatched("list"));
        };
        let values = if parts.len() < 2 { Vec::new() } else { parts.split_off(2) };
        match <[Value; 2]>::try_from(parts) {
            Ok([Value::BulkString(score), Value::BulkString(id)]) => {
                scan.is_finished = score.is_empty();
                scan.after = Some((score, id));
            }
            _ => return Err(self.mismatched("list")),
        }
        scan.batch = (4 * scan.batch).min(MAX_SCAN);
        let found = self.records_of(values, Part::Redacted, "list")?;
        if filter.user.is_some() && found.iter().any(|record| record.user_id != filter.user) {
            return Err(self.mismatched("list"));
        }
        scan.found.extend(found);
        Ok(())
    }

    pub(crate) async fn count(&self, now: Timestamp) -> Result<StoreStats, Trouble> {
        let shards = self.all_filled("-inf", "+inf").await?;
        let steps = shards.into_iter().map(|shard| self.count_in(shard, now).boxed()).collect();
        let mut all = Counted::default();
        for counted in side_by_side(steps).await {
            all.add(counted?);
        }
        all.stats.users = all.users.len() as u64;
        Ok(all.stats)
    }

    async fn count_in(&self, shard: Shard, now: Timestamp) -> Result<Counted, Trouble> {
        let (base, index) = (self.prefix.of_shard(shard), self.prefix.created(shard));
        let mut all = Counted::default();
        let mut rank = 0;
        while rank >= 0 {
            let mut call = script::COUNT.call(&[&index]);
            call.arg(&base).arg(now.as_millis()).arg(rank).arg(MAX_SCAN);
            let reply = self.connection.script(&script::COUNT, &call).await?;
            let (next, counted) = Counted::read(reply).ok_or_else(|| self.mismatched("stats"))?;
            all.add(counted);
            rank = next;
        }
        Ok(all)
    }
}

/// The conditions of a listing, in the form that its script takes.
#[derive(Debug)]
struct Filter {
    user: Option<UserId>,
    since: String,
    state: &'static str,
    now: i64,
    kind: Vec<u8>,
    username: String,
    device: Vec<u8>,
}

impl Filter {
    fn of(query: &ListQuery) -> Result<Self> {
        let (state, now) = match query.state {
            StateFilter::Any => ("", 0),
            StateFilter::Ended => ("ended", 0),
            StateFilter::Live(now) => ("live", now.as_millis()),
            _ => return Err(Error::unsupported(NAME, "list")),
        };
        let since = query.created_since.map_or("-inf".to_owned(), |since| since.as_millis().to_string());
        let kind: Vec<u8> = query.kind.map(record::kind_code).into_iter().collect();
        Ok(Self {
            user: query.user.clone(),
            since,
            state,
            now,
            kind,
            username: query.username.clone().unwrap_or_default(),
            device: query.device.map_or_else(Vec::new, |device| device.as_bytes().to_vec()),
        })
    }

    fn add_to(&self, call: &mut Cmd) {
        call.arg(self.state).arg(self.now).arg(&self.kind).arg(&self.username).arg(&self.device);
    }
}

/// The statistics of a part, and its users, which are counted once in all.
#[derive(Debug, Default)]
struct Counted {
    stats: StoreStats,
    users: HashSet<Vec<u8>>,
}

impl Counted {
    /// Parses the reply of `count.lua`, and the rank at which the count continues.
    fn read(reply: Value) -> Option<(i64, Self)> {
        let Value::Array(parts) = reply else { return None };
        let parts = <[Value; 7]>::try_from(parts).ok()?;
        let [Value::Int(next), Value::Int(live), Value::Int(expired), oldest, newest, reasons, users] = parts
        else {
            return None;
        };
        let mut stats = StoreStats::default();
        stats.live = u64::try_from(live).ok()?;
        stats.expired = u64::try_from(expired).ok()?;
        stats.oldest = time(&oldest)?;
        stats.newest = time(&newest)?;
        for reason in texts(reasons)? {
            *stats.ended.entry(std::str::from_utf8(&reason).ok()?.parse().ok()?).or_default() += 1;
        }
        let users = texts(users)?.into_iter().filter(|user| !user.is_empty()).collect();
        Some((next, Self { stats, users }))
    }

    fn add(&mut self, part: Self) {
        self.stats.live += part.stats.live;
        self.stats.expired += part.stats.expired;
        self.stats.oldest = [self.stats.oldest, part.stats.oldest].into_iter().flatten().min();
        self.stats.newest = [self.stats.newest, part.stats.newest].into_iter().flatten().max();
        add_up(&mut self.stats.ended, part.stats.ended);
        self.users.extend(part.users);
    }
}

fn add_up(sum: &mut BTreeMap<EndReason, u64>, part: BTreeMap<EndReason, u64>) {
    for (reason, count) in part {
        *sum.entry(reason).or_default() += count;
    }
}

/// Parses eight bytes or none.
#[allow(clippy::option_option, reason = "unreadable is not the same as absent")]
fn time(value: &Value) -> Option<Option<Timestamp>> {
    let Value::BulkString(bytes) = value else { return None };
    match <[u8; 8]>::try_from(&**bytes) {
        Ok(bytes) => Some(Some(Timestamp::from_millis(i64::from_be_bytes(bytes)))),
        Err(_) => bytes.is_empty().then_some(None),
    }
}

fn texts(value: Value) -> Option<Vec<Vec<u8>>> {
    let Value::Array(values) = value else { return None };
    let text = |value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    };
    values.into_iter().map(text).collect()
}
