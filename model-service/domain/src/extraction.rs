//! Extraction: from items to features, by way of the workers. Pure.
//!
//! What is not in memory any more is read; texts become terms, some at a time, so that those of other domains have
//! their turn between; terms become features at a worker, as many items together as make a piece of work. What a text is read in whose language is not known depends on the
//! others, so it is prepared when the others are. A job that is given up is split: its items are tried alone,
//! and one that still fails is live with a zero feature and a reason, so that it harms only itself.

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

/// The language of a text that is not known: ISO 639's word for it.
const UNDETERMINED: &str = "und";

/// Bytes that a text counts for besides its letters.
const TEXT_BYTES: usize = 256;

/// What the features of a domain's texts are made with.
#[derive(Debug, Clone)]
pub struct Making {
    model: ModelName,
    /// One space holds texts of all languages.
    across_languages: bool,
    habits: Arc<Habits>,
}

impl Making {
    /// A model that `compares_languages` no more than one at a time has a space for each, whatever is set.
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

    /// The space whose texts a text of a language is compared with.
    pub fn space(&self, language: &str) -> Space {
        if self.across_languages {
            Space::of_all_languages(&self.model)
        } else {
            Space::of_texts(&self.model, language)
        }
    }

    fn made(&self, asked: &Asked, space: Space, feature: Feature) -> Made {
        Made {
            slot: asked.row.slot,
            version: asked.row.version,
            habits: if space.is_own() {
                0
            } else {
                self.habits.fingerprint()
            },
            space,
            feature,
            row: asked.cleared().map(Box::new),
        }
    }

    /// An item that cannot have a feature, and why.
    fn rejected(&self, asked: &Asked, space: Space, reason: String) -> Made {
        let mut row = asked.material.row.clone();
        row.rejected = Some(reason);
        Made {
            row: Some(Box::new(row)),
            ..self.made(asked, space, Feature::zero())
        }
    }
}

/// An item whose feature is asked for, with what it is made of.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What is asked for.
    pub row: ToExtract,
    /// Of the same version.
    pub material: Arc<Material>,
}

impl Asked {
    /// The item's row without the reason why it had no feature, if it has one now and says that it does not.
    fn cleared(&self) -> Option<ItemRow> {
        let row = &self.material.row;
        row.rejected.is_some().then(|| ItemRow {
            rejected: None,
            ..row.clone()
        })
    }
}

/// What is known of an item once its text was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    /// It needs no worker: it brings its own vector.
    Known(Space, Feature),
    /// The terms of its text, and the language that it is read in.
    Terms(String, Vec<(Box<str>, u32)>),
    /// Its language was neither given nor surely detected, and nothing was given to fall back on.
    Unsure,
    /// It can have no feature, for this reason.
    Unfit(String),
}

/// The language of texts of unsure language; `None`: the configured one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback(pub Option<String>);

/// Names what a worker is asked, within one extraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PieceId(u32);

/// Something to do.
#[derive(Debug)]
pub enum Step {
    /// Read rows and contents of these items, of which there may be none; answered by [`Extraction::read`].
    Read(Vec<ItemId>),
    /// Read these items' texts: a piece of the work, so that others' are read before the next one; answered by
    /// [`Extraction::prepared`].
    Prepare(Vec<Asked>, Option<Fallback>),
    /// Have a worker extract; answered by [`Extraction::answered`]. The dense parts of these features have this
    /// length, where it is known.
    Submit(PieceId, Arc<ExtractTask>, Option<usize>),
    /// The features, or why there are none now. Items that the store no longer has are left out.
    Done(Result<Vec<Made>, Failure>),
}

/// Items on their way to features.
#[derive(Debug)]
pub struct Extraction {
    making: Making,
    most: PieceSize,
    /// Spaces of items that have features, and how many each has.
    spaces: Vec<(Space, usize)>,
    /// How long dense parts are in each space, where it is known.
    lengths: BTreeMap<Space, usize>,
    rows: Vec<ToExtract>,
    /// Those whose text is still to be read in this pass.
    unread: VecDeque<Asked>,
    /// Those of this pass whose language is not known.
    unsure: Vec<Asked>,
    /// What the texts of this pass are read in where their language is not known.
    fallback: Option<Fallback>,
    /// Those that need a worker, by the language that they are read in.
    ready: BTreeMap<String, Vec<Ready>>,
    at_workers: BTreeMap<PieceId, Piece>,
    pieces: u32,
    made: Vec<Made>,
    failed: Option<Failure>,
}

type Ready = (Asked, TermCounts);

/// What a worker is asked.
#[derive(Debug)]
struct Piece {
    language: String,
    items: Vec<Ready>,
    /// Whether its item is tried alone, after a job of several was given up.
    is_alone: bool,
    /// Those that are tried alone after this one.
    next: VecDeque<Ready>,
}

impl Extraction {
    /// Begins to make the features of these items. `spaces`: of items that have features, and how many;
    /// `lengths`: of their dense parts. So many items at most are in one job.
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

    /// What is usual in the domain's texts.
    pub fn habits(&self) -> &Arc<Habits> {
        &self.making.habits
    }

    /// What was missing and found.
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
            // The store may be ahead of what was asked for; that is asked for apart.
            (material.row.version == row.version).then_some(Asked { row, material })
        });
        self.unread = asked.collect();
        self.prepare_some()
    }

    /// The next texts to be read: as many as make a piece of work, but one at least, if there is any.
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

    /// What became of the texts.
    pub fn prepared(&mut self, prepared: Vec<(Asked, Prepared)>) -> Vec<Step> {
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
        // With a language to fall back on none is unsure.
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

    /// The domain's usual language; in one too small to have any, that which most items have: those that have features,
    /// and those at hand whose language is sure.
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
        // The worker was told the language; what is compared with what is decided here.
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
        // One at a time: what ends workers is to end no more than one.
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

    /// The first feature of a space says how long dense parts are there. Other workers may say otherwise.
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

    /// The outcome, once nothing is at workers any more.
    fn done(&mut self) -> Option<Step> {
        let is_done = self.at_workers.is_empty();
        let result = is_done.then(|| match self.failed.take() {
            Some(failure) => Err(failure),
            None => Ok(std::mem::take(&mut self.made)),
        });
        result.map(Step::Done)
    }
}

/// What becomes of items whose job was not done.
enum Next {
    /// Nothing is said about them: their features are made later.
    Later(Failure),
    /// One of them may be at fault: each is extracted alone.
    EachAlone,
    /// The item is at fault: it is live without a feature, for this reason.
    Reject(String),
}

fn after(undone: Undone, is_alone: bool) -> Next {
    match undone {
        Undone::Stopping | Undone::Unanswered(_) => Next::Later(undone.into()),
        Undone::GivenUp(failure) if is_alone => Next::Reject(failure.detail),
        Undone::GivenUp(_) => Next::EachAlone,
    }
}
