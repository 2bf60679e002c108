//! Paths of the HTTP interface, for clients.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Every domain.
pub const DOMAINS: &str = "/v1/domains";
/// The compute workers.
pub const WORKERS: &str = "/v1/workers";
/// Every key.
pub const KEYS: &str = "/v1/keys";
/// Metrics.
pub const METRICS: &str = "/metrics";

/// Characters that are not escaped in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A segment of a path: the name of a domain or the id of an item.
fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// A domain.
pub fn domain(domain: &str) -> String {
    format!("{DOMAINS}/{}", segment(domain))
}

/// A batch of events of a domain.
pub fn batch(of: &str) -> String {
    format!("{}/items:batch", domain(of))
}

/// An item.
pub fn item(of: &str, id: &str) -> String {
    format!("{}/items/{}", domain(of), segment(id))
}

/// The models of a domain.
pub fn models(of: &str) -> String {
    format!("{}/models", domain(of))
}

/// A model of a domain.
pub fn model(of: &str, name: &str) -> String {
    format!("{}/{}", models(of), segment(name))
}

/// Serving a model of a domain.
pub fn activate(of: &str, name: &str) -> String {
    format!("{}:activate", model(of, name))
}

/// A key.
pub fn key(id: &str) -> String {
    format!("{KEYS}/{}", segment(id))
}

/// Queries of a domain.
pub fn queries(of: &str) -> String {
    format!("{}/similar", domain(of))
}

/// Computing stored features and lists of a domain again.
pub fn repair(of: &str) -> String {
    format!("{}/repair", domain(of))
}

/// The items of a domain.
pub fn items(of: &str) -> String {
    format!("{}/items", domain(of))
}

/// All items of a domain, as events.
pub fn export(of: &str) -> String {
    format!("{}/export", domain(of))
}

/// The log of a domain.
pub fn log(of: &str) -> String {
    format!("{}/log", domain(of))
}

/// The experiments of a domain.
pub fn experiments(of: &str) -> String {
    format!("{}/experiments", domain(of))
}

/// An experiment.
pub fn experiment(of: &str, name: &str) -> String {
    format!("{}/{}", experiments(of), segment(name))
}

/// Feedback about a domain.
pub fn feedback(of: &str) -> String {
    format!("{}/feedback", domain(of))
}

/// A path with query parameters.
pub fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter();
    let pairs = pairs.map(|(name, value)| format!("{}={}", segment(name), segment(value)));
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// At most `limit` items that are similar to an item.
pub fn similar(of: &str, id: &str, limit: usize) -> String {
    format!("{}/similar?limit={limit}", item(of, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_whatever_is_in_it() {
        assert_eq!(
            similar("news.example", "a/b %2F é", 3),
            "/v1/domains/news.example/items/a%2Fb%20%252F%20%C3%A9/similar?limit=3"
        );
        assert_eq!(
            with_query(&items("d"), &[("q", "a b&c"), ("attribute.x&y", "3")]),
            "/v1/domains/d/items?q=a%20b%26c&attribute.x%26y=3"
        );
        assert_eq!(batch("d"), "/v1/domains/d/items:batch");
    }
}
