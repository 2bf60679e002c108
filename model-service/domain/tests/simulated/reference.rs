//! The expected results: features that follow from texts, neighbours by brute force; and the work of workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kindred_domain::effect::Comparing;
use kindred_domain::habits::{Habits, SampleSize, Survey};
use kindred_domain::material::Material;
use kindred_domain::mix::{Mix, Part, kinds_of_texts};
use kindred_domain::settings::ProcessSettings;
use kindred_domain::store::{Content, ItemRow, Liveness, Neighbour};
use kindred_domain::window::WindowSize;
use kindred_shared::event::{Upsert, Weight};
use kindred_shared::job::{CompareReply, KEEP};
use kindred_shared::{BlockBuilder, Feature, ItemId, ModelName, Space, compare_all};
use kindred_similarity::Kernel;

use super::tables::Tables;

/// All models.
pub(crate) const MODELS: [&str; 3] = ["words-1", "words-2", "own"];

pub(crate) fn id(n: u64) -> ItemId {
    ItemId::new(&format!("item-{n:03}")).expect("a plain id")
}

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::new(name).expect("a plain name")
}

/// The settings of every process, with low limits so that they are reached.
pub(crate) fn settings() -> Arc<ProcessSettings> {
    Arc::new(ProcessSettings {
        model: model("words-1"),
        window: WindowSize {
            length: Duration::from_millis(250),
            events: 20,
        },
        auto_register: true,
        // Few, so that windows are split.
        task_pairs: 50,
        batch_items: 6,
        scrub_lists: 7,
        attributes: 64,
        material_bytes: 100,
        // Fewer than there are items, so that the sample changes sometimes.
        sample: SampleSize { fewest: 4, most: 7 },
        many_outdated: 6,
    })
}

/// The space in which an item is compared.
pub(crate) fn space_of(model: &ModelName, row: &ItemRow, habits: &Habits) -> Space {
    let language = row.language.clone();
    let language = language.or_else(|| habits.language_or(|| None));
    Space::of_texts(model, language.as_deref().unwrap_or("en"))
}

/// The feature of a text with this many letters, from a small set, so that many scores are equal.
pub(crate) fn feature_of_length(letters: usize) -> Feature {
    let n = u32::try_from(letters).expect("a short text");
    match n {
        0 => Feature::zero(),
        n => {
            let angle = n as f32 / 9.0;
            let ids = vec![n % 7, 100 + n % 3];
            // Of length 1, as all features are.
            let dense = [angle.cos(), angle.sin()].map(|value| 0.8 * value);
            Feature::new(dense.to_vec(), ids, vec![0.36, 0.48]).expect("finite and ascending")
        }
    }
}

/// A feature that follows from the text and the domain's habits.
pub(crate) fn feature_of(
    model: &ModelName,
    row: &ItemRow,
    content: &Content,
    habits: &Habits,
) -> (Space, Feature) {
    if model.is_mix() {
        return feature_of_mix(model, row, content, habits);
    }
    if let Some(name) = model.vector() {
        let vector = content.vector_named(&name).unwrap_or_default();
        let feature = Feature::new(vector.to_vec(), vec![], vec![]).expect("finite");
        return (Space::of_vectors(model, vector.len()), feature);
    }
    let letters = letters_of(content, habits);
    let feature = habits.weigh(by_model(model, feature_of_length(letters)));
    (space_of(model, row, habits), feature)
}

/// Kinds of models that a mix may have.
pub(crate) const MIXED: [&str; 3] = ["words-1", "words-2", "vectors-clip"];
/// The weights of the two models of a mix.
pub(crate) const WEIGHTS: [f64; 2] = [1.0, 0.5];
/// The dense part of a mix has fewer values than this.
const LONGEST: usize = 8;

/// What a kind mixes: clients mix two models of any kinds.
pub(crate) fn mix_of(kind: &ModelName) -> Option<Mix> {
    let pairs = MIXED.iter().flat_map(|a| MIXED.map(|b| [*a, b]));
    let mut mixes = pairs.map(|kinds| {
        let [a, b] = kinds.map(model);
        let parts = [("a", a), ("b", b)].into_iter().zip(WEIGHTS);
        let parts = parts.map(|((name, kind), weight)| {
            let weight = Weight::new(weight).expect("above 0");
            (model(name), Part { kind, weight })
        });
        Mix::new(parts.collect())
    });
    mixes.find(|mix| mix.kind() == *kind)
}

/// Whether features of a kind depend on texts.
pub(crate) fn reads_texts(kind: &ModelName) -> bool {
    !kinds_of_texts(kind, mix_of(kind).as_ref()).is_empty()
}

/// The feature of a mix.
fn feature_of_mix(
    kind: &ModelName,
    row: &ItemRow,
    content: &Content,
    habits: &Habits,
) -> (Space, Feature) {
    let mix = mix_of(kind).expect("a mix that clients ask for");
    let (mut space, mut parts) = (Space::without_language(kind), Vec::new());
    for (part, weight) in mix.by_kind() {
        let (of_part, feature) = feature_of(part, row, content, habits);
        if let Some(language) = of_part.language() {
            space = Space::of_texts(kind, language);
        }
        parts.push((weight, feature));
    }
    (space, mixed(parts))
}

/// The features of parts one after the other, each scaled by the root of its share.
pub(crate) fn mixed(parts: Vec<(f64, Feature)>) -> Feature {
    let there = parts.iter().filter(|(_, feature)| !feature.is_zero());
    let sum: f64 = there.map(|(weight, _)| weight).sum();
    let (mut dense, mut ids, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (weight, feature)) in (0_u32..).zip(parts) {
        let scale = (weight / sum).sqrt() as f32;
        // Only the last part may be one of vectors, whose lengths differ.
        dense.resize(2 * number as usize, 0.0);
        dense.extend(feature.dense().iter().map(|value| value * scale));
        ids.extend(feature.term_ids().iter().map(|id| id + 1_000 * number));
        weights.extend(feature.term_weights().iter().map(|value| value * scale));
    }
    let feature = Feature::new(dense, ids, weights).expect("finite and ascending");
    feature.trimmed()
}

/// The feature as one model makes it: other models have other dense parts.
pub(crate) fn by_model(model: &ModelName, feature: Feature) -> Feature {
    let [x, y] = *feature.dense() else {
        return feature;
    };
    match model.as_str() {
        "words-2" => {
            let (ids, weights) = (feature.term_ids().to_vec(), feature.term_weights().to_vec());
            Feature::new(vec![x.abs(), y], ids, weights).expect("as long as before")
        }
        _ => feature,
    }
}

/// The number of letters of a text that count.
pub(crate) fn letters_of(content: &Content, habits: &Habits) -> usize {
    let letters = content.text.as_deref().unwrap_or("").len();
    let is_usual = habits.boilerplate.contains(&segment_of(letters));
    letters + if is_usual && letters > 0 { 5 } else { 0 }
}

/// The segment of texts with this many letters: there are two, so sometimes one of them is in most texts, sometimes the
/// other, sometimes none.
fn segment_of(letters: usize) -> u64 {
    letters as u64 % 2
}

/// The statistics of these items' texts.
pub(crate) fn survey<'a>(texts: impl Iterator<Item = (&'a ItemRow, &'a Content)>) -> Survey {
    let mut survey = Survey::default();
    let texts: Vec<_> = texts.collect();
    for (row, content) in &texts {
        survey.texts += 1;
        let letters = content.text.as_deref().unwrap_or("").len();
        *survey.segments.entry(segment_of(letters)).or_default() += 1;
        if let Some(language) = &row.language {
            *survey.languages.entry(language.clone()).or_default() += 1;
        }
    }
    // Counts of the texts without what most of them share.
    let usual = Habits::of(0, 0, 0, &survey);
    for (_, content) in texts {
        for id in feature_of_length(letters_of(content, &usual)).term_ids() {
            *survey.terms.entry(*id).or_default() += 1;
        }
    }
    survey
}

/// The habits of these items' texts, computed from scratch, without history.
pub(crate) fn habits_of(tables: &Tables) -> Habits {
    let live = tables.items.rows().map(|(_, row)| row);
    let live: Vec<&ItemRow> = live.filter(|row| row.liveness == Liveness::Live).collect();
    let size = settings().sample;
    let mut sample = live.clone();
    // A late write of a former owner may say that it was rejected, although it was made since.
    let is_made = |row: &&ItemRow| {
        let mut features = tables.features.rows().map(|(_, feature)| feature);
        features.any(|feature| {
            (&feature.id, feature.version) == (&row.id, row.version) && !feature.feature.is_zero()
        })
    };
    sample.retain(|row| row.rejected.is_none() || is_made(row));
    sample.sort_by_key(|row| row.id.hash64());
    sample.truncate(size.most);
    let texts = sample
        .into_iter()
        .filter_map(|row| Some((row, tables.contents.get(&row.id)?)));
    Habits::of(size.fewest, live.len() as u64, 0, &survey(texts))
}

/// The result of surveying these items.
pub(crate) fn look(tables: &Tables, ids: &[ItemId]) -> Survey {
    let texts = ids
        .iter()
        .filter_map(|id| Some((tables.items.get(id)?, tables.contents.get(id)?)));
    survey(texts)
}

/// The item's row, rejected, if its text was not stored completely.
pub(crate) fn torn(material: &Material) -> Option<Box<ItemRow>> {
    (!material.is_whole()).then(|| {
        Box::new(ItemRow {
            rejected: Some("torn".into()),
            ..material.row.clone()
        })
    })
}

/// The result of a worker, or of the process itself.
pub(crate) fn compare(comparing: &Comparing) -> CompareReply {
    let cancelled = AtomicBool::new(false);
    match comparing {
        Comparing::Some(task) => task
            .compare(Kernel::Scalar, &cancelled)
            .expect("a good task"),
        Comparing::All(blocks) => {
            let blocks: Vec<_> = blocks.iter().map(|(b, live)| (&**b, live)).collect();
            let found = compare_all(Kernel::Scalar, &blocks, KEEP, &cancelled);
            let found = found.expect("good blocks");
            CompareReply { pairs: 0, found }
        }
    }
}

pub(crate) fn is_expired(upsert: &Upsert, now: i64) -> bool {
    upsert
        .expires_at
        .is_some_and(|at| at.timestamp_millis() <= now)
}

/// The neighbours that an item is entitled to.
pub(crate) fn brute_force(
    id: &ItemId,
    (space, feature): &(Space, Feature),
    all: &BTreeMap<ItemId, (Space, Feature)>,
) -> Vec<Neighbour> {
    if feature.is_zero() {
        return vec![];
    }
    // Dense parts of a mix go on with zeros.
    let length = match space.is_ragged() {
        true => LONGEST,
        false => feature.dense().len(),
    };
    let block = |id: &ItemId, feature: &Feature| {
        let mut builder = BlockBuilder::new(space.clone(), length);
        builder.push(id.clone(), 1, &feature.padded(length));
        builder.build()
    };
    let own = block(id, feature);
    let mut neighbours: Vec<Neighbour> = all
        .iter()
        .filter(|(other, (s, f))| *other != id && s == space && !f.is_zero())
        .map(|(other, (_, f))| Neighbour {
            id: other.clone(),
            score: own.table().score(0, block(other, f).table(), 0),
        })
        .filter(|neighbour| neighbour.score > 0.0)
        .collect();
    neighbours.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    neighbours.truncate(50);
    neighbours
}
