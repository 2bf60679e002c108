//! Secrets: generated from the system's randomness, and recognised only by their hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SubsecRound, Utc};
use kindred_domain::keys::{Grants, KeyRow};
use ring::digest::{SHA256, digest};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

/// Prefix of every secret.
const PREFIX: &str = "kk_";
/// Random bytes per secret: 43 characters.
const SECRET_BYTES: usize = 32;
/// Random bytes per key name: 12 characters.
const ID_BYTES: usize = 9;

/// SHA-256 of a secret, by which it is stored and found. A secret has 256 random bits, so a slow
/// hash would gain nothing.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Whether a text has the form of a secret.
pub(crate) fn is_secret(text: &str) -> bool {
    let random = text.strip_prefix(PREFIX);
    random.is_some_and(|random| {
        URL_SAFE_NO_PAD
            .decode(random)
            .is_ok_and(|bytes| bytes.len() == SECRET_BYTES)
    })
}

/// A new key, and its secret, which is not stored.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn new_key(
    grants: Grants,
    expires_at: Option<DateTime<Utc>>,
) -> Result<(KeyRow, String), Unspecified> {
    let mut random = [0; SECRET_BYTES + ID_BYTES];
    SystemRandom::new().fill(&mut random)?;
    let (of_secret, of_id) = random.split_at(SECRET_BYTES);
    let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(of_secret));
    let row = KeyRow {
        id: URL_SAFE_NO_PAD.encode(of_id),
        hash: hash(&secret),
        grants,
        // With the precision that every store keeps.
        created_at: Utc::now().trunc_subsecs(3),
        expires_at: expires_at.map(|at| at.trunc_subsecs(3)),
    };
    Ok((row, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognised_by_its_hash() {
        let (one, secret) = new_key(Grants::of_admin(), None).expect("randomness");
        let (two, other) = new_key(Grants::of_admin(), None).expect("randomness");
        assert_eq!(secret.len(), 3 + 43);
        assert!(is_secret(&secret) && is_secret(&other));
        assert_eq!(one.hash, hash(&secret));
        assert!(one.hash != two.hash && one.id != two.id);
        for bad in ["", "kk_", "kk_x", &secret[3..], &secret[..45]] {
            assert!(!is_secret(bad), "{bad}");
        }
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hex: String = hash("abc")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, known);
    }
}
