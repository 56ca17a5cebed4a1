//! Listings and statistics: pages out of sorted sets.

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

/// Most sessions that one run of a script looks at, so that it holds up the server for a millisecond at most.
const STRETCH: usize = 500;

/// One way through the sessions of a shard, newest first.
#[derive(Debug)]
struct Walk {
    shard: Shard,
    keys: Vec<String>,
    /// Score and id after which it goes on.
    after: Option<(Vec<u8>, Vec<u8>)>,
    /// How many sessions the next step looks at.
    stretch: usize,
    found: VecDeque<Arc<SessionRecord>>,
    is_over: bool,
}

impl Walk {
    fn is_hungry(&self) -> bool {
        self.found.is_empty() && !self.is_over
    }

    fn next(&self) -> Option<Cursor> {
        self.found.front().map(|record| Cursor::of(record))
    }
}

impl RedisStore {
    pub(crate) async fn page(&self, query: &ListQuery) -> Result<Page, Trouble> {
        let filter = Filter::of(query)?;
        let mut walks = self.walks(query, &filter).await?;
        let mut found = Vec::new();
        // One more than the page tells whether there is a next one.
        while found.len() <= query.limit {
            walks = self.fed(walks, &filter).await?;
            let newest = walks.iter_mut().max_by_key(|walk| walk.next());
            let Some(record) = newest.and_then(|walk| walk.found.pop_front()) else { break };
            found.push(record);
        }
        Ok(Page::cut(found, query.limit))
    }

    /// One walk for a user, else one for each shard that has sessions of the time in question.
    async fn walks(&self, query: &ListQuery, filter: &Filter) -> Result<Vec<Walk>, Trouble> {
        let after = query.after.map(|after| {
            (after.created_at.as_millis().to_string().into_bytes(), after.id.to_string().into_bytes())
        });
        let walk = |shard, keys, stretch| Walk {
            shard,
            keys,
            after: after.clone(),
            stretch,
            found: VecDeque::new(),
            is_over: false,
        };
        let Some(user) = &query.user else {
            let newest =
                query.after.map_or("+inf".to_owned(), |after| after.created_at.as_millis().to_string());
            let shards = self.all_filled(&filter.since, &newest).await?;
            let few = 2 * query.limit / shards.len().max(1) + 2;
            let few = few.min(STRETCH);
            return Ok(shards
                .into_iter()
                .map(|shard| walk(shard, vec![self.prefix.created(shard)], few))
                .collect());
        };
        let (active, history) = (self.prefix.user(user), self.prefix.history(user));
        let keys = match query.state {
            StateFilter::Any => vec![active, history],
            StateFilter::Ended => vec![history],
            StateFilter::Live(_) => vec![active],
            _ => return Err(Error::unsupported(NAME, "list").into()),
        };
        Ok(vec![walk(user.shard(), keys, (query.limit + 1).min(STRETCH))])
    }

    /// The shards that have sessions which were created between two times. All must have answered: a page has no gaps.
    async fn all_filled(&self, from: &str, up_to: &str) -> Result<Vec<Shard>, Trouble> {
        let (filled, failure) = self.filled(KeyPrefix::created, from, up_to).await?;
        failure.map_or_else(|| Ok(filled.into_iter().map(|(shard, _)| shard).collect()), Err)
    }

    /// Lets those walks go on that have nothing to show.
    async fn fed(&self, walks: Vec<Walk>, filter: &Filter) -> Result<Vec<Walk>, Trouble> {
        if !walks.iter().any(Walk::is_hungry) {
            return Ok(walks);
        }
        let steps = walks.into_iter().map(|walk| self.fed_one(walk, filter).boxed()).collect();
        side_by_side(steps).await.into_iter().collect()
    }

    async fn fed_one(&self, mut walk: Walk, filter: &Filter) -> Result<Walk, Trouble> {
        while walk.is_hungry() {
            self.step(&mut walk, filter).await?;
        }
        Ok(walk)
    }

    async fn step(&self, walk: &mut Walk, filter: &Filter) -> Result<(), Trouble> {
        let mut call = script::LIST.call(&walk.keys);
        let (score, id) = walk.after.clone().unwrap_or_default();
        call.arg(self.prefix.of_shard(walk.shard)).arg(score).arg(id).arg(&filter.since).arg(walk.stretch);
        filter.add_to(&mut call);
        let Value::Array(mut parts) = self.connection.script(&script::LIST, &call).await? else {
            return Err(self.strange("list"));
        };
        let values = if parts.len() < 2 { Vec::new() } else { parts.split_off(2) };
        match <[Value; 2]>::try_from(parts) {
            Ok([Value::BulkString(score), Value::BulkString(id)]) => {
                walk.is_over = score.is_empty();
                walk.after = Some((score, id));
            }
            _ => return Err(self.strange("list")),
        }
        walk.stretch = (4 * walk.stretch).min(STRETCH);
        let found = self.records_of(values, Part::Redacted, "list")?;
        if filter.user.is_some() && found.iter().any(|record| record.user_id != filter.user) {
            return Err(self.strange("list"));
        }
        walk.found.extend(found);
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
            call.arg(&base).arg(now.as_millis()).arg(rank).arg(STRETCH);
            let reply = self.connection.script(&script::COUNT, &call).await?;
            let (next, counted) = Counted::read(reply).ok_or_else(|| self.strange("stats"))?;
            all.add(counted);
            rank = next;
        }
        Ok(all)
    }
}

/// What a listing asks for, as its script takes it.
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
        let kind = record::kind_filter(query.kind, "list")?;
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

/// The statistics of a part, and the users to be counted once.
#[derive(Debug, Default)]
struct Counted {
    stats: StoreStats,
    users: HashSet<Vec<u8>>,
}

impl Counted {
    /// Reads what `count.lua` says, and at which rank it goes on.
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

/// Eight bytes or nothing.
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
