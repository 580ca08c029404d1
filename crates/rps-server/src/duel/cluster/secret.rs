//! Proves in the handshake of a link that both replicas know the secret and are of the same lobby.

use std::fmt;
use std::path::Path;

use proto::server::config::read_text;
use proto::wire::link::Bytes32;
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256, Key};

/// The secret of the replicas of a lobby.
pub struct LinkSecret {
    key: Key,
    lobby: Bytes32,
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret")
    }
}

/// The side of a link that a proof is from, so that one side cannot send the other's proof back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Taker,
    Owner,
}

/// Minimum length of a secret in bytes. An attacker who has seen one handshake can try secrets without the replicas.
const MIN_SECRET_BYTES: usize = 16;

/// Reads the secret from a file. White space at its ends is ignored.
///
/// # Errors
///
/// Returns what is wrong with the file.
pub fn read(path: &str) -> Result<String, String> {
    let text = read_text(Path::new(path)).map_err(|error| format!("cannot read {path}: {error}"))?;
    let secret = text.trim();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(format!(
            "{path}: the secret has {} bytes; it needs at least {MIN_SECRET_BYTES}, such as those of openssl rand -hex 32",
            secret.len()
        ));
    }
    Ok(secret.to_owned())
}

impl LinkSecret {
    /// Creates the secret of the lobby with this name. An empty secret proves nothing.
    #[must_use]
    pub fn new(secret: &str, lobby: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, lobby.as_bytes()).as_ref());
        Self { key: Key::new(HMAC_SHA256, secret.as_bytes()), lobby: hash }
    }

    /// Returns the SHA-256 hash of the lobby's name.
    pub(super) fn lobby(&self) -> Bytes32 {
        self.lobby
    }

    /// Returns the proof of one side: for the challenges of the taker and of the owner, and for the owner's endpoint. An
    /// attacker who makes a taker connect to an endpoint of the attacker cannot use the taker's proof elsewhere.
    pub(super) fn prove(&self, side: Side, challenges: &[Bytes32; 2], address: &str) -> Bytes32 {
        let mut proof = [0; 32];
        proof.copy_from_slice(hmac::sign(&self.key, &self.text(side, challenges, address)).as_ref());
        proof
    }

    /// Whether a proof is right. Compares in constant time.
    pub(super) fn verify(&self, side: Side, challenges: &[Bytes32; 2], address: &str, proof: &Bytes32) -> bool {
        hmac::verify(&self.key, &self.text(side, challenges, address), proof).is_ok()
    }

    fn text(&self, side: Side, [taker, owner]: &[Bytes32; 2], address: &str) -> Vec<u8> {
        let side: &[u8] = match side {
            Side::Taker => b"taker",
            Side::Owner => b"owner",
        };
        [side, taker, owner, &self.lobby, address.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_right_only_for_its_secret_side_challenges_address_and_lobby() {
        let secret = LinkSecret::new("0123456789abcdef", "rps");
        let (challenges, address) = ([[1; 32], [2; 32]], "h:1");
        let proof = secret.prove(Side::Taker, &challenges, address);
        assert!(secret.verify(Side::Taker, &challenges, address, &proof));
        assert!(!secret.verify(Side::Owner, &challenges, address, &proof));
        assert!(!secret.verify(Side::Taker, &[[1; 32], [1; 32]], address, &proof));
        assert!(!secret.verify(Side::Taker, &[[2; 32], [2; 32]], address, &proof));
        assert!(!secret.verify(Side::Taker, &challenges, "h:2", &proof));
        assert!(!LinkSecret::new("0123456789abcdeF", "rps").verify(Side::Taker, &challenges, address, &proof));
        assert!(!LinkSecret::new("0123456789abcdef", "other").verify(Side::Taker, &challenges, address, &proof));
    }

    #[test]
    fn a_secret_has_at_least_16_bytes_without_white_space_at_its_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(path, "0123456789abcdef\n").unwrap();
        assert_eq!(read(path).as_deref(), Ok("0123456789abcdef"));
        std::fs::write(path, "0123456789abcde \n").unwrap();
        assert!(read(path).unwrap_err().contains("has 15 bytes; it needs at least 16"));
        assert!(read("/does/not/exist").unwrap_err().contains("cannot read /does/not/exist"));
    }
}
