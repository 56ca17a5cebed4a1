//! The store of record: exact, far away, and with a log of everything that was ever true.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::Mutex;
use session_conformance::reference::MapStore;
use session_core::{
    Actor, Capabilities, EndReason, EndScope, Ended, ListQuery, Page, Result, Revision, SessionId,
    SessionLimit, SessionRecord, SessionStore, StoreStats, Timestamp, Touch, UserId, async_trait,
};

use crate::crossings::limits;
use crate::net::{Process, Server};
use crate::node::QUICK;
use crate::world::{BEGIN, Sim, Time};

/// What the store held, and since when.
pub(crate) type Truth = BTreeMap<SessionId, Vec<(Time, Arc<SessionRecord>)>>;

/// A use that was written: when it was, by the node's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) id: SessionId,
    pub(crate) at: Timestamp,
}

/// The process that asked for a write, and how much later than it asked the write was carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author {
    pub(crate) process: (usize, u32),
    pub(crate) late: Time,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) tenant: usize,
    rows: MapStore,
    pub(crate) server: Arc<Server>,
    pub(crate) truth: Mutex<Truth>,
    /// Who created each session.
    pub(crate) created_by: Mutex<BTreeMap<SessionId, Author>>,
    /// Who ended each session.
    pub(crate) ended_by: Mutex<BTreeMap<SessionId, Author>>,
    /// Touches that were carried out, by the node's process.
    pub(crate) touches: Mutex<BTreeMap<(usize, u32), Vec<Written>>>,
}

impl Store {
    pub(crate) fn new(tenant: usize, nodes: usize) -> Arc<Self> {
        Arc::new(Self {
            tenant,
            created_by: Mutex::default(),
            ended_by: Mutex::default(),
            rows: MapStore::default(),
            server: Server::new("store", nodes),
            truth: Mutex::default(),
            touches: Mutex::default(),
        })
    }

    /// Writes down who ended what.
    fn credit(&self, author: Author, ended: Option<&Result<Vec<Arc<SessionRecord>>>>) {
        if let Some(Ok(ended)) = ended {
            self.ended_by.lock().extend(ended.iter().map(|record| (record.id, author)));
        }
    }

    /// Writes down what changed.
    fn log(&self, sim: &Sim, created: Option<SessionId>) {
        let mut truth = self.truth.lock();
        if let Some(id) = created {
            truth.entry(id).or_default();
        }
        let ids: Vec<_> = truth.keys().copied().collect();
        let Some(Ok(rows)) = self.rows.load(&ids).now_or_never() else { return };
        for row in rows {
            let Some(known) = truth.get_mut(&row.id) else { continue };
            if let Some((_, last)) = known.last() {
                if (last.revision, last.last_seen_at, last.ended())
                    == (row.revision, row.last_seen_at, row.ended())
                {
                    continue;
                }
                if last.ended().is_some() && row.ended().is_none() {
                    sim.violated("no-resurrection", row.id, "an ended stored record became active");
                }
                if row.revision < last.revision || row.last_seen_at < last.last_seen_at {
                    sim.violated("monotonic", row.id, "a stored record went back");
                }
            }
            known.push((sim.now(), row));
        }
        drop(truth);
        limits::check(sim, self);
    }

    /// Another program ends a session and notifies no node.
    pub(crate) fn end_silently(&self, sim: &Sim, id: SessionId) {
        let at = Timestamp::from_millis(BEGIN).saturating_add(sim.now());
        let ended = Ended::new(EndReason::LoggedOut, at, Actor::System);
        drop(self.rows.end(&EndScope::Ids(vec![id]), &ended, Timestamp::MAX).now_or_never());
        self.log(sim, None);
    }

    /// The record as it is stored now.
    pub(crate) fn stored(&self, id: SessionId) -> Option<Arc<SessionRecord>> {
        self.truth.lock().get(&id)?.last().map(|(_, record)| Arc::clone(record))
    }
}

/// A write that was sent. If no answer comes, its process must forget what it held.
struct Sent {
    sim: Arc<Sim>,
    process: Arc<Process>,
    /// All sessions, if none.
    ids: Option<Vec<SessionId>>,
}

impl Sent {
    fn settle<T>(mut self, answer: Result<T>) -> Result<T> {
        if !answer.as_ref().is_err_and(session_core::Error::is_transient) {
            self.ids = Some(Vec::new());
        }
        answer
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let forget = |id| self.sim.note_forgot(self.process.node, self.process.life, id);
        match &self.ids {
            Some(ids) => ids.iter().for_each(|id| forget(Some(*id))),
            None => forget(None),
        }
    }
}

/// The way from one process to the store.
pub(crate) struct StoreLink {
    pub(crate) sim: Arc<Sim>,
    pub(crate) process: Arc<Process>,
}

impl StoreLink {
    fn store(&self) -> &Arc<Store> {
        self.sim.store(self.process.node)
    }

    /// Describes who writes, once the write is carried out.
    fn author(&self) -> impl Fn() -> Author + Send + 'static {
        let (sim, sent) = (Arc::clone(&self.sim), self.sim.now());
        let process = (self.process.node, self.process.life);
        move || Author { process, late: sim.now() - sent }
    }

    fn sent(&self, ids: Option<Vec<SessionId>>) -> Sent {
        Sent { sim: Arc::clone(&self.sim), process: Arc::clone(&self.process), ids }
    }

    fn learn(&self, ended: &Result<Vec<Arc<SessionRecord>>>) {
        for record in ended.as_deref().unwrap_or_default() {
            self.sim.note_learnt(self.process.node, self.process.life, record.id, record.revision.get());
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        apply: impl FnOnce(&Sim, &Store) -> Option<Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (sim, store) = (Arc::clone(&self.sim), Arc::clone(self.store()));
        let apply = move |_| apply(&sim, &store).expect("the map answers at once");
        self.store().server.call(&self.sim, &self.process, what, apply).await
    }
}

impl fmt::Debug for StoreLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreLink").field("process", &self.process).finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for StoreLink {
    fn capabilities(&self) -> Capabilities {
        // A place that is the same in each run.
        self.store().rows.capabilities().with_place(format!("tenant {}", self.store().tenant))
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let limit = limit.copied();
        let sent = self.sent(if limit.is_some() { None } else { Some(vec![record.id]) });
        let author = self.author();
        let create = self.ask("create", move |sim, store| {
            let id = record.id;
            let done = store.rows.create(record, limit.as_ref()).now_or_never();
            store.credit(author(), done.as_ref());
            let created = done.as_ref().is_some_and(Result::is_ok).then_some(id);
            store.created_by.lock().extend(created.map(|id| (id, author())));
            store.log(sim, created);
            done
        });
        let evicted = sent.settle(create.await);
        self.learn(&evicted);
        evicted
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        let ids = ids.to_vec();
        self.sim.note_question(self.process.node, &ids);
        let loaded = self.ask("load", move |_, store| store.rows.load(&ids).now_or_never()).await;
        self.sim.note_load(self.process.node, self.process.life, loaded.as_deref().unwrap_or_default());
        loaded
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        let (id, began, sent) = (record.id, self.sim.now(), self.sent(Some(vec![record.id])));
        let update = self.ask("update", move |sim, store| {
            let done = store.rows.update(record, expected).now_or_never();
            store.log(sim, None);
            done
        });
        let updated = sent.settle(update.await);
        if let (Ok(revision), true) = (&updated, self.sim.now() - began < QUICK) {
            self.sim.note_learnt(self.process.node, self.process.life, id, revision.get());
        }
        updated
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        let mut batch = batch.to_vec();
        batch.sort_by_key(|touch| touch.id);
        let written: Vec<_> =
            batch.iter().map(|touch| Written { id: touch.id, at: touch.last_seen_at }).collect();
        let touched = self
            .ask("touch", move |sim, store| {
                let done = store.rows.touch(&batch, now).now_or_never();
                store.log(sim, None);
                done
            })
            .await;
        // What was not confirmed is written again, and must be.
        if touched.is_ok() {
            let mut touches = self.store().touches.lock();
            touches.entry((self.process.node, self.process.life)).or_default().extend(written);
        }
        touched
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let (scope, ended) = (scope.clone(), ended.clone());
        let sent = self.sent(match &scope {
            EndScope::Ids(ids) => Some(ids.clone()),
            _ => None,
        });
        let author = self.author();
        let end = self.ask("end", move |sim, store| {
            let done = store.rows.end(&scope, &ended, created_until).now_or_never();
            store.credit(author(), done.as_ref());
            store.log(sim, None);
            done
        });
        let ended = sent.settle(end.await);
        self.learn(&ended);
        ended
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        let query = query.clone();
        self.ask("list", move |_, store| store.rows.list(&query).now_or_never()).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        let sent = self.sent(None);
        let author = self.author();
        let expire = self.ask("expire", move |sim, store| {
            let done = store.rows.expire(now, limit).now_or_never();
            store.credit(author(), done.as_ref());
            store.log(sim, None);
            done
        });
        let expired = sent.settle(expire.await);
        self.learn(&expired);
        expired
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.ask("purge", move |_, store| store.rows.purge(before, limit).now_or_never()).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        let user = user.clone();
        self.ask("erase", move |_, store| store.rows.erase(&user, limit).now_or_never()).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.ask("stats", move |_, store| store.rows.stats(now).now_or_never()).await
    }
}
