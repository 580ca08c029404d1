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

use proto::client::rps::Connection;
use proto::client::{Error, ErrorKind, Timeouts};
use proto::server::accept::{self, Listener, Service, Summary};
use proto::server::admission::Admission;
use proto::server::config::value::Period;
use proto::server::connection::{self, Closed};
use proto::server::deadline::Deadlines;
use proto::server::listen::reachable;
use proto::server::shutdown::Shutdown;
use proto::server::stream::Stream;
use proto::wire::rps::{Answer, Move};
use rand::CryptoRng;

use config::Config;
use house::House;
use solo::Solo;

/// Serves the solo game to the connections of `listener` until `shutdown` begins, and then drains. The caller owns
/// both, and says which `house` each connection plays against.
pub async fn serve<L, H, R>(listener: L, config: &Config, house: H, shutdown: Shutdown) -> Summary
where
    L: Listener,
    H: Fn() -> House<R> + Send + Sync + 'static,
    R: CryptoRng + Send,
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
struct SoloService<H> {
    deadlines: Deadlines,
    max_bad_frames: u32,
    house: H,
    full: Arc<[u8]>,
}

impl<S, H, R> Service<S> for SoloService<H>
where
    S: Stream,
    H: Fn() -> House<R> + Send + Sync + 'static,
    R: CryptoRng + Send,
{
    async fn serve(&self, stream: S, shutdown: &Shutdown) -> Closed {
        let solo = Solo::new((self.house)(), self.max_bad_frames);
        connection::run(stream, solo, &self.deadlines, shutdown).await
    }

    fn refusal(&self) -> Arc<[u8]> {
        Arc::clone(&self.full)
    }
}

/// Plays a round against the server that runs with `config`. One that is full and says so is as it should be: to start
/// it anew would throw out everybody who plays.
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
    match round.await {
        Ok(_) | Err(Error { kind: ErrorKind::Full, .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
