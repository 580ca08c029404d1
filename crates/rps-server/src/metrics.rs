//! What is counted of the games: rounds, what the house has shown, and bytes that were no move.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use proto::server::metrics::connections::Connections;
use proto::server::metrics::counters::Counters;
use proto::server::metrics::{counter, gauge};
use proto::wire::rps::{Move, Outcome};

use crate::duel::rounds::Tally;
use crate::duel::table::Table;

/// Everything that is counted of a server but for its duels, which their table counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Its connections.
    pub connections: Arc<Connections>,
    solo: Counters<CELLS>,
    bad_frames: Counters<2>,
}

const OUTCOMES: [&str; 3] = ["draw", "win", "lose"];
const MOVES: [&str; 3] = ["scissors", "rock", "paper"];
const CELLS: usize = OUTCOMES.len() * MOVES.len();
const SOLO: usize = 0;
const DUEL: usize = 1;

/// The rounds of one turn against the house: a row for each outcome, in it a column for what the house has shown. One
/// table for both is one count a round.
#[derive(Debug, Default)]
pub struct SoloRounds {
    cells: [u64; CELLS],
    /// Bytes that were no move.
    pub bad_frames: u64,
}

impl SoloRounds {
    /// A round has ended so for the player, against this move of the house.
    pub fn count(&mut self, outcome: Outcome, theirs: Move) {
        self.cells[cell(outcome, theirs)] += 1;
    }
}

const fn cell(outcome: Outcome, theirs: Move) -> usize {
    let row = match outcome {
        Outcome::Draw => 0,
        Outcome::Win => 1,
        Outcome::Lose => 2,
    };
    let column = match theirs {
        Move::Scissors => 0,
        Move::Rock => 1,
        Move::Paper => 2,
    };
    row * MOVES.len() + column
}

impl Metrics {
    /// Adds the rounds of one turn.
    pub fn add_solo(&self, rounds: &SoloRounds) {
        for (cell, &count) in rounds.cells.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.solo.add(cell, count);
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
    pub(crate) table: Arc<Table>,
}

impl Collector for Games {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let Metrics { solo, bad_frames, .. } = &*self.metrics;
        let row = |row: usize| (0..MOVES.len()).map(|column| solo.read(row * MOVES.len() + column)).sum();
        let column = |column: usize| (0..OUTCOMES.len()).map(|row| solo.read(row * MOVES.len() + column)).sum();
        let Tally { draws, wins, losses, voids, players, waiting, .. } = self.table.tally();

        let against_house = OUTCOMES.iter().enumerate().map(|(index, outcome)| ("solo", *outcome, row(index)));
        let duels = [("draw", draws), ("win", wins), ("lose", losses), ("void", voids)];
        let rounds = against_house.chain(duels.map(|(outcome, count)| ("duel", outcome, count)));
        let rounds = rounds.map(|(mode, outcome, count)| ([("mode", mode), ("outcome", outcome)], count));
        counter(encoder, "rounds", "Answers to moves, by how the round ended for the player", rounds)?;
        let moves = MOVES.iter().enumerate().map(|(index, name)| ([("move", *name)], column(index)));
        counter(encoder, "house_moves", "What the house has shown", moves)?;
        let bad = [("solo", SOLO), ("duel", DUEL)].map(|(mode, index)| ([("mode", mode)], bad_frames.read(index)));
        counter(encoder, "bad_frames", "Bytes that were no move", bad)?;
        gauge(encoder, "duel_players", "Players who are connected for duels", &players)?;
        gauge(encoder, "duel_waiting", "Of those, the ones who wait in the lobby for another", &waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_stands_under_the_names_of_its_outcome_and_move() {
        for (row, outcome) in [Outcome::Draw, Outcome::Win, Outcome::Lose].into_iter().enumerate() {
            assert_eq!(outcome.to_string(), OUTCOMES[row]);
            for (column, theirs) in Move::ALL.into_iter().enumerate() {
                assert_eq!(theirs.to_string(), MOVES[column]);
                assert_eq!(cell(outcome, theirs), row * MOVES.len() + column);
            }
        }
    }
}
