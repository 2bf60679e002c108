//! What happens to items over time.

use serde_json::{Value, json};

use super::event::Event;

/// Creates `items` items of a domain, `i000` and so on; then updates, hides and deletes some, and creates some of the
/// deleted ones again. `content` makes the fields of one event.
pub(crate) fn history(
    domain: &str,
    items: usize,
    mut content: impl FnMut() -> Value,
) -> Vec<Event> {
    let id = |n: usize| format!("i{n:03}");
    let mut events = Vec::new();
    events.extend((0..items).map(|n| Event::created(domain, &id(n), 10, &content())));
    events.extend((0..10).map(|n| Event::updated(domain, &id(n), 20, &content())));
    events.extend((10..14).map(|n| {
        let mut hidden = content();
        hidden["hidden"] = json!(true);
        Event::updated(domain, &id(n), 20, &hidden)
    }));
    events.extend((14..20).map(|n| Event::deleted(domain, &id(n), 20)));
    events.extend((18..20).map(|n| Event::created(domain, &id(n), 30, &content())));
    events
}
