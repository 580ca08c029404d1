//! The long connection: a client connects and plays many rounds of rock-paper-scissors, one byte a move.
//!
//! - [`game`]: which move beats which;
//! - [`house`]: the opponent that every player of the solo game has;
//! - [`solo`]: one connection of the solo game, from bytes to bytes;
//! - [`duel`]: the game of two players: its rule, and how connections meet in it;
//! - [`config`]: the server's configuration;
//! - [`serve`]: both games on their listeners, until they are told to stop.

pub mod config;
pub mod duel;
pub mod game;
pub mod house;
pub mod solo;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::OptionFuture;
use proto::client::rps::{Connection, Round};
use proto::client::{Endpoint, Error, ErrorKind};
use proto::server::accept::{self, Listener, Service, Summary};
use proto::server::admission::Admission;
use proto::server::connection::{self, Closed};
use proto::server::deadline::Deadlines;
use proto::server::listen::reachable;
use proto::server::shutdown::Shutdown;
use proto::server::stream::Stream;
use proto::wire::rps::{Answer, Move};
use rand::CryptoRng;

use config::Config;
use duel::table::Table;
use house::House;
use solo::Solo;

/// Where players come from, for each game that is on.
#[derive(Debug)]
pub struct Listeners<L> {
    /// Those who play against the house.
    pub solo: Option<L>,
    /// Those who play against each other.
    pub duel: Option<L>,
}

/// Serves both games to the connections of their `listeners` until `shutdown` begins, and then drains. The caller owns
/// all of these, and says which `house` each connection of the solo game plays against, and at which `table` those of
/// the duel meet.
pub async fn serve<L, H, R>(
    listeners: Listeners<L>,
    config: &Config,
    house: H,
    table: Arc<Table>,
    shutdown: Shutdown,
) -> Summary
where
    L: Listener,
    H: Fn() -> House<R> + Send + Sync + 'static,
    R: CryptoRng + Send,
{
    let limits = &config.limits.connections;
    // One for both, since the limits are those of the process.
    let admission = Admission::new(limits.max_connections.size(), limits.max_connections_per_ip.size());
    let terms = Terms::new(config);
    let solo = listeners.solo.map(|listener| {
        let service = SoloService { terms: terms.clone(), house };
        accept::serve(listener, service, Arc::clone(&admission), shutdown.clone())
    });
    let duel = listeners.duel.map(|listener| {
        let service = DuelService { terms, table };
        accept::serve(listener, service, Arc::clone(&admission), shutdown.clone())
    });
    let (solo, duel) = tokio::join!(OptionFuture::from(solo), OptionFuture::from(duel));
    solo.unwrap_or_default() + duel.unwrap_or_default()
}

/// What holds for every connection, whichever game it is of.
#[derive(Clone)]
struct Terms {
    deadlines: Deadlines,
    max_bad_frames: u32,
    full: Arc<[u8]>,
}

impl Terms {
    fn new(config: &Config) -> Self {
        Self {
            deadlines: config.deadlines(),
            max_bad_frames: config.limits.max_bad_frames.get(),
            full: [Answer::Full.byte()].into(),
        }
    }
}

/// What every connection of the solo game shares.
struct SoloService<H> {
    terms: Terms,
    house: H,
}

impl<S, H, R> Service<S> for SoloService<H>
where
    S: Stream,
    H: Fn() -> House<R> + Send + Sync + 'static,
    R: CryptoRng + Send,
{
    async fn serve(&self, stream: S, shutdown: &Shutdown) -> Closed {
        let solo = Solo::new((self.house)(), self.terms.max_bad_frames);
        connection::run(stream, solo, &self.terms.deadlines, shutdown).await
    }

    fn refusal(&self) -> Arc<[u8]> {
        Arc::clone(&self.terms.full)
    }
}

/// What every connection of the duel shares.
struct DuelService {
    terms: Terms,
    table: Arc<Table>,
}

impl<S> Service<S> for DuelService
where
    S: Stream,
{
    async fn serve(&self, stream: S, shutdown: &Shutdown) -> Closed {
        let duel = duel::conversation::Conversation::new(self.table.join(), self.terms.max_bad_frames);
        connection::run(stream, duel, &self.terms.deadlines, shutdown).await
    }

    fn refusal(&self) -> Arc<[u8]> {
        Arc::clone(&self.terms.full)
    }
}

/// Asks the server that runs with `config` on each of its listeners: plays a round against the house, and has the duel
/// tell that a byte is no move, which draws no player into a round. A server that is full and says so is as it should
/// be: to start it anew would throw out everybody who plays.
///
/// # Errors
///
/// What kept it from answering right, in a sentence.
pub async fn healthcheck(config: &Config) -> Result<(), String> {
    if let Some(address) = config.solo.listen.0 {
        let round = unless_full(async { open(address).await?.throw(Move::Rock).await }.await)?;
        if round == Some(Round::Void) {
            return Err(format!("{address}: it voids a round that the house always plays"));
        }
    }
    if let Some(address) = config.duel.listen.0 {
        unless_full(async { open(address).await?.check().await }.await)?;
    }
    Ok(())
}

async fn open(address: SocketAddr) -> Result<Connection, Error> {
    Connection::open(Endpoint::new(reachable(address).to_string())).await
}

/// What was answered; `None` from a server that is full.
fn unless_full<T>(answered: Result<T, Error>) -> Result<Option<T>, String> {
    match answered {
        Ok(answer) => Ok(Some(answer)),
        Err(Error { kind: ErrorKind::Full, .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
