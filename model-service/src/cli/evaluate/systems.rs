//! Systems that make lists: models, as the service uses them, and two baselines from the
//! literature.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use compute_worker::models::{Models, Own, term_ids, weighs_by_domain};
use kindred_domain::habits::{Habits, SampleSize, Survey};
use kindred_shared::event::Upsert;
use kindred_shared::job::{ExtractTask, TermCounts};
use kindred_shared::{Feature, ModelName, Space, VectorName};
use kindred_similarity::{Kernel, Options, Rows, SparseRows, Table, TableBuilder, neighbours};
use rayon::prelude::*;

use super::super::exit::CommandError;
use super::input::Items;
use crate::preprocessing::{Preprocessed, Preprocessor, Surveyed, Usual};

/// Begins the name of a system that compares vectors; the vector's name follows.
pub(super) const VECTORS: &str = "vectors.";
/// Answers kept per list: enough to leave ten when those of the item's group are skipped.
const KEPT: usize = 64;
/// Okapi BM25's parameters, as in most search engines.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// One answer of a list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ScoredItem {
    pub item: usize,
    pub score: f32,
}

/// A system, with the lists it made.
pub(super) struct System {
    pub name: String,
    /// One per item, best first, ties by id.
    pub lists: Vec<Vec<ScoredItem>>,
    scoring: Scoring,
}

enum Scoring {
    /// For each item that has a feature: the table of its space, and the row in it.
    Features {
        tables: Vec<Table>,
        rows: Vec<Option<(usize, usize)>>,
    },
    Terms(Index),
    /// Scores that a service answered.
    Answered(HashMap<(usize, usize), f64>),
}

impl System {
    /// A model of a running service, with what it answered.
    pub(super) fn answered(
        name: String,
        lists: Vec<Vec<ScoredItem>>,
        scores: HashMap<(usize, usize), f64>,
    ) -> Self {
        Self {
            name,
            lists,
            scoring: Scoring::Answered(scores),
        }
    }

    /// Whether scores are cosines, at most 1.
    pub(super) fn scores_are_cosines(&self) -> bool {
        self.name != Baseline::Bm25.name()
    }

    /// How similar two items are; 0: not at all, or not comparable.
    pub(super) fn score(&self, a: usize, b: usize) -> f64 {
        match &self.scoring {
            Scoring::Features { tables, rows } => match (rows[a], rows[b]) {
                (Some((table, row)), Some((other, other_row))) if table == other => {
                    tables[table].score(row, &tables[other], other_row).into()
                }
                _ => 0.0,
            },
            Scoring::Answered(scores) => scores.get(&(a, b)).copied().unwrap_or(0.0),
            // BM25 is not symmetric: take the mean of both directions.
            Scoring::Terms(index) => f64::midpoint(index.score(a, b), index.score(b, a)),
        }
    }
}

/// The texts as they are read for a domain that has only these items.
pub(super) fn read(items: &Items, preprocessor: &Preprocessor) -> Vec<Preprocessed> {
    let habits = habits(items.len(), &survey(items, preprocessor));
    let usual = Usual::of(&habits);
    let one = |item: usize, language: Option<&str>| {
        let item = &items.all[item];
        let (title, text) = (item.title.as_deref(), item.text.as_deref());
        preprocessor.preprocess(
            title,
            text,
            item.language.as_deref(),
            Usual { language, ..usual },
        )
    };
    let mut read: Vec<Preprocessed> = (0..items.len())
        .into_par_iter()
        .map(|item| one(item, None))
        .collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in read.iter().filter(|text| text.is_sure) {
        *counts.entry(&text.language).or_default() += 1;
    }
    let of_most = || {
        let most = counts.values().max().copied();
        let most = counts.iter().find(|(_, count)| Some(**count) == most);
        most.map(|(language, _)| (*language).to_owned())
    };
    if let Some(habitual) = habits.language_or(of_most) {
        read.par_iter_mut().enumerate().for_each(|(item, text)| {
            if !text.is_sure {
                *text = one(item, Some(&habitual));
            }
        });
    }
    read
}

/// Habits of the texts, as a domain of so many items determines them.
fn habits(live: usize, survey: &Survey) -> Habits {
    Habits::of(SampleSize::default().fewest, live as u64, 0, survey)
}

/// The items whose texts such a domain samples for its habits.
fn sample(items: &Items) -> Vec<usize> {
    let mut sample: Vec<usize> = (0..items.len()).collect();
    sample.sort_by_key(|item| items.all[*item].id.hash64());
    sample.truncate(SampleSize::default().most);
    sample.retain(|item| items.all[*item].vector.is_none());
    sample
}

/// Surveys their texts for everything but terms.
fn survey(items: &Items, preprocessor: &Preprocessor) -> Survey {
    let texts = sample(items).into_iter().map(|item| {
        let item = &items.all[item];
        let (title, text) = (item.title.as_deref(), item.text.as_deref());
        preprocessor.survey(title, text, item.language.as_deref())
    });
    Surveyed::together(texts)
}

/// What a model's term weights depend on.
fn habits_of_model(
    model: &ModelName,
    items: &Items,
    read: &[Preprocessed],
    preprocessor: &Preprocessor,
) -> Habits {
    let mut survey = survey(items, preprocessor);
    if weighs_by_domain(model) {
        for item in sample(items) {
            let id_of = term_ids(model, &read[item].language);
            let terms = read[item].terms.iter().map(|(term, _)| id_of(term));
            for id in terms.collect::<BTreeSet<u32>>() {
                *survey.terms.entry(id).or_default() += 1;
            }
        }
    }
    habits(items.len(), &survey)
}

/// The lists that a domain of this model has when it is quiet.
pub(super) fn of_model(
    models: &Models,
    model: &ModelName,
    items: &Items,
    (read, preprocessor): (&[Preprocessed], &Preprocessor),
    kernel: Kernel,
) -> Result<System, CommandError> {
    let habits = habits_of_model(model, items, read, preprocessor);
    let failed = |error: &dyn std::fmt::Display| CommandError::failed(format!("{model}: {error}"));
    let mut spaces: BTreeMap<Space, Vec<usize>> = BTreeMap::new();
    for (number, item) in items.all.iter().enumerate() {
        let space = match (vector_of(model, item), model.vector()) {
            (Some(vector), None) => Space::own(vector.len()),
            (Some(vector), Some(_)) => Space::of_vectors(model, vector.len()),
            (None, None) => Space::of_texts(model, &read[number].language),
            // It has nothing to compare.
            (None, Some(_)) => continue,
        };
        spaces.entry(space).or_default().push(number);
    }
    let mut rows = vec![None; items.len()];
    let (mut tables, mut lists) = (Vec::new(), vec![Vec::new(); items.len()]);
    for (space, members) in spaces {
        let features = features(models, (model, &space), &members, items, read);
        let features = features.map_err(|error| failed(&error))?.into_iter();
        let features = features.map(|feature| habits.weigh(feature));
        // Items with nothing to compare have no list.
        let mut members: Vec<(usize, Feature)> = members.into_iter().zip(features).collect();
        members.retain(|(_, feature)| !feature.is_zero());
        let dense = members.iter().map(|(_, feature)| feature.dense().len());
        let mut table = TableBuilder::new(dense.max().unwrap_or(0));
        for (row, (item, feature)) in members.iter().enumerate() {
            let (ids, weights) = (feature.term_ids(), feature.term_weights());
            let pushed = table.push(feature.dense(), ids, weights);
            pushed.map_err(|error| failed(&error))?;
            rows[*item] = Some((tables.len(), row));
        }
        let table = table.build();
        for (row, list) in compared(&table, kernel).map_err(|error| failed(&error))? {
            let named = list.into_iter().map(|(row, score)| ScoredItem {
                item: members[row].0,
                score,
            });
            lists[members[row].0] = named.collect();
        }
        tables.push(table);
    }
    Ok(System {
        name: match model.vector() {
            Some(vector) => format!("{VECTORS}{vector}"),
            None => model.to_string(),
        },
        lists,
        scoring: Scoring::Features { tables, rows },
    })
}

/// The vector by which a model compares an item, if it does.
fn vector_of<'a>(model: &ModelName, item: &'a Upsert) -> Option<&'a [f32]> {
    match model.vector() {
        Some(name) if name != VectorName::own() => item.vectors.get(&name).map(Vec::as_slice),
        _ => item.vector.as_deref(),
    }
}

fn features(
    models: &Models,
    (model, space): (&ModelName, &Space),
    members: &[usize],
    items: &Items,
    read: &[Preprocessed],
) -> Result<Vec<Feature>, compute_worker::models::ExtractError> {
    let own = |item: &usize| vector_of(model, &items.all[*item]).map(Own::feature);
    if let Some(features) = members.iter().map(own).collect() {
        return Ok(features);
    }
    let rows = members.iter().map(|item| TermCounts {
        id: items.all[*item].id.clone(),
        terms: read[*item].terms.clone(),
    });
    models.extract(&ExtractTask {
        space: space.clone(),
        rows: rows.collect(),
    })
}

type Lists = Vec<(usize, Vec<(usize, f32)>)>;

/// The best other rows for each row, with scores above 0.
fn compared(table: &Table, kernel: Kernel) -> Result<Lists, kindred_similarity::Error> {
    let count = table.rows();
    let (mut dense, mut offsets) = (Vec::new(), vec![0]);
    let (mut ids, mut weights) = (Vec::new(), Vec::new());
    for row in 0..count {
        // Rows of a table are padded.
        dense.extend_from_slice(&table.dense(row)[..table.dimension()]);
        let (of_row, their_weights) = table.sparse(row);
        ids.extend_from_slice(of_row);
        weights.extend_from_slice(their_weights);
        offsets.push(ids.len());
    }
    let rows = Rows::new(&dense, count, table.dimension())?.with_sparse(SparseRows {
        offsets: &offsets,
        ids: &ids,
        weights: &weights,
    })?;
    let found = neighbours(
        &rows,
        &Options {
            keep: KEPT,
            min_score: Some(f32::MIN_POSITIVE),
            kernel,
            progress: None,
            cancelled: None,
        },
    )?;
    let list = |row: usize| {
        let (others, scores) = found.of(row);
        let others = others.iter().map(|other| *other as usize);
        (row, others.zip(scores.iter().copied()).collect())
    };
    Ok((0..count).map(list).collect())
}

/// How terms are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Baseline {
    /// Cosine of (1 + ln tf) · ln(N / df).
    TfIdf,
    /// Okapi BM25 (k₁ 1.2, b 0.75); the query is the item's own terms, each once.
    Bm25,
}

impl Baseline {
    pub(super) const ALL: [Self; 2] = [Self::TfIdf, Self::Bm25];

    fn name(self) -> &'static str {
        match self {
            Self::TfIdf => "TF-IDF",
            Self::Bm25 => "BM25",
        }
    }
}

/// Lists by terms alone: the same terms as the models', with title words counting three times,
/// whatever the language.
pub(super) fn of_terms(baseline: Baseline, read: &[Preprocessed]) -> System {
    let index = Index::new(baseline, read);
    let lists = (0..read.len()).into_par_iter().map_init(
        || vec![0.0_f32; read.len()],
        |scores, item| index.list(item, scores),
    );
    System {
        name: baseline.name().to_owned(),
        lists: lists.collect(),
        scoring: Scoring::Terms(index),
    }
}

/// An index of terms in both directions.
struct Index {
    /// For each item its terms, ascending, with their weights in a query and in a document.
    items: Vec<Vec<(u32, f32, f32)>>,
    /// For each term the items that contain it, with its weight in them.
    postings: Vec<Vec<(usize, f32)>>,
}

impl Index {
    fn new(baseline: Baseline, read: &[Preprocessed]) -> Self {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut items: Vec<Vec<(u32, f32)>> = Vec::with_capacity(read.len());
        for text in read {
            let mut terms = Vec::with_capacity(text.terms.len());
            for (term, count) in &text.terms {
                let next = numbers.len() as u32;
                terms.push((*numbers.entry(term).or_insert(next), *count as f32));
            }
            terms.sort_by_key(|(term, _)| *term);
            items.push(terms);
        }
        let mut frequency = vec![0_u32; numbers.len()];
        for (term, _) in items.iter().flatten() {
            frequency[*term as usize] += 1;
        }
        let count = read.len() as f32;
        let length = |terms: &[(u32, f32)]| terms.iter().map(|(_, tf)| tf).sum::<f32>();
        let mean_length = items.iter().map(|terms| length(terms)).sum::<f32>() / count;
        let weighted = items.iter().map(|terms| {
            let df = |term: u32| frequency[term as usize] as f32;
            match baseline {
                Baseline::TfIdf => {
                    let weight =
                        |(term, tf): &(u32, f32)| (1.0 + tf.ln()) * (count / df(*term)).ln();
                    let norm = terms
                        .iter()
                        .map(|one| weight(one).powi(2))
                        .sum::<f32>()
                        .sqrt();
                    let norm = if norm > 0.0 { norm } else { 1.0 };
                    let both = |one: &(u32, f32)| (one.0, weight(one) / norm, weight(one) / norm);
                    terms.iter().map(both).collect()
                }
                Baseline::Bm25 => {
                    let longer = 1.0 - B + B * length(terms) / mean_length.max(1.0);
                    let answers = |(term, tf): &(u32, f32)| {
                        let idf = (1.0 + (count - df(*term) + 0.5) / (df(*term) + 0.5)).ln();
                        (*term, 1.0, idf * tf * (K1 + 1.0) / (tf + K1 * longer))
                    };
                    terms.iter().map(answers).collect::<Vec<_>>()
                }
            }
        });
        let items: Vec<Vec<(u32, f32, f32)>> = weighted.collect();
        let mut postings = vec![Vec::new(); numbers.len()];
        for (item, terms) in items.iter().enumerate() {
            for (term, _, answers) in terms {
                postings[*term as usize].push((item, *answers));
            }
        }
        Self { items, postings }
    }

    /// The score of `b` for the query `a`.
    fn score(&self, a: usize, b: usize) -> f64 {
        let answers: HashMap<u32, f32> = self.items[b]
            .iter()
            .map(|(term, _, answers)| (*term, *answers))
            .collect();
        let shared = self.items[a]
            .iter()
            .filter_map(|(term, asks, _)| Some(f64::from(*asks) * f64::from(*answers.get(term)?)));
        shared.sum()
    }

    /// The best other items for an item. `scores` is all 0 before and after.
    fn list(&self, item: usize, scores: &mut [f32]) -> Vec<ScoredItem> {
        let mut met = Vec::new();
        for (term, asks, _) in &self.items[item] {
            for (other, answers) in &self.postings[*term as usize] {
                if scores[*other] == 0.0 {
                    met.push(*other);
                }
                scores[*other] += asks * answers;
            }
        }
        let mut list: Vec<ScoredItem> = Vec::with_capacity(met.len());
        for other in met {
            let score = std::mem::take(&mut scores[other]);
            if score > 0.0 && other != item {
                list.push(ScoredItem { item: other, score });
            }
        }
        list.sort_by(|a, b| match b.score.total_cmp(&a.score) {
            Ordering::Equal => a.item.cmp(&b.item),
            other => other,
        });
        list.truncate(KEPT);
        list
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<Preprocessed> {
        let one = |text: &&str| {
            let mut terms: BTreeMap<Box<str>, u32> = BTreeMap::new();
            for word in text.split(' ') {
                *terms.entry(word.into()).or_default() += 1;
            }
            Preprocessed {
                language: "en".to_owned(),
                is_sure: true,
                terms: terms.into_iter().collect(),
            }
        };
        texts.iter().map(one).collect()
    }

    #[track_caller]
    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-5, "{found} is not {wanted}");
    }

    #[test]
    fn tf_idf_is_the_cosine_of_the_books() {
        let system = of_terms(Baseline::TfIdf, &texts(&["a b", "a a c", "d"]));
        let (rare, shared) = (3f64.ln(), 1.5f64.ln());
        let twice = 1.0 + 2f64.ln();
        let norms = shared.hypot(rare) * (twice * shared).hypot(rare);
        near(system.score(0, 1), shared * twice * shared / norms);
        near(system.score(0, 2), 0.0);
        assert_eq!(system.lists[0].len(), 1);
        near(system.lists[0][0].score.into(), system.score(0, 1));
        assert_eq!(system.lists[2], []);
    }

    #[test]
    fn bm25_is_that_of_the_books() {
        let system = of_terms(Baseline::Bm25, &texts(&["a b", "a a c", "d"]));
        let idf = (1.0f64 + 1.5 / 2.5).ln();
        let answer = |tf: f64, length: f64| {
            let (k1, b) = (f64::from(K1), f64::from(B));
            idf * tf * (k1 + 1.0) / (tf + k1 * (1.0 - b + b * length / 2.0))
        };
        near(system.lists[0][0].score.into(), answer(2.0, 3.0));
        near(system.lists[1][0].score.into(), answer(1.0, 2.0));
        near(
            system.score(0, 1),
            f64::midpoint(answer(2.0, 3.0), answer(1.0, 2.0)),
        );
    }
}
