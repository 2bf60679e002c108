//! From items to features: the driver of what `model-service` does with its preprocessor.

use std::sync::Arc;

use kindred_domain::dispatch::Undone;
use kindred_domain::effect::{Input, Made, Ticket, ToExtract};
use kindred_domain::extraction::{Next, after};
use kindred_domain::intake::Failure;
use kindred_domain::material::Material;
use kindred_domain::store::{Content, ItemRow};
use kindred_shared::job::{ExtractTask, Job, Task, TermCounts};
use kindred_shared::{Feature, ItemId, ModelName, Space};

use crate::actor::Actor;
use crate::database::Reading;
use crate::process::{Address, Context, Message};
use crate::seat::Seat;
use crate::simulated::reference::{space_of, torn};
use crate::workers::Asker;

/// Items of one extract job.
const ROWS_PER_JOB: usize = 3;

/// Features on their way.
pub(crate) struct Extraction {
    model: ModelName,
    rows: Vec<ToExtract>,
    asked: Vec<(ToExtract, Arc<Material>)>,
    made: Vec<Made>,
    open: usize,
    failed: Option<Failure>,
}

impl Actor {
    pub(crate) fn extract(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        model: ModelName,
        rows: Vec<ToExtract>,
    ) {
        let missing = rows.iter().filter(|row| row.material.is_none());
        let missing: Vec<ItemId> = missing.map(|row| row.id.clone()).collect();
        let extraction = Extraction {
            model,
            rows,
            asked: Vec::new(),
            made: Vec::new(),
            open: 0,
            failed: None,
        };
        self.extractions.insert(ticket, extraction);
        let address = self.address.clone();
        if missing.is_empty() {
            let nothing = Message::Material(address, ticket, Ok(Vec::new()));
            context
                .world
                .tell(context.me.id, std::time::Duration::from_micros(10), nothing);
        } else {
            context
                .world
                .read(Reading::Material(address, ticket, missing));
        }
    }

    /// What is missing is read: what needs a worker goes to one.
    fn prepare(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        found: Vec<(ItemRow, Content)>,
    ) {
        let Some(extraction) = self.extractions.get_mut(&ticket) else {
            return;
        };
        let mut places: std::collections::BTreeMap<Space, Vec<usize>> = Default::default();
        for row in std::mem::take(&mut extraction.rows) {
            let read = || {
                let (row, content) = found.iter().find(|(found, _)| found.id == row.id)?.clone();
                Some(Arc::new(Material { row, content }))
            };
            let Some(material) = row.material.clone().or_else(read) else {
                continue;
            };
            // The store may be ahead of what was asked for; that is asked for apart.
            if material.row.version != row.version {
                continue;
            }
            let space = space_of(&extraction.model, &material.row);
            if let Some(rejected) = torn(&material) {
                extraction.made.push(Made {
                    rejected: Some(rejected),
                    ..made(&row, space, Feature::zero())
                });
            } else if material
                .content
                .text
                .as_deref()
                .unwrap_or_default()
                .is_empty()
            {
                extraction.made.push(made(&row, space, Feature::zero()));
            } else {
                places
                    .entry(space)
                    .or_default()
                    .push(extraction.asked.len());
                extraction.asked.push((row, material));
            }
        }
        for (space, places) in places {
            for places in places.chunks(ROWS_PER_JOB) {
                extraction.open += 1;
                extraction.submit(context, &self.address, ticket, &space, places.to_vec());
            }
        }
    }

    /// The extraction's outcome, if it has one.
    fn extracted(&mut self, ticket: Ticket) -> Option<Input> {
        let extraction = self.extractions.get(&ticket)?;
        if extraction.open > 0 {
            return None;
        }
        let extraction = self.extractions.remove(&ticket)?;
        let result = match extraction.failed {
            Some(failure) => Err(failure),
            None => Ok(extraction.made),
        };
        Some(Input::Extracted { ticket, result })
    }
}

impl Extraction {
    fn submit(
        &self,
        context: &mut Context<'_>,
        address: &Address,
        ticket: Ticket,
        space: &Space,
        places: Vec<usize>,
    ) {
        let terms = |place: &usize| {
            let (row, material) = &self.asked[*place];
            let letters = material.content.text.as_deref().unwrap_or_default().len();
            TermCounts {
                id: row.id.clone(),
                terms: vec![("x".into(), u32::try_from(letters).expect("a short text"))],
            }
        };
        let task = ExtractTask {
            space: space.clone(),
            rows: places.iter().map(terms).collect(),
        };
        let job = Job {
            domain: address.domain.clone(),
            task: Task::Extract(Arc::new(task)),
        };
        let asker = Asker::Extract(address.clone(), ticket, places);
        context.jobs.submit(job, asker);
    }

    /// A job is done or given up: what a worker could not do of several is tried of each alone.
    fn done(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        ticket: Ticket,
        places: &[usize],
        result: Result<Vec<Feature>, Undone>,
    ) {
        self.open -= 1;
        let space = |place: usize, extraction: &Self| {
            space_of(&extraction.model, &extraction.asked[place].1.row)
        };
        match result {
            Ok(features) => {
                for (place, feature) in places.iter().zip(features) {
                    let made = made(&self.asked[*place].0, space(*place, self), feature);
                    self.made.push(made);
                }
            }
            Err(undone) => match after(undone, places.len() == 1) {
                Next::Later(failure) => self.failed = Some(failure),
                Next::EachAlone(_) => {
                    for place in places {
                        self.open += 1;
                        let space = space(*place, self);
                        self.submit(context, address, ticket, &space, vec![*place]);
                    }
                }
                Next::Reject(reason) => {
                    let (row, material) = &self.asked[places[0]];
                    let rejected = ItemRow {
                        rejected: Some(reason),
                        ..material.row.clone()
                    };
                    let made = Made {
                        rejected: Some(Box::new(rejected)),
                        ..made(row, space(places[0], self), Feature::zero())
                    };
                    self.made.push(made);
                }
            },
        }
    }
}

fn made(row: &ToExtract, space: Space, feature: Feature) -> Made {
    Made {
        slot: row.slot,
        version: row.version,
        space,
        feature,
        rejected: None,
    }
}

impl Seat {
    pub(crate) fn material(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        ticket: Ticket,
        found: Result<Vec<(ItemRow, Content)>, Failure>,
    ) {
        self.with_actor(context, address, |actor, tenure, context| {
            match found {
                Ok(found) => actor.prepare(context, ticket, found),
                Err(failure) => {
                    if let Some(extraction) = actor.extractions.get_mut(&ticket) {
                        extraction.failed = Some(failure);
                    }
                }
            }
            if let Some(input) = actor.extracted(ticket) {
                actor.input(tenure, context, input);
            }
        });
    }

    pub(crate) fn features(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        ticket: Ticket,
        places: &[usize],
        result: Result<Vec<Feature>, Undone>,
    ) {
        self.with_actor(context, address, |actor, tenure, context| {
            if let Some(extraction) = actor.extractions.get_mut(&ticket) {
                extraction.done(context, address, ticket, places, result);
            }
            if let Some(input) = actor.extracted(ticket) {
                actor.input(tenure, context, input);
            }
        });
    }
}
