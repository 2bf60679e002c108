//! Sessions of the page: for some hours a cookie stands for a key; neither of them is stored here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

use super::secret::hash;

/// How long a session lasts.
pub(crate) const LASTS: Duration = Duration::from_secs(12 * 3_600);
/// Most sessions; beyond it the one that expires first is dropped.
const MOST: usize = 1_000;
/// Random bytes per cookie or token: 43 characters.
const RANDOM_BYTES: usize = 32;

/// A session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The hash of its key's secret.
    pub(crate) key: [u8; 32],
    /// The token for changes.
    pub(crate) token: Token,
    until: Instant,
}

/// A token that changes must carry, and that pages of other sites cannot know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    fn new() -> Result<Self, Unspecified> {
        Ok(Self(random()?))
    }

    /// As in forms.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the token. Hashes are compared, so that timing reveals nothing.
    pub(crate) fn is(&self, given: &str) -> bool {
        hash(&self.0) == hash(given)
    }
}

/// The sessions of this instance.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<[u8; 32], Session>>,
    /// The token of forms outside of sessions.
    of_nobody: OnceLock<Token>,
}

impl Sessions {
    /// Starts a session for a secret, which is known to belong to a key; returns the cookie's
    /// value.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn begin(&self, secret: &str) -> Result<String, Unspecified> {
        self.begin_at(secret, Instant::now())
    }

    fn begin_at(&self, secret: &str, now: Instant) -> Result<String, Unspecified> {
        let cookie = random()?;
        let session = Session {
            key: hash(secret),
            token: Token::new()?,
            until: now + LASTS,
        };
        let mut open = self.open();
        open.retain(|_, session| session.until > now);
        if open.len() >= MOST {
            let first = open.iter().min_by_key(|(_, session)| session.until);
            if let Some(first) = first.map(|(of, _)| *of) {
                open.remove(&first);
            }
        }
        open.insert(hash(&cookie), session);
        Ok(cookie)
    }

    /// The session with this cookie.
    pub(crate) fn find(&self, cookie: &str) -> Option<Session> {
        self.find_at(cookie, Instant::now())
    }

    fn find_at(&self, cookie: &str, now: Instant) -> Option<Session> {
        let found = self.open().get(&hash(cookie)).cloned();
        found.filter(|session| session.until > now)
    }

    /// Ends the session with this cookie.
    pub(crate) fn end(&self, cookie: &str) {
        self.open().remove(&hash(cookie));
    }

    /// The token of forms outside of sessions: another one at each start of the process.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn of_nobody(&self) -> Result<&Token, Unspecified> {
        if self.of_nobody.get().is_none() {
            // The first caller sets it.
            let _ = self.of_nobody.set(Token::new()?);
        }
        self.of_nobody.get().ok_or(Unspecified)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        // Every change leaves the map consistent.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> Result<String, Unspecified> {
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_stands_for_a_key_until_its_time_is_over() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let cookie = sessions.begin_at("kk_secret", now).expect("randomness");
        let session = sessions.find_at(&cookie, now).expect("a session");
        assert_eq!(session.key, hash("kk_secret"));
        assert!(session.token.is(session.token.as_str()) && !session.token.is(&cookie));
        assert!(sessions.find_at(&cookie, now + LASTS).is_none());
        assert!(sessions.find("other").is_none());
        let debug = format!("{sessions:?}");
        assert!(!debug.contains("kk_secret") && !debug.contains(&cookie));
        sessions.end(&cookie);
        assert!(sessions.find_at(&cookie, now).is_none());
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let at = |n: usize| now + Duration::from_millis(n as u64);
        let begin = |n| sessions.begin_at("kk_x", at(n)).expect("randomness");
        let cookies: Vec<_> = (0..=MOST).map(begin).collect();
        assert_eq!(sessions.open().len(), MOST);
        assert!(sessions.find_at(&cookies[0], at(MOST)).is_none());
        assert!(sessions.find_at(&cookies[1], at(MOST)).is_some());
    }

    #[test]
    fn who_is_not_signed_in_has_one_token() {
        let sessions = Sessions::default();
        let token = sessions.of_nobody().expect("randomness");
        assert_eq!(token, sessions.of_nobody().expect("randomness"));
        assert!(Sessions::default().of_nobody().expect("randomness") != token);
    }
}
