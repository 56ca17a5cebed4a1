//! An index serves every statement that a store sends, in a table of 100,000 sessions.

mod capture;
mod explain;
mod fill;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;

use session_conformance::fixtures::{NOW, limit, logged_out, record, touch};
use session_core::{
    Cursor, EndScope, ListQuery, OnExceed, Revision, SessionKind, SessionStore, StateFilter, Timestamp,
};
use session_sqlx::SqlStore;

use self::explain::{Access, Explained, Plan, Values};
use self::fill::{Sample, days_ago};
use crate::support::{EmptyDatabase, fresh_table, on_each_database};

on_each_database!(every_statement_is_served_by_its_index);

async fn every_statement_is_served_by_its_index<D: Explained>(database: EmptyDatabase<D>) {
    let table = fresh_table().to_string();
    let store = database.store(&table);
    store.migrate_to(1).await.unwrap();
    for text in D::ALONE {
        database.script(&text.replace("{table}", &table)).await;
    }
    let sample = fill::fill(&database, &table).await;
    store.migrate().await.unwrap();
    let mut calls = Calls { table: format!("{0}{table}{0}", D::SYNTAX.quote), all: Vec::new() };
    calls.listings(&store, &sample).await;
    calls.others(&store, &sample).await;

    let mut wrong = BTreeSet::new();
    for statistics in D::STATISTICS {
        if !statistics.is_empty() {
            database.script(&statistics.replace("{table}", &table)).await;
        }
        wrong.extend(explain_all(&database, &table, &sample, &calls.all).await);
    }
    let texts: Vec<_> = wrong.iter().map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} wrong plans:\n{}", wrong.len(), texts.join("\n"));
}

/// Prints a line for each statement, and returns the plans that break their rule.
async fn explain_all<D: Explained>(
    database: &EmptyDatabase<D>,
    table: &str,
    sample: &Sample,
    calls: &[Call],
) -> Vec<String> {
    let mut connection = database.pool.acquire().await.unwrap();
    let mut wrong = Vec::new();
    for call in calls {
        let mut ways = BTreeSet::new();
        for values in [Values::Everyday, Values::Backlog] {
            let literals = explain::literals::<D>(&call.text, sample, values);
            for plan in D::explain(&mut connection, &call.text, table, &literals).await {
                if !call.allows(&plan, values) {
                    wrong.push(format!("{}, {values:?}: {}\n{}", call.name, call.text, plan.text));
                }
                ways.insert(plan.to_string());
            }
        }
        let ways: Vec<_> = ways.into_iter().collect();
        println!("{:8} | {:50} | {}", D::SYNTAX.name, call.name, ways.join(" or "));
    }
    wrong
}

/// The most rows that may be sorted for a page.
const MAX_SORTED: u64 = 1000;

/// How a statement may read the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Reads a range of an index, in its order or with a small sort.
    Search,
    /// Reads a range of an index with one user's rows or one batch, so the rows may be sorted.
    Few,
    /// Reads an index in its order, until the page is full.
    Walk,
}

/// A statement that a call sent.
#[derive(Debug)]
struct Call {
    name: String,
    text: String,
    indexes: Vec<&'static str>,
    rule: Rule,
}

impl Call {
    fn allows(&self, plan: &Plan, values: Values) -> bool {
        // With `Everyday` values a user has a few rows, including ended ones, so either index of
        // the user is good enough.
        let by_user = ["_active_idx", "_user_idx"];
        let is_short = |index: &str| {
            values == Values::Everyday
                && by_user.contains(&index)
                && by_user.iter().any(|other| self.indexes.contains(other))
        };
        let is_allowed = |access: &Access| match access {
            Access::Search(index) => self.indexes.contains(&&**index) || is_short(index),
            Access::Walk(index) => self.rule == Rule::Walk && self.indexes.contains(&&**index),
            Access::Whole => false,
        };
        !plan.accesses.is_empty()
            && plan.accesses.iter().all(is_allowed)
            && (self.rule == Rule::Few || plan.sorted <= MAX_SORTED)
    }
}

struct Calls {
    table: String,
    all: Vec<Call>,
}

impl Calls {
    async fn add<T: Debug>(
        &mut self,
        name: impl Into<String>,
        least: usize,
        (indexes, rule): (&[&'static str], Rule),
        call: impl Future<Output = session_core::Result<T>>,
    ) {
        let name = name.into();
        let (result, texts) = capture::sent(&self.table, least, call).await;
        if !name.ends_with("refused") {
            result.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        for text in texts.into_iter().filter(|text| !text.starts_with("INSERT")) {
            self.all.push(Call { name: name.clone(), text, indexes: indexes.to_vec(), rule });
        }
    }

    /// Adds every combination of the filters of a listing.
    async fn listings<D: Explained>(&mut self, store: &SqlStore<D>, sample: &Sample) {
        let name = format!("{}@example.com", sample.user);
        let cursor = Cursor::new(days_ago(45), sample.ids[0]);
        let users = [None, Some(&sample.user)];
        let states = [StateFilter::Any, StateFilter::Ended, StateFilter::Live(NOW)];
        for (user, is_named, state) in users.into_iter().flat_map(|user| {
            [false, true].into_iter().flat_map(move |is_named| states.map(|state| (user, is_named, state)))
        }) {
            let rule: (&[&str], _) = match (user, is_named, state) {
                (Some(_), false, StateFilter::Live(_)) => (&["_active_idx"], Rule::Search),
                (Some(_), false, _) => (&["_user_idx"], Rule::Search),
                (Some(_), true, _) => (&["_active_idx", "_user_idx", "_username_idx"], Rule::Search),
                (None, true, _) => (&["_username_idx"], Rule::Search),
                (None, false, _) => (&["_created_idx"], Rule::Walk),
            };
            for parts in 0..16 {
                let mut query = ListQuery::default().with_state(state);
                query.user = user.cloned();
                query.username = is_named.then(|| name.clone());
                query.kind = (parts & 1 != 0).then_some(SessionKind::Web);
                query.created_since = (parts & 2 != 0).then(|| days_ago(80));
                query.after = (parts & 4 != 0).then_some(cursor);
                query.device = (parts & 8 != 0).then_some(sample.device);
                let mut asked = vec![match state {
                    StateFilter::Any => "list any",
                    StateFilter::Ended => "list ended",
                    _ => "list live",
                }];
                asked.extend(user.map(|_| "of user"));
                asked.extend(is_named.then_some("by name"));
                asked.extend(query.kind.map(|_| "kind"));
                asked.extend(query.created_since.map(|_| "since"));
                asked.extend(query.after.map(|_| "after"));
                asked.extend(query.device.map(|_| "device"));
                self.add(asked.join(", "), 1, rule, store.list(&query)).await;
            }
        }
    }

    /// Adds all other calls except `stats`, which counts all rows.
    async fn others<D: Explained>(&mut self, store: &SqlStore<D>, sample: &Sample) {
        let (ids, user, device) = (&sample.ids, sample.user.clone(), sample.device);
        let (primary, end) = (D::PRIMARY, logged_out(0));
        self.add("load one", 1, (&[primary], Rule::Search), store.load(&ids[..1])).await;
        self.add("load 500", 1, (&[primary], Rule::Search), store.load(&ids[..500])).await;

        let touches: Vec<_> = ids[..500].iter().map(|id| touch(*id, 1)).collect();
        self.add("touch 500", 1, (&[primary], Rule::Few), store.touch(&touches, NOW)).await;

        let loaded = store.load(&ids[600..601]).await.unwrap().remove(0);
        let save = || store.update(loaded.clone(), Revision::FIRST);
        self.add("save", 1, (&[primary], Rule::Search), save()).await;
        self.add("save, refused", 2, (&[primary], Rule::Search), save()).await;

        let mut new = record(user.as_str());
        new.created_at = NOW;
        let one = limit(1, OnExceed::EndOldest, 1);
        let rule: (&[&str], _) = (&[primary, "_active_idx"], Rule::Few);
        self.add("create with limit", 2, rule, store.create(new.into(), Some(&one))).await;

        for (name, scope) in [
            ("end of user", EndScope::User(user.clone())),
            ("end of user but one", EndScope::UserExcept { user: user.clone(), keep: ids[0] }),
            ("end of device", EndScope::Device { user: user.clone(), device }),
        ] {
            self.add(
                name,
                1,
                (&[primary, "_active_idx"], Rule::Search),
                store.end(&scope, &end, Timestamp::MAX),
            )
            .await;
        }
        for (name, last) in [("end of one", 1002), ("end of 500", 1501)] {
            let scope = EndScope::Ids(ids[1001..last].to_vec());
            self.add(name, 1, (&[primary], Rule::Few), store.end(&scope, &end, Timestamp::MAX)).await;
        }
        self.add("sweep", 1, (&[primary, "_deadline_idx"], Rule::Search), store.expire(NOW, 10)).await;
        self.add("purge", 1, (&[primary, "_ended_idx"], Rule::Search), store.purge(days_ago(89), 10)).await;
        self.add("erase", 1, (&[primary, "_user_idx"], Rule::Few), store.erase(&user, 10)).await;
    }
}
