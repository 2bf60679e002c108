//! An estimate of the bytes that an event takes in memory. Pure.

use kindred_shared::event::{Event, Upsert};
use serde::Serialize;

/// Bytes that an event takes in addition to its texts: its own fields, its queue entry and its confirmation. So a
/// capacity in bytes also limits the number of events.
const EVENT_BYTES: usize = 512;

/// An estimate of the bytes that an event takes in memory.
pub fn size_of_event(event: &Event) -> usize {
    let names = event.domain().as_str().len() + event.id().map_or(0, |id| id.as_str().len());
    EVENT_BYTES
        + names
        + match event {
            Event::Upsert(upsert) => size_of_upsert(upsert),
            // Its size as text: about what its few fields take.
            Event::Patch(_) => 2 * event.to_json().len(),
            Event::Delete(_) | Event::Model(_) | Event::Remove(_) => 0,
            Event::Configure(configure) => size_of_json(&configure.settings),
            Event::Record(recorded) => {
                size_of_json(&recorded.before) + size_of_json(&recorded.after)
            }
        }
}

/// Its size as text, times what a tree of JSON takes in comparison.
fn size_of_json(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |text| 4 * text.len())
}

fn size_of_upsert(upsert: &Upsert) -> usize {
    let texts = [
        &upsert.title,
        &upsert.text,
        &upsert.url,
        &upsert.image,
        &upsert.language,
        &upsert.group,
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let owned = |text: &String| text.len() + size_of::<String>();
    let labels: usize = upsert.categories.iter().map(owned).sum();
    let pairs = upsert.attributes.iter();
    let attributes: usize = pairs.map(|(name, value)| owned(name) + owned(value)).sum();
    let vectors = upsert.vector.iter().chain(upsert.vectors.values());
    let vectors: usize = vectors.map(|vector| 4 * vector.len()).sum();
    size_of::<Upsert>() + texts + labels + attributes + vectors
}
