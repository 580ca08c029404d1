//! What is counted of the games: rounds, what the house has shown, and bytes that were no move.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use proto::server::connection::ConnectionMetrics;
use proto::server::observe::metrics::counters::Counters;
use proto::server::observe::metrics::encode::{counter, gauge};
use proto::wire::rps::{Move, Outcome};

use crate::duel::hub::DuelHub;
use crate::duel::rounds::DuelStats;

/// Everything that is counted of a server but for its duels, which their hub counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Its connections.
    pub connections: Arc<ConnectionMetrics>,
    outcomes: Counters<{ OUTCOMES.len() }>,
    house: Counters<{ Move::ALL.len() }>,
    bad_frames: Counters<2>,
}

const OUTCOMES: [Outcome; 3] = [Outcome::Draw, Outcome::Win, Outcome::Lose];
const SOLO: usize = 0;
const DUEL: usize = 1;

/// The rounds of one turn against the house.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SoloRounds {
    /// How they ended for the player: in the order of [`OUTCOMES`].
    outcomes: [u64; OUTCOMES.len()],
    /// What the house has shown: in the order of [`Move::ALL`].
    house: [u64; Move::ALL.len()],
    /// Bytes that were no move.
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

    /// Adds rounds that are counted, in the same orders.
    pub fn add(&mut self, outcomes: [u64; OUTCOMES.len()], house: [u64; Move::ALL.len()]) {
        for (counts, added) in [(&mut self.outcomes, outcomes), (&mut self.house, house)] {
            for (count, added) in counts.iter_mut().zip(added) {
                *count += added;
            }
        }
    }
}

impl Metrics {
    /// Adds the rounds of one turn.
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

    /// A byte in a duel was no move.
    pub fn bad_frame_in_duel(&self) {
        self.bad_frames.add(DUEL, 1);
    }
}

/// Shows what is counted of both games.
#[derive(Debug)]
pub(crate) struct Games {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hub: Arc<DuelHub>,
}

impl Collector for Games {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let Metrics { outcomes, house, bad_frames, .. } = &*self.metrics;
        let DuelStats { draws, wins, losses, voids, players, waiting, .. } = self.hub.stats();

        let against_house = (0..).zip(OUTCOMES).map(|(index, outcome)| ("solo", outcome.name(), outcomes.read(index)));
        let duels = [("draw", draws), ("win", wins), ("lose", losses), ("void", voids)];
        let rounds = against_house.chain(duels.map(|(outcome, count)| ("duel", outcome, count)));
        let rounds = rounds.map(|(mode, outcome, count)| ([("mode", mode), ("outcome", outcome)], count));
        counter(encoder, "rounds", "Answers to moves, by how the round ended for the player", rounds)?;
        let moves = (0..).zip(Move::ALL).map(|(index, shown)| ([("move", shown.name())], house.read(index)));
        counter(encoder, "house_moves", "What the house has shown", moves)?;
        let bad = [("solo", SOLO), ("duel", DUEL)].map(|(mode, index)| ([("mode", mode)], bad_frames.read(index)));
        counter(encoder, "bad_frames", "Bytes that were no move", bad)?;
        gauge(encoder, "duel_players", "Players who are connected for duels", &players)?;
        gauge(encoder, "duel_waiting", "Of those, the ones who wait in the lobby for another", &waiting)
    }
}
