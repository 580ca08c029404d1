//! Many connections, and broken and hostile clients. Each case ends with a client that has to be served.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use proto::client::stream::ClientStream;
use proto::wire::rps::Move;
use rand::{Rng, RngExt};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::super::client::{Ending, Expected, Failed, Wait};
use super::super::server::Server;
use super::{Passed, different, outcomes, pattern, with_mistake};
use crate::language::check as texts;
use crate::target::Target;

/// Connections that are open at the same time.
pub(in crate::check) const CONNECTIONS: usize = 2_000;

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

/// Players of the robust duel, and their rounds.
const PLAYERS: usize = 200;
const PLAYER_ROUNDS: usize = 5;

impl Server {
    /// Opens many connections, and lets each of them have a reply while all are open.
    pub(super) async fn connections(&self) -> Result<Passed, Failed> {
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
            let is_silent = matches!(ending, Ending::Silent(_)) || received.starts_with(b"eTIMEOUT ");
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
    pub(super) async fn fill(&self) -> Result<(ClientStream, usize), Failed> {
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
    pub(super) async fn never_reads(&self) -> Result<Passed, Failed> {
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
    pub(super) async fn write_timeout(&self) -> Result<Passed, Failed> {
        let started = Instant::now();
        let (mut stream, _) = self.fill().await?;
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
    pub(super) async fn resets(&self) -> Result<Passed, Failed> {
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
    pub(super) async fn garbage(&self) -> Result<Passed, Failed> {
        let clients = stream::iter(0..BROKEN_CLIENTS).map(|_| self.garbage_client()).buffer_unordered(GARBAGE_CLIENTS);
        for result in clients.collect::<Vec<_>>().await {
            result?;
        }
        self.is_alive().await?;
        Ok(Passed::with_note(texts::note_clients(BROKEN_CLIENTS)))
    }

    pub(super) async fn garbage_client(&self) -> Result<(), Failed> {
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
    pub(super) async fn connect_and_close(&self) -> Result<Passed, Failed> {
        for _ in 0..BROKEN_CLIENTS {
            drop(self.client().await?);
        }
        self.is_alive().await?;
        Ok(Passed::with_note(texts::note_clients(BROKEN_CLIENTS)))
    }

    /// Lets many players play at the same time. Every win is another player's loss.
    pub(super) async fn players(&self) -> Result<Passed, Failed> {
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
