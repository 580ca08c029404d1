//! The long connection: a client connects and plays many rounds of rock-paper-scissors, one byte a move.
//!
//! - [`game`]: which move beats which;
//! - [`house`]: the opponent that every player of the solo game has;
//! - [`solo`]: one connection of the solo game, from bytes to bytes;
//! - [`config`]: the server's configuration;
//! - [`serve`]: the service on a listener, until it is told to stop.

pub mod config;
pub mod game;
pub mod house;
pub mod solo;

use std::sync::Arc;

use proto::client::Timeouts;
use proto::client::rps::Connection;
use proto::server::accept::{self, Listener, Service, Summary};
use proto::server::admission::Admission;
use proto::server::config::value::Period;
use proto::server::connection::{self, Closed};
use proto::server::deadline::Deadlines;
use proto::server::listen::reachable;
use proto::server::shutdown::Shutdown;
use proto::wire::rps::{Answer, Move};
use rand::CryptoRng;
use tokio::io::{AsyncRead, AsyncWrite};

use config::Config;
use house::House;
use solo::Solo;

/// Serves the solo game to the connections of `listener` until `shutdown` begins, and then drains. The caller owns
/// both, and brings the house; every connection plays against a clone of it.
pub async fn serve<L, R>(listener: L, config: &Config, house: House<R>, shutdown: Shutdown) -> Summary
where
    L: Listener,
    R: CryptoRng + Clone + Send + Sync + 'static,
{
    let limits = &config.limits.connections;
    let admission = Admission::new(limits.max_connections.size(), limits.max_connections_per_ip.size());
    let service = SoloService {
        deadlines: config.timeouts.deadlines(None, const { Period::from_secs(0) }),
        max_bad_frames: config.limits.max_bad_frames.get(),
        house,
        full: [Answer::Full.byte()].into(),
    };
    accept::serve(listener, service, admission, shutdown).await
}

/// What every connection of the solo game shares.
struct SoloService<R> {
    deadlines: Deadlines,
    max_bad_frames: u32,
    house: House<R>,
    full: Arc<[u8]>,
}

impl<S, R> Service<S> for SoloService<R>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: CryptoRng + Clone + Send + Sync + 'static,
{
    async fn serve(&self, stream: S, shutdown: &Shutdown) -> Closed {
        let solo = Solo::new(self.house.clone(), self.max_bad_frames);
        connection::run(stream, solo, &self.deadlines, shutdown).await
    }

    fn refusal(&self) -> Arc<[u8]> {
        Arc::clone(&self.full)
    }
}

/// Plays a round against the server that runs with `config`.
///
/// # Errors
///
/// What kept it from answering right, in a sentence.
pub async fn healthcheck(config: &Config) -> Result<(), String> {
    let address = config.solo.listen.0.ok_or("solo.listen is off, so there is nothing to ask")?;
    let round = async {
        let mut game = Connection::open(&reachable(address).to_string(), Timeouts::default()).await?;
        game.throw(Move::Rock).await
    };
    round.await.map(drop).map_err(|error| error.to_string())
}
