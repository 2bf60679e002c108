#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;

use chrono::DateTime;
use kindred_shared::event::{Event, Limits, parse};
use kindred_shared::job::{CompareReply, KEEP};
use kindred_shared::{DomainName, Feature, ModelName, compare_all};
use kindred_similarity::Kernel;

use super::*;
use crate::effect::{Comparing, Input, Made, ToExtract};
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
        language: None,
        boilerplate: [segment].into(),
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
    surveys: VecDeque<Ticket>,
    reads: VecDeque<Ticket>,
    load: Option<Ticket>,
    stored: Vec<Write>,
    /// The item whose feature is not stored.
    lost: Option<usize>,
}

impl Driver {
    /// A domain of items whose features were made with `of`, while the domain has `now`; it is not read yet.
    fn opened(now: Habits) -> Self {
        let name = DomainName::new("news").unwrap();
        let tenure = Tenure {
            domain: name.clone(),
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
            task_pairs: 1_000,
            batch_items: 4,
            scrub_lists: 100,
            attributes: 64,
            material_bytes: 1_000,
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
            reads: VecDeque::new(),
            load: None,
            stored: Vec::new(),
            lost: None,
        };
        let [Effect::Open { ticket }] = effects[..] else {
            panic!("it reads the store first: {effects:?}");
        };
        let row = DomainRow {
            domain: name,
            model: ModelName::new("words-1").unwrap(),
            partition: 0,
            registered_at: DateTime::UNIX_EPOCH,
            dirty: None,
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
        driver.input(Input::Opened { ticket, result });
        driver
    }

    fn load(&mut self, made_with: u64) {
        let mut loaded = Box::<Loaded>::default();
        for n in 0..ITEMS {
            let row = row(n);
            loaded.add_item(&row);
            if self.lost == Some(n) {
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
                Effect::Load { ticket, .. } => self.load = Some(ticket),
                Effect::ReadItems { ticket, .. } => self.reads.push_back(ticket),
                Effect::Commit { ticket, writes, .. } => self.commits.push_back((ticket, writes)),
                Effect::Survey { ticket, .. } => self.surveys.push_back(ticket),
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

    /// Answers an extraction with what the store has: items at these versions. The ids that were made.
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
                    rejected: None,
                };
                (row.id.to_string(), made)
            })
            .collect();
        let ids = made.iter().map(|(id, _)| id.clone()).collect();
        let result = Ok(made.into_iter().map(|(_, made)| made).collect());
        self.input(Input::Extracted { ticket, result });
        ids
    }

    /// Answers a look: all texts have the first segment.
    fn look(&mut self) {
        let ticket = self.surveys.pop_front().expect("there is a look");
        let survey = Survey {
            texts: ITEMS as u64,
            segments: [(1, ITEMS as u64)].into(),
            ..Survey::default()
        };
        let result = Ok(survey);
        self.input(Input::Surveyed { ticket, result });
    }

    /// Does all that is asked for until nothing is left.
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

    /// With what habits the newest stored feature of an item says it was made, and its version.
    fn label(&self, id: &str) -> Option<(u64, u64)> {
        self.stored.iter().rev().find_map(|write| match write {
            Write::Feature(row) if row.id.as_str() == id => Some((row.habits, row.version)),
            _ => None,
        })
    }
}

/// A feature that says what it was made with.
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
fn an_event_goes_before_what_is_made_again() {
    let mut driver = Driver::opened(habits(1));
    driver.load(habits(2).fingerprint());
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
    let again = driver.machine.surveying.outdated();
    assert!(again > ITEMS / 2, "{again} of {ITEMS} wait behind it");
    driver.settle(|id| if id == "new" { 5 } else { 1 });
}

/// A change of metadata writes the feature again, under a new version, that was made with the habits of before.
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

/// An event that came while the domain was read does not hide that the stored feature was made with other habits.
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

/// What kills workers is not given to them again because habits have changed meanwhile.
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
        rejected: Some(Box::new(rejected)),
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

/// An item whose feature was lost in a crash, and is being made when habits change, is not left with those of before.
#[test]
fn a_feature_that_was_being_made_while_habits_changed_is_made_again() {
    let before = habits(2);
    let mut driver = Driver::opened(before.clone());
    driver.lost = Some(7);
    driver.load(before.fingerprint());
    assert_eq!(driver.extracts.len(), 1, "that of the lost one");
    driver.wait(300);
    // As if the domain had doubled.
    let habits_now = Habits {
        of: ITEMS as u64,
        ..habits(1)
    };
    let set = SettingsRow {
        habits: habits_now.clone(),
        ..SettingsRow::default()
    };
    driver.machine.set = Some(set);
    let ticket = Ticket(u64::MAX);
    driver.machine.surveying.storing = Some((ticket, Arc::new(habits_now.clone())));
    driver.machine.habits_stored(ticket);
    driver.settle(|_| 1);
    assert_eq!(driver.label("i07"), Some((habits_now.fingerprint(), 1)));
}
