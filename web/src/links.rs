//! Addresses of views, and of the interface behind them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters that need no escape in a path segment or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text, percent-encoded for an address.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// The view of a domain, or a view below it.
pub(crate) fn domain(name: &str, below: &str) -> String {
    format!("/domains/{}{below}", encoded(name))
}

/// The view of an item.
pub(crate) fn item(domain: &str, id: &str) -> String {
    format!("/domains/{}/items/{}", encoded(domain), encoded(id))
}

/// A query string with these parameters, including its question mark; those without a value are
/// omitted.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if value.is_empty() {
            continue;
        }
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(&encoded(name));
        text.push('=');
        text.push_str(&encoded(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_an_address() {
        assert_eq!(
            item("a.example", "x/ü?&#%"),
            "/domains/a.example/items/x%2F%C3%BC%3F%26%23%25"
        );
        assert_eq!(
            query([("q", "a b"), ("sort", ""), ("attribute.x", "1&2")]),
            "?q=a%20b&attribute.x=1%262"
        );
        assert_eq!(query([]), "");
    }
}
