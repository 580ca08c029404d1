//! The metrics of the play with other replicas.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use proto::server::observe::metrics::encode::{counter, gauge};

use super::engine::EngineHealth;
use crate::duel::hub::DuelHub;
use crate::duel::replica::{ClaimResult, ClusterStats};

/// Encodes the metrics of a cluster for the admin listener.
#[derive(Debug)]
pub(crate) struct ClusterCollector {
    pub(crate) hub: Arc<DuelHub>,
    pub(crate) engine: EngineHealth,
}

impl Collector for ClusterCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let Some(stats) = self.hub.cluster_stats() else { return Ok(()) };
        let ClusterStats { claims, links, away, guests, .. } = stats;
        gauge(encoder, "cluster_engine_up", "1 if the engine can be called", &u64::from(self.engine.is_up()))?;
        let claims =
            ClaimResult::ALL.into_iter().zip(claims).map(|(result, count)| ([("result", result.name())], count));
        counter(encoder, "cluster_claims", "Claims of other replicas' waiting moves, by result", claims)?;
        let tickets = [
            ("posted", stats.tickets_posted),
            ("taken", stats.tickets_taken),
            ("expired", stats.tickets_expired),
            ("refused", stats.tickets_refused),
        ];
        let tickets = tickets.map(|(event, count)| ([("event", event)], count));
        let help = "Tickets in the engine: posted here, taken from other replicas, void here, claims refused here";
        counter(encoder, "cluster_tickets", help, tickets)?;
        let none: [(&str, &str); 0] = [];
        let help = "Moves at another replica whose outcome stayed unknown";
        counter(encoder, "cluster_unknown_outcomes", help, [(none, stats.unknown_outcomes)])?;
        gauge(encoder, "cluster_links", "Open links to and from other replicas", &links)?;
        let help = "Players here whose moves another replica judges";
        gauge(encoder, "cluster_relayed_players", help, &away)?;
        gauge(encoder, "cluster_guests", "Players of other replicas whose moves are judged here", &guests)?;
        let help = "Time from a claim to its acceptance";
        self.hub.claim_latency().encode(encoder, "cluster_claim_duration_seconds", help)
    }
}
