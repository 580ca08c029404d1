//! The metrics of the play with other replicas.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use proto::server::observe::language::Text;
use proto::server::observe::metrics::encode::{counter, gauge};
use proto::server::observe::status::{Entry, Group, Value};

use super::engine::EngineHealth;
use crate::duel::hub::DuelHub;
use crate::duel::replica::{ClaimResult, ClusterStats};

/// Encodes the metrics of a cluster for the admin listener.
#[derive(Clone, Debug)]
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

impl ClusterCollector {
    /// Returns the numbers of the cluster for the status page.
    pub(crate) fn group(&self) -> Option<Group> {
        let ClusterStats { claims, links, away, guests, .. } = self.hub.cluster_stats()?;
        let gauge = |name, number| Entry::new(name, Value::Gauge(number as u64));
        let claims = ClaimResult::ALL.into_iter().zip(claims).map(|(result, total)| {
            let (name, english, chinese) = match result {
                ClaimResult::Accepted => ("claims_accepted", "claims accepted", "认领成功"),
                ClaimResult::Refused => ("claims_refused", "claims refused", "认领被拒"),
                ClaimResult::TimedOut => ("claims_timed_out", "claims timed out", "认领超时"),
                ClaimResult::LinkLost => ("claims_link_lost", "claims lost with the link", "认领时链路断开"),
            };
            Entry::new(name, Value::Counter(total)).with_label(english, chinese)
        });
        let state = [
            Entry::new("engine_up", Value::Flag(self.engine.is_up())).with_label("engine reachable", "引擎可用"),
            gauge("links", links).with_label("links to and from replicas", "与其他副本的链路"),
            gauge("relayed_players", away).with_label("players judged elsewhere", "由其他副本裁决的玩家"),
            gauge("guests", guests).with_label("guests judged here", "在此裁决的外来玩家"),
        ];
        let title = Text::new("Cluster", "集群");
        Some(Group { name: "cluster", title, entries: state.into_iter().chain(claims).collect() })
    }
}
