#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::AtomicBool;

use chrono::DateTime;
use kindred_shared::event::{Event, Limits, parse};
use kindred_shared::job::{CompareReply, KEEP};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space, compare_all};
use kindred_similarity::Kernel;

use super::*;
use crate::effect::{Comparing, Input, Made, ToExtract};
use crate::habits::SampleSize;
use crate::intake::DeliveryTag;
use crate::loaded::{Loaded, Opened};
use crate::machine::Tenure;
use crate::material::rows_of;
use crate::settings::ProcessSettings;
use crate::store::{DomainRow, Epoch, FeatureRow, ItemRow, Partition, SettingsRow};
use crate::window::WindowSize;

const ITEMS: usize = 20;

fn habits(segment: u64) -> Habits {
    Habits {
        of: ITEMS as u64,
        sample: 0,
        are_known: true,
        language: None,
        boilerplate: [segment].into(),
        ..Habits::default()
    }
}

fn said(id: &str, version: u64, more: &str) -> Arc<Event> {
    let said = format!(
        r#"{{"type":"item.created","domain":"news","id":"{id}","version":{version},"text":"text"{more}}}"#
    );
    Arc::new(parse(said.as_bytes(), &Limits::default()).unwrap())
}

fn row(n: usize) -> ItemRow {
    let Event::Upsert(upsert) = &*said(&format!("i{n:02}"), 1, "") else {
        panic!("it is an upsert");
    };
    rows_of(upsert, 1, DateTime::UNIX_EPOCH).0
}

/// A machine; commits and extractions wait for the test, everything else is done at once.
struct Driver {
    machine: Domain,
    now: Now,
    commits: VecDeque<(Ticket, Vec<Write>)>,
    extracts: VecDeque<(Ticket, Vec<ToExtract>, u64)>,
    surveys: VecDeque<(Ticket, Vec<ItemId>)>,
    /// The number of items of each survey.
    looks: Vec<usize>,
    /// What all texts contain.
    segment: u64,
    reads: VecDeque<Ticket>,
    load: Option<Ticket>,
    /// The store must be read again.
    open: Option<Ticket>,
    stored: Vec<Write>,
    /// Items whose features are not stored.
    lost: BTreeSet<usize>,
}

impl Driver {
    /// A domain whose items' features were made with the habits `now`; it is not read yet.
    fn opened(now: Habits) -> Self {
        Self::left(None, SampleSize::default(), now)
    }

    /// The same, left dirty at an epoch, with samples of this size.
    fn left(dirty: Option<u64>, sample: SampleSize, now: Habits) -> Self {
        Self::left_with(usize::MAX, dirty, sample, now)
    }

    /// From this many outdated features on, features are made again in the store only.
    fn left_with(
        many_outdated: usize,
        dirty: Option<u64>,
        sample: SampleSize,
        now: Habits,
    ) -> Self {
        let name = DomainName::new("news").unwrap();
        let tenure = Tenure {
            domain: name,
            partition: Partition(0),
            epoch: Epoch(2),
        };
        let settings = ProcessSettings {
            model: ModelName::new("words-1").unwrap(),
            window: WindowSize {
                length: Duration::from_millis(250),
                events: 20,
            },
            auto_register: true,
            task_pairs: 1_000,
            batch_items: 4,
            scrub_lists: 100,
            attributes: 64,
            material_bytes: 1_000,
            sample,
            many_outdated,
        };
        let (machine, effects) = Domain::start(tenure, Arc::new(settings));
        let mut driver = Self {
            machine,
            now: Now {
                monotonic: Duration::ZERO,
                unix_ms: 1_000_000,
            },
            commits: VecDeque::new(),
            extracts: VecDeque::new(),
            surveys: VecDeque::new(),
            looks: Vec::new(),
            segment: 1,
            reads: VecDeque::new(),
            load: None,
            open: None,
            stored: Vec::new(),
            lost: BTreeSet::new(),
        };
        let [Effect::Open { ticket }] = effects[..] else {
            panic!("it reads the store first: {effects:?}");
        };
        driver.open(ticket, dirty, now);
        driver
    }

    fn open(&mut self, ticket: Ticket, dirty: Option<u64>, now: Habits) {
        let row = DomainRow {
            domain: DomainName::new("news").unwrap(),
            model: ModelName::new("words-1").unwrap(),
            partition: 0,
            registered_at: DateTime::UNIX_EPOCH,
            dirty,
            live: ITEMS as u64,
            visible: ITEMS as u64,
            next_expiry: None,
            removal: None,
        };
        let settings = SettingsRow {
            habits: now,
            ..SettingsRow::default()
        };
        let result = Ok(Box::new(Opened {
            row: Some(row),
            settings: Some(settings),
        }));
        self.input(Input::Opened { ticket, result });
    }

    fn load(&mut self, made_with: u64) {
        let mut loaded = Box::<Loaded>::default();
        for n in 0..ITEMS {
            let row = row(n);
            loaded.add_item(&row);
            if self.lost.contains(&n) {
                continue;
            }
            loaded.add_feature(FeatureRow {
                id: row.id,
                version: 1,
                space: Space::stored("words-1/en"),
                habits: made_with,
                feature: feature(made_with),
            });
        }
        let (ticket, result) = (self.load.take().unwrap(), Ok(loaded));
        self.input(Input::Loaded { ticket, result });
    }

    fn input(&mut self, input: Input) {
        let effects = self.machine.handle(self.now, input);
        for effect in effects {
            match effect {
                Effect::Open { ticket } => self.open = Some(ticket),
                Effect::Load { ticket, .. } => self.load = Some(ticket),
                Effect::ReadItems { ticket, .. } => self.reads.push_back(ticket),
                Effect::Commit { ticket, writes, .. } => self.commits.push_back((ticket, writes)),
                Effect::Survey { ticket, ids, .. } => self.surveys.push_back((ticket, ids)),
                Effect::Extract {
                    ticket,
                    rows,
                    habits,
                    ..
                } => {
                    self.extracts
                        .push_back((ticket, rows, habits.fingerprint()));
                }
                Effect::Compare { ticket, tasks } => {
                    for (task, comparing) in tasks {
                        let none = AtomicBool::new(false);
                        let compared = match comparing {
                            Comparing::Some(task) => task.compare(Kernel::Scalar, &none).unwrap(),
                            Comparing::All(blocks) => {
                                let blocks: Vec<_> = blocks
                                    .iter()
                                    .map(|(block, live)| (&**block, live))
                                    .collect();
                                let found =
                                    compare_all(Kernel::Scalar, &blocks, KEEP, &none).unwrap();
                                CompareReply { pairs: 0, found }
                            }
                        };
                        let result = Ok(compared);
                        self.input(Input::Compared {
                            ticket,
                            task,
                            result,
                        });
                    }
                }
                Effect::Notify { ticket, .. } => self.input(Input::Notified { ticket }),
                _ => {}
            }
        }
    }

    fn publish(&mut self, id: &str, version: u64, more: &str) {
        let (tag, event) = (DeliveryTag(version), said(id, version, more));
        self.input(Input::Event { tag, event });
    }

    fn commit(&mut self) {
        let (ticket, writes) = self.commits.pop_front().expect("something is to be stored");
        self.stored.extend(writes);
        let result = Ok(());
        self.input(Input::Committed { ticket, result });
    }

    fn wait(&mut self, ms: u64) {
        self.now.monotonic += Duration::from_millis(ms);
        self.input(Input::Tick);
    }

    /// Answers an extraction with what the store has: items at these versions. Returns the ids of the features made.
    fn extract(&mut self, version_of: impl Fn(&str) -> u64) -> Vec<String> {
        let (ticket, rows, habits) = self.extracts.pop_front().expect("features are asked for");
        let there = rows
            .into_iter()
            .filter(|row| version_of(row.id.as_str()) == row.version);
        let made: Vec<(String, Made)> = there
            .map(|row| {
                let made = Made {
                    slot: row.slot,
                    version: row.version,
                    space: Space::stored("words-1/en"),
                    habits,
                    feature: feature(habits),
                    row: None,
                };
                (row.id.to_string(), made)
            })
            .collect();
        let ids = made.iter().map(|(id, _)| id.clone()).collect();
        let result = Ok(made.into_iter().map(|(_, made)| made).collect());
        self.input(Input::Extracted { ticket, result });
        ids
    }

    /// Answers a survey: all texts have one segment.
    fn look(&mut self) {
        let (ticket, ids) = self.surveys.pop_front().expect("there is a look");
        let texts = ids.len() as u64;
        self.looks.push(ids.len());
        let survey = Survey {
            texts,
            segments: [(self.segment, texts)].into(),
            ..Survey::default()
        };
        let result = Ok(survey);
        self.input(Input::Surveyed { ticket, result });
    }

    /// Changes the habits, whatever the texts are.
    fn change_habits(&mut self, habits: Habits) {
        self.machine.store_habits(Arc::new(habits));
        let effects = self.machine.outbox.drain();
        let [Effect::Commit { ticket, writes, .. }] = &effects[..] else {
            panic!("they are stored: {effects:?}");
        };
        self.stored.extend(writes.iter().cloned());
        let (ticket, result) = (*ticket, Ok(()));
        self.input(Input::Committed { ticket, result });
    }

    /// The stored habits.
    fn stored_habits(&self) -> Option<&Habits> {
        self.stored.iter().rev().find_map(|write| match write {
            Write::Settings(row) => Some(&row.habits),
            _ => None,
        })
    }

    /// Does everything that is requested until nothing is left.
    fn settle(&mut self, version_of: impl Fn(&str) -> u64) {
        for _ in 0..1_000 {
            if !self.commits.is_empty() {
                self.commit();
            } else if !self.extracts.is_empty() {
                self.extract(&version_of);
            } else if !self.surveys.is_empty() {
                self.look();
            } else if self.machine.status().quiet {
                return;
            } else {
                self.wait(100);
            }
        }
        panic!("never quiet: {:?}", self.machine.status());
    }

    /// The habits with which the newest stored feature of an item was made, as it says itself, and its version.
    fn label(&self, id: &str) -> Option<(u64, u64)> {
        self.stored.iter().rev().find_map(|write| match write {
            Write::Feature(row) if row.id.as_str() == id => Some((row.habits, row.version)),
            _ => None,
        })
    }
}

/// A feature that records what it was made with.
fn feature(habits: u64) -> Feature {
    let angle = (habits % 7) as f32 / 9.0;
    Feature::new(vec![angle.cos(), angle.sin()], vec![], vec![]).unwrap()
}

#[test]
fn what_was_made_with_other_habits_is_made_again_after_loading() {
    let now = habits(1);
    let mut driver = Driver::opened(now.clone());
    driver.load(habits(2).fingerprint());
    assert!(!driver.machine.status().quiet);
    assert_eq!(
        driver.machine.status().oldest_pending,
        None,
        "no event waits"
    );
    driver.settle(|_| 1);
    assert_eq!(driver.label("i00"), Some((now.fingerprint(), 1)));
    assert_eq!(driver.label("i19"), Some((now.fingerprint(), 1)));
    let mut driver = Driver::opened(now.clone());
    driver.load(now.fingerprint());
    assert!(driver.extracts.is_empty());
    driver.settle(|_| 1);
}

#[test]
fn many_are_made_in_the_store_and_compared_once_the_domain_is_loaded_anew() {
    let now = habits(1);
    let mut driver = Driver::left_with(ITEMS, None, SampleSize::default(), now.clone());
    driver.load(habits(2).fingerprint());
    let mut made = 0;
    while driver.open.is_none() {
        if !driver.extracts.is_empty() {
            made += driver.extract(|_| 1).len();
        } else if !driver.surveys.is_empty() {
            driver.look();
        } else if driver.commits.is_empty() {
            driver.wait(1_000);
        } else {
            driver.commit();
        }
    }
    assert_eq!(made, ITEMS);
    assert_eq!(driver.label("i19"), Some((now.fingerprint(), 1)));
    driver.publish("i03", 2, r#","group":"g""#);
    assert!(driver.commits.is_empty(), "it waits");
    assert!(!driver.machine.status().quiet);
    let ticket = driver.open.take().unwrap();
    driver.open(ticket, Some(1), now.clone());
    driver.load(now.fingerprint());
    driver.settle(|id| if id == "i03" { 2 } else { 1 });
    assert_eq!(driver.label("i03"), Some((now.fingerprint(), 2)));
}

#[test]
fn an_event_goes_before_what_is_made_again() {
    let mut driver = Driver::opened(habits(1));
    driver.load(habits(2).fingerprint());
    driver.look();
    driver.commit();
    driver.publish("new", 5, "");
    while driver.extracts.len() < 2 && driver.label("new").is_none() {
        if driver.commits.is_empty() {
            driver.wait(300);
        }
        if !driver.commits.is_empty() {
            driver.commit();
        } else if driver.extracts.front().is_some() {
            let is_asked = driver.extracts[0]
                .1
                .iter()
                .any(|row| row.id.as_str() == "new");
            driver.extract(|id| if id == "new" { 5 } else { 1 });
            if is_asked {
                break;
            }
        }
    }
    let again = driver.machine.catalogue.outdated().len();
    assert!(again > ITEMS / 2, "{again} of {ITEMS} wait behind it");
    driver.settle(|id| if id == "new" { 5 } else { 1 });
}

/// A change of metadata writes the feature again, under a new version; it was made with the previous habits.
#[test]
fn a_change_on_its_way_to_the_store_while_habits_change_is_made_again_after_it() {
    let before = habits(2);
    let mut driver = Driver::opened(before.clone());
    driver.load(before.fingerprint());
    driver.publish("i07", 9, r#","url":"https://news.example/i07""#);
    let (round, writes) = driver
        .commits
        .pop_front()
        .expect("the change is to be stored");
    driver.look();
    // The habits are stored first.
    driver.commit();
    let now = driver.machine.surveying.habits.fingerprint();
    assert_ne!(now, before.fingerprint());
    let made: Vec<String> = std::iter::from_fn(|| {
        let made = (!driver.extracts.is_empty()).then(|| driver.extract(|_| 1))?;
        while !driver.commits.is_empty() {
            driver.commit();
        }
        Some(made)
    })
    .flatten()
    .collect();
    assert!(!made.iter().any(|id| id == "i07"), "{made:?}");
    assert!(!driver.machine.status().quiet);
    driver.stored.extend(writes);
    let (ticket, result) = (round, Ok(()));
    driver.input(Input::Committed { ticket, result });
    driver.settle(|id| if id == "i07" { 9 } else { 1 });
    assert_eq!(driver.label("i07"), Some((now, 9)));
}

/// An event that arrives while the domain is being read does not hide that the stored feature was made with other
/// habits.
#[test]
fn an_event_while_the_domain_is_read_keeps_its_item_outdated() {
    let now = habits(1);
    let mut driver = Driver::opened(now.clone());
    // It is older than what is stored, and changes nothing.
    driver.publish("i03", 1, "");
    let ticket = driver.reads.pop_front().expect("its row is read first");
    let result = Ok(vec![Some(row(3))]);
    driver.input(Input::ItemsRead { ticket, result });
    driver.load(habits(2).fingerprint());
    driver.settle(|_| 1);
    assert_eq!(driver.label("i03"), Some((now.fingerprint(), 1)));
}

/// An item that kills workers is not given to them again because habits have changed.
#[test]
fn an_item_that_is_rejected_while_habits_change_is_not_made_again() {
    let before = habits(2);
    let mut driver = Driver::opened(before.clone());
    driver.load(before.fingerprint());
    driver.publish("i05", 9, r#","title":"poison""#);
    driver.commit();
    driver.wait(300);
    let (ticket, rows, habits) = driver
        .extracts
        .pop_front()
        .expect("its feature is asked for");
    assert_eq!(rows.len(), 1);
    driver.look();
    driver.commit();
    let mut rejected = row(5);
    rejected.version = 9;
    rejected.rejected = Some("it kills workers".into());
    let made = Made {
        slot: rows[0].slot,
        version: 9,
        space: Space::stored("words-1/en"),
        habits,
        feature: Feature::zero(),
        row: Some(Box::new(rejected)),
    };
    let result = Ok(vec![made]);
    driver.input(Input::Extracted { ticket, result });
    while !driver.machine.status().quiet {
        if !driver.commits.is_empty() {
            driver.commit();
        } else if let Some((_, rows, _)) = driver.extracts.front() {
            assert!(rows.iter().all(|row| row.id.as_str() != "i05"), "again");
            driver.extract(|_| 1);
        } else if !driver.surveys.is_empty() {
            driver.look();
        } else {
            driver.wait(100);
        }
    }
}

/// An item whose feature was lost in a crash, and is being made when habits change, does not keep the previous habits.
#[test]
fn a_feature_that_was_being_made_while_habits_changed_is_made_again() {
    let before = habits(2);
    let mut driver = Driver::opened(before.clone());
    driver.lost = [7].into();
    driver.load(before.fingerprint());
    assert_eq!(driver.extracts.len(), 1, "that of the lost one");
    driver.wait(300);
    // As if the domain had doubled.
    driver.change_habits(habits(1));
    driver.settle(|_| 1);
    assert_eq!(driver.label("i07"), Some((habits(1).fingerprint(), 1)));
}

/// The fingerprint of the sample of these items, which all have the same text.
fn fingerprint(items: impl Iterator<Item = usize>) -> u64 {
    let hashes = items.map(|n| (row(n).id.hash64(), row(n).content_hash));
    let hashes: BTreeSet<(u64, u64)> = hashes.collect();
    fingerprint_of(hashes.into_iter())
}

/// A crash may lose the features of many items: then the sample of the others is not the domain's.
#[test]
fn a_domain_is_looked_at_again_when_all_its_features_are_made() {
    let before = Habits {
        of: 8,
        sample: fingerprint(4..ITEMS),
        ..habits(2)
    };
    let mut driver = Driver::opened(before.clone());
    driver.lost = (0..4).collect();
    driver.load(before.fingerprint());
    driver.settle(|_| 1);
    assert_eq!(driver.looks.last(), Some(&ITEMS));
    let stored = driver.stored_habits().expect("they are stored");
    assert_eq!(stored.sample, fingerprint(0..ITEMS));
    for n in 0..ITEMS {
        let label = driver.label(&format!("i{n:02}"));
        assert_eq!(label, Some((habits(1).fingerprint(), 1)), "{n}");
    }
}

/// If an event comes again while its item's feature is being made, the feature is made twice, and habits may change in
/// between.
#[test]
fn a_feature_that_is_written_again_says_what_it_was_made_with() {
    let before = habits(2);
    let mut driver = Driver::opened(before.clone());
    driver.load(before.fingerprint());
    driver.segment = 2;
    driver.look();
    driver.commit();
    driver.publish("i05", 9, r#","title":"another""#);
    while driver.extracts.is_empty() {
        driver.wait(300);
        if !driver.commits.is_empty() {
            driver.commit();
        }
    }
    driver.publish("i05", 9, r#","title":"another""#);
    driver.commit();
    driver.extract(|id| if id == "i05" { 9 } else { 1 });
    assert_eq!(driver.commits.len(), 1, "its feature is stored");
    driver.commit();
    assert_eq!(driver.label("i05"), Some((before.fingerprint(), 9)));
    driver.change_habits(habits(3));
    driver.publish(
        "i05",
        10,
        r#","title":"another","url":"https://news.example/i05""#,
    );
    driver.commit();
    assert_eq!(driver.label("i05"), Some((before.fingerprint(), 10)));
    driver.segment = 1;
    driver.settle(|id| if id == "i05" { 10 } else { 1 });
    assert_eq!(driver.label("i05"), Some((habits(1).fingerprint(), 10)));
}

#[test]
fn texts_that_change_while_they_are_looked_at_are_looked_at_again() {
    let mut driver = Driver::opened(habits(1));
    driver.load(habits(1).fingerprint());
    driver.publish("i05", 9, r#","title":"another""#);
    driver.look();
    driver.settle(|id| if id == "i05" { 9 } else { 1 });
    assert_eq!(driver.looks, [ITEMS, ITEMS]);
    let now = driver.stored_habits().map(|habits| habits.sample);
    assert!(now.is_some_and(|sample| sample != 0 && sample != fingerprint(0..ITEMS)));
}

#[test]
fn a_domain_is_looked_at_again_when_its_sample_is_another_one() {
    let size = SampleSize { fewest: 4, most: 8 };
    let mut driver = Driver::left(None, size, habits(1));
    driver.load(habits(1).fingerprint());
    driver.settle(|_| 1);
    assert_eq!(driver.looks, [8]);
    let mut hashes: Vec<u64> = (0..ITEMS).map(|n| row(n).id.hash64()).collect();
    hashes.sort_unstable();
    let new = |is_in: bool| {
        let ids = (0..).map(|n| format!("new-{n}"));
        let hash = |id: &String| ItemId::new(id).unwrap().hash64();
        let mut fits = ids.filter(|id| (hash(id) < hashes[7]) == is_in);
        fits.next().unwrap()
    };
    let version_of = |id: &str| if id.starts_with("new") { 5 } else { 1 };
    driver.publish(&new(false), 5, "");
    driver.settle(version_of);
    assert_eq!(driver.looks, [8], "the sample is the same");
    driver.publish(&new(true), 5, "");
    driver.settle(version_of);
    assert_eq!(driver.looks, [8, 8]);
}

/// A late write of a former owner could replace what it wrote before.
#[test]
fn habits_of_a_domain_that_was_left_dirty_are_stored_again() {
    let now = Habits {
        sample: fingerprint(0..ITEMS),
        ..habits(1)
    };
    for (dirty, stored) in [(Some(1), Some(&now)), (None, None)] {
        let mut driver = Driver::left(dirty, SampleSize::default(), now.clone());
        driver.load(now.fingerprint());
        driver.settle(|_| 1);
        assert_eq!(driver.stored_habits(), stored);
        assert!(driver.looks.is_empty());
    }
}

/// Otherwise it would be requested forever.
#[test]
fn what_the_store_does_not_have_is_not_asked_for_again() {
    let mut driver = Driver::opened(habits(1));
    driver.load(habits(2).fingerprint());
    driver.settle(|id| if id == "i05" { 2 } else { 1 });
    assert_eq!(driver.label("i05"), None);
    assert_eq!(driver.label("i06"), Some((habits(1).fingerprint(), 1)));
    // Its next event requests it, even if that changes nothing.
    driver.publish("i05", 3, "");
    driver.settle(|id| if id == "i05" { 3 } else { 1 });
    assert_eq!(driver.label("i05"), Some((habits(1).fingerprint(), 3)));
}
