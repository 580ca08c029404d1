//! The parts of cases that are code: many requests, many connections, statistics.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use proto::client::rps::Round;
use proto::client::stream::ClientStream;
use proto::wire::number::Number;
use proto::wire::power::Operation;
use proto::wire::rps::{Move, Outcome, Reply};
use rand::{Rng, RngExt};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use super::Server;
use super::dialogue::{Client, Difference, Ending, Exchanged, Expected, Failed, Wait};
use super::pattern::{Match, Pattern};
use super::statistics::{House, MIN_P, Question};
use crate::language::check as texts;
use crate::language::texts::{move_name, outcome_name};
use crate::target::Target;

/// A part of a case that is code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Numbers,
    Pipelining,
    House(Question),
    /// Two connections, on which the house has to play differently.
    Sequences,
    /// Rounds of two partners.
    Rounds,
    Connections,
    NeverReads,
    WriteTimeout,
    Resets,
    Garbage,
    ConnectAndClose,
    Players,
}

/// The names in the case files.
const PROGRAMS: [(&str, Program); 15] = [
    ("numbers", Program::Numbers),
    ("pipelining", Program::Pipelining),
    ("rule", Program::House(Question::Rule)),
    ("fair", Program::House(Question::Fair)),
    ("independent", Program::House(Question::Independent)),
    ("memory", Program::House(Question::Memory)),
    ("sequences", Program::Sequences),
    ("rounds", Program::Rounds),
    ("write-timeout", Program::WriteTimeout),
    ("connections", Program::Connections),
    ("never-reads", Program::NeverReads),
    ("resets", Program::Resets),
    ("garbage", Program::Garbage),
    ("connect-and-close", Program::ConnectAndClose),
    ("players", Program::Players),
];

/// The result of a program without a failure.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    /// The p-value of a statistical case.
    pub(super) p: Option<f64>,
    pub(super) note: Option<String>,
}

impl Passed {
    fn with_note(note: String) -> Self {
        Self { note: Some(note), ..Self::default() }
    }
}

/// Random numbers whose powers are compared.
const NUMBERS: usize = 2_000;

/// Requests in flight on one connection. All of them fit into the buffers of the kernel, so a server that reads all
/// before it replies passes too.
const IN_FLIGHT: usize = 1_000;

/// Rounds of the core case: enough to tell a wrong rule from bad luck, and few for a server far away.
pub(super) const RULE_ROUNDS: u64 = 300;

/// Rounds on each of two connections, which are equal by chance once in 10¹⁹ runs.
const SEQUENCE: usize = 40;

/// Rounds of two partners.
const PARTNER_ROUNDS: u64 = 50;

/// Connections that are open at the same time.
pub(super) const CONNECTIONS: usize = 2_000;

/// Connections that are being made at the same time. A server's accept queue is bounded.
const CONCURRENT_CONNECTS: usize = 64;

/// Bytes of requests that are sent to a server whose replies are not read. The buffers of both kernels hold about 14 MB
/// with the defaults of Linux; more is in the memory of the server.
const MAX_UNREAD: usize = 32 * 1024 * 1024;

/// How long requests are sent without reading replies.
const UNREAD_TIME: Duration = Duration::from_secs(20);

/// A server has stopped reading if it takes nothing for this long. A slow server needs seconds for the requests that it
/// has read.
const STOPPED_READING: Duration = Duration::from_secs(3);

/// How long a server may keep a client that never reads: twice its write timeout, and some time to notice.
const MAX_WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections that are reset, or carry garbage.
const BROKEN_CLIENTS: usize = 200;

/// Connections with garbage at the same time.
const GARBAGE_CLIENTS: usize = 16;

/// Maximum bytes of garbage on a connection.
const MAX_GARBAGE: usize = 4_096;

/// Pauses before another attempt of a duel to be served.
const RETRY_PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(3)];

/// Players of the robust duel, and their rounds.
const PLAYERS: usize = 200;
const PLAYER_ROUNDS: usize = 5;

impl Program {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        PROGRAMS.into_iter().find(|program| program.0 == name).map(|program| program.1)
    }

    pub(super) async fn run(self, server: &Server) -> Result<Passed, Failed> {
        match self {
            Self::Numbers => server.numbers().await,
            Self::Pipelining => server.pipelining().await,
            Self::House(Question::Rule) => server.rule().await,
            Self::House(question) => server.house(question).await,
            Self::Sequences => server.sequences().await,
            Self::Rounds => server.partner_rounds().await,
            Self::WriteTimeout => server.write_timeout().await,
            Self::Connections => server.connections().await,
            Self::NeverReads => server.never_reads().await,
            Self::Resets => server.resets().await,
            Self::Garbage => server.garbage().await,
            Self::ConnectAndClose => server.connect_and_close().await,
            Self::Players => server.players().await,
        }
    }
}

impl Server {
    async fn client(&self) -> Result<Client, Failed> {
        Client::connect(&self.connector).await
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends requests, and compares the replies.
    async fn exchange(&self, client: &mut Client, requests: &[u8], pattern: &Pattern) -> Result<Vec<u8>, Failed> {
        client.send(requests, self.deadline()).await;
        client.receive(pattern, self.timeout).await.map_err(|ending| {
            different(requests, Expected::Bytes(pattern.clone()), std::mem::take(&mut client.received), ending)
        })
    }

    /// Sends lines in one write. A failure has only the first line whose reply differs.
    async fn exchange_lines(&self, client: &mut Client, requests: &[String], replies: &[String]) -> Result<(), Failed> {
        let all = pattern(replies.concat().as_bytes());
        let Err(failed) = self.exchange(client, requests.concat().as_bytes(), &all).await else { return Ok(()) };
        let Failed::Different(difference) = &failed else { return Err(failed) };
        let received: Vec<_> = difference.received.split_inclusive(|&byte| byte == b'\n').collect();
        for (number, (request, reply)) in requests.iter().zip(replies).enumerate() {
            let reply = pattern(reply.as_bytes());
            let line = received.get(number).copied().unwrap_or_default();
            if !matches!(reply.compare(line), Match::Complete(_)) {
                let expected = Expected::Bytes(reply);
                return Err(different(request.as_bytes(), expected, line.to_vec(), difference.ending));
            }
        }
        Err(failed)
    }

    /// Checks that a new client is served. In a duel, moves of clients that are gone may still be in play for a moment.
    async fn is_alive(&self) -> Result<(), Failed> {
        let mut result = self.exchange_once().await;
        for pause in RETRY_PAUSES {
            if result.is_ok() || self.target != Target::Duel {
                break;
            }
            sleep(pause).await;
            result = self.exchange_once().await;
        }
        result
    }

    async fn exchange_once(&self) -> Result<(), Failed> {
        let mut client = self.client().await?;
        match self.target {
            Target::Power => self.exchange(&mut client, b"a3\n", &pattern(b"d9.0\n")).await.map(drop),
            Target::Rps => self.exchange(&mut client, b"2", &outcomes(1)).await.map(drop),
            Target::Duel => {
                let mut other = self.client().await?;
                client.reset_on_close();
                other.reset_on_close();
                client.send(b"1", self.deadline()).await;
                self.exchange(&mut other, b"2", &pattern(b"y")).await?;
                self.exchange(&mut client, b"", &pattern(b"z")).await.map(drop)
            }
        }
    }

    /// Compares the powers of random numbers.
    async fn numbers(&self) -> Result<Passed, Failed> {
        let mut client = self.client().await?;
        let mut random = rand::rng();
        for _ in 0..NUMBERS / 100 {
            let (mut requests, mut replies) = (Vec::new(), Vec::new());
            for _ in 0..100 {
                let operation = Operation::ALL[random.random_range(0..Operation::ALL.len())];
                // Half of them are of a size that people use.
                let value =
                    if random.random() { f64::from_bits(random.random()) } else { random.random_range(-1e4..1e4) };
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
    async fn pipelining(&self) -> Result<Passed, Failed> {
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
    async fn rule(&self) -> Result<Passed, Failed> {
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
    async fn house(&self, question: Question) -> Result<Passed, Failed> {
        let house = self.house.get_or_try_init(|| self.rounds()).await?;
        answer(house, Question::Rule)?;
        answer(house, question)
    }

    async fn rounds(&self) -> Result<House, Failed> {
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
    async fn sequences(&self) -> Result<Passed, Failed> {
        let moves = b"2".repeat(SEQUENCE);
        let mut replies = Vec::new();
        for _ in 0..2 {
            let mut client = self.client().await?;
            replies.push(self.exchange(&mut client, &moves, &outcomes(SEQUENCE)).await?);
        }
        if replies[0] == replies[1] {
            let expected = Expected::Text(texts::expect_other_moves());
            let failed = different(&moves, expected, replies.swap_remove(0), Ending::Open);
            return Err(with_mistake(failed, texts::mistake_seed()));
        }
        Ok(Passed::default())
    }

    /// Plays rounds of two partners, and compares both replies with the rule.
    async fn partner_rounds(&self) -> Result<Passed, Failed> {
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

    /// Opens many connections, and lets each of them have a reply while all are open.
    async fn connections(&self) -> Result<Passed, Failed> {
        let is_duel = self.target == Target::Duel;
        // Players need partners.
        let most = if is_duel { self.most_connections & !1 } else { self.most_connections };
        let connecting = stream::iter(0..most).map(|_| self.client()).buffer_unordered(CONCURRENT_CONNECTS);
        let mut clients = Vec::new();
        for client in connecting.collect::<Vec<_>>().await {
            clients.push(client?);
        }
        let (request, reply) = match self.target {
            Target::Power => (&b"a3\n"[..], pattern(b"d9.0\n")),
            Target::Rps | Target::Duel => (&b"2"[..], outcomes(1)),
        };
        for client in &mut clients {
            if is_duel {
                client.reset_on_close();
            }
            client.send(request, self.deadline()).await;
        }
        let (mut rejected, mut without_partner) = (0_usize, None);
        for client in &mut clients {
            let Err(ending) = client.receive(&reply, self.timeout).await else { continue };
            let received = std::mem::take(&mut client.received);
            let is_silent = matches!(ending, Ending::Silent(_));
            if received.starts_with(b"eBUSY ") || received == b"f" {
                rejected += 1;
                continue;
            }
            let failed = different(request, Expected::Bytes(reply.clone()), received, ending);
            let failed = if is_silent { with_mistake(failed, texts::mistake_one_at_a_time()) } else { failed };
            if is_duel && is_silent && without_partner.is_none() {
                without_partner = Some(failed);
            } else {
                return Err(failed);
            }
        }
        // If an odd number of players got in, one of them has no partner.
        if let Some(failed) = without_partner
            && (clients.len() - rejected).is_multiple_of(2)
        {
            return Err(failed);
        }
        let count = clients.len();
        drop(clients);
        self.is_alive().await?;
        Ok(Passed::with_note(texts::note_connections(count, rejected)))
    }

    /// Sends requests without reading a reply until the server stops reading. Returns the open connection and how many
    /// bytes the server, and the kernels on the way, have taken.
    async fn fill(&self) -> Result<(ClientStream, usize), Failed> {
        let client = self.client().await?;
        let requests = if self.target == Target::Power { b"a2\n".repeat(16_384) } else { b"2".repeat(65_536) };
        let mut stream = client.into_stream();
        let started = Instant::now();
        let mut sent = 0;
        while sent < MAX_UNREAD && started.elapsed() < UNREAD_TIME {
            match timeout(STOPPED_READING, stream.write(&requests[sent % requests.len()..])).await {
                Ok(Ok(length)) => sent += length,
                // The server has closed the connection, or takes nothing more.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        Ok((stream, sent))
    }

    /// Checks that the server stops reading, and serves others meanwhile.
    async fn never_reads(&self) -> Result<Passed, Failed> {
        let (stream, sent) = self.fill().await?;
        if self.target == Target::Duel {
            // The move in play would meet that of the next player.
            let _ = stream.set_zero_linger();
            drop(stream);
        }
        self.is_alive().await?;
        if sent >= MAX_UNREAD {
            let expected = Expected::Text(texts::expect_stops_reading());
            let failed = different(b"", expected, texts::took_unread(sent >> 20).into_bytes(), Ending::Open);
            return Err(with_mistake(failed, texts::mistake_backpressure()));
        }
        Ok(Passed::with_note(texts::note_unread(sent >> 10)))
    }

    /// Checks that a client that never reads is disconnected.
    async fn write_timeout(&self) -> Result<Passed, Failed> {
        let (mut stream, _) = self.fill().await?;
        let started = Instant::now();
        // A write fails once the connection is reset. Until then the kernel takes no more bytes.
        let write = async { while stream.write(b"2").await.is_ok() {} };
        if timeout(MAX_WRITE_TIMEOUT, write).await.is_ok() {
            return Ok(Passed::with_note(texts::note_disconnected(started.elapsed().as_secs())));
        }
        let ending = Ending::Silent(MAX_WRITE_TIMEOUT);
        let failed = different(b"", Expected::Text(texts::expect_disconnect()), Vec::new(), ending);
        Err(with_mistake(failed, texts::mistake_no_write_timeout()))
    }

    /// Lets many clients reset their connections in the middle of a request.
    async fn resets(&self) -> Result<Passed, Failed> {
        let request: &[u8] = if self.target == Target::Power { b"a2\na" } else { b"2" };
        for number in 0..BROKEN_CLIENTS {
            let mut client = self.client().await?;
            // Some have sent nothing yet.
            if number % 4 > 0 {
                client.send(request, self.deadline()).await;
            }
            client.reset_on_close();
        }
        self.is_alive().await?;
        Ok(Passed::with_note(texts::note_clients(BROKEN_CLIENTS)))
    }

    /// Sends garbage on many connections. Each of them has to end, and the next client has to be served.
    async fn garbage(&self) -> Result<Passed, Failed> {
        let clients = stream::iter(0..BROKEN_CLIENTS).map(|_| self.garbage_client()).buffer_unordered(GARBAGE_CLIENTS);
        for result in clients.collect::<Vec<_>>().await {
            result?;
        }
        self.is_alive().await?;
        Ok(Passed::with_note(texts::note_clients(BROKEN_CLIENTS)))
    }

    async fn garbage_client(&self) -> Result<(), Failed> {
        let mut garbage = vec![0; rand::rng().random_range(1..MAX_GARBAGE)];
        rand::rng().fill_bytes(&mut garbage);
        if self.target == Target::Duel {
            // A move would wait for another player.
            garbage.retain(|byte| !matches!(byte, b'1'..=b'3'));
        }
        let mut client = self.client().await?;
        client.send(&garbage, self.deadline()).await;
        client.half_close(self.deadline()).await;
        let deadline = self.deadline();
        loop {
            match client.wait(deadline).await {
                Wait::Data => client.received.clear(),
                Wait::Ended(_) => return Ok(()),
                Wait::TimedOut => {
                    let ending = Ending::Silent(self.timeout);
                    return Err(different(&garbage, Expected::End, Vec::new(), ending));
                }
            }
        }
    }

    /// Opens connections and closes them at once, as health checks and port scanners do.
    async fn connect_and_close(&self) -> Result<Passed, Failed> {
        for _ in 0..BROKEN_CLIENTS {
            drop(self.client().await?);
        }
        self.is_alive().await?;
        Ok(Passed::with_note(texts::note_clients(BROKEN_CLIENTS)))
    }

    /// Lets many players play at the same time. Every win is another player's loss.
    async fn players(&self) -> Result<Passed, Failed> {
        let mut clients = Vec::new();
        for _ in 0..PLAYERS {
            let client = self.client().await?;
            client.reset_on_close();
            clients.push(client);
        }
        let (mut won, mut lost) = (0_u64, 0_u64);
        for _ in 0..PLAYER_ROUNDS {
            for client in &mut clients {
                let mv = Move::ALL[rand::rng().random_range(0..3)];
                client.send(&[mv.byte()], self.deadline()).await;
            }
            for client in &mut clients {
                let reply = client.receive(&outcomes(1), self.timeout + self.settings.window).await;
                let reply = reply.map_err(|ending| {
                    let received = std::mem::take(&mut client.received);
                    different(b"", Expected::Bytes(outcomes(1)), received, ending)
                })?;
                won += u64::from(reply == b"y");
                lost += u64::from(reply == b"z");
            }
        }
        if won != lost {
            let expected = Expected::Text(texts::expect_zero_sum());
            return Err(different(b"", expected, texts::won_and_lost(won, lost).into_bytes(), Ending::Open));
        }
        Ok(Passed::with_note(texts::note_players(PLAYERS, PLAYER_ROUNDS)))
    }
}

impl House {
    /// Names the pair that is judged wrong: for one move, one outcome is missing and another is too frequent.
    fn wrong_pair(&self) -> Option<String> {
        const OUTCOMES: [Outcome; 3] = [Outcome::Win, Outcome::Lose, Outcome::Draw];
        Move::ALL.into_iter().find_map(|mv| {
            let counts = self.outcomes(mv);
            let never = counts.iter().position(|&count| count == 0)?;
            // A wrong pair has two of three, two outcomes only have one of two each.
            let often = counts.iter().position(|&count| 100 * count > 58 * counts.iter().sum::<u64>())?;
            let [never, often] = [OUTCOMES[never], OUTCOMES[often]].map(Round::Judged);
            let Round::Judged(right) = never else { return None };
            let house = right.opponent_move(mv);
            Some(texts::mistake_pair(move_name(mv), move_name(house), outcome_name(often), outcome_name(never)))
        })
    }
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

/// Adds the likely mistake.
fn with_mistake(mut failed: Failed, mistake: String) -> Failed {
    if let Failed::Different(difference) = &mut failed {
        difference.mistake = Some(mistake);
    }
    failed
}

pub(super) fn different(sent: &[u8], expected: Expected, received: Vec<u8>, ending: Ending) -> Failed {
    let difference = Difference {
        dialogue: Vec::new(),
        sent: sent.to_vec(),
        half_closed: false,
        expected,
        received,
        ending,
        p: None,
        mistake: None,
    };
    Failed::Different(Box::new(difference))
}

fn pattern(bytes: &[u8]) -> Pattern {
    Pattern::new(&bytes.iter().map(|&byte| vec![byte]).collect::<Vec<_>>())
}

/// The replies to moves against the house.
fn outcomes(count: usize) -> Pattern {
    Pattern::new(&vec![b"xyz".to_vec(); count])
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
