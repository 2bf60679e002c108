//! Queries a domain's snapshot wherever it is: here, at the domain's owner, or not loaded yet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use compute_worker::models::Own;
use kindred_api::problem::ProblemKind;
use kindred_query::{AskError, Conditions, DomainView, Question, Snapshot, Subject};
use kindred_shared::{DomainName, ItemId, ModelName, Space};
use tokio::time::{Instant, interval};

use super::answers::{self, About};
use super::conditions::Wanted;
use super::error::Error;
use super::models::stored;
use super::parts::{Queries, Reads};
use super::question::{Of, QueryRequest};
use super::relay::{as_ours, is_proxied};
use super::taking_part::TakingPart;
use super::values::invalid;
use crate::actors::scans::ScanError;
use crate::actors::texts::{Rules, Text, Texts, Words};
use crate::owners::OwnerLocation;
use kindred_domain::mix::kinds_of_texts;
use kindred_domain::settings::{DomainSettings, NEAR_DUPLICATE};
use kindred_domain::store::Partition;

/// How long a query waits for its domain to be loaded, and how often it checks.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);
/// When to retry for a domain that is being loaded, in seconds.
const RETRY_S: u32 = 2;
/// When to retry while there are too many queries, in seconds.
const BUSY_S: u32 = 1;

/// Where a domain can be queried.
pub(super) enum QueryTarget {
    /// Here.
    Here(Here),
    /// Elsewhere; this is the answer from there.
    There(HttpResponse),
}

/// A snapshot that may be used for an answer.
#[derive(Clone)]
pub(super) struct Here {
    view: Arc<DomainView>,
    pub(super) snapshot: Arc<Snapshot>,
}

/// A serialised answer.
pub(super) struct Answered {
    pub(super) body: Vec<u8>,
    /// Whether there was something to compare with.
    pub(super) is_listed: bool,
}

impl Here {
    /// The snapshot of an active domain whose view is currently valid.
    pub(super) fn of(reads: &Reads, domain: &DomainName) -> Option<Self> {
        let view = reads.views.get(domain)?;
        let now = reads.clock.now();
        if !view.term().lasts(now.monotonic) {
            return None;
        }
        view.used(now.monotonic);
        let snapshot = view.snapshot().as_ref().map(Arc::clone)?;
        Some(Self { view, snapshot })
    }

    /// The snapshot of a model that may be queried; `None`: of the served one.
    pub(super) fn of_model(
        reads: &Reads,
        domain: &DomainName,
        model: Option<&ModelName>,
    ) -> Option<Self> {
        let served = Self::of(reads, domain)?;
        let Some(name) = model.filter(|name| served.snapshot.name() != Some(*name)) else {
            return Some(served);
        };
        // If the domain was removed, its other models do not answer either.
        served.snapshot.model()?;
        let view = reads.views.beside(domain, name);
        let view = view.filter(|one| one.is_ready)?.view;
        let snapshot = view.snapshot().as_ref().map(Arc::clone)?;
        // A model that was served until a moment ago now has a view of its own.
        (snapshot.name() == Some(name)).then_some(Self { view, snapshot })
    }

    /// Whether the domain is registered, and still is.
    pub(super) fn is_registered(&self) -> bool {
        self.snapshot.model().is_some()
    }

    /// # Errors
    /// 503 when another instance may have taken the domain while it was asked.
    pub(super) fn is_ours_still(&self, reads: &Reads) -> Result<(), Error> {
        if self.view.term().lasts(reads.clock.now().monotonic) {
            return Ok(());
        }
        let detail =
            "The domain's partition may have moved to another model service meanwhile. Try again.";
        Err(Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S))
    }
}

/// Where a domain can be queried: here, once it is loaded; or at its owner, which is sent this path
/// and body.
///
/// # Errors
/// 404 if the domain is not registered; 503 while nobody owns it, or if it is not loaded in time.
pub(super) async fn place(
    reads: &Reads,
    queries: &Queries,
    request: &HttpRequest,
    domain: &DomainName,
    model: Option<&ModelName>,
    body: Option<&[u8]>,
) -> Result<QueryTarget, Error> {
    if let Some(here) = Here::of_model(reads, domain, model).filter(Here::is_registered) {
        return Ok(QueryTarget::Here(here));
    }
    match reads.owners.of_domain(domain).await? {
        OwnerLocation::Local => {
            let loaded = loaded(reads, queries, domain, model).await;
            loaded.map(QueryTarget::Here)
        }
        OwnerLocation::Remote(owner) if !is_proxied(request.headers()) => {
            let path = request.uri().path_and_query();
            let path = path.map_or_else(|| request.uri().path(), |path| path.as_str());
            let body = body.map(<[u8]>::to_vec);
            let answer = reads.relay.query(&owner, path, body).await?;
            Ok(QueryTarget::There(as_ours(&answer)))
        }
        OwnerLocation::Remote(_) | OwnerLocation::Unowned => Err(Error::new(
            ProblemKind::NotReady,
            "No model service owns this domain's partition at the moment; one takes it within \
            seconds. Try again.",
        )
        .retry_after(RETRY_S)),
    }
}

/// The snapshot of a domain owned here; wakes it if it sleeps.
pub(super) async fn loaded(
    reads: &Reads,
    queries: &Queries,
    domain: &DomainName,
    model: Option<&ModelName>,
) -> Result<Here, Error> {
    if let Some(name) = model {
        let (models, kind) = stored(reads, domain).await?;
        if models.active(&kind) != name && !models.is_ready(name) {
            return Err(Error::unknown_model(name));
        }
    }
    let Some(row) = reads.registered(domain).await? else {
        return Err(Error::unknown_domain());
    };
    if !queries.waking.wake(Partition(row.partition), domain) {
        let detail = "This model service does not host the domain's partition yet. Try again.";
        return Err(Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S));
    }
    let (mut look, until) = (interval(LOOK), Instant::now() + PATIENCE);
    while Instant::now() < until {
        let here = Here::of_model(reads, domain, model);
        if let Some(here) = here.filter(Here::is_registered) {
            return Ok(here);
        }
        look.tick().await;
    }
    let detail = format!(
        "The domain is being loaded, which takes longer than {} s. Try again; the plain list of \
         an item is available meanwhile.",
        PATIENCE.as_secs()
    );
    Err(Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S))
}

/// Whether a domain has default conditions.
pub(super) fn has_defaults(settings: &DomainSettings) -> bool {
    settings.defaults.is_some()
}

/// The default conditions of a domain.
fn set_for(settings: &DomainSettings) -> Wanted {
    // They were validated when they were set; conditions of a newer Kindred are ignored.
    let set = settings.defaults.as_ref();
    set.and_then(|set| Wanted::of_json(set).ok())
        .unwrap_or_default()
}

/// The lowest score at which two items of a domain are near-duplicates.
fn near_duplicate(settings: &DomainSettings) -> f32 {
    settings.near_duplicate.unwrap_or(NEAR_DUPLICATE) as f32
}

/// Answers a query from a snapshot.
///
/// # Errors
/// 400 for contradictory conditions, 404 when none of the query's items exists, 429 when too many
/// queries are running, 503 when the store cannot be read or the domain may have moved.
pub(super) async fn answer(
    reads: &Reads,
    queries: &Queries,
    domain: &DomainName,
    here: &Here,
    asked: QueryRequest,
) -> Result<Answered, Error> {
    let takes_part = TakingPart::of(queries, domain, asked.reader.as_deref()).await;
    let (here, takes_part) = match takes_part.as_ref().and_then(TakingPart::model) {
        Some(name) if asked.model.is_none() => {
            match Here::of_model(reads, domain, Some(name)).filter(Here::is_registered) {
                Some(of_arm) => (of_arm, takes_part),
                // Not loaded yet: answered like any reader, and not as one in the arm.
                None => (here.clone(), None),
            }
        }
        _ => (here.clone(), takes_part),
    };
    let settings = here.snapshot.settings();
    let seed = RandomState::new().hash_one(());
    let of_arm = takes_part.as_ref().and_then(TakingPart::conditions);
    let set = of_arm.unwrap_or_else(|| set_for(settings));
    let conditions = asked.wanted.over(set, seed)?;
    let now = reads.clock.now().unix_ms;
    let query = Asking {
        domain: domain.clone(),
        snapshot: Arc::clone(&here.snapshot),
        texts: queries.texts.clone(),
        of_items: texts_of_items(reads, domain, &here.snapshot, &asked.of, &conditions, now)
            .await?,
        question: Question {
            // Filled in later, on a thread where it may take time.
            subject: Subject::Items(Vec::new()),
            conditions,
            near_duplicate: near_duplicate(settings),
            kernel: queries.scans.kernel(),
            now,
        },
        of: asked.of,
        takes_part,
    };
    let answered = match query.by_list() {
        Some(answered) => answered?,
        None => {
            let scanned = queries.scans.run(move |cancelled| query.by_scan(cancelled));
            scanned.await.map_err(not_scanned)??
        }
    };
    here.is_ours_still(reads)?;
    Ok(answered)
}

/// The texts of the query's items, if answers are to be explained.
async fn texts_of_items(
    reads: &Reads,
    domain: &DomainName,
    snapshot: &Snapshot,
    of: &Of,
    conditions: &Conditions,
    now: i64,
) -> Result<Vec<Text>, Error> {
    let Of::Items(items) = of else {
        return Ok(Vec::new());
    };
    if !conditions.explain {
        return Ok(Vec::new());
    }
    let known = items
        .iter()
        .filter_map(|(id, _)| snapshot.item(id.as_str(), now));
    let languages: HashMap<ItemId, Option<String>> = known
        .filter(|item| item.facts().language.is_some())
        .map(|item| (item.id().clone(), item.facts().language.map(str::to_owned)))
        .collect();
    let ids: Vec<ItemId> = languages.keys().cloned().collect();
    let rows = reads.store.items(domain, &ids).await?;
    let contents = reads.store.contents(domain, &ids).await?;
    let texts = ids
        .iter()
        .zip(rows)
        .zip(contents)
        .map(|((id, row), content)| Text {
            title: row.and_then(|row| row.title),
            text: content.and_then(|content| content.text),
            language: languages.get(id).cloned().flatten(),
        });
    Ok(texts.collect())
}

/// The score of each pair, in order; none if an item does not exist, or they cannot be compared.
///
/// # Errors
/// 429 when too many queries are running, 503 when the domain may have moved.
pub(super) async fn scores(
    reads: &Reads,
    queries: &Queries,
    here: &Here,
    pairs: Vec<[String; 2]>,
) -> Result<Vec<Option<f32>>, Error> {
    let (now, kernel) = (reads.clock.now().unix_ms, queries.scans.kernel());
    let snapshot = Arc::clone(&here.snapshot);
    let scored = queries.scans.run(move |_| {
        let pairs = pairs.iter();
        pairs
            .map(|[a, b]| snapshot.score(a, b, kernel, now))
            .collect()
    });
    let scores = scored.await.map_err(not_scanned)?;
    here.is_ours_still(reads)?;
    Ok(scores)
}

pub(super) fn not_scanned(error: ScanError) -> Error {
    match error {
        ScanError::Busy => {
            let detail = "Too many queries are running. Try again in a moment, or request the \
                plain list.";
            Error::new(ProblemKind::Busy, detail).retry_after(BUSY_S)
        }
        ScanError::Failed(why) => {
            tracing::error!(why, "a query was not answered");
            let detail = format!("The query could not be computed: {why}. Try again.");
            Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S)
        }
    }
}

/// A query that is being answered.
struct Asking {
    domain: DomainName,
    snapshot: Arc<Snapshot>,
    texts: Texts,
    of: Of,
    takes_part: Option<TakingPart>,
    /// The texts of the query's items.
    of_items: Vec<Text>,
    question: Question,
}

impl Asking {
    /// The answer from the stored list, if that is immediate. `None`: it has to be computed.
    fn by_list(&self) -> Option<Result<Answered, Error>> {
        let Of::Items(items) = &self.of else {
            return None;
        };
        let question = Question {
            subject: Subject::Items(items.clone()),
            ..self.question.clone()
        };
        match self.snapshot.ask_list(&question) {
            Ok(None) => None,
            Ok(Some(found)) => Some(Ok(self.written(&found, &Words::new()))),
            Err(error) => Some(Err(not_answered(&error))),
        }
    }

    /// The answer, computed on the current rayon pool.
    fn by_scan(mut self, cancelled: &std::sync::atomic::AtomicBool) -> Result<Answered, Error> {
        let words = self.read()?;
        let found = self.snapshot.ask(&self.question, cancelled);
        let found = found.map_err(|error| not_answered(&error))?;
        Ok(self.written(&found, &words))
    }

    /// Reads the query's text; returns its words.
    fn read(&mut self) -> Result<Words, Error> {
        let settings = self.snapshot.settings();
        // A domain without a model has no items: nothing is similar to anything.
        let model = self.snapshot.model().cloned();
        let model = model.unwrap_or_else(compute_worker::models::default_model);
        let (subject, words) = match &self.of {
            Of::Items(items) => {
                let texts = self.of_items.iter();
                let words = texts.flat_map(|text| self.texts.words(text, &model, settings));
                (Subject::Items(items.clone()), words.collect())
            }
            Of::Vector(values) => {
                if model.is_mix() {
                    let detail = "A mix cannot be asked by a vector: name one of its models.";
                    return Err(invalid("vector", detail));
                }
                let space = match model.vector() {
                    Some(_) => Space::of_vectors(&model, values.len()),
                    None => Space::own(values.len()),
                };
                let feature = Own::feature(values);
                (Subject::Feature { space, feature }, Words::new())
            }
            Of::Text(text) => {
                if kinds_of_texts(&model, settings.mix.as_deref()).is_empty() {
                    let detail = "This model compares vectors, not texts: ask for an item, or name \
                         another model.";
                    return Err(invalid("text", detail));
                }
                let rules = Rules {
                    domain: &self.domain,
                    model: &model,
                    settings,
                    spaces: &self.snapshot.features().counts(),
                    habits: self.snapshot.habits(),
                };
                let (space, feature, words) = self.texts.feature(text, rules).map_err(|why| {
                    let detail = format!("The text could not be read: {why}. Try again.");
                    Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S)
                })?;
                // Features of a mix are as long as the longest of them.
                let rows = self.snapshot.features().of(&space).iter();
                let lengths = rows.map(|live| live.rows.block.dimension());
                let feature = match lengths.max() {
                    Some(length) if length > 0 && space.is_ragged() => feature.fitted(length),
                    _ => feature,
                };
                (Subject::Feature { space, feature }, words)
            }
        };
        self.question.subject = subject;
        Ok(words)
    }

    /// Whether the model's features are vectors of a name.
    fn compares_vectors(&self) -> bool {
        let kind = self.snapshot.model();
        kind.is_some_and(|kind| kind.vector().is_some())
    }

    fn written(&self, found: &kindred_query::Found, words: &Words) -> Answered {
        let items = match &self.of {
            Of::Items(items) => items.as_slice(),
            Of::Text(_) | Of::Vector(_) => &[],
        };
        let known = items
            .iter()
            .find_map(|(id, _)| self.snapshot.item(id.as_str(), self.question.now));
        let model = match (&self.of, known) {
            (Of::Vector(_), _) if !self.compares_vectors() => Some(kindred_shared::name::OWN),
            (_, Some(item)) => item.model(),
            (_, None) => self.snapshot.name().map(ModelName::as_str),
        };
        let about = About {
            domain: &self.domain,
            id: match items {
                [(id, _)] => Some(id),
                _ => None,
            },
            model: model.unwrap_or_default(),
            takes_part: self.takes_part.as_ref().and_then(TakingPart::names),
            words,
        };
        Answered {
            body: answers::found(&self.snapshot, found, &about),
            is_listed: found.as_of.is_some(),
        }
    }
}

fn not_answered(error: &AskError) -> Error {
    match error {
        AskError::NoneKnown => Error::unknown_item(),
        other => {
            let detail = format!("The query could not be computed: {other}. Try again.");
            Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S)
        }
    }
}
