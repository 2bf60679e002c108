//! Signs people in and out: a key is exchanged for a cookie that stands for the key without
//! containing it.

use actix_web::http::StatusCode;
use kindred_web::sign_in;

use super::super::access::COOKIES;
use super::super::parts::Lobby;
use super::form::value;
use super::{Shown, View, Visit, views};
use crate::keys::{LASTS, NotKnown};

/// The page to show, or where to redirect.
pub(super) fn shown(
    lobby: &Lobby,
    visit: &Visit,
    view: &View,
    fields: &[(String, String)],
) -> Shown {
    let next = onward(value(fields, "next"));
    match (visit.is_sent, view) {
        (true, _) if !views::is_meant(lobby, visit, fields) => views::not_meant(visit),
        (true, View::SignOut) => {
            if let Some(cookie) = &visit.cookie {
                lobby.guard.sessions.end(cookie);
            }
            Shown::Elsewhere("/sign-in".to_owned(), Some(set_cookie(visit, "", 0)))
        }
        (true, _) => sign_in(lobby, visit, value(fields, "key").trim(), next),
        (false, _) if lobby.guard.keys.is_open() => Shown::Elsewhere(next.to_owned(), None),
        (false, _) => Shown::Page(StatusCode::OK, sign_in::page(&visit.frame, next, None)),
    }
}

fn sign_in(lobby: &Lobby, visit: &Visit, secret: &str, next: &str) -> Shown {
    let known = lobby.guard.keys.holder(secret);
    let (status, why) = match known {
        Ok(holder) => match lobby.guard.sessions.begin(secret) {
            Ok(cookie) => {
                tracing::info!(key = holder.id, "signed in on the page");
                let cookie = set_cookie(visit, &cookie, LASTS.as_secs());
                return Shown::Elsewhere(next.to_owned(), Some(cookie));
            }
            Err(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The system has no randomness at the moment. Try again soon.",
            ),
        },
        Err(NotKnown::NotRead) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Keys cannot be read from the store yet. Try again in a moment.",
        ),
        Err(NotKnown::Bad) => (
            StatusCode::UNAUTHORIZED,
            "No key has this secret, or it has expired. A secret is kk_ and 43 characters.",
        ),
    };
    Shown::Page(status, sign_in::page(&visit.frame, next, Some(why)))
}

/// The cookie: hidden from scripts, and not sent from other sites.
fn set_cookie(visit: &Visit, value: &str, seconds: u64) -> String {
    let (name, secure) = if visit.is_https {
        (COOKIES[0], "; Secure")
    } else {
        (COOKIES[1], "")
    };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Where to redirect: always a view of this page, whatever was requested.
fn onward(next: &str) -> &str {
    let is_here = next.starts_with('/') && !next.starts_with("//") && !next.starts_with("/sign-");
    let is_plain = next
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_here && is_plain { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_here_and_nowhere_else() {
        assert_eq!(onward("/domains/a?q=b%20c"), "/domains/a?q=b%20c");
        for bad in [
            "",
            "x",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nset-cookie: x",
            "/sign-out",
            "/é",
        ] {
            assert_eq!(onward(bad), "/", "{bad}");
        }
    }
}
