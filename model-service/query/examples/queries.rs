//! Measures the cost of queries of a large domain while it changes.
//!
//! Usage: cargo run --release -p kindred-query --example queries [ITEMS] [SECONDS]
//!
//! The domain has features of 100 values and some sixty terms each, and lists of 64 entries. It changes four times a
//! second, 12 items each time. Queries are made one after the other, on as many threads as there are cores, with every
//! kind equally often. The times are those of the query alone.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kindred_domain::features::{Features, Live, Rows};
use kindred_domain::list::ListEntry;
use kindred_domain::shown::{Interner, Shown};
use kindred_domain::slot::Slot;
use kindred_domain::view_change::{Listed, ServedList, ViewChange};
use kindred_query::filter::{Clause, Field, Filter, Test};
use kindred_query::{Collapse, Conditions, DomainView, Fallback, Question, Subject};
use kindred_shared::block::MAX_ROWS;
use kindred_shared::{BlockBuilder, Feature, ItemId, ModelName, Space};
use kindred_similarity::{Kernel, RowMask};

const ITEMS: u32 = 100_000;
const SECONDS: u64 = 20;
const VALUES: usize = 100;
const TERMS: usize = 60;
/// Number of different words.
const WORDS: u32 = 40_000;
const ENTRIES: u32 = 64;
const CHANGE_EVERY: Duration = Duration::from_millis(250);
const CHANGED: u32 = 12;
/// The interval between queries: 20 per second.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A small pseudo-random generator.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        ((self.0 >> 33) % u64::from(sides)) as u32
    }

    fn value(&mut self) -> f32 {
        self.roll(20_001) as f32 / 10_000.0 - 1.0
    }
}

fn feature(dice: &mut Dice) -> Feature {
    // Something that all texts have in common: most cosines are above 0.
    let dense: Vec<f32> = (0..VALUES).map(|_| dice.value() + 0.5).collect();
    let words: BTreeSet<u32> = (0..TERMS)
        .map(|_| {
            // Some words are much more common than others.
            let one = dice.roll(WORDS);
            if one.is_multiple_of(3) {
                one % 600
            } else {
                one
            }
        })
        .collect();
    let norm = dense.iter().map(|value| value * value).sum::<f32>().sqrt();
    let weight = 0.866 / (words.len() as f32).sqrt();
    let weights = vec![weight; words.len()];
    let dense = dense.iter().map(|value| value / norm * 0.5).collect();
    Feature::new(dense, words.into_iter().collect(), weights).expect("a feature")
}

struct Domain {
    ids: Vec<ItemId>,
    shown: Vec<Arc<Shown>>,
    features: Features,
    space: Space,
}

impl Domain {
    fn new(items: u32) -> Self {
        let (mut dice, mut words) = (Dice(1), Interner::default());
        let id = |n| ItemId::new(&format!("item-{n:06}")).expect("an id");
        let ids: Vec<ItemId> = (0..items).map(id).collect();
        let mut shown = |n: u32| Shown {
            title: Some(format!("What item {n} is about, in some sixty characters or more").into()),
            url: Some(format!("https://news.example/2026/11/{n:06}.html").into()),
            group: Some(words.word(if n.is_multiple_of(1_000) {
                "rare"
            } else {
                "common"
            })),
            categories: [words.word(if n.is_multiple_of(2) { "even" } else { "odd" })].into(),
            published_at: chrono::DateTime::from_timestamp_millis(i64::from(n) * 60_000),
            ..Shown::default()
        };
        let shown = (0..items).map(|n| Arc::new(shown(n))).collect();
        let space = Space::stored("words-1/en");
        let numbers: Vec<u32> = (0..items).collect();
        let blocks = numbers.chunks(MAX_ROWS).map(|numbers| {
            let mut builder = BlockBuilder::new(space.clone(), VALUES);
            for n in numbers {
                builder.push(ids[*n as usize].clone(), 1, &feature(&mut dice));
            }
            let slots = numbers.iter().map(|n| Slot(*n)).collect();
            Live {
                rows: Arc::new(Rows::new(Arc::new(builder.build()), slots)),
                live: Arc::new(RowMask::all(numbers.len())),
            }
        });
        let features = Features::new([(space.clone(), blocks.collect())]);
        Self {
            ids,
            shown,
            features,
            space,
        }
    }

    fn items(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }

    fn listed(&self, n: u32, dice: &mut Dice) -> Listed {
        let items = self.items();
        let mut entry = |rank: u32| ListEntry {
            slot: Slot(dice.roll(items)),
            score: 0.9 - rank as f32 / 1_000.0,
        };
        Listed {
            slot: Slot(n),
            id: self.ids[n as usize].clone(),
            expires_at: None,
            shown: Arc::clone(&self.shown[n as usize]),
            space: Some(self.space.clone()),
            list: Some(ServedList {
                version: 1,
                entries: (0..ENTRIES).map(&mut entry).collect(),
                bound: Some(0.8),
                zero: false,
            }),
        }
    }
}

fn filter(field: Field, value: &str) -> Filter {
    Filter {
        all: vec![Clause {
            field,
            test: Test::one_of([value]),
        }],
        ..Filter::default()
    }
}

fn kinds() -> Vec<(&'static str, Conditions)> {
    let usual = Conditions::default;
    vec![
        ("unfiltered, from the list", usual()),
        (
            "one in two, from the list",
            Conditions {
                filter: filter(Field::Categories, "even"),
                ..usual()
            },
        ),
        (
            "one in two, 100",
            Conditions {
                limit: 100,
                filter: filter(Field::Categories, "even"),
                ..usual()
            },
        ),
        (
            "one in a thousand",
            Conditions {
                filter: filter(Field::Group, "rare"),
                ..usual()
            },
        ),
        (
            "unfiltered, 1,000",
            Conditions {
                limit: 1_000,
                ..usual()
            },
        ),
        (
            "half-life",
            Conditions {
                half_life: Some(Duration::from_secs(7 * 86_400)),
                ..usual()
            },
        ),
        (
            "balanced, 100",
            Conditions {
                limit: 100,
                balance: true,
                ..usual()
            },
        ),
        (
            "near-duplicates collapsed, 100",
            Conditions {
                limit: 100,
                collapse: Some(Collapse::Near),
                ..usual()
            },
        ),
        (
            "diverse",
            Conditions {
                diversity: Some(0.3),
                ..usual()
            },
        ),
        (
            "explained",
            Conditions {
                explain: true,
                ..usual()
            },
        ),
        (
            "one in a thousand, filled up",
            Conditions {
                limit: 1_000,
                filter: filter(Field::Group, "rare"),
                fallback: Some(Fallback::Newest),
                ..usual()
            },
        ),
    ]
}

/// Median, 99th percentile and maximum, in ms.
fn summary(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        let place = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    format!("{:>8.2} {:>8.2} {:>8.2}", at(0.5), at(0.99), at(1.0))
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let items = arguments
        .next()
        .map_or(ITEMS, |text| text.parse().expect("a number of items"));
    let seconds = arguments
        .next()
        .map_or(SECONDS, |text| text.parse().expect("seconds"));
    let domain = Domain::new(items);
    let (view, mut dice) = (DomainView::default(), Dice(7));
    let all = ViewChange {
        replace: true,
        model: Some(ModelName::new("words-1").expect("a model")),
        listed: (0..items).map(|n| domain.listed(n, &mut dice)).collect(),
        features: Some(domain.features.clone()),
        ..ViewChange::default()
    };
    view.apply(all, 1);
    let is_over = AtomicBool::new(false);
    println!("{items} items; ms:                        median      p99  highest");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice(9);
            while !is_over.load(Ordering::Relaxed) {
                let changed = (0..CHANGED).map(|_| dice.roll(items)).collect::<Vec<u32>>();
                let change = ViewChange {
                    listed: changed
                        .iter()
                        .map(|n| domain.listed(*n, &mut dice))
                        .collect(),
                    features: Some(domain.features.clone()),
                    ..ViewChange::default()
                };
                view.apply(change, 2);
                thread::sleep(CHANGE_EVERY);
            }
        });
        let mut dice = Dice(11);
        let kinds = kinds();
        let each = Duration::from_secs(seconds) / u32::try_from(kinds.len()).unwrap_or(1);
        for (name, conditions) in kinds {
            let (begun, mut times) = (Instant::now(), Vec::new());
            while begun.elapsed() < each {
                let asked = Instant::now();
                let id = domain.ids[dice.roll(items) as usize].clone();
                let question = Question {
                    subject: Subject::Items(vec![(id, 1.0)]),
                    conditions: conditions.clone(),
                    near_duplicate: 0.9,
                    kernel: Kernel::Auto,
                    now: i64::from(items) * 60_000,
                };
                let snapshot = view
                    .snapshot()
                    .as_ref()
                    .map(Arc::clone)
                    .expect("it is filled");
                let found = match snapshot.ask_list(&question).expect("an answer") {
                    Some(found) => found,
                    None => snapshot
                        .ask(&question, &AtomicBool::new(false))
                        .expect("an answer"),
                };
                black_box(found);
                times.push(asked.elapsed());
                thread::sleep(ASK_EVERY.saturating_sub(asked.elapsed()));
            }
            println!("{name:<40} {}", summary(&mut times));
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
