//! Many requests of honest clients, and statistics on the house.

use proto::client::rps::Round;
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::rps::{Move, Outcome, Reply};
use rand::RngExt;

use super::super::client::{Ending, Exchanged, Expected, Failed};
use super::super::pattern::Pattern;
use super::super::server::Server;
use super::super::statistics::{House, MIN_P, Question};
use super::{Passed, different, outcomes, pattern, with_mistake};
use crate::language::check as texts;
use crate::language::texts::{move_name, outcome_name};
use crate::target::Target;

/// Random numbers whose powers are compared.
const NUMBERS: usize = 2_000;

/// Requests in flight on one connection. All of them fit into the buffers of the kernel, so a server that reads all
/// before it replies passes too.
const IN_FLIGHT: usize = 1_000;

/// Rounds of the core case: enough to tell a wrong rule from bad luck, and few for a server far away.
const RULE_ROUNDS: u64 = 300;

/// Rounds on each of two connections, which are equal by chance once in 10¹⁹ runs.
const SEQUENCE: usize = 40;

/// Rounds of two partners.
const PARTNER_ROUNDS: u64 = 50;

impl Server {
    /// Compares the powers of random numbers.
    pub(super) async fn numbers(&self) -> Result<Passed, Failed> {
        let mut client = self.client().await?;
        let mut random = rand::rng();
        for _ in 0..NUMBERS / 100 {
            let (mut requests, mut replies) = (Vec::new(), Vec::new());
            for _ in 0..100 {
                let operation = Operation::ALL[random.random_range(0..Operation::ALL.len())];
                // Doubles of all sizes, of the size that people use, and powers of two, which are the hardest to write.
                let value = match random.random_range(0..4) {
                    0 => f64::from_bits(random.random()),
                    1 => f64::powi(2.0, random.random_range(-1074..1024)),
                    _ => random.random_range(-1e4..1e4),
                };
                let Some(number) = Number::new(value) else { continue };
                requests.push(format!("{}{number}\n", char::from(operation.letter())));
                replies.push(match power(operation, value) {
                    Some(result) => format!("d{result}\n"),
                    None => "eRANGE beyond\n".to_owned(),
                });
            }
            self.exchange_lines(&mut client, &requests, &replies).await?;
        }
        Ok(Passed::with_note(texts::note_numbers(NUMBERS)))
    }

    /// Sends many different requests in one write.
    pub(super) async fn pipelining(&self) -> Result<Passed, Failed> {
        let mut client = self.client().await?;
        if self.target == Target::Power {
            let numbers = 1..=IN_FLIGHT;
            let requests: Vec<_> = numbers.clone().map(|number| format!("a{number}\n")).collect();
            let replies: Vec<_> = numbers.map(|number| format!("d{}.0\n", number * number)).collect();
            self.exchange_lines(&mut client, &requests, &replies).await?;
        } else {
            // The invalid frames, fewer than the limit, mark the order.
            let marks = self.settings.max_bad_frames.saturating_sub(1).min(10);
            let every = u64::try_from(IN_FLIGHT).unwrap_or(u64::MAX) / marks.max(1);
            let is_mark = |number: usize| marks > 0 && number as u64 % every == every - 1;
            let requests: Vec<u8> = (0..IN_FLIGHT).map(|number| if is_mark(number) { b'q' } else { b'2' }).collect();
            let replies = (0..IN_FLIGHT).map(|number| if is_mark(number) { b"e".to_vec() } else { b"xyz".to_vec() });
            self.exchange(&mut client, &requests, &Pattern::new(&replies.collect::<Vec<_>>())).await?;
        }
        Ok(Passed::with_note(texts::note_in_flight(IN_FLIGHT)))
    }

    /// Plays one round after another, as the simplest server expects, and tests the rule.
    pub(super) async fn rule(&self) -> Result<Passed, Failed> {
        let mut house = House::default();
        let mut client = self.client().await?;
        for _ in 0..RULE_ROUNDS {
            // With moves in a fixed order, a house that repeats a pattern would look like a wrong rule.
            let mv = Move::ALL[rand::rng().random_range(0..3)];
            let reply = self.exchange(&mut client, &[mv.byte()], &outcomes(1)).await?;
            if let Some(Reply::Judged(outcome)) = reply.first().copied().and_then(Reply::from_byte) {
                house.count(mv, outcome);
            }
        }
        answer(&house, Question::Rule)
    }

    /// Answers a question from many rounds, which are played once for all questions.
    pub(super) async fn house(&self, question: Question) -> Result<Passed, Failed> {
        let house = self.house.get_or_try_init(|| self.rounds()).await?;
        answer(house, Question::Rule)?;
        answer(house, question)
    }

    pub(super) async fn rounds(&self) -> Result<House, Failed> {
        const BATCH: u64 = 500;
        let mut house = House::default();
        let mut client = self.client().await?;
        let mut left = self.rounds;
        while left > 0 {
            let count = usize::try_from(left.min(BATCH)).unwrap_or_default();
            let moves: Vec<Move> = (0..count).map(|_| Move::ALL[rand::rng().random_range(0..3)]).collect();
            let bytes: Vec<u8> = moves.iter().map(|mv| mv.byte()).collect();
            let replies = self.exchange(&mut client, &bytes, &outcomes(count)).await?;
            for (mv, reply) in moves.into_iter().zip(replies) {
                if let Some(Reply::Judged(outcome)) = Reply::from_byte(reply) {
                    house.count(mv, outcome);
                }
            }
            left -= count as u64;
        }
        Ok(house)
    }

    /// Plays the same moves on two connections, and compares the moves of the house.
    pub(super) async fn sequences(&self) -> Result<Passed, Failed> {
        let moves = b"2".repeat(SEQUENCE);
        let first = self.exchange(&mut self.client().await?, &moves, &outcomes(SEQUENCE)).await?;
        let second = self.exchange(&mut self.client().await?, &moves, &outcomes(SEQUENCE)).await?;
        if first == second {
            let is_constant = first.windows(2).all(|pair| pair[0] == pair[1]);
            let mistake = if is_constant { texts::mistake_unfair() } else { texts::mistake_seed() };
            let failed = different(&moves, Expected::Text(texts::expect_other_moves()), first, Ending::Open);
            return Err(with_mistake(failed, mistake));
        }
        Ok(Passed::default())
    }

    /// Plays rounds of two partners, and compares both replies with the rule.
    pub(super) async fn partner_rounds(&self) -> Result<Passed, Failed> {
        let (mut one, mut two) = (self.client().await?, self.client().await?);
        one.reset_on_close();
        two.reset_on_close();
        for _ in 0..PARTNER_ROUNDS {
            let moves = [(), ()].map(|()| Move::ALL[rand::rng().random_range(0..3)]);
            let replies = [Outcome::Win, Outcome::Lose, Outcome::Draw].into_iter().filter_map(|outcome| {
                (outcome.opponent_move(moves[0]) == moves[1]).then_some(match outcome {
                    Outcome::Win => [b"y", b"z"],
                    Outcome::Lose => [b"z", b"y"],
                    Outcome::Draw => [b"x", b"x"],
                })
            });
            for replies in replies {
                one.send(&[moves[0].byte()], self.deadline()).await;
                two.send(&[moves[1].byte()], self.deadline()).await;
                for (client, reply) in [&mut one, &mut two].into_iter().zip(replies) {
                    let result = client.receive(&pattern(reply), self.timeout).await;
                    result.map_err(|ending| {
                        let received = std::mem::take(&mut client.received);
                        let mut failed = different(b"", Expected::Bytes(pattern(reply)), received, ending);
                        if let Failed::Different(difference) = &mut failed {
                            difference.dialogue = moves_of(moves);
                        }
                        failed
                    })?;
                }
            }
        }
        Ok(Passed::with_note(texts::note_rounds(PARTNER_ROUNDS)))
    }
}

impl House {
    /// Names the pair that is judged wrong: for one move, one outcome is missing and another is too frequent.
    fn wrong_pair(&self) -> Option<String> {
        const OUTCOMES: [Outcome; 3] = [Outcome::Win, Outcome::Lose, Outcome::Draw];
        Move::ALL.into_iter().find_map(|mv| {
            let counts = self.outcomes(mv);
            let never = counts.iter().position(|&count| count == 0)?;
            // A wrong pair has two of three; without a wrong pair, the two outcomes have one of two each. Few rounds have to
            // be clearer.
            let often = counts.iter().position(|&count| is_two_thirds(count, counts.iter().sum()))?;
            let [never, often] = [OUTCOMES[never], OUTCOMES[often]].map(Round::Judged);
            let Round::Judged(right) = never else { return None };
            let house = right.opponent_move(mv);
            Some(texts::mistake_pair(move_name(mv), move_name(house), outcome_name(often), outcome_name(never)))
        })
    }
}

/// Whether a share is rather two thirds than one half: by more than 1.2 standard deviations, which are at most `sqrt(n) / 2`.
fn is_two_thirds(count: u64, rounds: u64) -> bool {
    let excess = count.saturating_mul(100).saturating_sub(rounds.saturating_mul(56));
    // (excess / 100)² > (0.6 · sqrt(rounds))²
    u128::from(excess).pow(2) > 3_600 * u128::from(rounds)
}

/// Decides a question.
fn answer(house: &House, question: Question) -> Result<Passed, Failed> {
    let p = house.p(question);
    if p >= MIN_P {
        return Ok(Passed { p: Some(p), note: Some(texts::note_p(format!("{p:.3}"), house.rounds())) });
    }
    let [scissors, rock, paper] = house.moves();
    let received = match question {
        Question::Rule => {
            let lines = Move::ALL.map(|mv| {
                let [won, lost, drawn] = house.outcomes(mv);
                texts::outcomes_with(move_name(mv), won, lost, drawn)
            });
            lines.join("; ")
        }
        Question::Fair => texts::house_moves(scissors, rock, paper),
        Question::Independent | Question::Memory => texts::house_depends(),
    };
    let expected = match question {
        Question::Rule => texts::expect_rule(),
        Question::Fair => texts::expect_fair(),
        Question::Independent => texts::expect_independent(),
        Question::Memory => texts::expect_no_memory(),
    };
    let received = format!("{received}; p = {p:.1e}");
    let mut failed = different(b"", Expected::Text(expected), received.into_bytes(), Ending::Open);
    if let Failed::Different(difference) = &mut failed {
        difference.p = Some(p);
        difference.mistake = Some(match question {
            Question::Rule => house.wrong_pair().unwrap_or_else(texts::mistake_rule),
            Question::Fair => texts::mistake_unfair(),
            Question::Independent => texts::mistake_follows_itself(),
            Question::Memory => texts::mistake_looks_at_player(),
        });
    }
    Err(failed)
}

/// Returns the moves of two players, as what they have sent.
fn moves_of(moves: [Move; 2]) -> Vec<Exchanged> {
    let sent = |(client, mv): (u32, Move)| Exchanged { client, direction: '>', bytes: vec![mv.byte()] };
    (1..).zip(moves).map(sent).collect()
}

/// Returns the result of an operation, or nothing if it is out of range. The products are rounded in the order of
/// PROTOCOL.md.
fn power(operation: Operation, x: f64) -> Option<Number> {
    Number::new(match operation {
        Operation::Square => x * x,
        Operation::Cube => x * x * x,
        Operation::Fourth => x * x * x * x,
        Operation::Echo => x,
    })
}
