//! Models of a domain: built next to the served one, their progress, activated, deleted.
//!
//! Changes are sent as events, so that they are ordered among the domain's other events whichever
//! instance gets the request; the outcome is then read from the store.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, delete, get, post, put};
use compute_worker::models::{compares_languages, names_of_texts};
use kindred_api::model::{ActivatedAnswer, ModelAnswer, ModelBody, ModelState, ModelsAnswer};
use kindred_api::problem::ProblemKind;
use kindred_shared::event::{Event, MIX, MOST_MIXED, ModelChange, Modelled, ONNX, VECTORS, Weight};
use kindred_shared::{DomainName, ModelName, VectorName};
use serde_json::Value;
use utoipa_actix_web::service_config::ServiceConfig;

use super::access::Asker;
use super::body::Body;
use super::error::Error;
use super::openapi;
use super::parts::{Part, Queries, Reads, Writes};
use super::path::{InDomain, InPath, OfModel, ToActivate};
use super::query::nearest;
use super::question::object;
use super::request_name::request_name;
use super::settings::{fits_model, outcome};
use super::values::{invalid, only};
use kindred_domain::experiment::Arm;
use kindred_domain::models::{Models, ShownKind, Stage, Unmixed};
use kindred_domain::settings::SettingsOutcome;
use kindred_domain::status::{DomainStatus, LoadedState};

/// Largest request body, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// Smallest share left to do that is shown for a model that is being built.
const LEFT: f64 = 0.01;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(activate)
        .service(list)
        .service(get_one)
        .service(put_one)
        .service(delete_one);
}

/// The models of a domain.
#[utoipa::path(operation_id = "list_models", tag = "models", params(InDomain),
    responses(
        (status = 200, description = "Every model, by name.", body = ModelsAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/models")]
async fn list(
    path: InPath<InDomain>,
    reads: Part<Reads>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let told = reads.relay.of_owner(&reads.owners, &request, &domain);
    if let Some(answer) = told.await? {
        return Ok(answer);
    }
    let models = described(&reads, &domain).await?;
    Ok(HttpResponse::Ok().json(ModelsAnswer { models }))
}

/// One model of a domain.
#[utoipa::path(operation_id = "get_model", tag = "models", params(OfModel),
    responses(
        (status = 200, description = "The model.", body = ModelAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::UnknownModel),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/models/{name}")]
async fn get_one(
    path: InPath<OfModel>,
    reads: Part<Reads>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let OfModel { domain, name } = path.0;
    let told = reads.relay.of_owner(&reads.owners, &request, &domain);
    if let Some(answer) = told.await? {
        return Ok(answer);
    }
    Ok(HttpResponse::Ok().json(described_one(&reads, &domain, &name).await?))
}

/// Builds a model next to the served one.
///
/// It is built from stored data while the domain's events take precedence; then it is kept as exact
/// as the served one.
#[utoipa::path(operation_id = "put_model", tag = "models", params(OfModel),
    request_body(content = ModelBody, content_type = "application/json", example = json!({"kind": "words-1"})),
    responses(
        (status = 200, description = "It already existed.", body = ModelAnswer),
        (status = 201, description = "It is being built.", body = ModelAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 408, response = openapi::SlowBody),
        (status = 409, response = openapi::Contradiction),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 422, response = openapi::Unprocessable),
        (status = 503, response = openapi::Unavailable),
    ))]
#[put("/v1/domains/{domain}/models/{name}")]
async fn put_one(
    path: InPath<OfModel>,
    body: Body,
    writes: Part<Writes>,
    reads: Part<Reads>,
    asker: Asker,
) -> Result<HttpResponse, Error> {
    let OfModel { domain, name } = path.0;
    let wanted = wanted(&body.read_whole(MAX_BYTES).await?, &writes.encoders)?;
    let put = match wanted {
        Wanted::Kind(kind) => {
            let stored = reads.store.settings(&domain).await?;
            let across = stored.and_then(|row| row.settings.across_languages);
            // Vectors have no language.
            if kind.vector().is_none() && !compares_languages(&kind) {
                fits_model(across, &kind)?;
            }
            let of = BTreeMap::new();
            ModelChange::Put { kind, of }
        }
        Wanted::Mix(of) => {
            let (models, active_kind) = stored(&reads, &domain).await?;
            fit_to_mix(&models, &active_kind, &of)?;
            let kind = ModelName::new(MIX).expect("it is a name");
            ModelChange::Put { kind, of }
        }
    };
    let became = change(&reads, &writes, &domain, &name, put, &asker).await?;
    let answer = described_one(&reads, &domain, &name).await?;
    Ok(match became {
        SettingsOutcome::Created => HttpResponse::Created().json(answer),
        _ => HttpResponse::Ok().json(answer),
    })
}

/// Serves a ready model.
///
/// All readers see it at once, on every instance; the one that was served stays ready, so that the same request
/// brings it back. Rows of `similar_items` follow. There is no body, but as with every POST `Content-Type` is that of JSON.
#[utoipa::path(operation_id = "activate_model", tag = "models", params(OfModel),
    responses(
        (status = 200, description = "It is served.", body = ActivatedAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::UnknownModel),
        (status = 409, response = openapi::Contradiction),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 503, response = openapi::Unavailable),
    ))]
#[post("/v1/domains/{domain}/models/{name}:activate")]
async fn activate(
    path: InPath<ToActivate>,
    writes: Part<Writes>,
    reads: Part<Reads>,
    asker: Asker,
) -> Result<HttpResponse, Error> {
    let ToActivate(OfModel { domain, name }) = path.0;
    match change(
        &reads,
        &writes,
        &domain,
        &name,
        ModelChange::Activate,
        &asker,
    )
    .await?
    {
        SettingsOutcome::Activated(was) => {
            Ok(HttpResponse::Ok().json(ActivatedAnswer { active: name, was }))
        }
        other => Err(unexpected(&other)),
    }
}

/// Deletes a model that is neither served nor named by an arm of the running experiment, with its lists.
#[utoipa::path(operation_id = "delete_model", tag = "models", params(OfModel),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::UnknownModel),
        (status = 409, response = openapi::Contradiction),
        (status = 503, response = openapi::Unavailable),
    ))]
#[delete("/v1/domains/{domain}/models/{name}")]
async fn delete_one(
    path: InPath<OfModel>,
    writes: Part<Writes>,
    reads: Part<Reads>,
    queries: Part<Queries>,
    asker: Asker,
) -> Result<HttpResponse, Error> {
    let OfModel { domain, name } = path.0;
    // What another instance began a moment ago counts, too.
    queries.experiments.forget(&domain);
    if let Some(row) = queries.experiments.running(&domain).await {
        let experiment = &row.experiment;
        let names_it = |arm: &&Arm| arm.model.as_ref() == Some(&name);
        if let Some(arm) = experiment.arms.iter().find(names_it) {
            let (experiment, arm) = (&experiment.name, &arm.name);
            let detail = format!(
                "Arm {arm} of the running experiment {experiment} answers with {name}. End the experiment first."
            );
            return Err(Error::new(ProblemKind::Conflict, detail).field("name"));
        }
    }
    match change(&reads, &writes, &domain, &name, ModelChange::Delete, &asker).await? {
        SettingsOutcome::Deleted => Ok(HttpResponse::NoContent().finish()),
        other => Err(unexpected(&other)),
    }
}

/// Asks the domain's owner to change a model; returns the outcome.
async fn change(
    reads: &Reads,
    writes: &Writes,
    domain: &DomainName,
    name: &ModelName,
    change: ModelChange,
    asker: &Asker,
) -> Result<SettingsOutcome, Error> {
    if reads.registered(domain).await?.is_none() {
        return Err(Error::unknown_domain());
    }
    let request = request_name();
    let event = Event::Model(Box::new(Modelled {
        domain: domain.clone(),
        request: request.clone(),
        name: name.clone(),
        change,
        by: asker.name().to_owned(),
    }));
    // Once the change is settled, readers at the domain's owner see it.
    writes.settle(event).await?;
    match outcome(reads, domain, &request).await? {
        SettingsOutcome::Unknown => Err(Error::unknown_model(name)),
        SettingsOutcome::Conflict(why) => {
            Err(Error::new(ProblemKind::Conflict, format!("{why}.")).field("name"))
        }
        became => Ok(became),
    }
}

fn unexpected(became: &SettingsOutcome) -> Error {
    let detail = format!("The domain's owner decided differently: {became:?}. Try again.");
    Error::new(ProblemKind::NotReady, detail)
}

/// A model that a body asks for.
#[derive(Debug, PartialEq)]
enum Wanted {
    /// One of this kind.
    Kind(ModelName),
    /// One that mixes these.
    Mix(BTreeMap<ModelName, Weight>),
}

/// The model that a body asks for; `encoders` are the kinds of the encoders that this instance has.
fn wanted(body: &[u8], encoders: &[ModelName]) -> Result<Wanted, Error> {
    let mut object = object(body)?;
    only(&object, &["kind", "vector", "of", "encoder"])?;
    let of_texts = names_of_texts();
    let names = of_texts.iter().map(ModelName::as_str);
    let names: Vec<&str> = names.chain([VECTORS, MIX, ONNX]).collect();
    let Some(Value::String(kind)) = object.remove("kind") else {
        let detail = format!("kind is one of {}.", names.join(", "));
        return Err(invalid("kind", detail));
    };
    if !names.contains(&kind.as_str()) {
        let shown: String = kind.chars().take(100).collect();
        let nearest = nearest(&shown, &names).unwrap_or_default();
        let known = names.join(", ");
        let detail =
            format!("Unknown kind of model {shown:?}; the nearest is {nearest}. Known: {known}.");
        return Err(invalid("kind", detail));
    }
    let mut given = |name: &str| object.remove(name).filter(|value| !value.is_null());
    let (vector, of, encoder) = (given("vector"), given("of"), given("encoder"));
    for (name, value, only_of) in [
        ("vector", &vector, VECTORS),
        ("of", &of, MIX),
        ("encoder", &encoder, ONNX),
    ] {
        if value.is_some() && kind != only_of {
            let detail = format!("Only models of kind {only_of} have {name}; leave it out.");
            return Err(invalid(name, detail));
        }
    }
    match kind.as_str() {
        VECTORS => vector_kind(vector.as_ref()).map(Wanted::Kind),
        MIX => weights(of.as_ref()).map(Wanted::Mix),
        ONNX => of_encoder(encoder.as_ref(), encoders).map(Wanted::Kind),
        _ => {
            let found = of_texts.iter().find(|known| known.as_str() == kind);
            let gone = || invalid("kind", format!("kind is one of {}.", names.join(", ")));
            found.cloned().map(Wanted::Kind).ok_or_else(gone)
        }
    }
}

/// The kind whose features are the vectors of this name.
fn vector_kind(vector: Option<&Value>) -> Result<ModelName, Error> {
    let Some(name) = vector.and_then(Value::as_str) else {
        let detail = "vector is the name of a vector that items bring in vectors, such as \"clip\"; own is the one \
                      that they bring as vector.";
        return Err(invalid("vector", detail));
    };
    let name = VectorName::new(name).map_err(|error| invalid("vector", format!("{error}.")))?;
    Ok(ModelName::of_vector(&name))
}

/// The models that a mix mixes, and their weights.
fn weights(of: Option<&Value>) -> Result<BTreeMap<ModelName, Weight>, Error> {
    let of = of.and_then(Value::as_object);
    let Some(of) = of.filter(|of| (1..=MOST_MIXED).contains(&of.len())) else {
        let detail = format!(
            "of names 1 to {MOST_MIXED} models of the domain, each with its weight, such as \
             {{\"text-2\":0.7,\"clip\":0.3}}."
        );
        return Err(invalid("of", detail));
    };
    let weight = |(name, weight): (&String, &Value)| {
        let shown: String = name.chars().take(100).collect();
        let field = format!("of.{shown}");
        let name = ModelName::new(name).map_err(|error| invalid(&field, format!("{error}.")))?;
        let Some(weight) = weight.as_f64().and_then(Weight::new) else {
            let most = Weight::MOST;
            let detail = format!("The weight of {name} is a number above 0, at most {most}.");
            return Err(invalid(field, detail));
        };
        Ok((name, weight))
    };
    of.iter().map(weight).collect()
}

/// Whether these models of a domain can be mixed.
fn fit_to_mix(
    models: &Models,
    active_kind: &ModelName,
    of: &BTreeMap<ModelName, Weight>,
) -> Result<(), Error> {
    let unmixed = match models.mixed(active_kind, of) {
        Ok(_) => return Ok(()),
        Err(unmixed) => unmixed,
    };
    let (field, more) = match &unmixed {
        Unmixed::Unknown(name) => {
            let active = models.active(active_kind);
            let known = models.beside().keys().chain([active]);
            let known: Vec<&str> = known.map(ModelName::as_str).collect();
            let nearest = nearest(name.as_str(), &known).unwrap_or_default();
            let known = known.join(", ");
            let more = format!("; the nearest is {nearest}. Its models: {known}");
            (format!("of.{name}"), more)
        }
        Unmixed::IsMix(name) => (format!("of.{name}"), String::new()),
        _ => ("of".to_owned(), String::new()),
    };
    Err(invalid(
        field,
        format!("A mix cannot be made: {unmixed}{more}."),
    ))
}

/// The kind whose features the encoder of this name makes.
fn of_encoder(encoder: Option<&Value>, encoders: &[ModelName]) -> Result<ModelName, Error> {
    let names: Vec<&str> = encoders
        .iter()
        .filter_map(|kind| Some(kind.encoder()?.0))
        .collect();
    let known = match names.is_empty() {
        true => "this instance has none; configure the key encoders".to_owned(),
        false => format!("this instance has {}", names.join(", ")),
    };
    let Some(name) = encoder.and_then(Value::as_str) else {
        let detail = format!("encoder names a sentence encoder: {known}.");
        return Err(invalid("encoder", detail));
    };
    let is_it = |kind: &&ModelName| kind.encoder().is_some_and(|(own, _)| own == name);
    let found = encoders.iter().find(is_it);
    found.cloned().ok_or_else(|| {
        let shown: String = name.chars().take(100).collect();
        invalid("encoder", format!("Unknown encoder {shown:?}: {known}."))
    })
}

/// The stored models of a domain, and the kind of the served one.
pub(super) async fn stored(
    reads: &Reads,
    domain: &DomainName,
) -> Result<(Models, ModelName), Error> {
    let Some(row) = reads.registered(domain).await? else {
        return Err(Error::unknown_domain());
    };
    let set = reads.store.settings(domain).await?.unwrap_or_default();
    // The settings take precedence: the domain's row follows them.
    let kind = set.settings.model.unwrap_or(row.model);
    Ok((set.models, kind))
}

async fn described_one(
    reads: &Reads,
    domain: &DomainName,
    name: &ModelName,
) -> Result<ModelAnswer, Error> {
    let models = described(reads, domain).await?.into_iter();
    let mut found = models.filter(|model| model.name == *name);
    found.next().ok_or_else(|| Error::unknown_model(name))
}

/// The domain's models as this process knows them.
async fn described(reads: &Reads, domain: &DomainName) -> Result<Vec<ModelAnswer>, Error> {
    let (models, kind) = stored(reads, domain).await?;
    let answer = |name: &ModelName, kind: &ModelName, state, done, reason| {
        let ShownKind {
            kind,
            vector,
            of,
            encoder,
            fingerprint,
        } = models.shown_kind(name, kind);
        let weight = |(name, weight): (ModelName, Weight)| (name, weight.get());
        ModelAnswer {
            name: name.clone(),
            kind,
            vector,
            of: of.into_iter().map(weight).collect(),
            encoder,
            fingerprint,
            state,
            done,
            reason,
        }
    };
    let active = answer(models.active(&kind), &kind, ModelState::Active, 1.0, None);
    let beside = models.beside().iter().map(|(name, entry)| {
        let status = reads
            .views
            .beside(domain, name)
            .map(|one| one.view.status());
        let (state, done, reason) = match &entry.stage {
            Stage::Ready => (ModelState::Ready, 1.0, None),
            Stage::Failed(why) => (ModelState::Failed, 0.0, Some(why.clone())),
            Stage::Building => {
                let done = status.as_ref().map_or(0.0, done);
                let reason = status.and_then(|status| status.trouble);
                (ModelState::Building, done, reason)
            }
        };
        answer(name, &entry.kind, state, done, reason)
    });
    let mut all: Vec<ModelAnswer> = beside.chain([active]).collect();
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The share of items whose lists are made.
fn done(status: &DomainStatus) -> f64 {
    if status.state == LoadedState::Loading || status.live == 0 {
        return 0.0;
    }
    let left = status.pending.max(status.unstored).min(status.live);
    let made = (status.live - left) as f64 / status.live as f64;
    made.min(1.0 - LEFT)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use actix_web::ResponseError;

    use super::*;

    #[test]
    fn a_kind_is_known_or_the_nearest_is_named() {
        let minilm = ModelName::of_encoder("minilm", 7).unwrap();
        let encoders = [minilm.clone()];
        let wanted = |body: &[u8]| wanted(body, &encoders);
        let kind = |body: &str| match wanted(body.as_bytes()).unwrap() {
            Wanted::Kind(kind) => kind,
            Wanted::Mix(of) => panic!("{of:?}"),
        };
        assert_eq!(kind(r#"{"kind":"words-1"}"#).as_str(), "words-1");
        let of = kind(r#"{"kind":"vectors","vector":"clip","of":null}"#);
        let shown = Models::default().shown_kind(&of, &of);
        assert_eq!(
            (shown.kind.as_str(), shown.vector),
            ("vectors", of.vector())
        );
        assert_eq!(of.vector().unwrap().as_str(), "clip");
        let mix = wanted(br#"{"kind":"mix","of":{"text-2":0.7,"clip":3}}"#).unwrap();
        let expected = [("text-2", 0.7), ("clip", 3.0)]
            .map(|(name, weight)| (ModelName::new(name).unwrap(), Weight::new(weight).unwrap()));
        assert_eq!(mix, Wanted::Mix(expected.into()));
        assert_eq!(kind(r#"{"kind":"onnx","encoder":"minilm"}"#), minilm);
        let shown = Models::default().shown_kind(&minilm, &minilm);
        assert_eq!(
            (shown.kind.as_str(), shown.encoder.as_deref()),
            ("onnx", Some("minilm"))
        );
        assert_eq!(shown.fingerprint.as_deref(), Some("0000000000000007"));
        let none = of_encoder(Some(&Value::from("minilm")), &[]).unwrap_err();
        assert!(none.to_string().contains("has none"), "{none}");
        for (bad, words) in [
            (r#"{"kind":"onnx"}"#, "this instance has minilm"),
            (r#"{"kind":"onnx","encoder":7}"#, "this instance has minilm"),
            (r#"{"kind":"onnx","encoder":"bert"}"#, "Unknown encoder"),
            (
                r#"{"kind":"text-2","encoder":"minilm"}"#,
                "Only models of kind onnx",
            ),
            (r#"{"kind":"onnx-minilm-0000000000000007"}"#, "Unknown kind"),
            (r#"{"kind":"vector"}"#, "nearest is vectors"),
            (r#"{"kind":"vectors-clip"}"#, "nearest is vectors"),
            (r#"{"kind":"vectors"}"#, "name of a vector"),
            (r#"{"kind":"vectors","vector":5}"#, "name of a vector"),
            (r#"{"kind":"vectors","vector":"Clip"}"#, "Clip"),
            (r#"{"kind":"vectors","vectr":"clip"}"#, "nearest is vector"),
            (
                r#"{"kind":"vectors","vector":"clip","of":{"a":1}}"#,
                "Only models of kind mix",
            ),
            (
                r#"{"kind":"text-2","vector":"clip"}"#,
                "Only models of kind vectors",
            ),
            (r#"{"kind":"mux","of":{"a":1}}"#, "nearest is mix"),
            (r#"{"kind":"mix"}"#, "1 to 8 models"),
            (r#"{"kind":"mix","of":{}}"#, "1 to 8 models"),
            (r#"{"kind":"mix","of":["text-2"]}"#, "1 to 8 models"),
            (
                r#"{"kind":"mix","of":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}}"#,
                "1 to 8 models",
            ),
            (r#"{"kind":"mix","of":{"text-2":0}}"#, "number above 0"),
            (r#"{"kind":"mix","of":{"text-2":-0.5}}"#, "number above 0"),
            (r#"{"kind":"mix","of":{"text-2":"1"}}"#, "number above 0"),
            (r#"{"kind":"mix","of":{"text-2":1e400}}"#, "number"),
            (r#"{"kind":"mix","of":{"Text":1}}"#, "a-z"),
            (r#"{"kind":"text-3"}"#, "nearest is text-2"),
            (r#"{"kind":"own"}"#, "Known: "),
            (r#"{"kind":7}"#, "kind is one of"),
            ("{}", "kind is one of"),
            (r#"{"kind":"text-2","knd":1}"#, "knd"),
            ("[]", "JSON object"),
        ] {
            let error = wanted(bad.as_bytes()).unwrap_err();
            assert_eq!(error.status_code(), 400, "{bad}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn only_models_of_the_domain_are_mixed() {
        let name = |name: &str| ModelName::new(name).unwrap();
        let of = |part: &str| [(name(part), Weight::new(1.0).unwrap())].into();
        let models = Models::default();
        assert!(fit_to_mix(&models, &name("text-2"), &of("text-2")).is_ok());
        let error = fit_to_mix(&models, &name("text-2"), &of("text-1")).unwrap_err();
        assert!(error.to_string().contains("nearest is text-2"), "{error}");
    }

    #[test]
    fn what_is_done_is_the_share_of_items_that_have_lists() {
        let status = |state, live, pending, unstored| DomainStatus {
            state,
            live,
            pending,
            unstored,
            ..DomainStatus::default()
        };
        let of = |state, live, pending, unstored| done(&status(state, live, pending, unstored));
        assert_eq!(of(LoadedState::Loading, 100, 0, 0), 0.0);
        assert_eq!(of(LoadedState::Idle, 0, 0, 0), 0.0);
        assert_eq!(of(LoadedState::Extracting, 200, 100, 0), 0.5);
        assert_eq!(of(LoadedState::Storing, 200, 0, 50), 0.75);
        assert_eq!(of(LoadedState::Idle, 200, 300, 0), 0.0);
        assert_eq!(
            of(LoadedState::Idle, 200, 0, 0),
            1.0 - LEFT,
            "not before it is ready"
        );
    }
}
