//! Measures the cost of changes of a large domain, and of reading it meanwhile.
//!
//! Usage: cargo run --release -p kindred-query --example updates [ITEMS]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kindred_domain::list::ListEntry;
use kindred_domain::shown::Shown;
use kindred_domain::slot::Slot;
use kindred_domain::view_change::{Listed, ServedList, ViewChange};
use kindred_query::DomainView;
use kindred_shared::{ItemId, ModelName, Space};

const ITEMS: u32 = 100_000;
const ENTRIES: u32 = 64;
const ROUNDS: u32 = 200;
/// Number of lists that a change affects.
const CHANGED: [u32; 4] = [1, 100, 1_000, 5_000];

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
}

struct Domain {
    ids: Vec<ItemId>,
    shown: Vec<Arc<Shown>>,
    space: Space,
    dice: Dice,
}

impl Domain {
    fn new(items: u32) -> Self {
        let id = |n| ItemId::new(&format!("item-{n:06}")).expect("an id");
        let shown = |n| Shown {
            title: Some(format!("What item {n} is about, in some sixty characters or more").into()),
            url: Some(format!("https://news.example/2026/11/{n:06}.html").into()),
            ..Shown::default()
        };
        Self {
            ids: (0..items).map(id).collect(),
            shown: (0..items).map(|n| Arc::new(shown(n))).collect(),
            space: Space::stored("words-1/en"),
            dice: Dice(1),
        }
    }

    fn items(&self) -> u32 {
        u32::try_from(self.ids.len()).expect("few items")
    }

    fn listed(&mut self, n: u32) -> Listed {
        let items = self.items();
        let entry = |rank| ListEntry {
            slot: Slot(self.dice.roll(items)),
            score: 1.0 - rank as f32 / 100.0,
        };
        Listed {
            slot: Slot(n),
            id: self.ids[n as usize].clone(),
            expires_at: None,
            shown: Arc::clone(&self.shown[n as usize]),
            space: Some(self.space.clone()),
            list: Some(ServedList {
                version: 1,
                bound: None,
                entries: (0..ENTRIES).map(entry).collect(),
                zero: false,
            }),
        }
    }
}

/// Median and maximum, in µs.
fn told(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    format!(
        "median {:.1} µs, highest {:.1} µs",
        us(times[times.len() / 2]),
        us(times[times.len() - 1])
    )
}

/// Reads ten neighbours of random items until it is over; returns ns per read.
fn read(view: &DomainView, ids: &[ItemId], is_over: &AtomicBool) -> f64 {
    let (mut dice, mut reads) = (Dice(7), 0_u32);
    let begun = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let id = &ids[dice.roll(u32::try_from(ids.len()).expect("few items")) as usize];
        let snapshot = view.snapshot();
        let item = snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.item(id.as_str(), 0));
        for (other, score) in item.iter().flat_map(|item| item.neighbours()).take(10) {
            let shown = other.shown();
            black_box((other.id().as_str().len(), &shown.title, &shown.url, score));
        }
        reads += 1;
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(reads.max(1))
}

fn main() {
    let items = std::env::args().nth(1).and_then(|items| items.parse().ok());
    let mut domain = Domain::new(items.unwrap_or(ITEMS));
    let items = domain.items();
    let view = DomainView::default();
    let change = ViewChange {
        replace: true,
        model: ModelName::new("words-1").ok(),
        listed: (0..items).map(|n| domain.listed(n)).collect(),
        ..ViewChange::default()
    };
    let begun = Instant::now();
    view.apply(change, 0);
    println!(
        "{items} items loaded: {:.1} ms",
        begun.elapsed().as_secs_f64() * 1e3
    );
    let ids = domain.ids.clone();
    for with_reader in [false, true] {
        for changed in CHANGED {
            let is_over = AtomicBool::new(!with_reader);
            thread::scope(|scope| {
                let reader = scope.spawn(|| read(&view, &ids, &is_over));
                let mut times = Vec::new();
                for _ in 0..ROUNDS {
                    let change = ViewChange {
                        listed: (0..changed)
                            .map(|_| {
                                let n = domain.dice.roll(items);
                                domain.listed(n)
                            })
                            .collect(),
                        ..ViewChange::default()
                    };
                    let begun = Instant::now();
                    view.apply(change, 1);
                    times.push(begun.elapsed());
                }
                is_over.store(true, Ordering::Relaxed);
                let reads = reader.join().expect("reads");
                print!("{changed} lists changed: {}", told(times));
                if with_reader {
                    print!("; a reader meanwhile: {reads:.0} ns a list of ten");
                }
                println!();
            });
        }
    }
}
