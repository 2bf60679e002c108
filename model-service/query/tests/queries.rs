//! Compares every combination of conditions with a brute-force computation over the same features, written
//! independently and as simply as possible: ids, order, scores and ranks must be equal bit for bit.
#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::DateTime;
use kindred_domain::features::{Features, Live, Rows};
use kindred_domain::list::{KEEP, ListEntry};
use kindred_domain::shown::Shown;
use kindred_domain::slot::Slot;
use kindred_domain::view_change::{Listed, ServedList, ViewChange};
use kindred_query::filter::{Clause, Field, Test};
use kindred_query::{
    AskError, Collapse, Computed, Conditions, DomainView, Fallback, Filter, Found, Question,
    Snapshot, Subject,
};
use kindred_shared::{BlockBuilder, Feature, ItemId, ModelName, Space};
use kindred_similarity::{Kernel, RowMask};
use proptest::prelude::*;

/// Now, in ms. Half-lives and ages are whole numbers of days, so that ranks are exact.
const NOW: i64 = 1_000 * DAY;
const DAY: i64 = 86_400_000;
const NEAR: f32 = 0.9;
/// In domains with this many items, scans use comparisons instead of scoring items one by one.
const LARGE: usize = 1_500;

/// A generated item.
#[derive(Debug, Clone)]
struct Plain {
    space: usize,
    dense: Option<[f32; 3]>,
    terms: Vec<(u32, f32)>,
    group: Option<u8>,
    categories: BTreeSet<u8>,
    age_days: Option<i64>,
    /// When it was scheduled, and when it was accepted.
    other_days: (Option<i64>, Option<i64>),
    is_expired: bool,
    is_gone: bool,
}

const SPACES: [&str; 2] = ["words-1/en", "words-1/de"];

fn plain() -> impl Strategy<Value = Plain> {
    // Few different values, so that scores tie.
    let value = prop_oneof![Just(0.0_f32), Just(0.5), Just(-0.25), -1.0_f32..1.0];
    let terms =
        prop::collection::btree_map(0..6_u32, prop_oneof![Just(0.5_f32), 0.1_f32..0.9], 0..4);
    (
        prop_oneof![4 => Just(0_usize), 1 => Just(1)],
        prop::option::weighted(0.7, prop::array::uniform3(value)),
        terms,
        prop::option::of(0..4_u8),
        prop::collection::btree_set(0..5_u8, 0..3),
        prop::option::weighted(0.8, -2..30_i64),
        (prop::option::of(0..30_i64), prop::option::of(0..30_i64)),
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.05),
    )
        .prop_map(
            |(
                space,
                dense,
                terms,
                group,
                categories,
                age_days,
                other_days,
                is_expired,
                is_gone,
            )| Plain {
                space,
                dense,
                terms: terms.into_iter().collect(),
                group,
                categories,
                age_days,
                other_days,
                is_expired,
                is_gone,
            },
        )
}

fn id(n: usize) -> ItemId {
    // The order of ids differs from that of slots.
    ItemId::new(&format!("{}-{n}", (n * 7) % 10)).unwrap()
}

impl Plain {
    fn feature(&self) -> Feature {
        let (ids, weights) = self.terms.iter().copied().unzip();
        let dense = self.dense.map_or_else(Vec::new, |dense| dense.to_vec());
        Feature::new(dense, ids, weights).unwrap()
    }

    fn shown(&self) -> Shown {
        let published = |days: i64| DateTime::from_timestamp_millis(NOW - days * DAY);
        Shown {
            group: self.group.map(|group| format!("g{group}").into()),
            categories: self
                .categories
                .iter()
                .map(|c| format!("c{c}").into())
                .collect(),
            published_at: self.age_days.and_then(published),
            publish_at: self.other_days.0.and_then(published),
            accepted_at: self.other_days.1.and_then(published),
            ..Shown::default()
        }
    }

    /// Its age in days.
    fn days(&self) -> Option<i64> {
        let (kept, accepted) = self.other_days;
        match (self.age_days, kept) {
            (Some(days), _) | (None, Some(days)) => Some(days),
            (None, None) => accepted,
        }
    }

    fn is_visible(&self) -> bool {
        !self.is_expired && !self.is_gone
    }
}

/// The canonical score as the contract defines it, for dense parts of up to 16 values.
fn score(a: &Plain, b: &Plain) -> f32 {
    if a.space != b.space {
        return 0.0;
    }
    let mut lanes = [0.0_f32; 16];
    if let (Some(a), Some(b)) = (a.dense, b.dense) {
        for at in 0..3 {
            lanes[at] = a[at] * b[at];
        }
    }
    for width in [8, 4, 2, 1] {
        for at in 0..width {
            lanes[at] += lanes[at + width];
        }
    }
    let mut sparse = 0.0_f32;
    for (id, weight) in &a.terms {
        for (other, of_other) in &b.terms {
            if id == other {
                sparse = weight.mul_add(*of_other, sparse);
            }
        }
    }
    lanes[0] + sparse
}

fn is_zero(item: &Plain) -> bool {
    item.dense.is_none() && item.terms.is_empty()
}

/// A list as machines keep it: the best `keep`, and the score of the best one left out.
fn list(items: &[Plain], of: usize, keep: usize) -> (Vec<(usize, f32)>, Option<f32>) {
    let mut all: Vec<(usize, f32)> = (0..items.len())
        .filter(|other| *other != of && !is_zero(&items[*other]) && !is_zero(&items[of]))
        .map(|other| (other, score(&items[of], &items[other])))
        .filter(|(_, score)| *score > 0.0)
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(id(a.0).cmp(&id(b.0))));
    let bound = all.get(keep).map(|one| one.1);
    all.truncate(keep);
    (all, bound)
}

/// The mean of the first ten scores of a list, where missing ones count as 0.
fn hub(items: &[Plain], of: usize) -> f64 {
    let (list, _) = list(items, of, KEEP);
    list.iter()
        .take(10)
        .map(|one| f64::from(one.1))
        .sum::<f64>()
        / 10.0
}

fn snapshot(items: &[Plain], keep: usize) -> Arc<Snapshot> {
    let listed = items.iter().enumerate().map(|(n, item)| {
        let (entries, bound) = list(items, n, keep);
        let entry = |(slot, score): (usize, f32)| ListEntry {
            slot: Slot(slot as u32),
            score,
        };
        Listed {
            slot: Slot(n as u32),
            id: id(n),
            expires_at: item.is_expired.then_some(NOW),
            shown: Arc::new(item.shown()),
            space: Some(Space::stored(SPACES[item.space])),
            list: Some(ServedList {
                version: 1,
                entries: entries.into_iter().map(entry).collect(),
                bound,
                zero: is_zero(item),
            }),
        }
    });
    // Small blocks, with rows that no longer count; but those of a large domain have more rows.
    let rows = if items.len() < LARGE { 7 } else { 400 };
    let by_space = SPACES.iter().enumerate().map(|(number, space)| {
        let of_space: Vec<usize> = (0..items.len())
            .filter(|n| items[*n].space == number && !is_zero(&items[*n]))
            .collect();
        let blocks = of_space.chunks(rows).map(|chunk| {
            let mut builder = BlockBuilder::new(Space::stored(space), 3);
            for n in chunk {
                builder.push(id(*n), 1, &items[*n].feature());
            }
            builder.push(ItemId::new("dead").unwrap(), 1, &items[chunk[0]].feature());
            let slots = chunk.iter().map(|n| Slot(*n as u32)).chain([Slot(9_999)]);
            let mut live = RowMask::all(chunk.len() + 1);
            live.remove(chunk.len());
            Live {
                rows: Arc::new(Rows::new(Arc::new(builder.build()), slots.collect())),
                live: Arc::new(live),
            }
        });
        (Space::stored(space), blocks.collect())
    });
    let view = DomainView::default();
    let change = ViewChange {
        replace: true,
        model: Some(ModelName::new("words-1").unwrap()),
        listed: listed.collect(),
        features: Some(Features::new(by_space)),
        ..ViewChange::default()
    };
    view.apply(change, NOW);
    let gone = items.iter().enumerate().filter(|(_, item)| item.is_gone);
    let change = ViewChange {
        gone: gone.map(|(n, _)| id(n)).collect(),
        ..ViewChange::default()
    };
    view.apply(change, NOW);
    view.snapshot().as_ref().map(Arc::clone).unwrap()
}

/// The question, with items given by number.
#[derive(Debug, Clone)]
enum Of {
    Items(Vec<(usize, f64)>),
    Made(Plain),
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let category = |c: u8| Clause {
        field: Field::Categories,
        test: Test::one_of([format!("c{c}")]),
    };
    let published = prop::option::weighted(0.8, 0..25_i64).prop_map(|days| Clause {
        field: Field::PublishedAt,
        test: match days {
            None => Test::Exists(true),
            Some(days) => Test::Between {
                after: DateTime::from_timestamp_millis(NOW - days * DAY),
                before: None,
            },
        },
    });
    let clause = prop_oneof![3 => (0..5_u8).prop_map(category), 1 => published];
    let clauses = || prop::collection::vec(clause.clone(), 0..2);
    let filter =
        (clauses(), clauses(), clauses()).prop_map(|(all, any, none)| Filter { all, any, none });
    let order = prop_oneof![
        3 => Just((None, false)),
        1 => (1..4_u64).prop_map(|days| (Some(Duration::from_secs(days * 86_400)), false)),
        1 => Just((None, true)),
    ];
    let collapse = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Collapse::Near)),
        1 => Just(Some(Collapse::Group)),
    ];
    let fallback = prop_oneof![3 => Just(None), 1 => Just(Some(Fallback::Newest))];
    (
        prop_oneof![1..15_usize, Just(100), Just(1_000)],
        prop::option::weighted(0.3, prop_oneof![Just(0.25_f32), 0.0_f32..1.0]),
        prop::collection::btree_set((0..40_usize).prop_map(|n| id(n).as_str().into()), 0..4),
        prop_oneof![Just(Filter::default()), filter],
        order,
        collapse,
        prop::option::weighted(0.2, prop_oneof![Just(0.0), Just(1.0), 0.0..1.0]),
        fallback,
        any::<bool>(),
    )
        .prop_map(
            |(limit, min_score, exclude, filter, order, collapse, diversity, fallback, explain)| {
                Conditions {
                    limit: if diversity.is_some() || explain {
                        limit.min(100)
                    } else {
                        limit
                    },
                    min_score,
                    exclude,
                    filter,
                    half_life: order.0,
                    balance: order.1,
                    collapse,
                    diversity,
                    explain,
                    fallback,
                }
            },
        )
}

fn of(count: usize) -> impl Strategy<Value = Of> {
    let weight = prop_oneof![Just(1.0), Just(-0.5), Just(0.0), 0.1..3.0];
    let several = prop::collection::vec((0..count + 2, weight), 1..5)
        .prop_filter("not all weights are 0", |all| {
            all.iter().any(|(_, weight)| *weight != 0.0)
        });
    prop_oneof![
        4 => (0..count, prop_oneof![Just(1.0), 0.1..3.0]).prop_map(|one| Of::Items(vec![one])),
        1 => several.prop_map(Of::Items),
        1 => plain().prop_map(Of::Made),
    ]
}

/// An expected answer.
#[derive(Debug, PartialEq)]
struct Expected {
    id: String,
    score: u32,
    rank: Option<u64>,
    also: Vec<String>,
    fallback: bool,
}

struct Candidate {
    n: usize,
    score: f32,
    rank: f64,
    also: Vec<usize>,
}

/// Whether an item passes the conditions as the contract defines them.
fn passes(conditions: &Conditions, n: usize, item: &Plain) -> bool {
    let one = |clause: &Clause| match (&clause.field, &clause.test) {
        (Field::Categories, Test::In(values)) => {
            let has = |value: &str| item.categories.iter().any(|c| format!("c{c}") == value);
            values.iter().any(|value| has(value))
        }
        (Field::PublishedAt, Test::Exists(true)) => item.age_days.is_some(),
        (
            Field::PublishedAt,
            Test::Between {
                after: Some(after),
                before: None,
            },
        ) => item
            .age_days
            .is_some_and(|days| NOW - days * DAY >= after.timestamp_millis()),
        _ => panic!("not drawn: {clause:?}"),
    };
    let Filter { all, any, none } = &conditions.filter;
    let mut all_pass = true;
    for clause in all {
        all_pass &= one(clause);
    }
    let mut any_passes = any.is_empty();
    for clause in any {
        any_passes |= one(clause);
    }
    let mut none_passes = true;
    for clause in none {
        none_passes &= !one(clause);
    }
    all_pass && any_passes && none_passes && !conditions.exclude.contains(id(n).as_str())
}

fn brute_force(items: &[Plain], of: &Of, conditions: &Conditions) -> Option<Vec<Expected>> {
    let known = |n: usize| items.get(n).is_some_and(Plain::is_visible);
    let (mut asked, mut weight, mut own_hub) = (Vec::new(), 0.0, 0.0);
    match of {
        Of::Made(item) => {
            asked.push((item.clone(), 1.0));
            weight = 1.0;
        }
        Of::Items(all) => {
            for (n, w) in all {
                if known(*n) {
                    asked.push((items[*n].clone(), *w));
                    weight += w.abs();
                    own_hub += w * hub(items, *n);
                }
            }
            if asked.is_empty() {
                return None;
            }
            own_hub = if weight > 0.0 { own_hub / weight } else { 0.0 };
        }
    }
    let is_asked = |n: usize| matches!(of, Of::Items(all) if all.iter().any(|(one, _)| *one == n));
    let may = |n: usize| items[n].is_visible() && !is_asked(n) && passes(conditions, n, &items[n]);
    let mut candidates: Vec<Candidate> = Vec::new();
    for (n, item) in items.iter().enumerate() {
        if !may(n) || is_zero(item) || weight == 0.0 {
            continue;
        }
        let mut sum = 0.0_f64;
        for (one, w) in &asked {
            if one.space == item.space && !is_zero(one) {
                sum += w * f64::from(score(one, item));
            }
        }
        let score = (sum / weight) as f32;
        if score <= 0.0 || conditions.min_score.is_some_and(|least| score < least) {
            continue;
        }
        let mut rank = f64::from(score);
        if let Some(half_life) = conditions.half_life {
            let days = item.days().unwrap_or(0).max(0) as f64;
            let halves = days / (half_life.as_secs() as f64 / 86_400.0);
            rank *= libm::exp2(-halves);
        }
        if conditions.balance {
            rank -= (own_hub + hub(items, n)) / 2.0;
        }
        candidates.push(Candidate {
            n,
            score,
            rank,
            also: Vec::new(),
        });
    }
    candidates.sort_by(|a, b| b.rank.total_cmp(&a.rank).then(id(a.n).cmp(&id(b.n))));
    let wanted = if conditions.diversity.is_some() {
        400
    } else {
        conditions.limit
    };
    let mut chosen: Vec<Candidate> = Vec::new();
    let mut joined: BTreeSet<usize> = BTreeSet::new();
    for candidate in candidates {
        if chosen.len() == wanted {
            break;
        }
        let item = &items[candidate.n];
        let same = |other: &Candidate| match conditions.collapse {
            None => false,
            Some(Collapse::Group) => item.group.is_some() && item.group == items[other.n].group,
            Some(Collapse::Near) => score(item, &items[other.n]) >= NEAR,
        };
        match chosen.iter().position(same) {
            Some(at) => {
                joined.insert(candidate.n);
                chosen[at].also.push(candidate.n);
                chosen[at].also.truncate(20);
            }
            None => chosen.push(candidate),
        }
    }
    if let Some(lambda) = conditions.diversity {
        let mut pool = chosen;
        chosen = Vec::new();
        while chosen.len() < conditions.limit && !pool.is_empty() {
            let value = |one: &Candidate| {
                let scores = chosen
                    .iter()
                    .map(|other: &Candidate| f64::from(score(&items[one.n], &items[other.n])));
                let highest = scores.reduce(f64::max).unwrap_or(0.0);
                (1.0 - lambda) * one.rank - lambda * highest
            };
            let values: Vec<f64> = pool.iter().map(value).collect();
            let mut best = 0;
            for at in 1..values.len() {
                if values[at] > values[best] {
                    best = at;
                }
            }
            let mut one = pool.remove(best);
            one.rank = values[best];
            chosen.push(one);
        }
    }
    let is_by_score =
        conditions.half_life.is_none() && !conditions.balance && conditions.diversity.is_none();
    let text = |n: usize| id(n).as_str().to_owned();
    let mut expected: Vec<Expected> = chosen
        .iter()
        .map(|one| Expected {
            id: text(one.n),
            score: one.score.to_bits(),
            rank: (!is_by_score).then_some((one.rank + 0.0).to_bits()),
            also: one.also.iter().copied().map(text).collect(),
            fallback: false,
        })
        .collect();
    if conditions.fallback.is_some() {
        let there: BTreeSet<usize> = chosen.iter().map(|one| one.n).chain(joined).collect();
        let mut rest: Vec<usize> = (0..items.len())
            .filter(|n| may(*n) && !there.contains(n))
            .collect();
        let at = |n: usize| items[n].days().map_or(i64::MIN, |days| NOW - days * DAY);
        rest.sort_by(|a, b| at(*b).cmp(&at(*a)).then(id(*a).cmp(&id(*b))));
        rest.truncate(conditions.limit - expected.len());
        expected.extend(rest.into_iter().map(|n| Expected {
            id: text(n),
            score: 0.0_f32.to_bits(),
            rank: None,
            also: Vec::new(),
            fallback: true,
        }));
    }
    Some(expected)
}

fn question(of: &Of, conditions: &Conditions) -> Question {
    let subject = match of {
        Of::Items(all) => Subject::Items(all.iter().map(|(n, w)| (id(*n), *w)).collect()),
        Of::Made(item) => Subject::Feature {
            space: Space::stored(SPACES[item.space]),
            feature: item.feature(),
        },
    };
    Question {
        subject,
        conditions: conditions.clone(),
        near_duplicate: NEAR,
        kernel: Kernel::Auto,
        now: NOW,
    }
}

fn answered(snapshot: &Snapshot, found: &Found) -> Vec<Expected> {
    let text = |slot: Slot| snapshot.at(slot).unwrap().id().as_str().to_owned();
    let matches = found.similar.iter().map(|one| Expected {
        id: text(one.slot),
        score: one.score.to_bits(),
        rank: one.rank.map(|rank| (rank + 0.0).to_bits()),
        also: one.also.iter().copied().map(text).collect(),
        fallback: one.fallback,
    });
    matches.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn answers_are_those_of_brute_force(
        (items, of) in prop::collection::vec(plain(), 1..40)
            .prop_flat_map(|items| { let count = items.len(); (Just(items), of(count)) }),
        conditions in conditions(),
        keep in prop_oneof![Just(KEEP), 1..12_usize],
    ) {
        // Hubness needs the first ten entries, so lists are no shorter where it counts.
        let keep = if conditions.balance { keep.max(10) } else { keep };
        let snapshot = snapshot(&items, keep);
        let question = question(&of, &conditions);
        let expected = brute_force(&items, &of, &conditions);
        let never = AtomicBool::new(false);
        let found = snapshot.ask(&question, &never);
        let Some(expected) = expected else {
            prop_assert_eq!(found, Err(AskError::NoneKnown));
            return Ok(());
        };
        let found = found.unwrap();
        prop_assert_eq!(&answered(&snapshot, &found), &expected, "{:?}", found.computed);
        if let Some(by_list) = snapshot.ask_list(&question).unwrap() {
            prop_assert_eq!(answered(&snapshot, &by_list), expected);
            prop_assert_eq!(by_list.computed, Computed::List);
        }
        // Explanations add up.
        for one in found.similar.iter().filter(|one| conditions.explain && !one.fallback) {
            let why = one.why.as_ref().unwrap();
            let terms: f64 = why.terms.iter().flatten().map(|(_, share)| share).sum();
            prop_assert!((why.dense + terms - f64::from(one.score)).abs() < 1e-6);
        }
        prop_assert!(conditions.explain || found.similar.iter().all(|one| one.why.is_none()));
        let unknown = |n: &usize| !items.get(*n).is_some_and(Plain::is_visible);
        let unknown: Vec<ItemId> = match &of {
            Of::Items(all) => all.iter().map(|(n, _)| *n).filter(unknown).map(id).collect(),
            Of::Made(_) => Vec::new(),
        };
        prop_assert_eq!(found.unknown, unknown);
    }

    #[test]
    fn pairs_have_the_scores_of_lists(items in prop::collection::vec(plain(), 2..12)) {
        let snapshot = snapshot(&items, KEEP);
        for a in 0..items.len() {
            for b in 0..items.len() {
                let (one, other) = (&items[a], &items[b]);
                let is_there = one.is_visible() && other.is_visible();
                let is_some = is_there && one.space == other.space && !is_zero(one) && !is_zero(other);
                let expected = is_some.then(|| score(one, other) + 0.0);
                let found = snapshot.score(id(a).as_str(), id(b).as_str(), Kernel::Auto, NOW);
                prop_assert_eq!(found.map(|score| score + 0.0), expected);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]
    #[test]
    fn answers_of_large_domains_are_those_of_brute_force(
        items in prop::collection::vec(plain(), LARGE..LARGE + 200),
        // Blocks are laid out for comparisons after they have met enough rows.
        asked in prop::collection::vec((of(LARGE), conditions()), 40),
    ) {
        let snapshot = snapshot(&items, KEEP);
        for (of, mut conditions) in asked {
            conditions.collapse = conditions.collapse.filter(|_| conditions.limit == 100);
            let expected = brute_force(&items, &of, &conditions);
            let found = snapshot.ask(&question(&of, &conditions), &AtomicBool::new(false));
            match expected {
                None => prop_assert_eq!(found, Err(AskError::NoneKnown)),
                Some(expected) => {
                    let found = found.unwrap();
                    let answered = answered(&snapshot, &found);
                    prop_assert_eq!(&answered, &expected, "{:?} {:?}", of, conditions);
                }
            }
        }
    }
}

/// Items in a row, each a little further from the first.
fn row(count: usize) -> Vec<Plain> {
    let item = |n: usize| Plain {
        space: 0,
        dense: Some([1.0 - n as f32 / count as f32, 0.0, 0.0]),
        terms: Vec::new(),
        group: None,
        categories: [(n % 2) as u8].into(),
        age_days: Some(n as i64),
        other_days: (None, None),
        is_expired: false,
        is_gone: false,
    };
    (0..count).map(item).collect()
}

fn computed(snapshot: &Snapshot, conditions: &Conditions) -> Computed {
    let question = question(&Of::Items(vec![(0, 1.0)]), conditions);
    snapshot
        .ask(&question, &AtomicBool::new(false))
        .unwrap()
        .computed
}

#[test]
fn the_list_answers_as_far_as_it_is_exact() {
    let snapshot = snapshot(&row(200), KEEP);
    let even = |limit| Conditions {
        limit,
        filter: Filter {
            all: vec![Clause {
                field: Field::Categories,
                test: Test::one_of(["c0"]),
            }],
            ..Filter::default()
        },
        ..Conditions::default()
    };
    assert_eq!(computed(&snapshot, &even(32)), Computed::List);
    assert_eq!(computed(&snapshot, &even(33)), Computed::Scan);
    let at_least = |min_score| Conditions {
        limit: 1_000,
        min_score: Some(min_score),
        ..Conditions::default()
    };
    assert_eq!(computed(&snapshot, &at_least(0.7)), Computed::List);
    assert_eq!(computed(&snapshot, &at_least(0.5)), Computed::Scan);
    // An absent row ranks below a listed one only if it would even if it had been published today.
    let half_life = |days: u64| Conditions {
        limit: 2,
        half_life: Some(Duration::from_secs(days * 86_400)),
        ..Conditions::default()
    };
    assert_eq!(computed(&snapshot, &half_life(100)), Computed::List);
    assert_eq!(computed(&snapshot, &half_life(1)), Computed::Scan);
    let short = self::snapshot(&row(50), KEEP);
    assert_eq!(
        computed(&short, &even(1_000)),
        Computed::List,
        "there are no others"
    );
}

#[test]
fn a_scan_that_nobody_waits_for_ends() {
    let snapshot = snapshot(&row(200), KEEP);
    let conditions = Conditions {
        limit: 1_000,
        ..Conditions::default()
    };
    let question = question(&Of::Items(vec![(0, 1.0)]), &conditions);
    let found = snapshot.ask(&question, &AtomicBool::new(true));
    assert_eq!(found, Err(AskError::Cancelled));
}

#[test]
fn any_items_fill_up_and_another_seed_gives_others() {
    let snapshot = snapshot(&row(200), KEEP);
    let filled = |seed| {
        let conditions = Conditions {
            min_score: Some(2.0),
            fallback: Some(Fallback::Random { seed }),
            ..Conditions::default()
        };
        let question = question(&Of::Items(vec![(0, 1.0)]), &conditions);
        let found = snapshot.ask(&question, &AtomicBool::new(false)).unwrap();
        answered(&snapshot, &found)
    };
    let (one, other) = (filled(1), filled(2));
    assert_eq!((one.len(), other.len()), (10, 10));
    assert!(one.iter().all(|one| one.fallback && one.id != "0-0"));
    assert_eq!(one, filled(1));
    assert_ne!(one, other);
}
