//! Signatures: 64 bits that show for most items that they do not pass a filter, without looking at the items.
//!
//! An item's facts are behind several pointers, so looking at 100,000 items takes longer than scoring them. Each fact
//! sets two bits (a Bloom filter); an item that lacks one of the bits of a required fact does not have that fact.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::filter::{Clause, Facts, Field, Filter, Test};

/// The bits of all facts of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature(u64);

/// What the signatures of items that pass a filter must contain.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// At least one signature of each group.
    wanted: Vec<Vec<Signature>>,
}

/// The bits of one fact.
fn bits(field: u64, value: &str) -> u64 {
    let hash = xxh3_64_with_seed(value.as_bytes(), field);
    1 << (hash % 64) | 1 << (hash / 64 % 64)
}

const GROUP: u64 = 1;
const CATEGORY: u64 = 2;
const LANGUAGE: u64 = 3;

/// The field number of an attribute.
fn attribute(name: &str) -> u64 {
    // Does not collide with the numbers above.
    xxh3_64_with_seed(name.as_bytes(), 0) | 1 << 63
}

impl Signature {
    /// The signature of no facts.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(facts: &Facts<'_>) -> Self {
        let shown = facts.shown;
        let mut all = 0;
        if let Some(group) = &shown.group {
            all |= bits(GROUP, group);
        }
        for label in &shown.categories {
            all |= bits(CATEGORY, label);
        }
        if let Some(language) = facts.language() {
            all |= bits(LANGUAGE, &language);
        }
        for (name, value) in &shown.attributes {
            all |= bits(attribute(name), value);
        }
        Self(all)
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Screen {
    pub(crate) fn of(filter: &Filter) -> Self {
        let all = filter.all.iter().filter_map(wanted);
        let any: Option<Vec<_>> = filter.any.iter().map(wanted).collect();
        let any = any.filter(|any| !any.is_empty());
        Self {
            wanted: all.chain(any.map(|any| any.concat())).collect(),
        }
    }

    /// Whether an item with this signature may pass; otherwise it certainly does not.
    pub(crate) fn lets_through(&self, signature: Signature) -> bool {
        let has = |one: &Signature| signature.has(*one);
        self.wanted.iter().all(|wanted| wanted.iter().any(has))
    }
}

/// At least one of these is contained in the signature of every item that passes a clause; `None`: signatures do not
/// show this.
fn wanted(clause: &Clause) -> Option<Vec<Signature>> {
    let Test::In(values) = &clause.test else {
        return None;
    };
    let field = match &clause.field {
        Field::Group => GROUP,
        Field::Categories => CATEGORY,
        Field::Language => LANGUAGE,
        Field::Attribute(name) => attribute(name),
        Field::Id | Field::PublishedAt => return None,
    };
    let of = |value: &str| Signature(bits(field, value));
    Some(values.iter().map(|value| of(value)).collect())
}

#[cfg(test)]
mod tests {
    use kindred_domain::shown::Shown;
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = Box<str>> {
        prop::sample::select(vec!["a", "b", "c", "de", "en"]).prop_map(Into::into)
    }

    fn shown() -> impl Strategy<Value = Shown> {
        (
            prop::option::of(word()),
            prop::option::of(word()),
            prop::collection::vec(word(), 0..4),
            prop::collection::btree_map(word(), word(), 0..3),
        )
            .prop_map(|(group, language, categories, attributes)| Shown {
                group: group.map(Into::into),
                language: language.map(Into::into),
                categories: categories.into_iter().map(Into::into).collect(),
                attributes: (attributes.into_iter())
                    .map(|(name, value)| (name.into(), value))
                    .collect(),
                ..Shown::default()
            })
    }

    fn clause() -> impl Strategy<Value = Clause> {
        let field = prop_oneof![
            Just(Field::Id),
            Just(Field::Categories),
            Just(Field::Group),
            Just(Field::Language),
            Just(Field::PublishedAt),
            word().prop_map(Field::Attribute),
        ];
        let test = prop_oneof![
            4 => prop::collection::vec(word(), 0..3).prop_map(Test::one_of),
            1 => any::<bool>().prop_map(Test::Exists),
        ];
        (field, test).prop_map(|(field, test)| Clause { field, test })
    }

    proptest! {
        #[test]
        fn whatever_passes_a_filter_is_let_through(
            shown in shown(),
            read in prop::option::of(word()),
            [all, any, none] in prop::array::uniform3(prop::collection::vec(clause(), 0..3)),
        ) {
            let facts = Facts { id: "a", language: read.as_deref(), shown: &shown };
            let filter = Filter { all, any, none };
            let through = Screen::of(&filter).lets_through(Signature::of(&facts));
            prop_assert!(through || !filter.passes(&facts));
        }
    }

    #[test]
    fn most_of_what_does_not_pass_is_held_back() {
        let shown = |number: usize| Shown {
            group: Some(format!("group {}", number % 97).into()),
            categories: ["all".into(), format!("label {number}").into()].into(),
            attributes: [("author".into(), format!("author {}", number % 101).into())].into(),
            ..Shown::default()
        };
        let through = |field: &str, value: &str| {
            let field = Field::named(field).expect("a field");
            let test = Test::one_of([value]);
            let all = vec![Clause { field, test }];
            let screen = Screen::of(&Filter {
                all,
                ..Filter::default()
            });
            let of = |number| {
                let (id, shown) = ("", &shown(number));
                Signature::of(&Facts {
                    id,
                    language: Some("en"),
                    shown,
                })
            };
            (0..1_000)
                .filter(|number| screen.lets_through(of(*number)))
                .count()
        };
        assert!(through("categories", "label 17") < 100);
        assert!(through("attributes.author", "nobody") < 100);
        // A value of one field is not mistaken for that of another.
        assert!(through("group", "all") < 100);
        assert_eq!(through("categories", "all"), 1_000);
        assert_eq!(through("language", "en"), 1_000);
        // Signatures say nothing about these.
        assert_eq!(through("id", "a"), 1_000);
    }
}
