//! Secrets. They are displayed in a form that shows what they refer to without revealing them.

use std::fmt;

/// Replaces what is hidden.
const HIDDEN: &str = "***";

/// How much of a key's value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// A URL, or several separated by commas: everything but passwords and the values of query
    /// parameters.
    Url,
    /// Only whether there is a value.
    Whole,
}

impl Secrecy {
    /// The value in displayable form.
    pub fn shown(self, value: &str) -> String {
        match self {
            Self::Open => value.to_owned(),
            Self::Whole | Self::Url if value.is_empty() => String::new(),
            Self::Url => {
                let parts: Vec<String> = value.split(',').map(|part| url(part.trim())).collect();
                parts.join(",")
            }
            Self::Whole => HIDDEN.to_owned(),
        }
    }
}

/// A value that must not be shown; its `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for its use only; never for a log line.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// When in doubt this hides too much: a password may contain unescaped `@`, `/` and `?`, so
/// everything up to the last `@` is treated as credentials.
fn url(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return HIDDEN.to_owned();
    };
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let place = match place.split_once('?') {
        Some((path, _)) => format!("{path}?{HIDDEN}"),
        None => place.to_owned(),
    };
    match user {
        None => format!("{scheme}://{place}"),
        Some(user) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:{HIDDEN}@{place}"),
            // A user part without a password may be a token.
            None => format!("{scheme}://{HIDDEN}@{place}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_passwords_and_nothing_else() {
        let table = [
            ("", ""),
            ("hunter2", "***"),
            ("amqp://localhost:5672/%2f", "amqp://localhost:5672/%2f"),
            (
                "amqp://guest:guest@localhost:5672/%2f",
                "amqp://guest:***@localhost:5672/%2f",
            ),
            ("amqp://u:p@ss/w?rd@host/v", "amqp://u:***@host/v"),
            ("amqps://token@host", "amqps://***@host"),
            ("http://host/path?key=1&b=2", "http://host/path?***"),
            (
                "amqp://a:b@one,amqp://a:b@two",
                "amqp://a:***@one,amqp://a:***@two",
            ),
        ];
        for (value, shown) in table {
            assert_eq!(Secrecy::Url.shown(value), shown, "{value:?}");
            assert_eq!(Secrecy::Open.shown(value), value);
            let whole = if value.is_empty() { "" } else { HIDDEN };
            assert_eq!(Secrecy::Whole.shown(value), whole);
            assert_eq!(format!("{:?}", Secret::new(value)), HIDDEN);
        }
    }
}
