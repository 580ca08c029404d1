//! The game in a browser: a page, and both games over WebSocket.
//!
//! A web endpoint serves the page at `/`, the solo game at `/solo` and the duel at `/duel`. The handlers are those of
//! the other endpoints, so players of all transports meet.

pub mod config;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::server::{Activity, ConnectionTimeouts, Event, Handler, LimitReached, Page, Progress, Service, Site};
use rand::CryptoRng;

use crate::duel::handler::DuelHandler;
use crate::house::House;
use crate::solo::SoloHandler;
use crate::{DuelService, SoloService};
use config::WebConfig;

const HTML: &str = include_str!("web/play.html");
const STYLE: &str = include_str!("web/play.css");
const SCRIPT: &str = include_str!("web/play.js");

const SOLO_PATH: &str = "/solo";
const DUEL_PATH: &str = "/duel";

/// Makes the handlers of WebSocket connections.
#[derive(Debug)]
pub(crate) struct WebService<H> {
    pub(crate) solo: Arc<SoloService<H>>,
    pub(crate) duel: Arc<DuelService>,
    pub(crate) site: Site,
}

/// Returns the page, which knows the duel's `window`, and the paths of both games.
pub(crate) fn site(config: &WebConfig, window: Duration) -> Site {
    let html = HTML
        .replace("data-window=\"30\"", &format!("data-window=\"{}\"", window.as_secs_f64()))
        .replace("/*STYLE*/", STYLE)
        .replace("/*SCRIPT*/", SCRIPT);
    Site { page: Page::new(html, STYLE, SCRIPT), paths: &[SOLO_PATH, DUEL_PATH], origins: config.origins.to_vec() }
}

impl<H, R> Service for WebService<H>
where
    H: Fn() -> House<R> + Send + Sync + 'static,
    R: CryptoRng + Send + 'static,
{
    type Handler = GameHandler<R>;

    const IS_WEB: bool = true;

    /// Returns a handler of the solo game. Connections of web endpoints have a path instead.
    fn handler(&self) -> GameHandler<R> {
        GameHandler::Solo(self.solo.handler())
    }

    fn timeouts(&self) -> ConnectionTimeouts {
        self.solo.timeouts()
    }

    fn rejection(&self, limit: LimitReached) -> Bytes {
        self.solo.rejection(limit)
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }

    fn handler_at(&self, path: &str) -> Option<GameHandler<R>> {
        match path {
            SOLO_PATH => Some(self.handler()),
            DUEL_PATH => Some(GameHandler::Duel(self.duel.handler())),
            _ => None,
        }
    }
}

/// The handler of either game.
#[derive(Debug)]
pub(crate) enum GameHandler<R> {
    Solo(SoloHandler<R>),
    Duel(DuelHandler),
}

impl<R: CryptoRng + Send + 'static> Handler for GameHandler<R> {
    /// People play here, and send few moves at once. This bounds the memory of a client that reads nothing.
    const READ_BYTES: usize = 4096;

    /// A duel handler has a shorter turn by itself, because it reads less.
    const TURN_REPLIES: usize = Self::READ_BYTES;

    fn read_bytes(&self) -> usize {
        match self {
            Self::Solo(_) => Self::READ_BYTES,
            Self::Duel(handler) => handler.read_bytes(),
        }
    }

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, max_replies: usize) -> Progress {
        match self {
            Self::Solo(handler) => handler.handle(event, input, output, max_replies),
            Self::Duel(handler) => handler.handle(event, input, output, max_replies),
        }
    }

    fn error_codes(output: &[u8], count: &mut dyn FnMut(&'static str)) {
        // The same for both games.
        DuelHandler::error_codes(output, count);
    }

    fn operation(&self) -> Option<&'static str> {
        match self {
            Self::Solo(handler) => handler.operation(),
            Self::Duel(handler) => handler.operation(),
        }
    }

    fn activity(&self) -> Option<Activity> {
        match self {
            Self::Solo(handler) => handler.activity(),
            Self::Duel(handler) => handler.activity(),
        }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Solo(handler) => handler.poll_reply(cx),
            Self::Duel(handler) => handler.poll_reply(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_everything_that_the_server_inserts() {
        for placeholder in ["data-window=\"30\"", "<style>/*STYLE*/</style>", "<script>/*SCRIPT*/</script>"] {
            assert_eq!(HTML.matches(placeholder).count(), 1, "{placeholder}");
        }
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
        assert!(HTML.len() + STYLE.len() + SCRIPT.len() < 40 * 1024);
    }
}
