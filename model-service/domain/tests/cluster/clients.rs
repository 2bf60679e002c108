//! The outside world: publishers, whose events come late, twice and in any order, and the record of their outcomes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kindred_domain::store::{Partition, Stamp};
use kindred_shared::event::{
    Configure, Delete, Event, MIX, ModelChange, Modelled, Upsert, UpsertKind, Weight,
};
use kindred_shared::{DomainName, ItemId, VectorName};
use serde_json::{Map, Value};

use crate::broker::Letter;
use crate::building::Building;
use crate::invariants::{Checked, Invariant, violated};
use crate::removals::Removals;
use crate::simulated::reference::{MIXED, WEIGHTS, id, model};
use crate::world::{Happening, World};

/// Most events of a history that kill processes: each does so about ten times.
const KILLERS: usize = 2;
const LANGUAGES: [&str; 2] = ["de", "en"];

/// Everything that clients sent and were told.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The events that are or were in a queue, by item and version.
    pub(crate) events: BTreeMap<(DomainName, ItemId), BTreeMap<u64, Arc<Event>>>,
    /// Removed domains, and the consequences for their events.
    pub(crate) removals: Removals,
    /// Models that are being built.
    pub(crate) building: Building,
    /// The newest version of each item that an owner has settled.
    pub(crate) acknowledged: BTreeMap<(DomainName, ItemId), u64>,
    /// The owner of each partition at each epoch.
    pub(crate) owners: BTreeMap<(Partition, kindred_domain::store::Epoch), String>,
    /// The writer of each stamp.
    pub(crate) stamps: BTreeMap<(Partition, Stamp), String>,
    /// The highest stamp with which a certain owner has written.
    highest: BTreeMap<Partition, Stamp>,
    published: u64,
    /// Number of events that are still to arrive in a queue.
    pub(crate) on_their_way: usize,
    /// The requested windows, by request.
    pub(crate) requests: BTreeMap<String, Duration>,
    /// Number of requests about models.
    model_requests: u64,
    /// Versions of events that kill every process that processes them.
    killers: BTreeSet<u64>,
    /// Number of events that were dead-lettered.
    pub(crate) dead_letters: usize,
}

impl Books {
    /// An owner acknowledges an event as durable.
    pub(crate) fn acknowledge(&mut self, event: &Event) {
        if let (Some(id), Some(version)) = (event.id(), event.version()) {
            let key = (event.domain().clone(), id.clone());
            let newest = self.acknowledged.entry(key).or_default();
            *newest = version.max(*newest);
        }
    }

    /// Whether the domain has an acknowledged event that no removal can have affected.
    pub(crate) fn must_exist(&self, domain: &DomainName) -> bool {
        let mut of_domain = self.acknowledged.iter().filter(|((of, _), _)| of == domain);
        of_domain.any(|(key, version)| {
            let event = self.events.get(key).and_then(|events| events.get(version));
            event.is_some_and(|event| !self.removals.may_be_gone(event))
        })
    }

    /// A process writes with a stamp. If it is certain to be the owner, the stamp must be above every stamp of an owner
    /// that was certain before; the error is the highest of those.
    pub(crate) fn stamped(
        &mut self,
        partition: Partition,
        stamp: Stamp,
        is_certain: bool,
    ) -> Result<(), Stamp> {
        if !is_certain {
            return Ok(());
        }
        match self.highest.insert(partition, stamp) {
            Some(highest) if highest >= stamp => Err(highest),
            _ => Ok(()),
        }
    }

    /// Whether this event kills the process that processes it.
    pub(crate) fn kills(&self, event: &Event) -> bool {
        event
            .version()
            .is_some_and(|version| self.killers.contains(&version))
    }

    /// An event is dead-lettered because it kills processes.
    pub(crate) fn dead_letter(&mut self, event: &Event) -> Checked {
        self.dead_letters += 1;
        if self.kills(event) {
            return Ok(());
        }
        violated(
            Invariant::NeverBlocked,
            format!("{event:?} is dead-lettered, and is no killer"),
        )
    }
}

impl World {
    /// Publishes the next event, and schedules the one after it.
    pub(crate) fn publish(&mut self) {
        let number = self.dice.roll(self.shape.domains);
        let domain = self.domain_name(number);
        let event = Arc::new(self.event(domain));
        self.books.published += 1;
        let number = self.books.published;
        let killers = self.books.killers.len();
        if killers < KILLERS && self.shape.killers > 0 && self.dice.one_in(self.shape.killers) {
            self.books.killers.insert(number);
        }
        let letter = Letter {
            number,
            event,
            count: 0,
        };
        self.send(letter.clone());
        // A publisher that was not told that the broker has the event sends it again.
        while self.dice.one_in(6) {
            self.send(letter.clone());
        }
        let pace = u64::try_from(self.shape.pace.as_millis()).unwrap_or(u64::MAX);
        let delay = Duration::from_millis(self.dice.roll(2 * pace));
        self.after(delay, Happening::Publish);
    }

    fn send(&mut self, letter: Letter) {
        self.books.on_their_way += 1;
        let delay = match self.dice.roll(12) {
            0 => Duration::from_millis(self.dice.roll(12_000)),
            _ => Duration::from_millis(self.dice.roll(40)),
        };
        self.after(delay, Happening::Enqueue(letter));
    }

    /// An event arrives at the broker.
    pub(crate) fn enqueued(&mut self, letter: Letter) {
        if self.now < self.broker.away_until {
            let delay = Duration::from_millis(300 + self.dice.roll(700));
            return self.after(delay, Happening::Enqueue(letter));
        }
        self.books.on_their_way -= 1;
        let event = &letter.event;
        self.books.removals.enqueued(self.now, event);
        if let Some(id) = event.id().filter(|_| !self.books.kills(event)) {
            let key = (event.domain().clone(), id.clone());
            let events = self.books.events.entry(key).or_default();
            events.insert(event.version().unwrap_or_default(), Arc::clone(event));
        }
        let partition = self.partition_of(event.domain());
        self.enqueue(partition, letter);
    }

    /// A client sets the window, and sometimes a setting that may change only while the domain is empty.
    fn configure(&mut self, domain: DomainName) -> Event {
        let window = Duration::from_millis(1 + self.dice.roll(400));
        let request = format!("request {}", self.books.requests.len());
        let in_words = format!("{}ms", window.as_millis());
        let mut settings = Map::from_iter([("window".to_owned(), Value::from(in_words))]);
        if self.dice.one_in(3) {
            settings.insert("model".to_owned(), "words-2".into());
        }
        self.books.requests.insert(request.clone(), window);
        Event::Configure(Box::new(Configure {
            domain,
            request,
            settings,
            by: "client".to_owned(),
        }))
    }

    /// A client builds, activates or deletes a model.
    fn change_model(&mut self, domain: DomainName) -> Event {
        let names = ["m1", "m2", "words-1"].map(model);
        let nth = self.dice.roll(3) as usize;
        let change = match self.dice.roll(6) {
            0..2 => ModelChange::Put {
                kind: model(MIXED[self.dice.roll(3) as usize]),
                of: BTreeMap::new(),
            },
            2 => {
                let other = (nth + 1 + self.dice.roll(2) as usize) % 3;
                let third = 3 - nth - other;
                let weights = WEIGHTS.map(|weight| Weight::new(weight).expect("above 0"));
                let of = [other, third].map(|nth| names[nth].clone());
                ModelChange::Put {
                    kind: model(MIX),
                    of: of.into_iter().zip(weights).collect(),
                }
            }
            3..5 => ModelChange::Activate,
            _ => ModelChange::Delete,
        };
        self.books.model_requests += 1;
        Event::Model(Box::new(Modelled {
            domain,
            request: format!("model {}", self.books.model_requests),
            name: names[nth].clone(),
            change,
            by: "client".to_owned(),
        }))
    }

    /// The named vectors of an item: of few directions, so that they often stay the same; or none.
    fn vectors(&mut self) -> BTreeMap<VectorName, Vec<f32>> {
        if self.shape.models == 0 || self.dice.one_in(4) {
            return BTreeMap::new();
        }
        let angle = self.dice.roll(9) as f32 / 5.0;
        let mut vector = vec![angle.cos(), angle.sin()];
        if self.dice.one_in(8) {
            vector.insert(0, 0.0);
        }
        [(VectorName::new("clip").expect("a plain name"), vector)].into()
    }

    fn event(&mut self, domain: DomainName) -> Event {
        if self.dice.one_in(40) {
            return self.configure(domain);
        }
        if self.shape.removals > 0 && self.dice.one_in(self.shape.removals) {
            return self.removal(domain);
        }
        if self.shape.models > 0 && self.dice.one_in(self.shape.models) {
            return self.change_model(domain);
        }
        let id = id(self.dice.roll(self.shape.ids));
        let version = Some(self.books.published + 1);
        if self.dice.one_in(10) {
            return self.patch(domain, id, version);
        }
        // Many items at first, so that lists are full; then they lose entries.
        let deletes = match self.shape.is_large() {
            false => 4,
            true if self.books.published < 2 * self.shape.ids => 30,
            true => 2,
        };
        if self.dice.one_in(deletes) {
            return Event::Delete(Delete {
                domain,
                id,
                version,
            });
        }
        let expires_in = self.dice.roll(5_000) as i64;
        let expires_at = self.dice.one_in(12).then(|| {
            chrono::DateTime::from_timestamp_millis(self.wall() + expires_in).expect("a date")
        });
        let language = LANGUAGES[usize::from(self.dice.one_in(8))];
        // Items of one language are neighbours; many of them fill lists.
        let is_said = self.shape.is_large() || !self.dice.one_in(4);
        Event::Upsert(Box::new(Upsert {
            kind: UpsertKind::Created,
            domain,
            id,
            title: None,
            text: Some("x".repeat(self.dice.roll(24) as usize)),
            url: Some(format!("https://sim.example/{}", self.dice.roll(1000))),
            image: None,
            language: is_said.then(|| language.to_owned()),
            group: None,
            categories: BTreeSet::new(),
            published_at: None,
            publish_at: None,
            expires_at,
            hidden: self.dice.one_in(10),
            version,
            vector: None,
            vectors: self.vectors(),
            attributes: BTreeMap::new(),
        }))
    }
}
