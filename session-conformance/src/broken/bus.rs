//! A bus with one mistake, around a correct one.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use session_core::limits::MAX_BATCH;
use session_core::{
    BusEvent, BusHealth, Error, Invalidation, InvalidationBus, Result, Scope, Subscription, async_trait,
};
use session_runtime::bus::{Bus, LocalBus, LocalChannel};
use tokio::sync::{Mutex, broadcast};
use tokio::time::{Instant, sleep, sleep_until};

use super::BusBug;
use crate::fixtures::SCOPE;

type Inner = Arc<Mutex<Box<dyn Subscription>>>;

/// A factory of the nodes of a bus with one [`BusBug`].
#[derive(Debug, Clone)]
pub struct BrokenNetwork {
    bug: BusBug,
    channel: LocalChannel,
    /// Events that only the mistake sends, each with the node that does not receive it.
    extra: broadcast::Sender<(u64, BusEvent)>,
    nodes: Arc<AtomicU64>,
    subscriptions: Arc<AtomicU64>,
}

impl BrokenNetwork {
    /// Creates a bus without nodes.
    #[must_use]
    pub fn new(bug: BusBug) -> Self {
        Self {
            bug,
            channel: LocalChannel::new(),
            extra: broadcast::Sender::new(1024),
            nodes: Arc::default(),
            subscriptions: Arc::default(),
        }
    }

    /// Creates one more node.
    #[must_use]
    pub fn node(&self) -> BrokenBus {
        BrokenBus {
            network: self.clone(),
            inner: Bus::new(self.channel.transport()),
            node: self.nodes.fetch_add(1, Ordering::SeqCst) + 1,
            shared: Mutex::default(),
            has_subscribed: AtomicBool::new(false),
            has_ended: Arc::default(),
            asked: AtomicU64::new(0),
        }
    }
}

/// A node of a bus with one [`BusBug`].
pub struct BrokenBus {
    network: BrokenNetwork,
    inner: LocalBus,
    node: u64,
    /// The node's only subscription, for the mistake that shares it.
    shared: Mutex<Option<Inner>>,
    has_subscribed: AtomicBool,
    /// Whether the mistake has ended the node's subscriptions.
    has_ended: Arc<AtomicBool>,
    asked: AtomicU64,
}

impl BrokenBus {
    fn has(&self, bug: BusBug) -> bool {
        self.network.bug == bug
    }

    fn send_extra(&self, except: u64, event: BusEvent) {
        // Fails if there is no subscription.
        let _ = self.network.extra.send((except, event));
    }

    /// Subscribes, or returns the existing subscription of the node.
    async fn subscription(&self) -> Result<Inner> {
        let mut shared = self.shared.lock().await;
        if let Some(inner) = shared.as_ref().filter(|_| self.has(BusBug::SharedQueue)) {
            return Ok(Arc::clone(inner));
        }
        let inner: Inner = Arc::new(Mutex::new(self.inner.subscribe().await?));
        if self.has(BusBug::SharedQueue) {
            *shared = Some(Arc::clone(&inner));
        }
        Ok(inner)
    }
}

#[async_trait]
impl InvalidationBus for BrokenBus {
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()> {
        if changes.is_empty() && self.has(BusBug::EmptyIsInvalid) {
            return Err(Error::invalid("publish", "nothing changed"));
        }
        if changes.len() > MAX_BATCH && self.has(BusBug::RefusalIsAGap) {
            self.send_extra(self.node, BusEvent::Resync);
        }
        if self.has(BusBug::EchoesOwn) {
            self.send_extra(0, BusEvent::Changed(scope, changes.to_vec()));
        }
        if self.has(BusBug::CancelIsSilent) {
            tokio::task::yield_now().await;
        }
        if self.has(BusBug::AnySize) {
            for changes in changes.chunks(MAX_BATCH) {
                self.inner.publish(scope, changes).await?;
            }
            return Ok(());
        }
        self.inner.publish(scope, changes).await
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>> {
        let others = self.network.subscriptions.fetch_add(1, Ordering::SeqCst);
        let is_second = self.has_subscribed.swap(true, Ordering::SeqCst);
        let receives = match self.network.bug {
            BusBug::OneReceiver => others == 0,
            BusBug::SubscribesOnce => !is_second,
            _ => true,
        };
        Ok(Box::new(BrokenSubscription {
            bug: self.network.bug,
            node: self.node,
            extra: self.network.extra.subscribe(),
            inner: self.subscription().await?,
            receives,
            has_ended: Arc::clone(&self.has_ended),
            count: 0,
            ready: VecDeque::new(),
            next_resync: Instant::now() + Duration::from_secs(3),
        }))
    }

    fn health(&self) -> BusHealth {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        match self.has(BusBug::NeverHealthy) && asked % 3 == 2 {
            true => BusHealth::Degraded,
            false => self.inner.health(),
        }
    }
}

impl Drop for BrokenBus {
    fn drop(&mut self) {
        match self.network.bug {
            BusBug::EndsWithBus => self.has_ended.store(true, Ordering::SeqCst),
            BusBug::LeavingIsAGap => self.send_extra(self.node, BusEvent::Resync),
            _ => {}
        }
    }
}

impl fmt::Debug for BrokenBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokenBus").field("bug", &self.network.bug).finish_non_exhaustive()
    }
}

struct BrokenSubscription {
    bug: BusBug,
    node: u64,
    extra: broadcast::Receiver<(u64, BusEvent)>,
    inner: Inner,
    receives: bool,
    has_ended: Arc<AtomicBool>,
    /// The number of messages with changes that arrived.
    count: u64,
    ready: VecDeque<BusEvent>,
    next_resync: Instant,
}

impl BrokenSubscription {
    async fn arrival(&mut self) -> BusEvent {
        let resyncs_when_idle = self.bug == BusBug::NervousWhenIdle;
        let inner = Arc::clone(&self.inner);
        loop {
            let next = async { inner.lock().await.next().await };
            tokio::select! {
                Ok((except, event)) = self.extra.recv() => {
                    if except != self.node {
                        return event;
                    }
                }
                () = sleep_until(self.next_resync), if resyncs_when_idle => {
                    self.next_resync += Duration::from_secs(3);
                    return BusEvent::Resync;
                }
                event = next => return event,
            }
        }
    }

    /// Queues an event as the mistake alters it.
    fn queue_altered(&mut self, event: BusEvent) {
        let (mut scope, mut changes) = match event {
            BusEvent::Changed(scope, changes) => (scope, changes),
            // No event is delivered in place of a resync.
            _ if self.bug == BusBug::DropsWhenFull => return,
            other => return self.ready.push_back(other),
        };
        self.count += 1;
        match self.bug {
            BusBug::ScopeForgotten => scope = SCOPE,
            BusBug::EndsAreChanges => changes.iter_mut().for_each(|change| change.ended = false),
            BusBug::LosesSilently if self.count.is_multiple_of(100) => return,
            BusBug::DeliversTwice if self.count.is_multiple_of(50) => {
                self.ready.push_back(BusEvent::Changed(scope, changes.clone()));
            }
            BusBug::SplitsMessages => {
                let split = changes.into_iter().map(|change| BusEvent::Changed(scope, vec![change]));
                return self.ready.extend(split);
            }
            _ => {}
        }
        self.ready.push_back(BusEvent::Changed(scope, changes));
    }
}

#[async_trait]
impl Subscription for BrokenSubscription {
    async fn next(&mut self) -> BusEvent {
        loop {
            if !self.receives || self.has_ended.load(Ordering::SeqCst) {
                return pending().await;
            }
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            let event = self.arrival().await;
            self.queue_altered(event);
            match self.bug {
                BusBug::CancelLoses => {
                    let taken = self.ready.pop_front();
                    sleep(Duration::from_millis(1)).await;
                    self.ready.extend(taken);
                }
                BusBug::SwapsNeighbours if self.count % 10 == 9 => {
                    let second = self.arrival().await;
                    self.queue_altered(second);
                    self.ready.rotate_left(1);
                }
                _ => {}
            }
        }
    }
}

impl Drop for BrokenSubscription {
    fn drop(&mut self) {
        if self.bug == BusBug::LastDropEndsAll {
            self.has_ended.store(true, Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for BrokenSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokenSubscription").field("bug", &self.bug).finish_non_exhaustive()
    }
}
