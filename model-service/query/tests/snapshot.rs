//! Compares snapshots with a simple model, and reads them while they are changed.
#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kindred_domain::list::ListEntry;
use kindred_domain::shown::Shown;
use kindred_domain::slot::Slot;
use kindred_domain::view_change::{Listed, Renewed, ServedList, ViewChange};
use kindred_query::{DomainView, Served, Snapshot};
use kindred_shared::{ItemId, ModelName, Space};
use proptest::prelude::*;

/// Number of possible ids: more than one chunk has.
const IDS: u32 = 300;

fn id(n: u32) -> ItemId {
    ItemId::new(&format!("item {n}")).unwrap()
}

fn model(name: &str) -> ModelName {
    ModelName::new(name).unwrap()
}

fn shown(title: impl ToString) -> Arc<Shown> {
    Arc::new(Shown {
        title: Some(title.to_string().into()),
        ..Shown::default()
    })
}

/// An item as readers should see it.
#[derive(Debug, Clone, PartialEq)]
struct Plain {
    slot: u32,
    title: String,
    expires_at: Option<i64>,
    model: Option<String>,
    language: Option<String>,
    list: Option<(Served, Vec<(u32, f32)>)>,
}

/// What readers should see.
#[derive(Debug, Clone, Default)]
struct Model {
    items: BTreeMap<u32, Plain>,
    /// Slots since the domain was loaded.
    slots: BTreeMap<u32, u32>,
    /// Whether items were added by id since then; then slots mean something only after the domain is loaded again.
    is_outgrown: bool,
    /// The first slot that has had no item.
    unused: u32,
}

#[derive(Debug, Clone)]
enum Change {
    /// For every id, the number of its list (0: none), and when it expires.
    List(Vec<(u32, u64, Option<i64>)>),
    Renew(Vec<(u32, Option<i64>)>),
    Remove(Vec<u32>),
    Reload(Vec<(u32, u64)>),
}

fn change() -> impl Strategy<Value = Change> {
    let n = || 0..IDS;
    let expiry = || prop::option::weighted(0.2, 0..60_i64);
    let version = || 0..4_u64;
    prop_oneof![
        6 => prop::collection::vec((n(), version(), expiry()), 1..60).prop_map(Change::List),
        2 => prop::collection::vec((n(), expiry()), 1..20).prop_map(Change::Renew),
        3 => prop::collection::vec(n(), 1..40).prop_map(Change::Remove),
        1 => prop::collection::vec((n(), version()), 0..200).prop_map(Change::Reload),
    ]
}

impl Model {
    fn slot(&mut self, n: u32) -> u32 {
        let next = u32::try_from(self.slots.len()).unwrap();
        *self.slots.entry(n).or_insert(next)
    }

    fn list(
        &mut self,
        change: &mut ViewChange,
        n: u32,
        version: u64,
        expires_at: Option<i64>,
        at: i64,
    ) {
        let slot = self.slot(n);
        self.unused = self.unused.max(slot + 1);
        let title = format!("{n} at {at}");
        // Neighbours that come and go.
        let entries: Vec<(u32, f32)> = (1..=version)
            .map(|step| (slot + step as u32, 1.0 / step as f32))
            .collect();
        let before = self.items.get(&n).and_then(|item| item.list.as_ref());
        let since = match before {
            Some((served, _)) if served.version == version => served.since,
            _ if change.replace => 0,
            _ => at,
        };
        let zero = version == 1;
        change.listed.push(Listed {
            slot: Slot(slot),
            id: id(n),
            expires_at,
            shown: shown(&title),
            space: (version > 0).then(|| Space::stored("words-1/en")),
            list: (version > 0).then(|| ServedList {
                version,
                zero,
                bound: None,
                entries: entries
                    .iter()
                    .map(|&(slot, score)| ListEntry {
                        slot: Slot(slot),
                        score,
                    })
                    .collect(),
            }),
        });
        let list = (version > 0).then_some((
            Served {
                version,
                since,
                as_of: at,
                zero,
            },
            entries,
        ));
        let item = Plain {
            slot,
            title,
            expires_at,
            model: Some(if version > 0 { "words-1" } else { "words-2" }.to_owned()),
            language: (version > 0).then(|| "en".to_owned()),
            list,
        };
        self.items.insert(n, item);
    }

    /// An item that is known only by its id has no list.
    fn add(&mut self, n: u32, title: String, expires_at: Option<i64>) {
        self.is_outgrown = true;
        let item = Plain {
            slot: self.unused,
            title,
            expires_at,
            model: Some("words-2".to_owned()),
            language: None,
            list: None,
        };
        self.unused += 1;
        self.items.insert(n, item);
    }

    /// Applies the change to the model; returns the change for the view.
    fn change(&mut self, what: Change, at: i64) -> ViewChange {
        let mut change = ViewChange {
            model: Some(model("words-2")),
            ..ViewChange::default()
        };
        match what {
            Change::List(listed) if self.is_outgrown => {
                let listed = listed.into_iter().map(|(n, version, _)| (n, version));
                return self.change(Change::Reload(listed.collect()), at);
            }
            Change::List(listed) => {
                let mut seen = BTreeSet::new();
                for (n, version, expires_at) in listed {
                    if seen.insert(n) {
                        self.list(&mut change, n, version, expires_at, at);
                    }
                }
            }
            Change::Renew(renewed) => {
                for (n, expires_at) in renewed {
                    let title = format!("{n} renewed at {at}");
                    change.renewed.push(Renewed {
                        id: id(n),
                        expires_at,
                        shown: shown(&title),
                    });
                    match self.items.get_mut(&n) {
                        Some(item) => (item.title, item.expires_at) = (title, expires_at),
                        None => self.add(n, title, expires_at),
                    }
                }
            }
            Change::Remove(gone) => {
                for n in gone {
                    change.gone.push(id(n));
                    self.items.remove(&n);
                }
            }
            Change::Reload(listed) => {
                change.replace = true;
                *self = Self::default();
                let listed: BTreeMap<u32, u64> = listed.into_iter().rev().collect();
                for (n, version) in listed.into_iter().rev() {
                    self.list(&mut change, n, version, None, at);
                }
            }
        }
        change
    }

    fn is_visible(&self, slot: u32, now: i64) -> Option<u32> {
        let mut items = self.items.iter();
        let (n, item) = items.find(|(_, item)| item.slot == slot)?;
        item.expires_at.is_none_or(|at| at > now).then_some(*n)
    }

    /// Checks that a snapshot says exactly the same.
    fn check(&self, snapshot: &Snapshot, now: i64) -> Result<(), TestCaseError> {
        for n in 0..IDS {
            let found = snapshot.item(id(n).as_str(), now);
            let expected = self.items.get(&n);
            let expected = expected.filter(|item| item.expires_at.is_none_or(|at| at > now));
            let (Some(found), Some(expected)) = (found, expected) else {
                prop_assert_eq!(found.is_some(), expected.is_some(), "item {}", n);
                continue;
            };
            prop_assert_eq!(found.id(), &id(n));
            prop_assert_eq!(found.shown().title.as_deref(), Some(&*expected.title));
            prop_assert_eq!(found.model(), expected.model.as_deref());
            prop_assert_eq!(found.language(), expected.language.as_deref());
            let served = expected.list.as_ref().map(|(served, _)| *served);
            prop_assert_eq!(found.served(), served);
            let entries = expected.list.iter().flat_map(|(_, entries)| entries);
            let entries: Vec<(ItemId, f32)> = entries
                .filter_map(|&(slot, score)| Some((id(self.is_visible(slot, now)?), score)))
                .collect();
            let neighbours = found.neighbours();
            let neighbours: Vec<(ItemId, f32)> = neighbours
                .map(|(other, score)| (other.id().clone(), score))
                .collect();
            prop_assert_eq!(neighbours, entries);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After every change, a snapshot equals the model, and every earlier snapshot is unchanged.
    #[test]
    fn a_snapshot_is_what_was_said_until_then(changes in prop::collection::vec(change(), 1..40)) {
        let view = DomainView::default();
        let mut model = Model::default();
        let (mut now, mut past) = (0, Vec::new());
        view.apply(ViewChange { gone: vec![id(1)], ..ViewChange::default() }, now);
        prop_assert!(view.snapshot().is_none(), "not loaded yet");
        for change in [Change::Reload(vec![(1, 1)])].into_iter().chain(changes) {
            now += 1;
            let change = model.change(change, now);
            view.apply(change, now);
            let snapshot = Arc::clone(view.snapshot().as_ref().unwrap());
            model.check(&snapshot, now)?;
            past.push((snapshot, model.clone(), now));
        }
        for (snapshot, model, at) in past {
            model.check(&snapshot, at)?;
        }
    }
}

/// Every change renames all items of one generation, whose lists refer to each other.
#[test]
fn readers_see_whole_changes_while_they_are_made() {
    const ITEMS: u32 = 200;
    let listed = |generation: u32| {
        let spread = (0..ITEMS).map(move |n| (n, Slot(7 * n)));
        spread.map(move |(n, slot)| Listed {
            slot,
            id: id(n),
            expires_at: None,
            shown: shown(generation),
            space: None,
            list: Some(ServedList {
                version: generation.into(),
                bound: None,
                entries: [ListEntry {
                    slot: Slot(7 * ((n + 1) % ITEMS)),
                    score: 0.5,
                }]
                .into(),
                zero: false,
            }),
        })
    };
    let view = DomainView::default();
    let change = |generation: u32| ViewChange {
        // From time to time the domain is loaded again.
        replace: generation.is_multiple_of(50),
        model: Some(model("words-1")),
        // In odd generations the last item does not exist.
        gone: Vec::from_iter((generation % 2 == 1).then(|| id(ITEMS - 1))),
        listed: listed(generation)
            .take((ITEMS - generation % 2) as usize)
            .collect(),
        ..ViewChange::default()
    };
    view.apply(change(0), 0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = || {
            let (mut last, mut reads) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let snapshot = view.snapshot();
                let snapshot = snapshot.as_ref().unwrap();
                let item = |n| snapshot.item(id(n).as_str(), 0);
                let served = item(0).unwrap().served().unwrap();
                let generation = served.version;
                assert!(generation >= last, "time goes on");
                last = generation;
                for n in 0..ITEMS - 1 {
                    let item = item(n).unwrap();
                    assert_eq!(item.shown().title, shown(generation).title);
                    assert_eq!(item.served().unwrap().version, generation);
                    let next = item.neighbours().next();
                    let is_there = generation.is_multiple_of(2) || n != ITEMS - 2;
                    assert_eq!(
                        next.map(|(other, _)| other.id().clone()),
                        is_there.then(|| id(n + 1))
                    );
                }
                assert_eq!(item(ITEMS - 1).is_some(), generation.is_multiple_of(2));
                reads += 1;
            }
            reads
        };
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(reader)).collect();
        for generation in 1..=600 {
            view.apply(change(generation), generation.into());
        }
        is_over.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}
