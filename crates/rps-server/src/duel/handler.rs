//! The handler of one duel connection: a byte in, and a byte out once there is a reply to it.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use proto::server::{Event, Handler, Progress, WaitFor};
use proto::wire::rps::{Reply, ServerCodec};
use tokio_util::codec::{Decoder, Encoder};

use super::hub::PlayerHandle;
use super::rounds::ReplyState;
use crate::metrics::Metrics;

/// The handler of one connection.
#[derive(Debug)]
pub struct DuelHandler {
    player: PlayerHandle,
    bad_frames_left: u32,
    metrics: Arc<Metrics>,
}

impl DuelHandler {
    /// A game of `player` that ends with the `max_bad_frames`th byte that is not a move. `metrics` counts what the hub
    /// does not.
    #[must_use]
    pub fn new(player: PlayerHandle, max_bad_frames: u32, metrics: Arc<Metrics>) -> Self {
        Self { player, bad_frames_left: max_bad_frames, metrics }
    }

    /// Writes every reply that is ready, and plays the moves in `input` until one has to wait for its reply.
    fn play(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut) -> WaitFor {
        let mut reply = match event {
            Event::ReplyReady | Event::Shutdown => self.player.take_reply(),
            Event::Data | Event::Settled | Event::RequestTimeout | Event::Eof => None,
        };
        loop {
            // Decoding and encoding in memory cannot fail; a byte that is not a move is a frame as well.
            match reply {
                Some(ReplyState::Ready(answer)) => _ = ServerCodec.encode(answer, output),
                // The drain has waited for partners, for this move and for those behind it.
                Some(ReplyState::Pending { .. }) if event == Event::Shutdown => {
                    reply = self.player.stop_waiting();
                    continue;
                }
                Some(ReplyState::Pending { deadline }) => return WaitFor::Reply { deadline: deadline.into() },
                None => {}
            }
            if self.bad_frames_left == 0 {
                return WaitFor::Close;
            }
            reply = match ServerCodec.decode(input) {
                Ok(Some(Ok(shown))) => self.player.play(shown),
                Ok(Some(Err(_))) => {
                    self.bad_frames_left -= 1;
                    self.metrics.bad_frame_in_duel();
                    Some(ReplyState::Ready(Reply::NotAMove))
                }
                Ok(None) | Err(_) => return WaitFor::Request,
            };
        }
    }
}

impl Handler for DuelHandler {
    /// Moves that a player sends ahead stay in its socket, except for these. More than one, since a read that fills its
    /// buffer does not show whether there is more, and the next one would be a system call to find out.
    const READ_BYTES: usize = 16;

    fn handle(&mut self, event: Event, input: &mut BytesMut, output: &mut BytesMut) -> Progress {
        let wait_for = self.play(event, input, output);
        // A reply is one byte.
        Progress { replies: output.len() as u64, wait_for }
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.player.poll_reply(cx)
    }
}
