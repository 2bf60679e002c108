//! Masking: a secret is shown so that one can tell what it points to, not what opens it.

/// Stands for what is not shown.
const HIDDEN: &str = "***";

/// A secret value as it may be shown: of a URL all but its password and the values of its query;
/// of anything else nothing.
pub fn secret(value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = value.split(',').map(|part| url(part.trim())).collect();
    parts.join(",")
}

/// When in doubt this hides too much: a password may hold unescaped `@`, `/` and `?`, so all up
/// to the last `@` counts as the part with the password.
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
            // A lone user part may be a token.
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
            ("amqp://a:b@one,amqp://a:b@two", "amqp://a:***@one,amqp://a:***@two"),
        ];
        for (value, shown) in table {
            assert_eq!(secret(value), shown, "{value:?}");
        }
    }
}
