//! Requests between instances are signed with a shared key, so that a client's key stays with the
//! instance it was sent to.
//!
//! A signature covers the request, its body, the receiving instance and the time. It is valid for a
//! minute, and for a change only once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// The header of a signature.
pub(crate) const SIGNATURE: &str = "x-kindred-signature";
/// Maximum clock difference between two instances.
const APART_S: u64 = 60;
/// How long a signature is remembered: as long as it is valid.
const REMEMBERED: Duration = Duration::from_secs(2 * APART_S + 1);
/// Most signatures of changes remembered; beyond it changes are refused until some expire.
const MOST_REMEMBERED: usize = 1 << 17;

/// Signs requests to other instances, and verifies theirs.
pub(crate) struct Peers {
    key: hmac::Key,
    random: SystemRandom,
    /// Used signatures of changes, and when they were used.
    used: Mutex<HashMap<[u8; 32], Instant>>,
}

/// What is signed, besides the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    /// The receiver, as the others know it: address and port.
    pub(crate) to: &'a str,
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) path: &'a str,
}

impl Peers {
    /// The instances that share this key.
    pub(crate) fn new(key: &str) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()),
            random: SystemRandom::new(),
            used: Mutex::default(),
        }
    }

    /// The signature of a request with this body. `None`: the system has no randomness.
    pub(crate) fn sign(&self, signed: Signed<'_>, body: &[u8]) -> Option<String> {
        let mut nonce = [0; 12];
        self.random.fill(&mut nonce).ok()?;
        let head = format!("1.{}.{}.{}", now_s(), hex(&nonce), hex(&of_body(body)));
        let mac = hmac::sign(&self.key, text(&head, signed).as_bytes());
        Some(format!("{head}.{}", hex(mac.as_ref())))
    }

    /// The hash of the body that a request with this valid signature must have. `None`: the
    /// signature is invalid, too old, or was already used for a change.
    pub(crate) fn body_of(&self, signed: Signed<'_>, signature: &str) -> Option<[u8; 32]> {
        let (head, mac) = signature.rsplit_once('.')?;
        let mac: [u8; 32] = bytes(mac)?;
        hmac::verify(&self.key, text(head, signed).as_bytes(), &mac).ok()?;
        let mut parts = head.split('.');
        let (version, at, _, body) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let at: u64 = at.parse().ok()?;
        if version != "1" || at.abs_diff(now_s()) > APART_S {
            return None;
        }
        (signed.method == "GET" || self.is_first(mac)).then(|| bytes(body))?
    }

    /// Whether a signature is new; it is remembered.
    fn is_first(&self, mac: [u8; 32]) -> bool {
        // Every change leaves the map consistent.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MOST_REMEMBERED {
            used.retain(|_, at| at.elapsed() < REMEMBERED);
            if used.len() >= MOST_REMEMBERED {
                return false;
            }
        }
        used.insert(mac, Instant::now()).is_none()
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

/// The hash of a body for signing.
pub(crate) fn of_body(body: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, body).as_ref());
    hash
}

/// Unambiguous, because neither methods nor request addresses contain line ends.
fn text(head: &str, Signed { to, method, path }: Signed<'_>) -> String {
    format!("{head}\n{to}\n{method}\n{path}")
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 2 * bytes.len() || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: Signed<'static> = Signed {
        to: "two:8080",
        method: "PUT",
        path: "/v1/domains/d/items/i",
    };

    #[test]
    fn a_signature_is_of_one_request_to_one_instance() {
        let (one, two) = (Peers::new("a long secret"), Peers::new("a long secret"));
        let signature = one.sign(PUT, b"{}").expect("randomness");
        for other in [
            Signed {
                to: "three:8080",
                ..PUT
            },
            Signed {
                method: "DELETE",
                ..PUT
            },
            Signed {
                path: "/v1/domains/d/items/j",
                ..PUT
            },
        ] {
            assert_eq!(two.body_of(other, &signature), None, "{other:?}");
        }
        assert_eq!(Peers::new("another").body_of(PUT, &signature), None);
        for bad in ["", "1", "1.2.3.4.5", &signature[1..]] {
            assert_eq!(two.body_of(PUT, bad), None, "{bad}");
        }
        assert_eq!(two.body_of(PUT, &signature), Some(of_body(b"{}")));
        assert_ne!(of_body(b"{}"), of_body(b"{} "));
    }

    #[test]
    fn a_change_counts_once_and_a_question_for_a_minute() {
        let peers = Peers::new("a long secret");
        let signature = peers.sign(PUT, b"").expect("randomness");
        assert!(peers.body_of(PUT, &signature).is_some());
        assert_eq!(peers.body_of(PUT, &signature), None, "again");
        let again = peers.sign(PUT, b"").expect("randomness");
        assert!(peers.body_of(PUT, &again).is_some(), "the same, asked anew");
        let get = Signed {
            method: "GET",
            ..PUT
        };
        let signature = peers.sign(get, b"").expect("randomness");
        assert!((0..2).all(|_| peers.body_of(get, &signature).is_some()));

        for (ago, counts) in [(APART_S - 5, true), (APART_S + 5, false)] {
            let head = format!("1.{}.00.{}", now_s() - ago, hex(&of_body(b"")));
            let mac = hmac::sign(&peers.key, text(&head, get).as_bytes());
            let signature = format!("{head}.{}", hex(mac.as_ref()));
            assert_eq!(peers.body_of(get, &signature).is_some(), counts, "{ago} s");
        }
    }
}
