//! Filters: which items may be answered, by their facts.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use kindred_domain::shown::Shown;
use kindred_shared::language::canonical;
use kindred_shared::name::ALL_LANGUAGES;

/// Most clauses of a filter.
pub const MOST_CLAUSES: usize = 64;
/// Most values of all clauses together.
pub const MOST_VALUES: usize = 1_000;

/// The facts by which an item is filtered.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Its id.
    pub id: &'a str,
    /// The language in which its text was read, in canonical form, or [`ALL_LANGUAGES`]; `None`: it was not read.
    pub language: Option<&'a str>,
    /// What readers see of it.
    pub shown: &'a Shown,
}

impl<'a> Facts<'a> {
    /// The language in which its text was read, otherwise as published; in canonical form. Where texts of all languages
    /// are compared with each other, only the latter is known.
    pub fn language(&self) -> Option<Cow<'a, str>> {
        match self.language {
            Some(read) if read != ALL_LANGUAGES => Some(Cow::Borrowed(read)),
            _ => canonical(self.shown.language.as_deref()?).map(Cow::Owned),
        }
    }
}

/// What an item must be like. An empty filter lets every item pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// The item must pass each of these.
    pub all: Vec<Clause>,
    /// The item must pass at least one of these, if there are any.
    pub any: Vec<Clause>,
    /// The item must pass none of these.
    pub none: Vec<Clause>,
}

/// A test of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The field.
    pub field: Field,
    /// The test.
    pub test: Test,
}

/// A field of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// Its id.
    Id,
    /// Its labels; one of them must pass.
    Categories,
    /// Its section.
    Group,
    /// The language in which its text was read, otherwise as published.
    Language,
    /// When readers could first see it.
    PublishedAt,
    /// The value of an attribute.
    Attribute(Box<str>),
}

/// A test of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// One of these values; sorted.
    In(Vec<Box<str>>),
    /// Whether there is a value.
    Exists(bool),
    /// A time from `after` (inclusive) to `before` (exclusive).
    Between {
        /// The first moment that passes.
        after: Option<DateTime<Utc>>,
        /// The first moment that no longer passes.
        before: Option<DateTime<Utc>>,
    },
}

impl Test {
    /// A test for one of these values.
    pub fn one_of(values: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        let mut values: Vec<Box<str>> = values.into_iter().map(Into::into).collect();
        values.sort_unstable();
        values.dedup();
        Self::In(values)
    }
}

impl Field {
    /// Prefix of the names of attributes.
    pub const ATTRIBUTE: &'static str = "attributes.";
    /// The names of all fields; `NAME` stands for an attribute's name.
    pub const NAMES: [&'static str; 6] = [
        "id",
        "categories",
        "group",
        "language",
        "published_at",
        "attributes.NAME",
    ];

    /// The field with this name; `None`: there is none.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "categories" => Self::Categories,
            "group" => Self::Group,
            "language" => Self::Language,
            "published_at" => Self::PublishedAt,
            _ => match name.strip_prefix(Self::ATTRIBUTE) {
                Some(key) if !key.is_empty() => Self::Attribute(key.into()),
                _ => return None,
            },
        })
    }
}

impl Filter {
    /// Whether every item passes.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.any.is_empty() && self.none.is_empty()
    }

    /// Whether an item passes.
    pub fn passes(&self, facts: &Facts<'_>) -> bool {
        let passes = |clause: &Clause| clause.passes(facts);
        self.all.iter().all(passes)
            && (self.any.is_empty() || self.any.iter().any(passes))
            && !self.none.iter().any(passes)
    }
}

impl Clause {
    fn passes(&self, facts: &Facts<'_>) -> bool {
        let shown = facts.shown;
        match &self.field {
            Field::Id => self.test.fits(Some(facts.id)),
            Field::Group => self.test.fits(shown.group.as_deref()),
            Field::Language => self.test.fits(facts.language().as_deref()),
            Field::Attribute(key) => {
                let place = shown
                    .attributes
                    .binary_search_by(|(one, _)| (**one).cmp(key));
                let found = place.ok().and_then(|at| shown.attributes.get(at));
                self.test.fits(found.map(|(_, value)| &**value))
            }
            Field::Categories => match &self.test {
                Test::In(_) => (shown.categories.iter()).any(|label| self.test.fits(Some(label))),
                Test::Exists(there) => shown.categories.is_empty() != *there,
                Test::Between { .. } => false,
            },
            Field::PublishedAt => match &self.test {
                Test::Exists(there) => shown.published_at.is_some() == *there,
                Test::Between { after, before } => shown.published_at.is_some_and(|at| {
                    after.is_none_or(|after| at >= after) && before.is_none_or(|before| at < before)
                }),
                Test::In(_) => false,
            },
        }
    }
}

impl Test {
    /// Whether a text, or its absence, passes.
    fn fits(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => value.is_some_and(|value| {
                let place = values.binary_search_by(|one| (**one).cmp(value));
                place.is_ok()
            }),
            Self::Exists(there) => value.is_some() == *there,
            Self::Between { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Shown {
        Shown {
            group: Some("travel".into()),
            language: Some("de-AT".into()),
            categories: ["rail".into(), "slow".into()].into(),
            published_at: DateTime::from_timestamp_millis(1_000),
            attributes: [("author".into(), "A. Writer".into())].into(),
            ..Shown::default()
        }
    }

    fn clause(field: &str, test: Test) -> Clause {
        Clause {
            field: Field::named(field).expect(field),
            test,
        }
    }

    #[track_caller]
    fn check(field: &str, test: Test, expected: bool) {
        let shown = shown();
        let facts = Facts {
            id: "a-17",
            language: None,
            shown: &shown,
        };
        let one = || vec![clause(field, test.clone())];
        let of = |all, any, none| Filter { all, any, none };
        assert_eq!(of(one(), vec![], vec![]).passes(&facts), expected);
        assert_eq!(of(vec![], one(), vec![]).passes(&facts), expected);
        assert_eq!(of(vec![], vec![], one()).passes(&facts), !expected);
    }

    fn between(after: Option<i64>, before: Option<i64>) -> Test {
        let at = |ms: Option<i64>| ms.and_then(DateTime::from_timestamp_millis);
        Test::Between {
            after: at(after),
            before: at(before),
        }
    }

    #[test]
    fn every_field_with_every_test() {
        let any_of = |values: &[&str]| Test::one_of(values.iter().copied());
        for (field, values, expected) in [
            ("id", &["b", "a-17"][..], true),
            ("id", &["a-1"], false),
            ("categories", &["slow", "fast"], true),
            ("categories", &["fast"], false),
            ("group", &["travel"], true),
            ("group", &["Travel"], false),
            ("language", &["de"], true),
            ("language", &["en"], false),
            ("attributes.author", &["A. Writer"], true),
            ("attributes.author", &["B"], false),
            ("attributes.editor", &["A. Writer"], false),
        ] {
            check(field, any_of(values), expected);
        }
        for field in Field::NAMES {
            let there = field != "attributes.NAME";
            check(field, Test::Exists(true), there);
            check(field, Test::Exists(false), !there);
        }
        check("attributes.author", Test::Exists(true), true);
        check("published_at", between(Some(1_000), None), true);
        check("published_at", between(Some(1_001), None), false);
        check("published_at", between(None, Some(1_000)), false);
        check("published_at", between(None, Some(1_001)), true);
        check("published_at", between(Some(1), Some(2_000)), true);
    }

    #[test]
    fn what_an_item_lacks_is_in_no_list_and_at_no_time() {
        let shown = Shown::default();
        let facts = Facts {
            id: "a",
            language: None,
            shown: &shown,
        };
        for field in ["categories", "group", "language", "attributes.x"] {
            assert!(!clause(field, Test::one_of(["", "a"])).passes(&facts));
            assert!(clause(field, Test::Exists(false)).passes(&facts));
        }
        assert!(!clause("published_at", between(None, Some(1))).passes(&facts));
    }

    #[test]
    fn where_languages_are_compared_with_each_other_the_given_one_counts() {
        let shown = shown();
        let facts = |language| Facts {
            id: "a",
            language,
            shown: &shown,
        };
        assert_eq!(facts(Some("fr")).language().as_deref(), Some("fr"));
        assert_eq!(facts(Some(ALL_LANGUAGES)).language().as_deref(), Some("de"));
        let in_german = clause("language", Test::one_of(["de"]));
        assert!(in_german.passes(&facts(Some(ALL_LANGUAGES))));
    }

    #[test]
    fn only_what_is_a_field_has_its_name() {
        for name in ["", "title", "attributes", "attributes.", "Id"] {
            assert_eq!(Field::named(name), None, "{name}");
        }
        assert_eq!(
            Field::named("attributes.a.b"),
            Some(Field::Attribute("a.b".into()))
        );
    }
}
