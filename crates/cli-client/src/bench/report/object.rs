//! What came of a run as an object for programs. Its fields are what the README names: they may become more, and none goes.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::figures::micros;
use super::super::plan::{Style, Work};
use super::super::tally::{Fairness, Outcomes};
use super::{QUANTILES, Report};

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tally = &self.tally;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bench", self.server)?;
        map.serialize_entry("address", &self.address)?;
        if !self.work.is_game() {
            map.serialize_entry("keep_alive", &(self.work.style() == Style::Kept))?;
        }
        map.serialize_entry("connections", &self.connections)?;
        map.serialize_entry("pipeline", &self.in_flight)?;
        map.serialize_entry("threads", &self.threads)?;
        if let Some(rate) = self.rate {
            map.serialize_entry("rate", &rate)?;
        }
        map.serialize_entry("requests", &(tally.right + tally.not_right()))?;
        map.serialize_entry("right", &tally.right)?;
        let errors: BTreeMap<_, _> = tally.troubles.iter().map(|(kind, troubles)| (kind, troubles.count)).collect();
        map.serialize_entry("errors", &errors)?;
        let messages: BTreeMap<_, _> = tally.troubles.iter().map(|(kind, troubles)| (kind, &troubles.first)).collect();
        if !messages.is_empty() {
            map.serialize_entry("first_messages", &messages)?;
        }
        if self.rate.is_some() {
            map.serialize_entry("unsent", &tally.unsent)?;
        }
        if self.work == Work::Duel {
            map.serialize_entry("in_play", &tally.in_play)?;
        }
        map.serialize_entry("seconds", &tally.took.as_secs_f64())?;
        map.serialize_entry("throughput", &tally.throughput())?;
        map.serialize_entry("latency_us", &Latency(self))?;
        map.serialize_entry("cpu_us", &micros(self.cpu_each()))?;
        if tally.outcomes != Outcomes::default() {
            let Outcomes { draw, win, lose, void, .. } = tally.outcomes;
            map.serialize_entry("outcomes", &OutcomeCounts { draw, win, lose, void })?;
        }
        if self.work == Work::Rps
            && let Some(Fairness { chi_square, p }) = tally.outcomes.fairness()
        {
            map.serialize_entry("chi_square", &chi_square)?;
            map.serialize_entry("p", &p)?;
        }
        if self.work == Work::Rps
            && let Some(Fairness { chi_square, p }) = tally.outcomes.evenness()
        {
            let [scissors, rock, paper] = tally.outcomes.house;
            map.serialize_entry("house", &House { scissors, rock, paper, chi_square, p })?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct OutcomeCounts {
    draw: u64,
    win: u64,
    lose: u64,
    void: u64,
}

/// What the house showed, and whether it did so evenly.
#[derive(Serialize)]
struct House {
    scissors: u64,
    rock: u64,
    paper: u64,
    chi_square: f64,
    p: f64,
}

/// The times of the answers in microseconds; none where there are no answers.
struct Latency<'a>(&'a Report);

impl Serialize for Latency<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let latency = &self.0.tally.latency;
        let mut map = serializer.serialize_map(None)?;
        if !latency.is_empty() {
            map.serialize_entry("min", &micros(latency.min()))?;
            map.serialize_entry("mean", &(latency.mean() / 1e3))?;
            for (name, quantile) in QUANTILES {
                map.serialize_entry(name, &micros(self.0.quantile(quantile)))?;
            }
            map.serialize_entry("max", &micros(latency.max()))?;
        }
        map.end()
    }
}
