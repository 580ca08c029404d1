//! Placeholder until the engine is merged.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::duel::replica::{EngineCall, EngineReply};

/// The URL of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineUrl(String);

impl EngineUrl {
    /// Whether there is no engine.
    pub fn is_off(&self) -> bool {
        self.0.is_empty()
    }
}

/// The engine.
#[derive(Debug)]
pub struct Engine(watch::Sender<bool>);

impl Engine {
    /// Creates a client.
    pub fn new(_: &EngineUrl, _: &str, _: u128, _: String) -> Self {
        Self(watch::Sender::new(false))
    }

    /// Returns whether the engine is up.
    pub fn up(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Calls the engine.
    pub async fn call(&mut self, _: EngineCall) -> Option<EngineReply> {
        None
    }
}
