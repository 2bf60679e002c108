//! Extraction: from items to features, by way of the workers. Pure.
//!
//! Items that are not in memory any more are read from the store. Their texts are turned into terms, a few at a time,
//! so that other domains' texts get their turn in between. A worker then turns terms into features, for as many items
//! together as make a piece of work. A text whose language is unknown is read in a language that depends on the other
//! texts, so it is prepared after them. If a job is given up, its items are tried one by one; an item that still fails
//! gets a zero feature and a reason, so that it harms only itself.

mod habit;
mod pieces;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kindred_shared::job::{ExtractTask, TermCounts};
use kindred_shared::{Feature, ItemId, ModelName, Space};

pub use self::habit::habitual;
pub use self::pieces::PieceSize;
use self::pieces::pieces;
use crate::catalogue::other_length;
use crate::dispatch::Undone;
use crate::effect::{Made, ToExtract};
use crate::habits::Habits;
use crate::intake::Failure;
use crate::material::Material;
use crate::settings::DomainSettings;
use crate::store::ItemRow;

/// The code for an unknown language, from ISO 639.
const UNDETERMINED: &str = "und";

/// Bytes that a text counts for in addition to its letters.
const TEXT_BYTES: usize = 256;

/// What determines how the features of a domain's texts are made.
#[derive(Debug, Clone)]
pub struct Making {
    model: ModelName,
    /// Whether one space holds the texts of all languages.
    across_languages: bool,
    habits: Arc<Habits>,
}

impl Making {
    /// If the model `compares_languages` only one at a time, each language has a space of its own, whatever the
    /// settings say.
    pub fn new(
        model: &ModelName,
        compares_languages: bool,
        settings: &DomainSettings,
        habits: Arc<Habits>,
    ) -> Self {
        let wanted = settings.across_languages == Some(true);
        Self {
            model: model.clone(),
            across_languages: wanted && compares_languages,
            habits,
        }
    }

    /// The space in which a text of this language is compared.
    pub fn space(&self, language: &str) -> Space {
        if self.across_languages {
            Space::of_all_languages(&self.model)
        } else {
            Space::of_texts(&self.model, language)
        }
    }

    fn made(&self, asked: &ExtractionRequest, space: Space, feature: Feature) -> Made {
        Made {
            slot: asked.row.slot,
            version: asked.row.version,
            habits: if space.language().is_none() {
                0
            } else {
                self.habits.fingerprint()
            },
            space,
            feature,
            row: asked.cleared().map(Box::new),
        }
    }

    /// The result for an item that cannot have a feature, and why.
    fn rejected(&self, asked: &ExtractionRequest, space: Space, reason: String) -> Made {
        let mut row = asked.material.row.clone();
        row.rejected = Some(reason);
        Made {
            row: Some(Box::new(row)),
            ..self.made(asked, space, Feature::zero())
        }
    }
}

/// An item whose feature is requested, with the material to make it from.
#[derive(Debug, Clone)]
pub struct ExtractionRequest {
    /// The request.
    pub row: ToExtract,
    /// Material of the requested version.
    pub material: Arc<Material>,
}

impl ExtractionRequest {
    /// The item's row without the reason for a missing feature, if it had one and has a feature now.
    fn cleared(&self) -> Option<ItemRow> {
        let row = &self.material.row;
        row.rejected.is_some().then(|| ItemRow {
            rejected: None,
            ..row.clone()
        })
    }
}

/// The result of reading an item's text.
#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    /// No worker is needed: the item brings a vector, or lacks the one that would be its feature.
    Known(Space, Feature),
    /// The language in which the text was read, and its terms.
    Terms(String, Vec<(Box<str>, u32)>),
    /// The language was neither given nor detected with certainty, and there was no fallback.
    Unsure,
    /// The item cannot have a feature, for this reason.
    Unfit(String),
}

/// The language in which to read texts of uncertain language; `None`: the configured one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback(pub Option<String>);

/// Identifies a request to a worker within one extraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PieceId(u32);

/// An effect: something to do.
#[derive(Debug)]
pub enum Step {
    /// Read rows and contents of these items, which may no longer exist; answered by [`Extraction::read`].
    Read(Vec<ItemId>),
    /// Read these items' texts: a piece of the work, so that other domains' texts get their turn before the next one;
    /// answered by [`Extraction::prepared`].
    Prepare(Vec<ExtractionRequest>, Option<Fallback>),
    /// Have a worker extract features; answered by [`Extraction::answered`]. The length of their dense parts is given,
    /// where it is known.
    Submit(PieceId, Arc<ExtractTask>, Option<usize>),
    /// The features, or why there are none now. Items that the store no longer has are left out.
    Done(Result<Vec<Made>, Failure>),
}

/// Items whose features are being made.
#[derive(Debug)]
pub struct Extraction {
    making: Making,
    most: PieceSize,
    /// The spaces of existing features, and the number of items in each.
    spaces: Vec<(Space, usize)>,
    /// The length of dense parts in each space, where it is known.
    lengths: BTreeMap<Space, usize>,
    rows: Vec<ToExtract>,
    /// Items whose text is still to be read in this pass.
    unread: VecDeque<ExtractionRequest>,
    /// Items of this pass whose language is unknown.
    unsure: Vec<ExtractionRequest>,
    /// The language in which such texts are read in this pass.
    fallback: Option<Fallback>,
    /// Items that need a worker, by the language in which they were read.
    ready: BTreeMap<String, Vec<Ready>>,
    at_workers: BTreeMap<PieceId, Piece>,
    pieces: u32,
    made: Vec<Made>,
    failed: Option<Failure>,
}

type Ready = (ExtractionRequest, TermCounts);

/// A request to a worker.
#[derive(Debug)]
struct Piece {
    language: String,
    items: Vec<Ready>,
    /// Whether its item is tried alone, because a job of several items was given up.
    is_alone: bool,
    /// Items to be tried alone after this one.
    next: VecDeque<Ready>,
}

impl Extraction {
    /// Starts to make the features of these items. `spaces`: the spaces of existing features, with the number of items
    /// in each; `lengths`: the length of their dense parts. `most` limits a job.
    pub fn begin(
        making: Making,
        rows: Vec<ToExtract>,
        spaces: Vec<(Space, usize)>,
        lengths: BTreeMap<Space, usize>,
        most: PieceSize,
    ) -> (Self, Step) {
        let missing = rows.iter().filter(|row| row.material.is_none());
        let missing = missing.map(|row| row.id.clone()).collect();
        let extraction = Self {
            making,
            most,
            spaces,
            lengths,
            rows,
            unread: VecDeque::new(),
            unsure: Vec::new(),
            fallback: None,
            ready: BTreeMap::new(),
            at_workers: BTreeMap::new(),
            pieces: 0,
            made: Vec::new(),
            failed: None,
        };
        (extraction, Step::Read(missing))
    }

    /// The habits of the domain's texts.
    pub fn habits(&self) -> &Arc<Habits> {
        &self.making.habits
    }

    /// The missing material was read.
    pub fn read(&mut self, found: Result<Vec<Material>, Failure>) -> Step {
        let found = match found {
            Ok(found) => found.into_iter(),
            Err(failure) => return Step::Done(Err(failure)),
        };
        let found = found.map(|material| (material.row.id.clone(), Arc::new(material)));
        let mut found: BTreeMap<ItemId, Arc<Material>> = found.collect();
        let rows = std::mem::take(&mut self.rows).into_iter();
        let asked = rows.filter_map(|mut row| {
            let material = row.material.take().or_else(|| found.remove(&row.id))?;
            // The store may be ahead of the request; the newer version has a request of its own.
            (material.row.version == row.version).then_some(ExtractionRequest { row, material })
        });
        self.unread = asked.collect();
        self.prepare_some()
    }

    /// The next texts to read: a piece of work, but at least one text if there is any.
    fn prepare_some(&mut self) -> Step {
        let (mut piece, mut bytes) = (Vec::new(), 0_usize);
        while let Some(next) = self.unread.front() {
            bytes = bytes.saturating_add(TEXT_BYTES + next.material.bytes());
            if bytes > self.most.text_bytes && !piece.is_empty() {
                break;
            }
            piece.extend(self.unread.pop_front());
        }
        Step::Prepare(piece, self.fallback.clone())
    }

    /// The results of reading texts.
    pub fn prepared(&mut self, prepared: Vec<(ExtractionRequest, Prepared)>) -> Vec<Step> {
        for (asked, prepared) in prepared {
            match prepared {
                Prepared::Known(space, feature) => {
                    self.made.push(self.making.made(&asked, space, feature));
                }
                Prepared::Terms(language, terms) if terms.is_empty() => {
                    let space = self.making.space(&language);
                    self.made
                        .push(self.making.made(&asked, space, Feature::zero()));
                }
                Prepared::Terms(language, terms) => {
                    let id = asked.row.id.clone();
                    let terms = TermCounts { id, terms };
                    self.ready.entry(language).or_default().push((asked, terms));
                }
                Prepared::Unsure => self.unsure.push(asked),
                Prepared::Unfit(reason) => {
                    let space = self.making.space(UNDETERMINED);
                    self.made.push(self.making.rejected(&asked, space, reason));
                }
            }
        }
        if !self.unread.is_empty() {
            return vec![self.prepare_some()];
        }
        // With a fallback, no language is uncertain.
        if !self.unsure.is_empty() && self.fallback.is_none() {
            self.unread = std::mem::take(&mut self.unsure).into();
            self.fallback = Some(self.fallback());
            return vec![self.prepare_some()];
        }
        let mut steps = Vec::new();
        for (language, items) in std::mem::take(&mut self.ready) {
            for items in pieces(items, self.most) {
                steps.push(self.submit(Piece {
                    language: language.clone(),
                    items,
                    is_alone: false,
                    next: VecDeque::new(),
                }));
            }
        }
        steps.extend(self.done());
        steps
    }

    /// The domain's usual language; if the domain is too small to have one, the language of most items: those that have
    /// features, and those at hand whose language is certain.
    fn fallback(&self) -> Fallback {
        let of_most = || {
            let model = &self.making.model;
            let at_hand = self.ready.iter();
            let at_hand =
                at_hand.map(|(language, items)| (Space::of_texts(model, language), items.len()));
            let at_hand: Vec<(Space, usize)> = at_hand.collect();
            let all = self.spaces.iter().chain(&at_hand);
            habitual(model, all.map(|(space, rows)| (space, *rows)))
        };
        Fallback(self.making.habits.language_or(of_most))
    }

    /// A worker's features for a piece, or why there are none.
    pub fn answered(
        &mut self,
        piece: PieceId,
        result: Result<Vec<Feature>, Undone>,
    ) -> Option<Step> {
        let mut piece = self.at_workers.remove(&piece)?;
        let asked = piece.items.len();
        let result = result.and_then(|features| match features.len() {
            answered if answered == asked => Ok(features),
            answered => Err(Undone::GivenUp(Failure::passing(format!(
                "a worker answered with {answered} features for {asked} items"
            )))),
        });
        // The worker was told the language, but the space is decided here.
        let space = self.making.space(&piece.language);
        if let Ok(features) = &result
            && let Err(failure) = self.agree_on_length(&space, features)
        {
            self.failed.get_or_insert(failure);
            return self.done();
        }
        match result.map_err(|undone| after(undone, piece.is_alone)) {
            Ok(features) => {
                let items = piece.items.iter().zip(features);
                let made = |((asked, _), feature): (&Ready, _)| {
                    let feature = self.making.habits.weigh(feature);
                    self.making.made(asked, space.clone(), feature)
                };
                let items = items.map(made);
                self.made.extend(items);
            }
            Err(Next::Later(failure)) => {
                self.failed.get_or_insert(failure);
            }
            Err(Next::EachAlone) => piece.next.extend(std::mem::take(&mut piece.items)),
            Err(Next::Reject(reason)) => {
                let items = piece.items.iter();
                let rejected =
                    |(asked, _): &Ready| self.making.rejected(asked, space.clone(), reason.clone());
                let items = items.map(rejected);
                self.made.extend(items);
            }
        }
        // One at a time: an item that kills workers should kill no more than one at a time.
        let alone = piece.next.pop_front().filter(|_| self.failed.is_none());
        match alone {
            Some(item) => {
                piece.items = vec![item];
                piece.is_alone = true;
                Some(self.submit(piece))
            }
            None => self.done(),
        }
    }

    /// The first feature of a space determines the length of its dense parts. Other workers may return another length.
    fn agree_on_length(&mut self, space: &Space, features: &[Feature]) -> Result<(), Failure> {
        let lengths = features.iter().map(|feature| feature.dense().len());
        for length in lengths.filter(|length| *length > 0) {
            let known = *self.lengths.entry(space.clone()).or_insert(length);
            if known != length {
                return Err(other_length(space, length, known));
            }
        }
        Ok(())
    }

    fn submit(&mut self, piece: Piece) -> Step {
        let task = ExtractTask {
            space: Space::of_texts(&self.making.model, &piece.language),
            rows: piece.items.iter().map(|(_, terms)| terms.clone()).collect(),
        };
        self.pieces += 1;
        let id = PieceId(self.pieces);
        let length = self.lengths.get(&self.making.space(&piece.language));
        let length = length.copied();
        self.at_workers.insert(id, piece);
        Step::Submit(id, Arc::new(task), length)
    }

    /// The outcome, once no request to a worker is pending.
    fn done(&mut self) -> Option<Step> {
        let is_done = self.at_workers.is_empty();
        let result = is_done.then(|| match self.failed.take() {
            Some(failure) => Err(failure),
            None => Ok(std::mem::take(&mut self.made)),
        });
        result.map(Step::Done)
    }
}

/// What to do about items whose job was not done.
enum Next {
    /// They are not to blame: their features are made later.
    Later(Failure),
    /// One of them may be to blame: each is extracted alone.
    EachAlone,
    /// The item is to blame: it stays without a feature, for this reason.
    Reject(String),
}

fn after(undone: Undone, is_alone: bool) -> Next {
    match undone {
        Undone::Stopping | Undone::Unanswered(_) => Next::Later(undone.into()),
        Undone::GivenUp(failure) if is_alone => Next::Reject(failure.detail),
        Undone::GivenUp(_) => Next::EachAlone,
    }
}
