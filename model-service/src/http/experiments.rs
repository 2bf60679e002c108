//! Experiments of a domain: start, end, and results.

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, delete, get, put};
use kindred_api::experiment::{
    ArmBody, ExperimentAnswer, ExperimentBody, ExperimentLine, ExperimentsAnswer,
};
use kindred_api::problem::ProblemKind;
use kindred_shared::DomainName;
use kindred_shared::event::Reason;
use serde_json::{Map, Value};
use utoipa_actix_web::service_config::ServiceConfig;

use super::access::Asker;
use super::body::Body;
use super::conditions::Wanted;
use super::error::Error;
use super::log::record;
use super::models::stored;
use super::openapi;
use super::parts::{Part, Queries, Reads, Writes};
use super::path::{InDomain, InPath, Named, named};
use super::question::object;
use super::relay::{Change, as_ours, is_proxied};
use super::settings::fit_defaults;
use super::time::rfc3339;
use super::values::only;
use crate::actors::experiments::{ExperimentError, told};
use crate::owners::OwnerLocation;
use kindred_domain::experiment::{Arm, Experiment};
use kindred_domain::store::DomainRow;

/// Largest experiment, in bytes.
const MAX_BYTES: usize = 256 << 10;
/// When to retry, in seconds.
const RETRY_S: u32 = 2;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(get)
        .service(put)
        .service(delete);
}

/// `/v1/domains/{domain}/experiments/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfExperiment {
    /// The domain: `[A-Za-z0-9._-]{1,128}`, but neither `.` nor `..`.
    #[param(value_type = String, pattern = "^[A-Za-z0-9._-]{1,128}$", example = "news.example")]
    domain: DomainName,
    /// The experiment: `[A-Za-z0-9._-]{1,64}`, but neither `.` nor `..`.
    #[param(value_type = String, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "fresh-first")]
    name: String,
}

impl Named for OfExperiment {
    fn read(segments: &[&str]) -> Result<Self, Error> {
        let name = segments.get(4).copied().unwrap_or_default();
        let any = |name: &str| Ok::<_, std::convert::Infallible>(name.to_owned());
        Ok(Self {
            domain: InDomain::read(segments)?.domain,
            name: named(name, "name", Reason::InvalidField, any)?,
        })
    }
}

/// The experiments of a domain: the running one, and the last 20 that ended.
#[utoipa::path(operation_id = "list_experiments", tag = "experiments", params(InDomain),
    responses(
        (status = 200, description = "Its experiments, by name.", body = ExperimentsAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/experiments")]
async fn list(
    path: InPath<InDomain>,
    reads: Part<Reads>,
    queries: Part<Queries>,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let row = registered(&reads, &domain).await?;
    let all = queries.experiments.all(&row.domain).await?.into_iter();
    let experiments = all.map(|row| ExperimentLine {
        name: row.experiment.name,
        since: rfc3339(row.since),
        ended: row.ended.map(|ended| rfc3339(ended.at)),
    });
    let experiments = experiments.collect();
    Ok(HttpResponse::Ok().json(ExperimentsAnswer { experiments }))
}

/// An experiment with its results and their statistics.
///
/// It may be read at any time: intervals and tests stay valid over repeated reads. Views of one
/// reader depend on each other, so variances are computed over readers. An ended experiment is kept
/// with its last figures.
#[utoipa::path(operation_id = "get_experiment", tag = "experiments", params(OfExperiment),
    responses(
        (status = 200, description = "The experiment.", body = ExperimentAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/experiments/{name}")]
async fn get(
    path: InPath<OfExperiment>,
    reads: Part<Reads>,
    queries: Part<Queries>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let InPath(OfExperiment { domain, name }) = path;
    if let Some(answer) = elsewhere(&reads, &request, &domain, Ask::Read).await? {
        return Ok(answer);
    }
    let row = registered(&reads, &domain).await?;
    let figures = queries.experiments.figures(row, name).await;
    let figures = figures.map_err(failed)?;
    Ok(HttpResponse::Ok().json(told(domain, figures)))
}

/// Starts an experiment.
///
/// At most one runs in a domain; starting the same one again changes nothing. Readers are assigned
/// to arms by the first 8 bytes, over 2^64, of SHA-256 (salt, byte 0, reader). Every instance
/// applies it within two seconds.
#[utoipa::path(operation_id = "put_experiment", tag = "experiments", params(OfExperiment),
    request_body(content = ExperimentBody, content_type = "application/json",
        example = json!({"arms": [{"name": "as-ever", "share": 0.5}, {"name": "fresh", "share": 0.5, "defaults": {"half_life": "7d"}}]})),
    responses(
        (status = 200, description = "It runs already.", body = ExperimentAnswer),
        (status = 201, description = "It runs now.", body = ExperimentAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 408, response = openapi::SlowBody),
        (status = 409, response = openapi::Contradiction),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 422, response = openapi::Unprocessable),
        (status = 503, response = openapi::Unavailable),
    ))]
#[put("/v1/domains/{domain}/experiments/{name}")]
async fn put(
    path: InPath<OfExperiment>,
    body: Body,
    reads: Part<Reads>,
    queries: Part<Queries>,
    writes: Part<Writes>,
    asker: Asker,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let InPath(OfExperiment { domain, name }) = path;
    let body = body.read_whole(MAX_BYTES).await?;
    let experiment = experiment(name, &body)?;
    // Whichever instance started it, this one applies it, too.
    queries.experiments.forget(&domain);
    let ask = Ask::Change(Method::PUT, Some(&body), asker.name());
    if let Some(answer) = elsewhere(&reads, &request, &domain, ask).await? {
        return Ok(answer);
    }
    let row = registered(&reads, &domain).await?;
    check_models(&reads, &domain, &experiment.arms).await?;
    let experiments = &queries.experiments;
    record(&reads, &writes, experiments, &row).await?;
    let by = asker.name().to_owned();
    let begun = experiments.begin(row.clone(), experiment, by).await;
    let (figures, is_new) = begun.map_err(failed)?;
    record(&reads, &writes, experiments, &row).await?;
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok(HttpResponse::build(status).json(told(domain, figures)))
}

/// Ends an experiment: readers get the domain's defaults. Its last figures are kept.
#[utoipa::path(operation_id = "delete_experiment", tag = "experiments", params(OfExperiment),
    responses(
        (status = 200, description = "It ended, with these figures.", body = ExperimentAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[delete("/v1/domains/{domain}/experiments/{name}")]
async fn delete(
    path: InPath<OfExperiment>,
    reads: Part<Reads>,
    queries: Part<Queries>,
    writes: Part<Writes>,
    asker: Asker,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let InPath(OfExperiment { domain, name }) = path;
    queries.experiments.forget(&domain);
    let ask = Ask::Change(Method::DELETE, None, asker.name());
    if let Some(answer) = elsewhere(&reads, &request, &domain, ask).await? {
        return Ok(answer);
    }
    let row = registered(&reads, &domain).await?;
    let experiments = &queries.experiments;
    record(&reads, &writes, experiments, &row).await?;
    let by = asker.name().to_owned();
    let ended = experiments.end(row.clone(), name, by).await;
    let figures = ended.map_err(failed)?;
    record(&reads, &writes, experiments, &row).await?;
    Ok(HttpResponse::Ok().json(told(domain, figures)))
}

/// A request to the owner.
pub(super) enum Ask<'a> {
    /// A GET.
    Read,
    /// A POST of this body.
    Post(&'a [u8]),
    /// A PUT or DELETE, its body, and who asked for it.
    Change(Method, Option<&'a [u8]>, &'a str),
}

/// The answer of the domain's owner, if that is another instance; `None`: this instance must answer.
///
/// # Errors
/// 503 while nobody owns the domain, or its owner does not answer.
pub(super) async fn elsewhere(
    reads: &Reads,
    request: &HttpRequest,
    domain: &DomainName,
    ask: Ask<'_>,
) -> Result<Option<HttpResponse>, Error> {
    let owner = match reads.owners.of_domain(domain).await? {
        OwnerLocation::Local => return Ok(None),
        OwnerLocation::Remote(owner) if !is_proxied(request.headers()) => owner,
        OwnerLocation::Remote(_) | OwnerLocation::Unowned => return Err(nobody()),
    };
    let path = request.uri().path();
    let answer = match ask {
        Ask::Read => reads.relay.query(&owner, path, None).await?,
        Ask::Post(body) => reads.relay.query(&owner, path, Some(body.to_vec())).await?,
        Ask::Change(method, body, by) => {
            let change = Change {
                path: path.to_owned(),
                method,
                body: body.map(<[u8]>::to_vec),
                by: Some(by.to_owned()),
            };
            reads.relay.change(&owner, change).await?
        }
    };
    Ok(Some(as_ours(&answer)))
}

/// No instance owns the domain at the moment.
pub(super) fn nobody() -> Error {
    let detail = "No model service owns this domain's partition at the moment; one takes it \
        within seconds. Try again.";
    Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S)
}

/// The domain's row.
///
/// # Errors
/// 404 if the domain is not registered.
pub(super) async fn registered(reads: &Reads, domain: &DomainName) -> Result<DomainRow, Error> {
    let row = reads.registered(domain).await?;
    row.ok_or_else(Error::unknown_domain)
}

/// A failure as an answer.
pub(super) fn failed(failure: ExperimentError) -> Error {
    match failure {
        ExperimentError::NotHosted => nobody(),
        ExperimentError::Late => {
            let detail = "It takes longer than expected, perhaps because a large experiment is \
                being read. Try again.";
            Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S)
        }
        ExperimentError::Busy => {
            let detail = "Too much feedback is waiting to be counted. Send it again in a moment.";
            Error::new(ProblemKind::Busy, detail).retry_after(RETRY_S)
        }
        ExperimentError::Unknown => {
            let detail = "Unknown experiment; GET …/experiments lists the experiments of the \
                          domain.";
            Error::new(ProblemKind::Refused(Reason::UnknownExperiment), detail).field("name")
        }
        ExperimentError::Runs(name) => {
            let detail = format!(
                "The experiment {name:?} is running in this domain, and only one may run at a \
                 time. End it first (DELETE …/experiments/{name})."
            );
            Error::new(ProblemKind::Conflict, detail).field("name")
        }
        ExperimentError::Store(error) => error.into(),
    }
}

/// Parses the experiment in a body.
fn experiment(name: String, body: &[u8]) -> Result<Experiment, Error> {
    let object = object(body)?;
    only(&object, &["arms", "salt"])?;
    let arms = match object.get("arms") {
        Some(Value::Array(arms)) => arms,
        _ => return Err(unfit("arms", "arms is a list of 2 to 16 arms.")),
    };
    let salt = match object.get("salt") {
        None | Some(Value::Null) => name.clone(),
        Some(Value::String(salt)) => salt.clone(),
        Some(_) => return Err(unfit("salt", "salt is a string.")),
    };
    let arms = arms.iter().enumerate().map(|(at, one)| arm(at, one));
    let arms = arms.collect::<Result<Vec<Arm>, Error>>()?;
    let experiment = Experiment { name, salt, arms };
    let checked = experiment.check();
    checked.map_err(|error| unfit(error.field.clone(), error.to_string()))?;
    Ok(experiment)
}

fn arm(at: usize, value: &Value) -> Result<Arm, Error> {
    let place = format!("arms[{at}]");
    let Value::Object(object) = value else {
        let detail = format!("{place} is an object such as {{\"name\":\"a\",\"share\":0.5}}.");
        return Err(unfit(place, detail));
    };
    only(object, &["name", "share", "model", "defaults"])?;
    // One by one, so that the error names the invalid one.
    for (name, value) in object {
        let mut least = Map::from_iter([
            ("name".to_owned(), Value::from("a")),
            ("share".to_owned(), Value::from(1.0)),
        ]);
        least.insert(name.clone(), value.clone());
        let read: Result<ArmBody, _> = serde_json::from_value(Value::Object(least));
        read.map_err(|error| unfit(format!("{place}.{name}"), error.to_string()))?;
    }
    let arm: ArmBody =
        serde_json::from_value(value.clone()).map_err(|error| unfit(&*place, error.to_string()))?;
    if let Some(defaults) = &arm.defaults {
        let fit = fit_defaults(defaults.clone());
        fit.map_err(|detail| unfit(format!("{place}.defaults"), detail))?;
        let alone = Wanted::of_json(defaults).and_then(|set| Wanted::default().over(set, 0));
        alone
            .map_err(|error| unfit(format!("{place}.defaults"), error.problem().detail.clone()))?;
    }
    Ok(Arm {
        name: arm.name,
        share: arm.share,
        model: arm.model,
        defaults: arm.defaults,
    })
}

fn unfit(field: impl Into<String>, detail: impl Into<String>) -> Error {
    Error::new(ProblemKind::Refused(Reason::InvalidField), detail).field(field)
}

/// Whether each arm's model can be queried: the active one, or one that is ready.
async fn check_models(reads: &Reads, domain: &DomainName, arms: &[Arm]) -> Result<(), Error> {
    let (models, kind) = stored(reads, domain).await?;
    for (at, arm) in arms.iter().enumerate() {
        let Some(name) = &arm.model else {
            continue;
        };
        if models.active(&kind) != name && !models.is_ready(name) {
            return Err(Error::unknown_model(name).field(format!("arms[{at}].model")));
        }
    }
    Ok(())
}
