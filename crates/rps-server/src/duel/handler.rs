//! The handler of one duel connection: one byte in, and one byte out once its reply is ready.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use proto::server::{Activity, Event, Handler, Progress, WaitFor};
use proto::wire::rps::{Reply, ServerCodec};
use tokio_util::codec::{Decoder, Encoder};

use super::hub::PlayerHandle;
use super::rounds::ReplyState;
use crate::metrics::{Metrics, count_bad_frames};

/// Plays the moves of one connection against other players.
#[derive(Debug)]
pub struct DuelHandler {
    player: PlayerHandle,
    bad_frames_left: u32,
    metrics: Arc<Metrics>,
}

impl DuelHandler {
    /// Creates a handler that plays for `player`, counts invalid bytes in `metrics`, and closes the connection after
    /// the `max_bad_frames`th of them.
    #[must_use]
    pub fn new(player: PlayerHandle, max_bad_frames: u32, metrics: Arc<Metrics>) -> Self {
        Self { player, bad_frames_left: max_bad_frames, metrics }
    }

    /// Encodes the reply that is ready, and plays the moves in `input` until one has to wait for its reply.
    fn play(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, max_replies: usize) -> WaitFor {
        let mut reply = match event {
            Event::ReplyReady | Event::Shutdown => self.player.take_reply(),
            Event::Data | Event::Settled | Event::RequestTimeout | Event::RateTimeout | Event::Push | Event::Eof => {
                None
            }
        };
        let mut stops_waiting = event == Event::Shutdown;
        loop {
            // Decoding and encoding in memory cannot fail; a byte that is not a move is a frame as well.
            match reply {
                Some(ReplyState::Ready(reply)) => _ = ServerCodec.encode(reply, output),
                // The drain has waited long enough for a partner's move; this move and those behind it are void.
                Some(ReplyState::Pending { .. }) if stops_waiting => {
                    stops_waiting = false;
                    reply = self.player.stop_waiting();
                    continue;
                }
                Some(ReplyState::Pending { deadline }) => return WaitFor::Reply { deadline: deadline.into() },
                Some(ReplyState::Unknown) => return WaitFor::CloseUnknown,
                None => {}
            }
            stops_waiting = event == Event::Shutdown;
            if self.bad_frames_left == 0 {
                return WaitFor::Close;
            }
            if output.len() >= max_replies && !input.is_empty() {
                return WaitFor::Turn;
            }
            reply = match ServerCodec.decode(input) {
                Ok(Some(Ok(mv))) => self.player.play(mv),
                Ok(Some(Err(_))) => {
                    self.bad_frames_left -= 1;
                    self.metrics.count_duel_bad_frame();
                    Some(ReplyState::Ready(Reply::NotAMove))
                }
                Ok(None) | Err(_) => return WaitFor::Request,
            };
        }
    }
}

impl Handler for DuelHandler {
    /// Small, so that moves that a player sends ahead stay in the socket. More than one byte, since a read that fills
    /// the buffer has to be followed by another read call to find out whether the socket is empty.
    const READ_BYTES: usize = 16;

    /// As many as one read has.
    const TURN_REPLIES: usize = Self::READ_BYTES;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut, max_replies: usize) -> Progress {
        let wait_for = self.play(event, input, output, max_replies);
        // A reply is one byte.
        Progress { replies: output.len() as u64, wait_for }
    }

    fn operation(&self) -> Option<&'static str> {
        Some("duel")
    }

    fn activity(&self) -> Option<Activity> {
        Some(self.player.activity())
    }

    fn error_codes(output: &[u8], count: &mut dyn FnMut(&'static str)) {
        count_bad_frames(output, count);
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.player.poll_reply(cx)
    }
}
