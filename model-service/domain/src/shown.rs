//! What readers see of an item, and by what they filter items.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::markup::plain_text;
use crate::memory;
use crate::store::ItemRow;

/// Longest title in an answer, in bytes.
pub const TITLE_BYTES: usize = 2 << 10;

/// Number of words at which unused ones are dropped for the first time.
const FIRST_SWEEP: usize = 1_024;

/// What an item's newest durable event says for readers. The machine and the snapshots share it; words that recur in a
/// domain are stored once ([`Interner`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// Its title as plain text, shortened ([`title`]).
    pub title: Option<Box<str>>,
    /// Its address.
    pub url: Option<Box<str>>,
    /// The address of a picture.
    pub image: Option<Box<str>>,
    /// Its language as published.
    pub language: Option<Arc<str>>,
    /// Its section.
    pub group: Option<Arc<str>>,
    /// Its labels, ascending.
    pub categories: Box<[Arc<str>]>,
    /// When readers could first see it.
    pub published_at: Option<DateTime<Utc>>,
    /// When it was scheduled to become visible.
    pub publish_at: Option<DateTime<Utc>>,
    /// When the event was accepted that made it live.
    pub accepted_at: Option<DateTime<Utc>>,
    /// Additional keys and values, by key.
    pub attributes: Box<[(Arc<str>, Box<str>)]>,
}

impl Shown {
    /// What readers see of an item with this row.
    pub fn of(row: &ItemRow, words: &mut Interner) -> Self {
        let text = |text: &str| Box::<str>::from(text);
        let categories = row.categories.iter().map(|label| words.word(label));
        let categories = categories.collect();
        let attributes = row.attributes.iter();
        Self {
            title: row.title.as_deref().and_then(title),
            url: row.url.as_deref().map(text),
            image: row.image.as_deref().map(text),
            categories,
            published_at: row.published_at,
            publish_at: row.publish_at,
            accepted_at: Some(row.first_accepted()),
            attributes: attributes
                .map(|(key, value)| (words.word(key), text(value)))
                .collect(),
            language: row.language.as_deref().map(|word| words.word(word)),
            group: row.group.as_deref().map(|word| words.word(word)),
        }
    }

    /// An estimate of the bytes held, without the interner's words.
    pub(crate) fn memory(&self) -> u64 {
        let text =
            |text: &Option<Box<str>>| memory::boxed(text.as_ref().map_or(0, |text| text.len()));
        let values = self
            .attributes
            .iter()
            .map(|(_, value)| memory::boxed(value.len()));
        memory::shared(size_of::<Self>())
            + text(&self.title)
            + text(&self.url)
            + text(&self.image)
            + memory::vector::<Arc<str>>(self.categories.len())
            + memory::vector::<(Arc<str>, Box<str>)>(self.attributes.len())
            + values.sum::<u64>()
    }
}

/// A title as shown: plain text without markup, with white space collapsed, cut between characters. `None`: nothing is
/// left.
pub fn title(said: &str) -> Option<Box<str>> {
    let plain = plain_text(said);
    let mut shown = String::with_capacity(plain.len().min(TITLE_BYTES));
    for word in plain.split_whitespace() {
        if shown.len() > TITLE_BYTES {
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(word);
    }
    shown.truncate(shown.floor_char_boundary(TITLE_BYTES));
    (!shown.is_empty()).then(|| shown.into_boxed_str())
}

/// Stores each word once, for as long as it is used.
#[derive(Debug, Default)]
pub struct Interner {
    known: HashSet<Arc<str>>,
    /// Number of words at which unused ones are dropped next.
    sweep_at: usize,
    /// Bytes of the words.
    bytes: u64,
}

impl Interner {
    /// The word, shared with all who use it.
    pub fn word(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.known.get(word) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|word| Arc::strong_count(word) > 1);
            self.sweep_at = FIRST_SWEEP.max(2 * self.known.len());
            self.bytes = self
                .known
                .iter()
                .map(|word| memory::shared(word.len()))
                .sum();
        }
        let new: Arc<str> = word.into();
        self.bytes += memory::shared(new.len());
        self.known.insert(Arc::clone(&new));
        new
    }

    /// An estimate of the bytes held.
    pub(crate) fn memory(&self) -> u64 {
        memory::table::<Arc<str>>(self.known.capacity()) + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_cut_at_a_character() {
        let shown = |said: &str| title(said).unwrap_or_default().into_string();
        assert_eq!(shown("short"), "short");
        let long = "é".repeat(TITLE_BYTES);
        assert_eq!(shown(&long), "é".repeat(TITLE_BYTES / 2));
        let odd = format!("a{long}");
        assert_eq!(shown(&odd).len(), TITLE_BYTES - 1);
        assert_eq!(
            shown(&"word ".repeat(TITLE_BYTES)).len(),
            TITLE_BYTES,
            "the last word is cut"
        );
    }

    #[test]
    fn a_title_is_shown_as_readers_see_it() {
        for (said, shown) in [
            ("&ldquo;agilefall&rdquo;", Some("“agilefall”")),
            (
                "  Night\n\ttrains  <em>return</em> ",
                Some("Night trains return"),
            ),
            ("AT&amp;T&nbsp;&#8211; <br>why", Some("AT&T – why")),
            ("a < b", Some("a < b")),
            ("<br>", None),
            ("", None),
        ] {
            assert_eq!(title(said).as_deref(), shown, "{said}");
        }
    }

    #[test]
    fn words_are_held_once_and_forgotten_when_unused() {
        let mut words = Interner::default();
        let kept = words.word("kept");
        assert!(Arc::ptr_eq(&kept, &words.word("kept")));
        for n in 0..10 * FIRST_SWEEP {
            words.word(&n.to_string());
        }
        assert!(words.known.len() <= FIRST_SWEEP);
        assert!(Arc::ptr_eq(&kept, &words.word("kept")));
    }
}
