//! Runs the extraction machine. Missing texts are read from the store, turned into terms here on
//! the pool, and into features by a worker.

mod isolation;
mod mixing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use compute_worker::models::{Own, compares_languages, dense_length, weighs_by_domain};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kindred_shared::job::{ExtractTask, Job, Reply, Task};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space, VectorName};
use tracing::warn;

use super::loading::failure;
use super::services::Services;
use super::supervisor::{DurationSupervisor, Perform};
use crate::preprocessing::{Preprocessor, Usual};
use crate::store::materials::materials;
use kindred_domain::dispatch::Undone;
use kindred_domain::effect::{Made, ToExtract};
use kindred_domain::extraction::{
    Extraction, ExtractionRequest, Fallback, Making, PieceSize, Prepared, Step,
};
use kindred_domain::habits::{Habits, Survey};
use kindred_domain::intake::Failure;
use kindred_domain::material::Material;
use kindred_domain::mix::kinds_of_texts;
use kindred_domain::settings::DomainSettings;

/// Items whose texts are read from the store at a time.
const READ_PAGE: usize = 256;

/// Texts of a sample in memory at a time.
const SURVEY_PAGE: usize = 32;

/// How often a text that is being preprocessed is checked, and how many checks it may take: 30 s
/// for what takes milliseconds.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 60;

/// Why no feature is made of an item whose row and content do not belong together.
const DAMAGED: &str = "its text is damaged in the store; publish it again";

/// What is known about a domain before features are made.
pub struct Known {
    /// Spaces in which items have features, with the number of items.
    pub spaces: Vec<(Space, usize)>,
    /// Length of the dense parts in each space, where known.
    pub lengths: BTreeMap<Space, usize>,
    /// The habits of its texts.
    pub habits: Arc<Habits>,
    /// Whether it is for a model next to the served one.
    pub is_beside: bool,
}

/// Makes features for these items: of their texts, with the model; of their vectors; or of both, for
/// a mix. Items the store no longer has are left out.
pub async fn extract(
    services: &Services,
    domain: &DomainName,
    model: &ModelName,
    rows: Vec<ToExtract>,
    settings: &DomainSettings,
    known: Known,
) -> Result<Vec<Made>, Failure> {
    let Some(mix) = settings.mix.as_ref().filter(|_| model.is_mix()) else {
        let own = model.prefers_own();
        let made = extract_by(services, domain, (model, own), rows, settings, known).await;
        for made in made.iter().flatten() {
            tell_rejected(domain, made);
        }
        return made;
    };
    let kinds = mix.by_kind();
    let mut parts = Vec::with_capacity(kinds.len());
    for (kind, weight) in kinds {
        // What its space tells about languages holds for the part, too.
        let of_part = |(space, rows): &(Space, usize)| {
            let language = space.language().filter(|_| space.model() == *model)?;
            Some((Space::of_texts(kind, language), *rows))
        };
        let known = Known {
            spaces: known.spaces.iter().filter_map(of_part).collect(),
            lengths: BTreeMap::new(),
            habits: habits_for(kind, &known.habits),
            is_beside: known.is_beside,
        };
        let rows = rows.clone();
        // The part of texts is of texts: own vectors have parts of their own.
        let made = extract_by(services, domain, (kind, false), rows, settings, known).await?;
        parts.push(mixing::Part {
            weight,
            length: dense_length(kind),
            made: made.into_iter().map(|made| (made.slot, made)).collect(),
        });
    }
    let made = mixing::mixed(model, parts, &known.habits);
    for made in &made {
        tell_rejected(domain, made);
    }
    Ok(made)
}

/// The habits with which a part of a mix is made. Those of a mix say how often terms of one part occur; the terms of
/// other parts are not those.
fn habits_for(kind: &ModelName, habits: &Arc<Habits>) -> Arc<Habits> {
    if weighs_by_domain(kind) {
        Arc::clone(habits)
    } else {
        Arc::new(habits.without_terms())
    }
}

/// Makes features of one kind; `own`: whether those of own vectors take precedence over texts.
async fn extract_by(
    services: &Services,
    domain: &DomainName,
    (model, own): (&ModelName, bool),
    rows: Vec<ToExtract>,
    settings: &DomainSettings,
    known: Known,
) -> Result<Vec<Made>, Failure> {
    let Known {
        spaces,
        lengths,
        habits,
        is_beside,
    } = known;
    let preprocessor = services.preprocessors.of(settings);
    let making = Making::new(
        model,
        compares_languages(model),
        settings,
        Arc::clone(&habits),
    );
    let most = PieceSize::default()
        .of_kind(model)
        .on_threads(services.pool.current_num_threads());
    let (mut extraction, first) = Extraction::begin(making, rows, spaces, lengths, most);
    let mut steps = VecDeque::from([first]);
    let mut jobs = FuturesUnordered::new();
    loop {
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Read(ids) => {
                    let found = read(services, domain, &ids).await;
                    steps.push_back(extraction.read(found));
                }
                Step::Prepare(asked, fallback) => {
                    let prepared = prepare(
                        services,
                        (model, own),
                        &preprocessor,
                        asked,
                        &habits,
                        fallback,
                    )
                    .await;
                    steps.extend(extraction.prepared(prepared));
                }
                Step::Submit(piece, task, length) => {
                    let done = perform(&services.supervisor, domain, task, length, is_beside);
                    jobs.push(async move { (piece, done.await) });
                }
                Step::Done(result) => return result,
            }
        }
        let Some((piece, result)) = jobs.next().await else {
            // The outcome comes with the last reply.
            return Err(Failure::passing("extraction stopped without an outcome"));
        };
        steps.extend(extraction.answered(piece, result));
    }
}

fn tell_rejected(domain: &DomainName, made: &Made) {
    if let (Some(reason), Some(row)) = (made.rejected(), &made.row) {
        warn!(%domain, id = %row.id, reason, "item rejected");
    }
}

/// Reads texts that are no longer in memory.
async fn read(
    services: &Services,
    domain: &DomainName,
    missing: &[ItemId],
) -> Result<Vec<Material>, Failure> {
    let mut found = Vec::with_capacity(missing.len());
    for ids in missing.chunks(READ_PAGE) {
        let page = materials(&*services.store, domain, ids).await;
        found.append(&mut page.map_err(|e| failure(&e))?);
    }
    Ok(found)
}

/// Turns texts into terms, on the pool.
async fn prepare(
    services: &Services,
    (model, own): (&ModelName, bool),
    preprocessor: &Arc<Preprocessor>,
    asked: Vec<ExtractionRequest>,
    habits: &Arc<Habits>,
    fallback: Option<Fallback>,
) -> Vec<(ExtractionRequest, Prepared)> {
    let (preprocessor, habits) = (Arc::clone(preprocessor), Arc::clone(habits));
    let kind = model.clone();
    let one = move |asked: &ExtractionRequest| match kind.vector() {
        Some(name) => vector_of(&kind, &name, &asked.material),
        None => prepare_one(
            (&kind, own),
            &preprocessor,
            &asked.material,
            &habits,
            fallback.as_ref(),
        ),
    };
    match isolation::each(&services.pool, asked, LOOK, LOOKS, one).await {
        Ok(prepared) => {
            let prepared = prepared.into_iter();
            let unfit =
                |unfit| Prepared::Unfit(format!("its text could not be preprocessed: {unfit}"));
            prepared
                .map(|(asked, outcome)| (asked, outcome.unwrap_or_else(unfit)))
                .collect()
        }
        Err(isolation::AllStuck) => {
            // Preprocessing has stopped for good, so restart. Rejected texts are stored as
            // rejected; others get stuck again and are rejected before the rest.
            super::watchdog::end("every thread is stuck in the preprocessing of a text")
        }
    }
}

/// The feature of an item by a kind whose features are vectors of this name.
fn vector_of(kind: &ModelName, name: &VectorName, material: &Material) -> Prepared {
    if !material.is_whole() {
        return Prepared::Unfit(DAMAGED.to_owned());
    }
    let vector = material.content.vector_named(name).unwrap_or_default();
    Prepared::Known(Space::of_vectors(kind, vector.len()), Own::feature(vector))
}

fn prepare_one(
    (model, own): (&ModelName, bool),
    preprocessor: &Preprocessor,
    material: &Material,
    habits: &Habits,
    fallback: Option<&Fallback>,
) -> Prepared {
    let Material { row, content } = material;
    if !material.is_whole() {
        return Prepared::Unfit(DAMAGED.to_owned());
    }
    if let Some(vector) = content.vector.as_ref().filter(|_| own) {
        return Prepared::Known(Space::own(vector.len()), Own::feature(vector));
    }
    let usual = Usual {
        language: fallback.and_then(|Fallback(language)| language.as_deref()),
        ..Usual::of(habits)
    };
    let preprocessed = preprocessor.preprocess_for(
        model,
        row.title.as_deref(),
        content.text.as_deref(),
        row.language.as_deref(),
        usual,
    );
    if !preprocessed.is_sure && fallback.is_none() {
        return Prepared::Unsure;
    }
    Prepared::Terms(preprocessed.language, preprocessed.terms)
}

/// Surveys the texts of a sample of items. Items with only their own vectors have none; unreadable
/// texts are skipped.
pub async fn survey(
    services: &Services,
    domain: &DomainName,
    ids: &[ItemId],
    model: &ModelName,
    settings: &DomainSettings,
) -> Result<Survey, Failure> {
    let preprocessor = services.preprocessors.of(settings);
    let model = &weighing(model, settings);
    let mut survey = Survey::default();
    let one = {
        let preprocessor = Arc::clone(&preprocessor);
        move |Material { row, content }: &Material| {
            let (title, text) = (row.title.as_deref(), content.text.as_deref());
            preprocessor.survey(title, text, row.language.as_deref())
        }
    };
    let surveyed = each_text(services, domain, ids, one).await?;
    surveyed.for_each(|text| text.add_to(&mut survey));
    if !weighs_by_domain(model) {
        return Ok(survey);
    }
    // Terms are those of the text that is left.
    let usual = Habits::of(0, 0, 0, &survey);
    let model = model.clone();
    let one = move |Material { row, content }: &Material| {
        let (title, text) = (row.title.as_deref(), content.text.as_deref());
        let (given, usual) = (row.language.as_deref(), Usual::of(&usual));
        preprocessor.term_ids(title, text, given, usual, &model)
    };
    for id in each_text(services, domain, ids, one).await?.flatten() {
        *survey.terms.entry(id).or_default() += 1;
    }
    Ok(survey)
}

/// The kind whose terms may weigh less in this domain: of a mix it is the part of which they do.
fn weighing(model: &ModelName, settings: &DomainSettings) -> ModelName {
    let kinds = kinds_of_texts(model, settings.mix.as_deref());
    let found = kinds.into_iter().find(|kind| weighs_by_domain(kind));
    found.unwrap_or(model).clone()
}

/// Runs something on each text of these items, on the pool.
async fn each_text<T: Send + 'static>(
    services: &Services,
    domain: &DomainName,
    ids: &[ItemId],
    one: impl Fn(&Material) -> T + Send + Sync + 'static,
) -> Result<impl Iterator<Item = T>, Failure> {
    let one = Arc::new(one);
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(SURVEY_PAGE) {
        let materials = read(services, domain, ids).await?.into_iter();
        let texts = materials.filter(|material| material.content.vector.is_none());
        let texts: Vec<Arc<Material>> = texts.map(Arc::new).collect();
        let one = Arc::clone(&one);
        let one = move |material: &Arc<Material>| one(material);
        match isolation::each(&services.pool, texts, LOOK, LOOKS, one).await {
            Ok(read) => found.extend(read.into_iter().filter_map(|(_, outcome)| outcome.ok())),
            Err(isolation::AllStuck) => {
                super::watchdog::end("every thread is stuck in the preprocessing of a text")
            }
        }
    }
    Ok(found.into_iter())
}

/// Sends an extract job to a worker.
async fn perform(
    supervisor: &Addr<DurationSupervisor>,
    domain: &DomainName,
    task: Arc<ExtractTask>,
    dense: Option<usize>,
    is_beside: bool,
) -> Result<Vec<Feature>, Undone> {
    let (items, space) = (task.rows.len(), task.space.clone());
    let job = Job {
        domain: domain.clone(),
        task: Task::Extract(task),
    };
    let undone = match supervisor
        .send(Perform {
            job,
            dense,
            is_beside,
        })
        .await
    {
        Ok(Ok(Reply::Extracted(features))) => return Ok(features),
        Ok(Ok(reply)) => Undone::GivenUp(Failure::passing(format!(
            "unexpected kind of reply from a worker: {reply:?}"
        ))),
        Ok(Err(undone)) => undone,
        Err(_) => Undone::Stopping,
    };
    if let Undone::GivenUp(Failure { detail, .. }) = &undone {
        warn!(%domain, %space, items, reason = detail, "extract job abandoned");
    }
    Err(undone)
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

    /// No item is rejected in that case (`extraction::tests` of `kindred_domain`).
    #[actix_web::test]
    async fn a_service_that_stops_says_nothing_about_a_job() {
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
        let task = ExtractTask {
            space: Space::stored("words-1/en"),
            rows: Vec::new(),
        };
        let stopping = async {
            // It receives the job once it answers again.
            tokio::task::yield_now().await;
            arbiter.stop();
        };
        let (made, ()) = tokio::join!(
            perform(&supervisor, &domain, Arc::new(task), None, false),
            stopping
        );
        assert_eq!(made.unwrap_err(), Undone::Stopping);
    }
}
