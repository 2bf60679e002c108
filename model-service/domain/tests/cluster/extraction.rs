//! The driver of the extraction machine: from items to features.

use std::collections::BTreeMap;
use std::sync::Arc;

use kindred_domain::dispatch::Undone;
use kindred_domain::effect::{Input, Ticket, ToExtract};
use kindred_domain::extraction::{
    Extraction, ExtractionRequest, Fallback, Making, PieceId, PieceSize, Prepared, Step,
};
use kindred_domain::habits::Habits;
use kindred_domain::intake::Failure;
use kindred_domain::material::Material;
use kindred_shared::job::{Job, Task};
use kindred_shared::{Feature, Space};

use crate::actor::Actor;
use crate::database::Reading;
use crate::process::{Address, Context, Message};
use crate::seat::Seat;
use crate::simulated::reference::{letters_of, torn};
use crate::workers::Asker;

/// The size of an extract job.
const MOST: PieceSize = PieceSize {
    items: 3,
    bytes: usize::MAX,
    text_bytes: usize::MAX,
};

impl Actor {
    pub(crate) fn extract(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        making: Making,
        rows: Vec<ToExtract>,
        (spaces, lengths): (Vec<(Space, usize)>, BTreeMap<Space, usize>),
    ) {
        let (extraction, first) = Extraction::begin(making, rows, spaces, lengths, MOST);
        self.extractions.insert(ticket, extraction);
        self.take_steps(context, ticket, vec![first]);
    }

    /// Carries out the machine's steps; returns the outcome, if there is one.
    fn take_steps(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        steps: Vec<Step>,
    ) -> Option<Input> {
        let address = &self.address;
        for step in steps {
            match step {
                Step::Read(missing) if missing.is_empty() => {
                    let nothing = Message::Material(address.clone(), ticket, Ok(Vec::new()));
                    let delay = std::time::Duration::from_micros(10);
                    context.world.tell(context.me.id, delay, nothing);
                }
                Step::Read(missing) => {
                    let reading = Reading::Material(address.clone(), ticket, missing);
                    context.world.read(reading);
                }
                Step::Prepare(asked, fallback) => {
                    let habits = Arc::clone(self.extractions.get(&ticket)?.habits());
                    let prepared = asked.into_iter().map(|asked| {
                        let prepared = prepare(context, &asked, &habits, fallback.as_ref());
                        (asked, prepared)
                    });
                    let prepared: Vec<(ExtractionRequest, Prepared)> = prepared.collect();
                    let extraction = self.extractions.get_mut(&ticket)?;
                    let steps = extraction.prepared(prepared);
                    return self.take_steps(context, ticket, steps);
                }
                Step::Submit(piece, task, length) => {
                    let job = Job {
                        domain: address.domain.clone(),
                        task: Task::Extract(task),
                    };
                    let asker = Asker::Extract(address.clone(), ticket, piece);
                    context.jobs.submit(job, length, asker);
                }
                Step::Done(result) => {
                    self.extractions.remove(&ticket);
                    return Some(Input::Extracted { ticket, result });
                }
            }
        }
        None
    }
}

/// A text's letters are its terms. Sometimes its language is certain only once others are known. If the language is not
/// given, it is the usual one, if that follows from the existing items.
fn prepare(
    context: &mut Context<'_>,
    asked: &ExtractionRequest,
    habits: &Habits,
    fallback: Option<&Fallback>,
) -> Prepared {
    if torn(&asked.material).is_some() {
        return Prepared::Unfit("torn".to_owned());
    }
    let Material { row, content } = &*asked.material;
    let is_unsure = row.language.is_none() || context.world.dice.one_in(6);
    if fallback.is_none() && is_unsure {
        return Prepared::Unsure;
    }
    let usual = fallback.filter(|_| habits.are_known);
    let usual = usual.and_then(|Fallback(language)| language.clone());
    let language = row.language.clone().or(usual);
    let language = language.unwrap_or_else(|| "en".to_owned());
    let letters = letters_of(content, habits);
    let terms = match u32::try_from(letters).expect("a short text") {
        0 => Vec::new(),
        // As many terms as a feature has.
        letters => vec![("x".into(), letters), ("y".into(), 1)],
    };
    Prepared::Terms(language, terms)
}

impl Seat {
    pub(crate) fn material(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        ticket: Ticket,
        found: Result<Vec<Material>, Failure>,
    ) {
        self.with_actor(context, address, |actor, tenure, context| {
            let extraction = actor.extractions.get_mut(&ticket);
            let step = extraction.map(|extraction| extraction.read(found));
            let steps = step.into_iter().collect();
            if let Some(input) = actor.take_steps(context, ticket, steps) {
                actor.input(tenure, context, input);
            }
        });
    }

    pub(crate) fn features(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        ticket: Ticket,
        piece: PieceId,
        result: Result<Vec<Feature>, Undone>,
    ) {
        self.with_actor(context, address, |actor, tenure, context| {
            let extraction = actor.extractions.get_mut(&ticket);
            let step = extraction.and_then(|extraction| extraction.answered(piece, result));
            let steps = step.into_iter().collect();
            if let Some(input) = actor.take_steps(context, ticket, steps) {
                actor.input(tenure, context, input);
            }
        });
    }
}
