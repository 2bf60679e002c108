//! What is right: features that follow from texts, neighbours by brute force, and who does the work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kindred_domain::effect::Comparing;
use kindred_domain::material::Material;
use kindred_domain::settings::ProcessSettings;
use kindred_domain::store::{Content, ItemRow, Neighbour};
use kindred_domain::window::WindowSize;
use kindred_shared::event::Upsert;
use kindred_shared::job::{CompareReply, KEEP};
use kindred_shared::{BlockBuilder, Feature, ItemId, ModelName, Space, compare_all};
use kindred_similarity::Kernel;

/// Every model there is.
pub(crate) const MODELS: [&str; 3] = ["words-1", "words-2", "own"];

pub(crate) fn id(n: u64) -> ItemId {
    ItemId::new(&format!("item-{n:03}")).expect("a plain id")
}

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::new(name).expect("a plain name")
}

/// What every process is told: few of everything, so that all is cut.
pub(crate) fn settings() -> Arc<ProcessSettings> {
    Arc::new(ProcessSettings {
        model: model("words-1"),
        window: WindowSize {
            length: Duration::from_millis(250),
            events: 20,
        },
        auto_register: true,
        // Few, so that windows are cut.
        task_pairs: 50,
        batch_items: 6,
        scrub_lists: 7,
        attributes: 64,
        material_bytes: 100,
    })
}

/// What an item is compared with.
pub(crate) fn space_of(model: &ModelName, row: &ItemRow) -> Space {
    Space::of_texts(model, row.language.as_deref().unwrap_or("en"))
}

/// The feature of a text of so many letters, from a small set, so that many scores are equal.
pub(crate) fn feature_of_length(letters: usize) -> Feature {
    let n = u32::try_from(letters).expect("a short text");
    match n {
        0 => Feature::zero(),
        n => {
            let angle = n as f32 / 9.0;
            let ids = vec![n % 7, 100 + n % 3];
            Feature::new(vec![angle.cos(), angle.sin()], ids, vec![0.25, 0.5])
                .expect("finite and ascending")
        }
    }
}

/// A feature that follows from the text alone.
pub(crate) fn feature_of(model: &ModelName, row: &ItemRow, content: &Content) -> (Space, Feature) {
    let letters = content.text.as_deref().unwrap_or("").len();
    (space_of(model, row), feature_of_length(letters))
}

/// The item's row, rejected, if its text was not stored whole.
pub(crate) fn torn(material: &Material) -> Option<Box<ItemRow>> {
    (!material.is_whole()).then(|| {
        Box::new(ItemRow {
            rejected: Some("torn".into()),
            ..material.row.clone()
        })
    })
}

/// What a worker, or the process itself, finds.
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
    let block = |id: &ItemId, feature: &Feature| {
        let mut builder = BlockBuilder::new(space.clone(), 2);
        builder.push(id.clone(), 1, feature);
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
