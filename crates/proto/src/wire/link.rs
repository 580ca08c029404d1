//! The protocol between two replicas of the rock-paper-scissors server: binary messages of fixed length.
//!
//! The replica that connects is the *taker*: it relays its players' moves. The replica that accepts is the *owner*: it judges
//! them. `PROTOCOL.md`, section 6, specifies the bytes and their meaning.
//!
//! A link begins with a handshake: [`Hello`], [`Challenge`], [`Proof`]. Each [`Message`] after it is a byte for its type and
//! fields of fixed length, integers in network byte order.

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

use super::rps::{Move, Outcome};

/// The first bytes of a link: the protocol and its version.
pub const MAGIC: [u8; 8] = *b"rpslink1";

/// A challenge, or the proof for one.
pub type Bytes32 = [u8; 32];

/// The first message of the taker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The SHA-256 hash of the lobby's name: both replicas have to be of the same lobby.
    pub lobby: Bytes32,
    /// Random bytes.
    pub challenge: Bytes32,
}

/// The owner's reply to the hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Random bytes.
    pub challenge: Bytes32,
    /// Shows that the owner knows the secret.
    pub proof: Bytes32,
}

/// The taker's second message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Shows that the taker knows the secret.
    pub proof: Bytes32,
}

/// The length of a [`Hello`] in bytes.
pub const HELLO_BYTES: usize = MAGIC.len() + 64;
/// The length of a [`Challenge`] in bytes.
pub const CHALLENGE_BYTES: usize = 64;
/// The length of a [`Proof`] in bytes.
pub const PROOF_BYTES: usize = 32;

impl Hello {
    /// Returns the bytes of the message.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..40].copy_from_slice(&self.lobby);
        bytes[40..].copy_from_slice(&self.challenge);
        bytes
    }

    /// Removes the message from `src`; `None` if it is not complete.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not those of this protocol and version.
    pub fn decode(src: &mut BytesMut) -> Result<Option<Self>, InvalidMessage> {
        let begins = src.len().min(MAGIC.len());
        if src[..begins] != MAGIC[..begins] {
            return Err(InvalidMessage::Magic);
        }
        if src.len() < HELLO_BYTES {
            return Ok(None);
        }
        src.advance(MAGIC.len());
        Ok(Some(Self { lobby: take32(src), challenge: take32(src) }))
    }
}

impl Challenge {
    /// Returns the bytes of the message.
    #[must_use]
    pub fn encode(&self) -> [u8; CHALLENGE_BYTES] {
        let mut bytes = [0; CHALLENGE_BYTES];
        bytes[..32].copy_from_slice(&self.challenge);
        bytes[32..].copy_from_slice(&self.proof);
        bytes
    }

    /// Removes the message from `src`; `None` if it is not complete.
    pub fn decode(src: &mut BytesMut) -> Option<Self> {
        (src.len() >= CHALLENGE_BYTES).then(|| Self { challenge: take32(src), proof: take32(src) })
    }
}

impl Proof {
    /// Removes the message from `src`; `None` if it is not complete.
    pub fn decode(src: &mut BytesMut) -> Option<Self> {
        (src.len() >= PROOF_BYTES).then(|| Self { proof: take32(src) })
    }
}

fn take32(src: &mut BytesMut) -> Bytes32 {
    let mut bytes = [0; 32];
    src.copy_to_slice(&mut bytes);
    bytes
}

/// A message of a link after the handshake.
///
/// A *session* is one player of the taker at the owner, from its claim until one side ends it. The taker numbers its
/// sessions and the moves of each; no number is used twice on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Both: the sender's clock. Sent at the beginning and every second.
    Clock {
        /// Microseconds since any fixed time.
        micros: u64,
    },
    /// Taker: a player is to meet the player who waits with this ticket.
    Claim {
        /// A new session.
        session: u64,
        /// The number in the ticket.
        nonce: u128,
    },
    /// Owner: the two players are partners now.
    Accept {
        /// The session of the claim.
        session: u64,
    },
    /// Owner: the ticket's move does not wait any more. The session has ended.
    Refuse {
        /// The session of the claim.
        session: u64,
    },
    /// Taker: the player has moved.
    Move {
        /// The session of the player.
        session: u64,
        /// The number of the move, higher than those before it in the session.
        number: u64,
        /// The move.
        mv: Move,
        /// The end of the move's patience, on the owner's clock.
        patience_end: u64,
        /// The latest time at which the move can be judged, on the owner's clock.
        window_end: u64,
    },
    /// Owner: the move is judged.
    Verdict {
        /// The session of the player.
        session: u64,
        /// The number of the move.
        number: u64,
        /// The outcome for the player.
        outcome: Outcome,
    },
    /// Owner: the move is not judged and never will be. The players stay partners.
    Return {
        /// The session of the player.
        session: u64,
        /// The number of the move.
        number: u64,
    },
    /// Owner: the last move was returned, and now the partner has moved.
    PartnerMoved {
        /// The session of the player.
        session: u64,
    },
    /// Owner: the pair is dissolved, and the session has ended. A move in it that has no verdict never gets one.
    Dissolve {
        /// The session of the player.
        session: u64,
    },
    /// Taker: the player has left, or plays with another player. The session has ended.
    Leave {
        /// The session of the player.
        session: u64,
    },
    /// Taker: asks the owner to dissolve the pair.
    Withdraw {
        /// The session of the player.
        session: u64,
    },
}

/// A sequence of bytes that is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidMessage {
    /// The first bytes are not [`MAGIC`].
    #[error("the peer does not speak version 1 of the protocol between replicas")]
    Magic,
    /// A byte is not a type, a move or an outcome.
    #[error("a message has an invalid byte")]
    Byte,
}

const CLOCK: u8 = b'T';
const CLAIM: u8 = b'C';
const ACCEPT: u8 = b'A';
const REFUSE: u8 = b'N';
const MOVE: u8 = b'M';
const VERDICT: u8 = b'V';
const RETURN: u8 = b'R';
const PARTNER_MOVED: u8 = b'P';
const DISSOLVE: u8 = b'D';
const LEAVE: u8 = b'L';
const WITHDRAW: u8 = b'W';

/// The longest message in bytes.
pub const MAX_MESSAGE_BYTES: usize = 34;

impl Message {
    /// Appends the bytes of the message to `dst`.
    pub fn encode(self, dst: &mut BytesMut) {
        let short = |dst: &mut BytesMut, kind, number| {
            dst.put_u8(kind);
            dst.put_u64(number);
        };
        match self {
            Self::Clock { micros } => short(dst, CLOCK, micros),
            Self::Claim { session, nonce } => {
                short(dst, CLAIM, session);
                dst.put_u128(nonce);
            }
            Self::Accept { session } => short(dst, ACCEPT, session),
            Self::Refuse { session } => short(dst, REFUSE, session),
            Self::Move { session, number, mv, patience_end, window_end } => {
                short(dst, MOVE, session);
                dst.put_u64(number);
                dst.put_u8(mv.byte());
                dst.put_u64(patience_end);
                dst.put_u64(window_end);
            }
            Self::Verdict { session, number, outcome } => {
                short(dst, VERDICT, session);
                dst.put_u64(number);
                dst.put_u8(outcome as u8);
            }
            Self::Return { session, number } => {
                short(dst, RETURN, session);
                dst.put_u64(number);
            }
            Self::PartnerMoved { session } => short(dst, PARTNER_MOVED, session),
            Self::Dissolve { session } => short(dst, DISSOLVE, session),
            Self::Leave { session } => short(dst, LEAVE, session),
            Self::Withdraw { session } => short(dst, WITHDRAW, session),
        }
    }

    /// Removes the next message from `src`; `None` if it is not complete.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a message.
    pub fn decode(src: &mut BytesMut) -> Result<Option<Self>, InvalidMessage> {
        let Some(&kind) = src.first() else { return Ok(None) };
        let fields = match kind {
            CLOCK | ACCEPT | REFUSE | PARTNER_MOVED | DISSOLVE | LEAVE | WITHDRAW => 8,
            RETURN => 16,
            VERDICT => 17,
            CLAIM => 24,
            MOVE => 33,
            _ => return Err(InvalidMessage::Byte),
        };
        if src.len() <= fields {
            return Ok(None);
        }
        src.advance(1);
        let session = src.get_u64();
        Ok(Some(match kind {
            CLOCK => Self::Clock { micros: session },
            CLAIM => Self::Claim { session, nonce: src.get_u128() },
            ACCEPT => Self::Accept { session },
            REFUSE => Self::Refuse { session },
            MOVE => Self::Move {
                session,
                number: src.get_u64(),
                mv: Move::from_byte(src.get_u8()).ok_or(InvalidMessage::Byte)?,
                patience_end: src.get_u64(),
                window_end: src.get_u64(),
            },
            VERDICT => Self::Verdict {
                session,
                number: src.get_u64(),
                outcome: Outcome::from_byte(src.get_u8()).ok_or(InvalidMessage::Byte)?,
            },
            RETURN => Self::Return { session, number: src.get_u64() },
            PARTNER_MOVED => Self::PartnerMoved { session },
            DISSOLVE => Self::Dissolve { session },
            LEAVE => Self::Leave { session },
            _ => Self::Withdraw { session },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message> {
        let (session, number) = (0x0102_0304_0506_0708, 9);
        let mut messages = vec![
            Message::Clock { micros: u64::MAX },
            Message::Claim { session, nonce: 1 << 127 },
            Message::Accept { session },
            Message::Refuse { session },
            Message::Return { session, number },
            Message::PartnerMoved { session },
            Message::Dissolve { session },
            Message::Leave { session },
            Message::Withdraw { session },
        ];
        messages.extend(Move::ALL.map(|mv| Message::Move { session, number, mv, patience_end: 1, window_end: 2 }));
        let outcomes = [Outcome::Draw, Outcome::Win, Outcome::Lose];
        messages.extend(outcomes.map(|outcome| Message::Verdict { session, number, outcome }));
        messages
    }

    #[test]
    fn each_message_decodes_from_its_bytes_however_they_are_split() {
        let mut src = BytesMut::new();
        for message in messages() {
            let mut bytes = BytesMut::new();
            message.encode(&mut bytes);
            assert!(bytes.len() <= MAX_MESSAGE_BYTES);
            for byte in bytes {
                assert_eq!(Message::decode(&mut src), Ok(None));
                src.put_u8(byte);
            }
            assert_eq!(Message::decode(&mut src), Ok(Some(message)));
            assert!(src.is_empty());
        }
    }

    #[test]
    fn invalid_bytes_are_an_error() {
        for kind in 0..=u8::MAX {
            let mut src = BytesMut::from(&[0; MAX_MESSAGE_BYTES][..]);
            src[0] = kind;
            let decoded = Message::decode(&mut src);
            let has_invalid_field = [MOVE, VERDICT].contains(&kind);
            let is_type = b"TCANMVRPDLW".contains(&kind);
            assert_eq!(decoded.is_err(), !is_type || has_invalid_field, "{kind}");
        }
        assert_eq!(Hello::decode(&mut BytesMut::from("rpslink2")), Err(InvalidMessage::Magic));
        assert_eq!(Hello::decode(&mut BytesMut::from("GET")), Err(InvalidMessage::Magic));
    }

    #[test]
    fn the_handshake_decodes_from_its_bytes() {
        let hello = Hello { lobby: [1; 32], challenge: [2; 32] };
        let mut src = BytesMut::from(&hello.encode()[..HELLO_BYTES - 1]);
        assert_eq!(Hello::decode(&mut src), Ok(None));
        src.put_u8(2);
        assert_eq!(Hello::decode(&mut src), Ok(Some(hello)));
        let challenge = Challenge { challenge: [3; 32], proof: [4; 32] };
        src.extend_from_slice(&challenge.encode());
        assert_eq!(Challenge::decode(&mut src), Some(challenge));
        assert_eq!(Proof::decode(&mut BytesMut::from(&[5; 32][..])), Some(Proof { proof: [5; 32] }));
        assert_eq!(Proof::decode(&mut BytesMut::from(&[5; 31][..])), None);
    }
}
