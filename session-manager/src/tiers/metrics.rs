//! What the tiers count.

use metrics::{Counter, Gauge, counter, gauge};

/// One shared tier.
pub(super) struct TierMetrics {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) failed: Counter,
    pub(super) serving: Gauge,
    pub(super) outbox: Gauge,
    pub(super) overflows: Counter,
}

impl TierMetrics {
    pub(super) fn new(tier: &'static str) -> Self {
        let reads = |result| counter!("session_tier_reads_total", "tier" => tier, "result" => result);
        Self {
            hits: reads("hit"),
            misses: reads("miss"),
            failed: reads("failed"),
            serving: gauge!("session_tier_serving", "tier" => tier),
            outbox: gauge!("session_tier_outbox", "tier" => tier),
            overflows: counter!("session_tier_outbox_overflows_total", "tier" => tier),
        }
    }
}

/// All tiers together.
pub(super) struct Metrics {
    pub(super) memory_hits: Counter,
    pub(super) memory_misses: Counter,
    pub(super) unknown_hits: Counter,
    pub(super) stale_answers: Counter,
    pub(super) unpublished: Counter,
    pub(super) received: Counter,
    pub(super) resyncs: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let memory = |result| counter!("session_tier_reads_total", "tier" => "memory", "result" => result);
        Self {
            memory_hits: memory("hit"),
            memory_misses: memory("miss"),
            unknown_hits: memory("unknown"),
            stale_answers: counter!("session_stale_answers_total"),
            unpublished: counter!("session_bus_unpublished_total"),
            received: counter!("session_bus_messages_total"),
            resyncs: counter!("session_bus_resyncs_total"),
        }
    }
}
