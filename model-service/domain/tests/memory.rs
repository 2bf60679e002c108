//! Compares a domain's estimates of its memory, and of its load, with what it allocates.
#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::DateTime;
use kindred_domain::effect::{Comparing, Effect, Input, Ticket};
use kindred_domain::habits::{Habits, SampleSize, fingerprint_of};
use kindred_domain::loaded::{Loaded, Opened};
use kindred_domain::machine::{Domain, Tenure};
use kindred_domain::memory::{Memory, of_loading};
use kindred_domain::settings::ProcessSettings;
use kindred_domain::store::{
    DomainRow, Epoch, FeatureRow, ItemRow, Liveness, Partition, SettingsRow,
};
use kindred_domain::time::Now;
use kindred_domain::window::WindowSize;
use kindred_query::DomainView;
use kindred_shared::job::{CompareReply, KEEP};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space, compare_all};
use kindred_similarity::Kernel;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const AT: Now = Now {
    monotonic: Duration::from_secs(1),
    unix_ms: 1_000_000,
};

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

/// Items with features of this many values and terms.
#[derive(Debug, Clone, Copy)]
struct Shape {
    items: u32,
    values: usize,
    terms: usize,
}

fn row(n: u32) -> ItemRow {
    ItemRow {
        id: ItemId::new(&format!("item-{n:06}")).unwrap(),
        version: 1,
        liveness: Liveness::Live,
        since: DateTime::from_timestamp_millis(1).unwrap(),
        hidden: false,
        title: Some(format!(
            "What item {n} is about, in some sixty characters or more"
        )),
        url: Some(format!("https://news.example/2026/11/{n:06}.html")),
        image: None,
        language: Some("en".to_owned()),
        group: None,
        categories: ["travel", "rail"].map(str::to_owned).into(),
        published_at: None,
        publish_at: None,
        expires_at: None,
        accepted_at: None,
        attributes: [("author".to_owned(), format!("Writer {}", n % 50))].into(),
        rejected: None,
        content_hash: u64::from(n),
        vector_hashes: BTreeMap::new(),
    }
}

fn feature(dice: &mut Dice, shape: Shape) -> Feature {
    let mut value = || dice.roll(1_000) as f32 / 10_000.0 + 0.001;
    let dense = (0..shape.values).map(|_| value()).collect();
    let weights = (0..shape.terms).map(|_| value()).collect();
    let mut term = 0;
    let ids = (0..shape.terms).map(|_| {
        term += 1 + dice.roll(50);
        term
    });
    Feature::new(dense, ids.collect(), weights).unwrap()
}

fn loaded(shape: Shape) -> Loaded {
    let mut dice = Dice(7);
    let mut loaded = Loaded::default();
    loaded.row = Some(domain_row(shape));
    (0..shape.items).for_each(|n| loaded.add_item(&row(n)));
    for n in 0..shape.items {
        loaded.add_feature(FeatureRow {
            id: row(n).id,
            version: 1,
            space: Space::stored("words-1/en"),
            habits: 0,
            feature: feature(&mut dice, shape),
        });
    }
    loaded
}

fn domain_row(shape: Shape) -> DomainRow {
    DomainRow {
        domain: DomainName::new("news").unwrap(),
        model: ModelName::new("words-1").unwrap(),
        partition: 0,
        registered_at: DateTime::from_timestamp_millis(1).unwrap(),
        dirty: None,
        live: shape.items.into(),
        visible: shape.items.into(),
        next_expiry: None,
        removal: None,
    }
}

fn machine() -> (Domain, Vec<Effect>) {
    let tenure = Tenure {
        domain: DomainName::new("news").unwrap(),
        partition: Partition(0),
        epoch: Epoch(1),
    };
    let settings = ProcessSettings {
        model: ModelName::new("words-1").unwrap(),
        window: WindowSize {
            length: Duration::from_millis(250),
            events: 20,
        },
        auto_register: true,
        task_pairs: 1_000_000,
        batch_items: 4_096,
        scrub_lists: 8_192,
        attributes: 64,
        material_bytes: 100,
        sample: SampleSize::default(),
        many_outdated: usize::MAX,
    };
    Domain::start(tenure, Arc::new(settings))
}

fn ticket(effects: &[Effect]) -> Ticket {
    let asked = effects.iter().find_map(|effect| match effect {
        Effect::Open { ticket } | Effect::Load { ticket, .. } => Some(*ticket),
        _ => None,
    });
    asked.unwrap()
}

/// Carries out only serving and comparing.
fn perform(machine: &mut Domain, view: &DomainView, effects: Vec<Effect>) {
    for effect in effects {
        match effect {
            Effect::Serve(change) => view.apply(change, AT.unix_ms),
            Effect::Compare { ticket, tasks } => {
                for (task, compare) in tasks {
                    let Comparing::All(blocks) = compare else {
                        panic!("nothing else is to be compared");
                    };
                    let blocks: Vec<_> = blocks
                        .iter()
                        .map(|(block, live)| (&**block, live))
                        .collect();
                    let none = AtomicBool::new(false);
                    let kernel = Kernel::Auto.chosen().unwrap();
                    let found = compare_all(kernel, &blocks, KEEP, &none).unwrap();
                    let result = Ok(CompareReply { pairs: 1, found });
                    let input = Input::Compared {
                        ticket,
                        task,
                        result,
                    };
                    let effects = machine.handle(AT, input);
                    perform(machine, view, effects);
                }
            }
            _ => {}
        }
    }
}

/// The hashes of the ids and contents of the sample for habits.
fn sample(shape: Shape) -> Vec<(u64, u64)> {
    let hashes = (0..shape.items).map(|n| (row(n).id.hash64(), row(n).content_hash));
    let mut hashes: Vec<(u64, u64)> = hashes.collect();
    hashes.sort_unstable();
    hashes.truncate(SampleSize::default().most);
    hashes
}

/// A loaded domain and its view.
fn served(shape: Shape) -> (Domain, DomainView) {
    let (mut machine, effects) = machine();
    let opened = Opened {
        row: Some(domain_row(shape)),
        settings: Some(SettingsRow {
            // A survey was made, and found nothing usual.
            habits: Habits {
                of: shape.items.into(),
                sample: fingerprint_of(sample(shape).into_iter()),
                ..Habits::default()
            },
            ..SettingsRow::default()
        }),
    };
    let result = Ok(Box::new(opened));
    let ticket_of_open = ticket(&effects);
    let effects = machine.handle(
        AT,
        Input::Opened {
            ticket: ticket_of_open,
            result,
        },
    );
    let view = DomainView::default();
    let ticket = ticket(&effects);
    let result = Ok(Box::new(loaded(shape)));
    let effects = machine.handle(AT, Input::Loaded { ticket, result });
    perform(&mut machine, &view, effects);
    assert!(machine.is_served() && machine.may_sleep());
    (machine, view)
}

/// Bytes held by a domain according to its estimate and to the allocator, and the most while it was being loaded.
fn weighed(shape: Shape) -> (Memory, u64, u64) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let (machine, view) = served(shape);
    view.set_status(machine.status());
    let memory = view.status().memory;
    let after = (ALLOCATOR.current_usage() - before) as u64;
    let most = (ALLOCATOR.peak_usage() - before) as u64;
    drop((machine, view));
    (memory, after, most)
}

#[test]
fn a_domain_holds_about_what_it_says_and_its_load_takes_no_more_than_it_may() {
    let shape = |items, values, terms| Shape {
        items,
        values,
        terms,
    };
    // Allocates what libraries allocate once.
    weighed(shape(100, 100, 60));
    for shape in [
        shape(1, 100, 60),
        shape(20, 100, 60),
        shape(2_000, 100, 60),
        shape(5_000, 100, 60),
        shape(2_000, 384, 0),
    ] {
        let (memory, held, most) = weighed(shape);
        let said = memory.total();
        println!("{shape:?}: {held} held, {said} said {memory:?}, {most} at most");
        assert!(said * 10 >= held * 9, "{shape:?}: {held} held, {memory:?}");
        let spare = 16 << 10;
        assert!(
            said * 10 <= held * 14 + 10 * spare,
            "{shape:?}: {held} held, {memory:?}"
        );
        let expected = of_loading(shape.items.into());
        assert!(
            most <= expected,
            "{shape:?}: {most} at most, {expected} expected"
        );
    }
}
