//! The driver of the extraction machine: from items to features.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kindred_domain::dispatch::Undone;
use kindred_domain::effect::{Input, Made, Ticket, ToExtract};
use kindred_domain::extraction::{
    Extraction, ExtractionRequest, Fallback, Making, PieceId, PieceSize, Prepared, Step,
};
use kindred_domain::habits::Habits;
use kindred_domain::intake::Failure;
use kindred_domain::material::Material;
use kindred_domain::settings::DomainSettings;
use kindred_domain::slot::Slot;
use kindred_shared::job::{Job, Task};
use kindred_shared::{Feature, ModelName, Space};

use crate::actor::Actor;
use crate::database::Reading;
use crate::process::{Address, Context, Message};
use crate::seat::Seat;
use crate::simulated::reference::{feature_of, letters_of, mixed, torn};
use crate::workers::Asker;

/// The size of an extract job.
const MOST: PieceSize = PieceSize {
    items: 3,
    bytes: usize::MAX,
    text_bytes: usize::MAX,
};

/// An extraction in progress: of one kind, or of a mix's parts, one after the other.
pub(crate) struct Extracting {
    model: ModelName,
    rows: Vec<ToExtract>,
    settings: Arc<DomainSettings>,
    spaces: Vec<(Space, usize)>,
    habits: Arc<Habits>,
    /// Kinds that are still to be made; the first one is being made.
    kinds: VecDeque<(ModelName, f64)>,
    made: Vec<(f64, Vec<Made>)>,
    extraction: Option<Extraction>,
}

impl Extracting {
    pub(crate) fn new(
        model: ModelName,
        rows: Vec<ToExtract>,
        settings: &Arc<DomainSettings>,
        spaces: Vec<(Space, usize)>,
        habits: Arc<Habits>,
    ) -> Self {
        let mix = settings.mix.as_ref().filter(|_| model.is_mix());
        let kinds = match mix {
            Some(mix) => mix.by_kind(),
            None => vec![(&model, 1.0)],
        };
        let kinds = kinds
            .into_iter()
            .map(|(kind, weight)| (kind.clone(), weight));
        Self {
            kinds: kinds.collect(),
            settings: Arc::clone(settings),
            model,
            rows,
            spaces,
            habits,
            made: Vec::new(),
            extraction: None,
        }
    }

    /// Starts with the next kind.
    fn begin(&mut self, lengths: BTreeMap<Space, usize>) -> Option<Step> {
        let (kind, _) = self.kinds.front()?;
        // What the space of a mix tells about languages holds for its parts, too.
        let of_part = |(space, rows): &(Space, usize)| {
            let language = space.language().filter(|_| space.model() == self.model)?;
            Some((Space::of_texts(kind, language), *rows))
        };
        let spaces = match *kind == self.model {
            true => self.spaces.clone(),
            false => self.spaces.iter().filter_map(of_part).collect(),
        };
        let making = Making::new(kind, false, &self.settings, Arc::clone(&self.habits));
        let rows = self.rows.clone();
        let (extraction, first) = Extraction::begin(making, rows, spaces, lengths, MOST);
        self.extraction = Some(extraction);
        Some(first)
    }

    /// Takes the features of a kind; returns all, if it was the last one.
    fn take(&mut self, made: Vec<Made>) -> Option<Vec<Made>> {
        let (kind, weight) = self.kinds.pop_front()?;
        if kind == self.model {
            return Some(made);
        }
        self.made.push((weight, made));
        self.kinds.is_empty().then(|| self.mixed())
    }

    /// The features of the items of which every part has made one. One that a part rejects, the mix rejects.
    fn mixed(&mut self) -> Vec<Made> {
        let mut parts = std::mem::take(&mut self.made);
        let Some((_, first)) = parts.first() else {
            return Vec::new();
        };
        let slots: Vec<Slot> = first.iter().map(|made| made.slot).collect();
        let item = |slot: Slot| -> Option<Made> {
            let mut of_item = Vec::new();
            for (weight, made) in &mut parts {
                let at = made.iter().position(|made| made.slot == slot)?;
                of_item.push((*weight, made.swap_remove(at)));
            }
            let features = of_item.iter();
            let features = features.map(|(weight, made)| (*weight, made.feature.clone()));
            let feature = mixed(features.collect());
            let mut spaces = of_item.iter().map(|(_, made)| &made.space);
            let language = spaces.find_map(|space| space.language()).map(str::to_owned);
            let version = of_item.first()?.1.version;
            let rows = of_item.into_iter().filter_map(|(_, made)| made.row);
            // A rejection comes last.
            let row = rows.max_by_key(|row| row.rejected.is_some());
            let is_rejected = row.as_ref().is_some_and(|row| row.rejected.is_some());
            Some(Made {
                slot,
                version,
                habits: match language {
                    Some(_) => self.habits.fingerprint(),
                    None => 0,
                },
                space: match language {
                    Some(language) => Space::of_texts(&self.model, &language),
                    None => Space::without_language(&self.model),
                },
                feature: if is_rejected {
                    Feature::zero()
                } else {
                    feature
                },
                row,
            })
        };
        slots.into_iter().filter_map(item).collect()
    }
}

impl Actor {
    pub(crate) fn extract(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        mut extracting: Extracting,
        lengths: BTreeMap<Space, usize>,
    ) {
        let first = extracting.begin(lengths);
        self.extractions.insert(ticket, extracting);
        self.take_steps(context, ticket, first.into_iter().collect());
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
                    let extracting = self.extractions.get_mut(&ticket)?;
                    let habits = Arc::clone(&extracting.habits);
                    let (kind, _) = extracting.kinds.front()?.clone();
                    let prepared = asked.into_iter().map(|asked| {
                        let prepared = prepare(context, &asked, &kind, &habits, fallback.as_ref());
                        (asked, prepared)
                    });
                    let prepared: Vec<(ExtractionRequest, Prepared)> = prepared.collect();
                    let extraction = extracting.extraction.as_mut()?;
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
                Step::Done(Ok(made)) => {
                    let extracting = self.extractions.get_mut(&ticket)?;
                    let Some(made) = extracting.take(made) else {
                        let first = extracting.begin(BTreeMap::new());
                        return self.take_steps(context, ticket, first.into_iter().collect());
                    };
                    self.extractions.remove(&ticket);
                    let result = Ok(made);
                    return Some(Input::Extracted { ticket, result });
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
    kind: &ModelName,
    habits: &Habits,
    fallback: Option<&Fallback>,
) -> Prepared {
    if torn(&asked.material).is_some() {
        return Prepared::Unfit("torn".to_owned());
    }
    let Material { row, content } = &*asked.material;
    if kind.vector().is_some() {
        let (space, feature) = feature_of(kind, row, content, habits);
        return Prepared::Known(space, feature);
    }
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
            let extracting = actor.extractions.get_mut(&ticket);
            let extraction = extracting.and_then(|one| one.extraction.as_mut());
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
            let extracting = actor.extractions.get_mut(&ticket);
            let extraction = extracting.and_then(|one| one.extraction.as_mut());
            let step = extraction.and_then(|extraction| extraction.answered(piece, result));
            let steps = step.into_iter().collect();
            if let Some(input) = actor.take_steps(context, ticket, steps) {
                actor.input(tenure, context, input);
            }
        });
    }
}
