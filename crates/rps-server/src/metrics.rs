//! The counters of both games: rounds, moves of the house, and invalid bytes.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use proto::server::connection::ConnectionMetrics;
use proto::server::observe::language::Text;
use proto::server::observe::metrics::counters::Counters;
use proto::server::observe::metrics::encode::{counter, gauge};
use proto::server::observe::status::{Entry, Group, ServiceStatus, Value};
use proto::wire::rps::{Move, Outcome, Reply};

use crate::duel::cluster::metrics::ClusterCollector;
use crate::duel::hub::DuelHub;
use crate::duel::rounds::DuelStats;

/// The counters of a server, except those of the duel's rounds, which the hub keeps.
#[derive(Debug, Default)]
pub struct Metrics {
    /// The counters of connections.
    pub connections: Arc<ConnectionMetrics>,
    outcomes: Counters<{ OUTCOMES.len() }>,
    house: Counters<{ Move::ALL.len() }>,
    bad_frames: Counters<2>,
}

const OUTCOMES: [Outcome; 3] = [Outcome::Draw, Outcome::Win, Outcome::Lose];
const SOLO: usize = 0;
const DUEL: usize = 1;

/// The counts of one call of the solo handler.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SoloRounds {
    /// Outcomes for the player, in the order of [`OUTCOMES`].
    outcomes: [u64; OUTCOMES.len()],
    /// Moves of the house, in the order of [`Move::ALL`].
    house: [u64; Move::ALL.len()],
    /// Bytes that are not moves.
    pub bad_frames: u64,
}

impl SoloRounds {
    /// Counts one round.
    pub fn count(&mut self, outcome: Outcome, house: Move) {
        self.outcomes[match outcome {
            Outcome::Draw => 0,
            Outcome::Win => 1,
            Outcome::Lose => 2,
        }] += 1;
        self.house[match house {
            Move::Scissors => 0,
            Move::Rock => 1,
            Move::Paper => 2,
        }] += 1;
    }

    /// Adds counts of outcomes (draw, win, lose) and of moves of the house (in the order of [`Move::ALL`]).
    pub fn add(&mut self, outcomes: [u64; OUTCOMES.len()], house: [u64; Move::ALL.len()]) {
        for (counts, added) in [(&mut self.outcomes, outcomes), (&mut self.house, house)] {
            for (count, added) in counts.iter_mut().zip(added) {
                *count += added;
            }
        }
    }
}

impl Metrics {
    /// Adds the counts of one call of the solo handler.
    pub fn add_solo(&self, rounds: &SoloRounds) {
        for (counters, counts) in [(&self.outcomes, &rounds.outcomes), (&self.house, &rounds.house)] {
            for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                counters.add(index, count);
            }
        }
        if rounds.bad_frames > 0 {
            self.bad_frames.add(SOLO, rounds.bad_frames);
        }
    }

    /// Counts a byte of a duel connection that is not a move.
    pub fn count_duel_bad_frame(&self) {
        self.bad_frames.add(DUEL, 1);
    }
}

/// Calls `count` for each reply to an invalid byte in `output`, with its name in the access log.
pub(crate) fn count_bad_frames(output: &[u8], count: &mut dyn FnMut(&'static str)) {
    output.iter().filter(|&&byte| byte == Reply::NotAMove.byte()).for_each(|_| count("bad_frame"));
}

/// Encodes the counters of both games for the admin listener.
#[derive(Clone, Debug)]
pub(crate) struct GamesCollector {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hub: Arc<DuelHub>,
}

impl Collector for GamesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let Metrics { outcomes, house, bad_frames, .. } = &*self.metrics;
        let DuelStats { draws, wins, losses, voids, players, waiting, .. } = self.hub.stats();

        let solo = (0..).zip(OUTCOMES).map(|(index, outcome)| ("solo", outcome.name(), outcomes.read(index)));
        let duel = [("draw", draws), ("win", wins), ("lose", losses), ("void", voids)];
        let rounds = solo.chain(duel.map(|(outcome, count)| ("duel", outcome, count)));
        let rounds = rounds.map(|(mode, outcome, count)| ([("mode", mode), ("outcome", outcome)], count));
        counter(encoder, "rounds", "Replies to moves, by game and by outcome for the player", rounds)?;
        let moves = (0..).zip(Move::ALL).map(|(index, mv)| ([("move", mv.name())], house.read(index)));
        counter(encoder, "house_moves", "Moves of the house", moves)?;
        let invalid = [("solo", SOLO), ("duel", DUEL)].map(|(mode, index)| ([("mode", mode)], bad_frames.read(index)));
        counter(encoder, "bad_frames", "Bytes that are not moves, by game", invalid)?;
        gauge(encoder, "duel_players", "Connected duel players", &players)?;
        gauge(encoder, "duel_waiting", "Duel players that wait in the lobby: 0 or 1", &waiting)
    }
}

/// The numbers of both games, and those of the cluster, for the status page.
#[derive(Debug)]
pub(crate) struct GamesStatus {
    pub(crate) games: GamesCollector,
    pub(crate) cluster: Option<ClusterCollector>,
}

impl ServiceStatus for GamesStatus {
    fn groups(&self) -> Vec<Group> {
        let GamesCollector { metrics, hub } = &self.games;
        let Metrics { outcomes, house, bad_frames, .. } = &**metrics;
        let DuelStats { draws, wins, losses, voids, players, waiting, .. } = hub.stats();
        let outcome = |name, total| {
            let (english, chinese) = match name {
                "draw" => ("draw", "平局"),
                "win" => ("win", "胜利"),
                "lose" => ("lose", "失败"),
                _ => ("void", "作废"),
            };
            Entry::new(name, Value::Counter(total)).with_label(english, chinese)
        };
        let invalid = |game| {
            Entry::new("bad_frames", Value::Counter(bad_frames.read(game))).with_label("invalid bytes", "无效字节")
        };
        let moved = |(index, mv): (usize, Move)| {
            let chinese = match mv {
                Move::Scissors => "剪刀",
                Move::Rock => "石头",
                Move::Paper => "布",
            };
            Entry::new(mv.name(), Value::Counter(house.read(index))).with_label(mv.name(), chinese)
        };

        let solo = (0..).zip(OUTCOMES).map(|(index, kind)| outcome(kind.name(), outcomes.read(index)));
        let mut duel = vec![
            Entry::new("players", Value::Gauge(players as u64)).with_label("connected players", "在线玩家"),
            Entry::new("waiting", Value::Gauge(waiting as u64)).with_label("waiting in the lobby", "等候对手"),
        ];
        duel.extend(
            [("draw", draws), ("win", wins), ("lose", losses), ("void", voids)].map(|(name, n)| outcome(name, n)),
        );
        duel.push(invalid(DUEL));
        let mut groups = vec![
            Group {
                name: "solo",
                title: Text::new("Rounds against the house", "与庄家的对局"),
                entries: solo.chain([invalid(SOLO)]).collect(),
            },
            Group { name: "duel", title: Text::new("Duel", "对战"), entries: duel },
            Group {
                name: "house_moves",
                title: Text::new("Moves of the house", "庄家的出拳"),
                entries: (0..).zip(Move::ALL).map(moved).collect(),
            },
        ];
        groups.extend(self.cluster.as_ref().and_then(ClusterCollector::group));
        groups
    }
}
