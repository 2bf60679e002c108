//! Extraction: from items to features, by way of the workers.
//!
//! What is missing is read from the store; texts become terms here, on the pool; terms become
//! features at a worker. A job that is given up is split: its items are extracted alone, and one
//! that still fails is live with a zero feature and a reason, so that it harms only itself.

mod isolation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use compute_worker::models::compares_languages;
use futures_util::future::join_all;
use kindred_shared::job::{ExtractTask, Job, Reply, Task, TermCounts};
use kindred_shared::name::ALL_LANGUAGES;
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space, effort};
use tracing::warn;

use super::loading::failure;
use super::services::Services;
use super::supervisor::{DurationSupervisor, Perform};
use crate::preprocessing::Preprocessor;
use kindred_domain::dispatch::Undone;
use kindred_domain::effect::{Made, ToExtract};
use kindred_domain::extraction::{Next, after, pieces};
use kindred_domain::intake::Failure;
use kindred_domain::material::Material;
use kindred_domain::settings::DomainSettings;

/// Items whose material is read from the store at a time.
const READ_PAGE: usize = 256;

/// How often it is looked whether a text is still being preprocessed, and how often it may be:
/// 30 s for what takes milliseconds.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 60;

/// The language of a text that is not known: ISO 639's word for it.
const UNDETERMINED: &str = "und";

/// What the features of a domain's texts are made with.
#[derive(Debug, Clone)]
struct Making {
    model: ModelName,
    /// One space holds texts of all languages.
    across_languages: bool,
}

impl Making {
    /// A model that compares texts of one language alone has a space for each, whatever is set.
    fn new(model: &ModelName, settings: &DomainSettings) -> Self {
        let wanted = settings.across_languages == Some(true);
        Self {
            model: model.clone(),
            across_languages: wanted && compares_languages(model),
        }
    }

    /// The space whose texts a text of a language is compared with.
    fn space(&self, language: &str) -> Space {
        if self.across_languages {
            Space::of_all_languages(&self.model)
        } else {
            Space::of_texts(&self.model, language)
        }
    }
}

/// An item ready for its worker, or not in need of one.
enum Prepared {
    /// The feature is known: an own vector, or no term at all.
    Known(Made),
    /// Its terms go to a worker, in the space of the language that they are read in.
    Terms(Space, Asked, TermCounts),
    /// Its language was neither given nor surely detected, and nothing was given to fall back on.
    Unsure(Asked),
}

impl Prepared {
    fn into_unsure(self) -> Option<Asked> {
        match self {
            Self::Unsure(asked) => Some(asked),
            Self::Known(_) | Self::Terms(..) => None,
        }
    }
}

/// The language to fall back on; `None`: the configured one.
#[derive(Clone)]
struct Fallback(Option<String>);

/// The language that most rows of these spaces are in, as far as they are the model's. Of languages that as
/// many are in, the first by code.
///
/// It is worked out anew for each window, so what a text of unsure language is read in depends on what
/// the domain had when its feature was made. The feature is stored with its language, and stays as it is
/// until the item's content changes.
pub(super) fn habitual<'a>(
    model: &ModelName,
    spaces: impl Iterator<Item = (&'a Space, usize)>,
) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (space, rows) in spaces {
        let is_of_one = |language: &&str| space.model() == *model && *language != ALL_LANGUAGES;
        if let Some(language) = space.language().filter(is_of_one) {
            *counts.entry(language).or_default() += rows;
        }
    }
    let most = counts.values().max().copied().filter(|most| *most > 0)?;
    let first = counts.into_iter().find(|(_, rows)| *rows == most);
    first.map(|(language, _)| language.to_owned())
}

#[derive(Clone)]
struct Asked {
    row: ToExtract,
    material: Arc<Material>,
}

/// Makes the features of these items: of their texts, by the model; of their own vectors. Items the store no longer has are left out.
pub async fn extract(
    services: &Services,
    domain: &DomainName,
    model: &ModelName,
    rows: Vec<ToExtract>,
    settings: &DomainSettings,
    spaces: &[(Space, usize)],
) -> Result<Vec<Made>, Failure> {
    let asked = with_material(services, domain, rows).await?;
    let preprocessor = services.preprocessors.of(settings);
    let making = Making::new(model, settings);
    let mut prepared = prepare(services, &preprocessor, &making, asked, None).await?;
    let unsure: Vec<Asked> = prepared
        .extract_if(.., |item| matches!(item, Prepared::Unsure(_)))
        .filter_map(Prepared::into_unsure)
        .collect();
    if !unsure.is_empty() {
        // Items that have features, and those at hand whose language is sure.
        let stored = spaces.iter().map(|(space, rows)| (space, *rows));
        let at_hand = prepared.iter().filter_map(|item| match item {
            Prepared::Terms(space, ..) => Some((space, 1)),
            Prepared::Known(_) | Prepared::Unsure(_) => None,
        });
        let fallback = Fallback(habitual(model, stored.chain(at_hand)));
        prepared.extend(prepare(services, &preprocessor, &making, unsure, Some(fallback)).await?);
    }
    let mut made = Vec::with_capacity(prepared.len());
    let mut by_space: BTreeMap<Space, Vec<(Asked, TermCounts)>> = BTreeMap::new();
    for item in prepared {
        match item {
            Prepared::Known(known) => made.push(known),
            Prepared::Terms(space, asked, terms) => {
                by_space.entry(space).or_default().push((asked, terms));
            }
            // With a language to fall back on none is unsure.
            Prepared::Unsure(_) => {}
        }
    }
    let mut jobs = Vec::new();
    for (space, items) in by_space {
        for items in pieces(items, |(_, terms)| effort::of_terms(terms)) {
            let supervisor = &services.supervisor;
            jobs.push(extract_together(supervisor, domain, space.clone(), items));
        }
    }
    let before = made.len();
    for done in join_all(jobs).await {
        made.extend(done?);
    }
    if making.across_languages {
        // The worker was told the language; what is compared with what is decided here.
        for made in &mut made[before..] {
            made.space = Space::of_all_languages(model);
        }
    }
    Ok(made)
}

/// Reads the material that is not in memory any more.
async fn with_material(
    services: &Services,
    domain: &DomainName,
    rows: Vec<ToExtract>,
) -> Result<Vec<Asked>, Failure> {
    let mut found: BTreeMap<ItemId, Arc<Material>> = BTreeMap::new();
    let missing: Vec<ItemId> = rows
        .iter()
        .filter(|row| row.material.is_none())
        .map(|row| row.id.clone())
        .collect();
    for ids in missing.chunks(READ_PAGE) {
        let items = services
            .store
            .items(domain, ids)
            .await
            .map_err(|e| failure(&e))?;
        let contents = services
            .store
            .contents(domain, ids)
            .await
            .map_err(|e| failure(&e))?;
        for (row, content) in items.into_iter().zip(contents) {
            if let Some(row) = row {
                let content = content.unwrap_or_default();
                found.insert(row.id.clone(), Arc::new(Material { row, content }));
            }
        }
    }
    Ok(rows
        .into_iter()
        .filter_map(|mut row| {
            let material = row.material.take().or_else(|| found.remove(&row.id))?;
            // The store may be ahead of what was asked for; that is asked for apart.
            (material.row.version == row.version).then_some(Asked { row, material })
        })
        .collect())
}

/// Texts to terms, on the pool.
async fn prepare(
    services: &Services,
    preprocessor: &Arc<Preprocessor>,
    making: &Making,
    asked: Vec<Asked>,
    fallback: Option<Fallback>,
) -> Result<Vec<Prepared>, Failure> {
    let (of, preprocessor) = (making.clone(), Arc::clone(preprocessor));
    let one = move |asked: &Asked| prepare_one(&preprocessor, &of, asked, fallback.as_ref());
    match isolation::each(&services.pool, asked, LOOK, LOOKS, one).await {
        Ok(prepared) => Ok(prepared
            .into_iter()
            .map(|(asked, outcome)| match outcome {
                Ok(prepared) => prepared,
                Err(unfit) => {
                    let reason = format!("its text could not be preprocessed: {unfit}");
                    warn!(id = %asked.row.id, reason, "item rejected");
                    let space = making.space(UNDETERMINED);
                    Prepared::Known(rejected(&asked, space, reason))
                }
            })
            .collect()),
        Err(isolation::AllStuck) => {
            // Nothing would ever be preprocessed again. Those that were rejected are stored as
            // such, or will be stuck again and rejected before the others.
            super::watchdog::end("every thread is stuck in the preprocessing of a text")
        }
    }
}

fn prepare_one(
    preprocessor: &Preprocessor,
    making: &Making,
    asked: &Asked,
    fallback: Option<&Fallback>,
) -> Prepared {
    let Material { row, content } = &*asked.material;
    if !asked.material.is_whole() {
        let reason = "its text was not stored whole; publish it again".to_owned();
        return Prepared::Known(rejected(asked, making.space(UNDETERMINED), reason));
    }
    if let Some(vector) = &content.vector {
        let space = Space::own(vector.len());
        let feature = compute_worker::models::Own::feature(vector);
        return Prepared::Known(made(asked, space, feature));
    }
    let preprocessed = preprocessor.preprocess(
        row.title.as_deref(),
        content.text.as_deref(),
        row.language.as_deref(),
        fallback.and_then(|Fallback(language)| language.as_deref()),
    );
    if !preprocessed.is_sure && fallback.is_none() {
        return Prepared::Unsure(asked.clone());
    }
    if preprocessed.terms.is_empty() {
        let space = making.space(&preprocessed.language);
        return Prepared::Known(made(asked, space, Feature::zero()));
    }
    let space = Space::of_texts(&making.model, &preprocessed.language);
    let terms = TermCounts {
        id: asked.row.id.clone(),
        terms: preprocessed.terms,
    };
    Prepared::Terms(space, asked.clone(), terms)
}

fn made(asked: &Asked, space: Space, feature: Feature) -> Made {
    Made {
        slot: asked.row.slot,
        version: asked.row.version,
        space,
        feature,
        rejected: None,
    }
}

/// An item that cannot have a feature, and why.
fn rejected(asked: &Asked, space: Space, reason: String) -> Made {
    let mut row = asked.material.row.clone();
    row.rejected = Some(reason);
    Made {
        rejected: Some(Box::new(row)),
        ..made(asked, space, Feature::zero())
    }
}

/// One job for several items; if it is given up, one for each. While the service stops, or no worker
/// answers, nothing is said about an item: its feature is made later.
async fn extract_together(
    supervisor: &Addr<DurationSupervisor>,
    domain: &DomainName,
    space: Space,
    items: Vec<(Asked, TermCounts)>,
) -> Result<Vec<Made>, Failure> {
    let (asked, terms): (Vec<Asked>, Vec<TermCounts>) = items.into_iter().unzip();
    match perform(supervisor, domain, &space, terms.clone()).await {
        Ok(features) => {
            return Ok(asked
                .iter()
                .zip(features)
                .map(|(asked, feature)| made(asked, space.clone(), feature))
                .collect());
        }
        Err(undone) => match after(undone, false) {
            Next::Later(failure) => return Err(failure),
            Next::EachAlone(Failure { detail, .. }) | Next::Reject(detail) => {
                warn!(%domain, %space, items = asked.len(), reason = detail, "extracting alone");
            }
        },
    }
    let mut all = Vec::with_capacity(asked.len());
    for (asked, terms) in asked.iter().zip(terms) {
        match perform(supervisor, domain, &space, vec![terms]).await {
            Ok(mut features) => {
                let feature = features.pop().unwrap_or_else(Feature::zero);
                all.push(made(asked, space.clone(), feature));
            }
            Err(undone) => match after(undone, true) {
                Next::Later(failure) => return Err(failure),
                Next::EachAlone(Failure { detail, .. }) | Next::Reject(detail) => {
                    warn!(%domain, id = %asked.row.id, reason = detail, "item rejected");
                    all.push(rejected(asked, space.clone(), detail));
                }
            },
        }
    }
    Ok(all)
}

/// Has a worker extract; as many features come back as rows went out.
async fn perform(
    supervisor: &Addr<DurationSupervisor>,
    domain: &DomainName,
    space: &Space,
    rows: Vec<TermCounts>,
) -> Result<Vec<Feature>, Undone> {
    let asked = rows.len();
    let task = Task::Extract(Arc::new(ExtractTask {
        space: space.clone(),
        rows,
    }));
    let job = Job {
        domain: domain.clone(),
        task,
    };
    match supervisor.send(Perform(job)).await {
        Ok(Ok(Reply::Extracted(features))) if features.len() == asked => Ok(features),
        Ok(Ok(reply)) => Err(Undone::GivenUp(Failure::passing(format!(
            "a worker answered another question: {reply:?}"
        )))),
        Ok(Err(undone)) => Err(undone),
        Err(_) => Err(Undone::Stopping),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use actix::Arbiter;
    use async_trait::async_trait;

    use super::*;
    use crate::actors::clock::Clock;
    use crate::metrics::Metrics;
    use kindred_domain::dispatch::{Attempt, JobId, Jobs, Returned, SendError};
    use kindred_domain::dispatch_table::DispatchLimits;
    use kindred_domain::slot::Slot;
    use kindred_domain::store::{Content, Liveness};

    /// Workers that never answer.
    struct Silent;

    #[async_trait]
    impl Jobs for Silent {
        async fn send(&self, _: JobId, _: Attempt, _: Duration, _: Job) -> Result<(), SendError> {
            Ok(())
        }

        async fn next_reply(&self) -> Option<Returned> {
            std::future::pending().await
        }

        fn workers(&self) -> usize {
            1
        }
    }

    #[test]
    fn the_habitual_language_is_that_of_most_items() {
        let model = ModelName::new("words-1").unwrap();
        let spaces = |counts: &[(&str, usize)]| -> Vec<(Space, usize)> {
            let space = |(name, rows): &(&str, usize)| (Space::stored(name), *rows);
            counts.iter().map(space).collect()
        };
        for (counts, expected) in [
            (&[][..], None),
            (&[("words-1/de", 0)], None),
            (&[("words-1/de", 2), ("words-1/en", 1)], Some("de")),
            (
                &[("words-1/en", 1), ("words-1/fr", 5), ("words-1/de", 5)],
                Some("de"),
            ),
            (
                &[("words-1/sv", 1), ("own/3", 9), ("words-2/en", 9)],
                Some("sv"),
            ),
            (&[("words-1/mul", 9)], None),
        ] {
            let spaces = spaces(counts);
            let found = habitual(&model, spaces.iter().map(|(space, rows)| (space, *rows)));
            assert_eq!(found.as_deref(), expected, "{counts:?}");
        }
    }

    #[test]
    fn one_space_holds_all_languages_where_model_and_domain_have_it_so() {
        for (model, across, space) in [
            ("text-2", Some(true), "text-2/mul"),
            ("text-2", Some(false), "text-2/de"),
            ("text-2", None, "text-2/de"),
            ("words-1", Some(true), "words-1/de"),
        ] {
            let settings = DomainSettings {
                across_languages: across,
                ..DomainSettings::default()
            };
            let making = Making::new(&ModelName::new(model).unwrap(), &settings);
            assert_eq!(
                making.space("de"),
                Space::stored(space),
                "{model} {across:?}"
            );
        }
    }

    #[actix_web::test]
    async fn an_item_is_not_rejected_because_the_service_stops() {
        let limits = DispatchLimits {
            total: 2,
            per_thread: Duration::from_secs(1),
            deadline: Duration::from_secs(60),
        };
        let arbiter = Arbiter::new();
        let supervisor = DurationSupervisor::start_supervising(
            Arc::new(Silent),
            limits,
            Clock::start(),
            Arc::new(Metrics::new()),
            &arbiter.handle(),
        );
        let domain = DomainName::new("news").unwrap();
        let id = ItemId::new("a").unwrap();
        let material = Arc::new(Material {
            row: kindred_domain::material::tombstone(
                id.clone(),
                1,
                Liveness::Live,
                chrono::Utc::now(),
            ),
            content: Content::default(),
        });
        let row = ToExtract {
            slot: Slot(0),
            id: id.clone(),
            version: 1,
            material: None,
        };
        let terms = TermCounts {
            id,
            terms: Default::default(),
        };
        let items = vec![(Asked { row, material }, terms)];
        let stopping = async {
            // It has the job once it answers again.
            tokio::task::yield_now().await;
            arbiter.stop();
        };
        let made = extract_together(&supervisor, &domain, Space::stored("words-1/en"), items);
        let (made, ()) = tokio::join!(made, stopping);
        assert!(made.is_err(), "rejected: {made:?}");
    }
}
