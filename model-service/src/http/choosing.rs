//! Selects which stored items are listed: live ones that have the words and pass the query's
//! filter.

use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use kindred_domain::shown::{Interner, Shown};
use kindred_domain::store::{ItemRow, Liveness, StoreError, newest_feature};
use kindred_query::filter::{Clause, Facts, Field};
use kindred_query::{Filter, Snapshot};
use kindred_shared::{DomainName, ModelName};

use super::asking::Here;
use super::items::language_used;
use super::parts::Reads;

/// Most features read per page to learn the languages of texts. Each is one read of the store, or
/// two.
pub(super) const MOST_FEATURES: usize = 1_000;
/// Features read at a time.
const AT_A_TIME: usize = 16;

/// The conditions for an item to be listed.
pub(super) struct Choice {
    /// In lower case.
    words: Vec<String>,
    /// The filter without languages.
    filter: Filter,
    /// The languages of the filter. A row has its text's language only if its publisher gave it.
    languages: Filter,
    now: DateTime<Utc>,
}

impl Choice {
    /// For items that are live `now`. The filter comes from parameters, so it has no `any`.
    pub(super) fn new(words: &str, filter: Filter, now: DateTime<Utc>) -> Self {
        let words = words.split_whitespace().map(str::to_lowercase);
        let is_of_language = |clause: &Clause| clause.field == Field::Language;
        let (all_languages, all) = filter.all.into_iter().partition(is_of_language);
        let (no_languages, none) = filter.none.into_iter().partition(is_of_language);
        Self {
            words: words.collect(),
            filter: Filter {
                all,
                none,
                any: filter.any,
            },
            languages: Filter {
                all: all_languages,
                any: Vec::new(),
                none: no_languages,
            },
            now,
        }
    }

    /// Whether languages matter.
    pub(super) fn asks_for_languages(&self) -> bool {
        !self.languages.is_empty()
    }

    /// Whether a row meets all conditions except those on language. Words of many rows are stored
    /// once.
    pub(super) fn may_be(&self, row: &ItemRow, held: &mut Interner) -> bool {
        let is_live = row.liveness == Liveness::Live;
        if !is_live || row.expires_at.is_some_and(|at| at <= self.now) {
            return false;
        }
        if self.words.is_empty() && self.filter.is_empty() {
            return true;
        }
        let shown = Shown::of(row, held);
        self.has_words(row, &shown) && self.filter.passes(&facts(row, None, &shown))
    }

    fn has_words(&self, row: &ItemRow, shown: &Shown) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let title = shown.title.as_deref().unwrap_or_default();
        let said = format!("{} {}", title, row.id).to_lowercase();
        self.words.iter().all(|word| said.contains(word.as_str()))
    }

    /// Whether an item with this language passes.
    fn has_language(&self, row: &ItemRow, language: Option<&str>) -> bool {
        // The filter on languages needs no other fields.
        let shown = Shown::default();
        self.languages.passes(&facts(row, language, &shown))
    }
}

fn facts<'a>(row: &'a ItemRow, language: Option<&'a str>, shown: &'a Shown) -> Facts<'a> {
    Facts {
        id: row.id.as_str(),
        language,
        shown,
    }
}

/// Learns the languages that texts were read in, for one page.
pub(super) struct Languages<'a> {
    reads: &'a Reads,
    domain: &'a DomainName,
    /// The domain's model.
    model: &'a ModelName,
    /// Readers' view of the domain, if it is active here.
    here: Option<Here>,
    /// How many more features may be read.
    left: usize,
}

/// The selection from some rows, in order.
pub(super) struct Chosen {
    /// The indices of the selected rows.
    pub(super) places: Vec<usize>,
    /// How many rows were examined. The rest belongs to another page.
    pub(super) looked_at: usize,
}

impl<'a> Languages<'a> {
    pub(super) fn new(reads: &'a Reads, domain: &'a DomainName, model: &'a ModelName) -> Self {
        Self {
            reads,
            domain,
            model,
            here: Here::of(reads, domain).filter(Here::is_registered),
            left: MOST_FEATURES,
        }
    }

    /// The first `most` rows whose language matches; fewer if no more features may be read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn choose(
        &mut self,
        choice: &Choice,
        rows: &[ItemRow],
        most: usize,
    ) -> Result<Chosen, StoreError> {
        if !choice.asks_for_languages() {
            let looked_at = rows.len().min(most);
            let places = (0..looked_at).collect();
            return Ok(Chosen { places, looked_at });
        }
        let mut chosen = Chosen {
            places: Vec::new(),
            looked_at: 0,
        };
        for some in rows.chunks(AT_A_TIME) {
            if chosen.places.len() == most || self.left < some.len() {
                break;
            }
            for (row, language) in some.iter().zip(self.of(some).await?) {
                if chosen.places.len() == most {
                    return Ok(chosen);
                }
                if choice.has_language(row, language.as_deref()) {
                    chosen.places.push(chosen.looked_at);
                }
                chosen.looked_at += 1;
            }
        }
        Ok(chosen)
    }

    /// The languages of some rows: as given, else as in the readers' view, else as in the stored
    /// feature.
    async fn of(&mut self, rows: &[ItemRow]) -> Result<Vec<Option<String>>, StoreError> {
        let now = self.reads.clock.now().unix_ms;
        let known: Vec<Option<Option<String>>> = rows
            .iter()
            .map(|row| match language_used(row, None) {
                Some(given) => Some(Some(given)),
                None => seen(self.here.as_ref().map(|here| &*here.snapshot), row, now),
            })
            .collect();
        self.left -= known.iter().filter(|known| known.is_none()).count();
        let (store, domain, model) = (&*self.reads.store, self.domain, self.model);
        let languages = rows.iter().zip(known).map(|(row, known)| async move {
            if let Some(known) = known {
                return Ok(known);
            }
            let stamp = newest_feature(store, domain, model, &row.id).await?;
            Ok(language_used(row, stamp.as_ref()))
        });
        try_join_all(languages).await
    }
}

/// The language of an item in the readers' view. The outer `None`: the item is not in the view.
fn seen(snapshot: Option<&Snapshot>, row: &ItemRow, now: i64) -> Option<Option<String>> {
    let item = snapshot?.item(row.id.as_str(), now)?;
    Some(item.facts().language().map(Into::into))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;
    use crate::http::fakes::item_row;
    use crate::http::filter_parameters::FilterParameters;

    fn filter(parameters: &[(&str, &str)]) -> Filter {
        let mut filter = FilterParameters::default();
        for (name, value) in parameters {
            assert!(filter.take(name, value).unwrap(), "{name}");
        }
        filter.filter().unwrap()
    }

    #[test]
    fn words_are_looked_for_in_title_and_id() {
        let row = ItemRow {
            title: Some("Night &amp; <b>Trains</b>".to_owned()),
            ..item_row("Ö-17", 1)
        };
        let wanted = |words: &str| {
            let choice = Choice::new(words, Filter::default(), Utc::now());
            choice.may_be(&row, &mut Interner::default())
        };
        assert!(wanted("") && wanted("trains NIGHT") && wanted("ö-1 &"));
        assert!(!wanted("amp") && !wanted("night buses"));
    }

    #[test]
    fn a_row_passes_as_an_item_of_a_query_does() {
        let row = ItemRow {
            group: Some("travel".to_owned()),
            categories: ["rail", "slow"].map(str::to_owned).into(),
            attributes: [("author".to_owned(), "A".to_owned())].into(),
            published_at: DateTime::from_timestamp_millis(1_795_424_400_000),
            ..item_row("a", 1)
        };
        let passes = |name: &str, value: &str| {
            let choice = Choice::new("", filter(&[(name, value)]), Utc::now());
            choice.may_be(&row, &mut Interner::default())
        };
        for (name, value, passing) in [
            ("category", "slow", true),
            ("category", "fast", false),
            ("not_category", "rail", false),
            ("group", "travel", true),
            ("not_group", "travel", false),
            ("attribute.author", "A", true),
            ("attribute.editor", "A", false),
            ("not_attribute.author", "A", false),
            ("published_after", "2026-11-23T09:00:00Z", true),
            ("published_before", "2026-11-23T09:00:00Z", false),
        ] {
            assert_eq!(passes(name, value), passing, "{name}={value}");
        }
        let both = filter(&[("category", "slow"), ("group", "news")]);
        let choice = Choice::new("", both, Utc::now());
        assert!(!choice.may_be(&row, &mut Interner::default()));
    }

    #[test]
    fn languages_are_kept_apart_from_the_rest() {
        let row = item_row("a", 1);
        let of = |name: &str| {
            let choice = Choice::new("", filter(&[(name, "de-AT")]), Utc::now());
            assert!(choice.asks_for_languages());
            assert!(choice.may_be(&row, &mut Interner::default()));
            [Some("de"), Some("en"), None].map(|language| choice.has_language(&row, language))
        };
        assert_eq!(of("language"), [true, false, false]);
        assert_eq!(of("not_language"), [false, true, true]);
        let choice = Choice::new("", filter(&[("group", "x")]), Utc::now());
        assert!(!choice.asks_for_languages());
    }
}
