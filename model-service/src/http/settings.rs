//! Settings of a domain: requested here, applied by its owner.
//!
//! They are sent as an event, so that they are ordered among the domain's other events whichever
//! instance gets the request; the outcome is then read from the store.

use std::time::Duration;

use actix_web::{HttpResponse, put};
use compute_worker::models::{compares_languages, default_model, names_of_texts};
use kindred_api::domain::{DomainAnswer, SETTINGS, SettingsBody};
use kindred_api::problem::ProblemKind;
use kindred_shared::event::{Configure, Event, Reason, without_mark};
use kindred_shared::{DomainName, ModelName};
use serde_json::{Map, Value};
use tokio::time::{Instant, interval};
use utoipa_actix_web::service_config::ServiceConfig;

use super::access::Asker;
use super::body::Body;
use super::conditions::{NAMES, Wanted};
use super::domains::describe_whole;
use super::error::Error;
use super::openapi;
use super::parts::{Part, Reads, Writes, confirmed};
use super::path::{InDomain, InPath};
use super::query::nearest;
use super::request_name::request_name;
use crate::preprocessing::language;
use kindred_domain::settings::{DomainSettings, SettingsOutcome, WINDOW};

/// Largest settings, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// Most origins per domain.
const MAX_ORIGINS: usize = 32;
/// Longest `max_age`, in seconds.
const MAX_AGE_S: u64 = 366 * 86_400;
/// How often to check whether the owner has applied them, and for how long.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(5);
/// When to ask again if the owner takes longer, in seconds.
const RETRY_S: u32 = 2;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(put);
}

/// Sets all settings of a domain.
///
/// An unknown domain is registered. `languages`, `default_language`, `across_languages` and `model`
/// can change only while the domain has no live item; if left out, they stay as they are.
#[utoipa::path(operation_id = "put_domain", tag = "domains", params(InDomain),
    request_body(content = SettingsBody, content_type = "application/json",
        example = json!({"languages": ["en", "de"], "window": "1s"})),
    responses(
        (status = 200, description = "Set.", body = DomainAnswer),
        (status = 201, description = "The domain is now registered with these settings.", body = DomainAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 408, response = openapi::SlowBody),
        (status = 409, response = openapi::Contradiction),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 422, response = openapi::Unprocessable),
        (status = 503, response = openapi::Unavailable),
    ))]
#[put("/v1/domains/{domain}")]
async fn put(
    path: InPath<InDomain>,
    body: Body,
    writes: Part<Writes>,
    reads: Part<Reads>,
    asker: Asker,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let settings = checked(&body.read_whole(MAX_BYTES).await?)?;
    go_together(&settings, &reads, &domain).await?;
    let request = request_name();
    let event = Event::Configure(Box::new(Configure {
        domain: domain.clone(),
        request: request.clone(),
        settings,
        by: asker.name().to_owned(),
    }));
    confirmed(writes.hand_over(event).await?).await?;
    match outcome(&reads, &domain, &request).await? {
        SettingsOutcome::Created => {
            Ok(HttpResponse::Created().json(describe_whole(&reads, &domain).await?))
        }
        SettingsOutcome::Replaced => {
            Ok(HttpResponse::Ok().json(describe_whole(&reads, &domain).await?))
        }
        SettingsOutcome::Conflict(setting) => {
            let detail = format!(
                "{setting} can change only while the domain is empty; delete its items first, or \
                 leave {setting} out."
            );
            Err(Error::new(ProblemKind::Conflict, detail).field(setting))
        }
        other => {
            let detail = format!("The domain's owner decided differently: {other:?}. Ask again.");
            Err(Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S))
        }
    }
}

/// Waits until the owner has applied them; returns the outcome.
pub(super) async fn outcome(
    reads: &Reads,
    domain: &DomainName,
    request: &str,
) -> Result<SettingsOutcome, Error> {
    let (mut look, deadline) = (interval(LOOK), Instant::now() + PATIENCE);
    while Instant::now() < deadline {
        look.tick().await;
        let answered = reads.store.settings(domain).await?.map(|row| row.answered);
        let mut answered = answered.unwrap_or_default().into_iter();
        if let Some(found) = answered.find(|one| one.request == request) {
            return Ok(found.outcome);
        }
    }
    let detail = "The settings were sent to the domain's owner, which has not applied them yet. \
                  GET shows when it has.";
    Err(Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S))
}

/// Parses and validates the settings of a body.
fn checked(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let object: Map<String, Value> =
        serde_json::from_slice(without_mark(bytes)).map_err(|error| {
            let detail = format!("Send one JSON object of settings: {error}");
            Error::new(ProblemKind::Refused(Reason::InvalidJson), detail)
        })?;
    if let Some(name) = object.keys().find(|name| !SETTINGS.contains(&&***name)) {
        let shown: String = name.chars().take(100).collect();
        let nearest = nearest(&shown, &SETTINGS).unwrap_or_default();
        let known = SETTINGS.join(", ");
        let detail =
            format!("Unknown setting {shown:?}; the nearest is {nearest}. Known: {known}.");
        return Err(Error::new(ProblemKind::UnknownParameter, detail).field(shown));
    }
    // One by one, so that the error names the invalid one.
    for (name, value) in &object {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        let read: Result<DomainSettings, _> = serde_json::from_value(Value::Object(alone));
        let read = read.map_err(|error| error.to_string()).and_then(fit);
        read.map_err(|detail| {
            Error::new(ProblemKind::Refused(Reason::InvalidField), detail).field(name)
        })?;
    }
    Ok(object)
}

/// Whether this program supports the values.
fn fit(settings: DomainSettings) -> Result<(), String> {
    let languages = settings.languages.iter().flatten();
    for code in languages.chain(&settings.default_language) {
        language::known(code).map_err(|error| error.to_string())?;
    }
    let models = names_of_texts();
    if let Some(model) = &settings.model
        && !models.contains(model)
    {
        let known: Vec<&str> = models.iter().map(|known| known.as_str()).collect();
        let known = known.join(", ");
        return Err(format!("Unknown model {model}. Known: {known}."));
    }
    if let Some(score) = settings.near_duplicate
        && !(score > 0.0 && score <= 1.0)
    {
        return Err("near_duplicate is a score above 0, and at most 1.".to_owned());
    }
    if settings.max_age.is_some_and(|seconds| seconds > MAX_AGE_S) {
        return Err(format!("max_age is 0 to {MAX_AGE_S} seconds, a year."));
    }
    if settings.max_events_per_second == Some(0) {
        return Err("max_events_per_second is 1 or more; deletions are always taken.".to_owned());
    }
    fit_origins(settings.origins.as_deref().unwrap_or_default())?;
    fit_defaults(settings.defaults.unwrap_or_default())?;
    if settings
        .window
        .is_some_and(|window| !WINDOW.contains(&window))
    {
        return Err("A window is 1ms to 1m long.".to_owned());
    }
    Ok(())
}

/// Whether the domain's model supports the other settings. Two concurrent requests may still
/// combine into settings that do not fit together; then the model decides.
async fn go_together(
    wanted: &Map<String, Value>,
    reads: &Reads,
    domain: &DomainName,
) -> Result<(), Error> {
    if !wanted.contains_key("across_languages") && !wanted.contains_key("model") {
        return Ok(());
    }
    let stored = reads.store.settings(domain).await?.unwrap_or_default();
    let row = reads.registered(domain).await?;
    let across = match wanted.get("across_languages") {
        Some(value) if !value.is_null() => value.as_bool(),
        _ => stored.settings.across_languages,
    };
    let named = wanted.get("model").and_then(Value::as_str);
    let model = named
        .and_then(|name| ModelName::new(name).ok())
        .or_else(|| row.map(|row| row.model))
        .unwrap_or_else(default_model);
    let kinds = stored.models.kinds_of_texts(&model);
    kinds
        .into_iter()
        .try_for_each(|kind| fits_model(across, kind))
}

pub(super) fn fits_model(across_languages: Option<bool>, model: &ModelName) -> Result<(), Error> {
    if across_languages != Some(true) || compares_languages(model) {
        return Ok(());
    }
    let of_several: Vec<String> = names_of_texts()
        .into_iter()
        .filter(compares_languages)
        .map(|model| format!("\"model\":\"{model}\""))
        .collect();
    let detail = format!(
        "{model} compares only texts of the same language; set {} with it, or \
        \"across_languages\":false.",
        of_several.join(" or ")
    );
    let kind = ProblemKind::Refused(Reason::InvalidField);
    Err(Error::new(kind, detail).field("across_languages"))
}

/// Whether each is an origin as browsers send it, or `*`.
fn fit_origins(origins: &[String]) -> Result<(), String> {
    if origins.len() > MAX_ORIGINS {
        return Err(format!("At most {MAX_ORIGINS} origins; * allows all."));
    }
    match origins.iter().find(|origin| !is_origin(origin)) {
        None => Ok(()),
        Some(odd) => {
            let shown: String = odd.chars().take(100).collect();
            Err(format!(
                "{shown:?} is not an origin. An origin is a scheme, a host and perhaps a port, \
                 in lower case and without a trailing slash, such as https://news.example; * \
                 allows all."
            ))
        }
    }
}

fn is_origin(origin: &str) -> bool {
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    let is_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    let is_host = |host: &str| !host.is_empty() && host.len() <= 255 && host.bytes().all(is_part);
    origin == "*" || host.is_some_and(is_host)
}

/// Whether each is a condition of queries.
pub(super) fn fit_defaults(defaults: Map<String, Value>) -> Result<(), String> {
    match defaults.keys().find(|name| !NAMES.contains(&&***name)) {
        None => Wanted::of_json(&defaults)
            .map(drop)
            .map_err(|error| error.to_string()),
        Some(name) => {
            let shown: String = name.chars().take(100).collect();
            let nearest = nearest(&shown, &NAMES).unwrap_or_default();
            let known = NAMES.join(", ");
            Err(format!(
                "Unknown condition {shown:?}; the nearest is {nearest}. Known: {known}."
            ))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use actix_web::ResponseError;

    use super::*;

    #[test]
    fn settings_are_known_and_fit() {
        let good =
            br#"{"languages":["en","de"],"default_language":"en","window":"1s","model":"words-1"}"#;
        let marked = ["\u{feff}".as_bytes(), good].concat();
        assert!(checked(&marked).is_ok());
        assert_eq!(checked(good).unwrap().len(), 4);
        let more = br#"{"near_duplicate":0.85,"origins":["https://news.example","http://localhost:4000","*"],
            "max_age":3600,"defaults":{"limit":3,"collapse":"near","filter":{}}}"#;
        assert_eq!(checked(more).unwrap().len(), 4);
        assert_eq!(checked(b"{}").unwrap().len(), 0);
        for (bad, status, words) in [
            ("[]", 400, "JSON object"),
            (r#"{"windw":"1s"}"#, 400, "nearest is window."),
            (r#"{"window":"soon"}"#, 422, "expected number"),
            (r#"{"window":"2h"}"#, 422, "1ms to 1m"),
            (r#"{"window":"0s"}"#, 422, "1ms to 1m"),
            (r#"{"languages":["xx"]}"#, 422, "xx"),
            (r#"{"languages":"en"}"#, 422, "sequence"),
            (r#"{"default_language":"tlh"}"#, 422, "tlh"),
            (r#"{"model":"text-9"}"#, 422, "words-1"),
            (r#"{"across_languages":"yes"}"#, 422, "boolean"),
            (r#"{"near_duplicate":0}"#, 422, "above 0"),
            (r#"{"near_duplicate":1.01}"#, 422, "at most 1"),
            (r#"{"near_duplicate":"0.9"}"#, 422, "expected f64"),
            (r#"{"max_age":-1}"#, 422, "expected u64"),
            (r#"{"max_age":40000000}"#, 422, "a year"),
            (r#"{"max_events_per_second":0}"#, 422, "1 or more"),
            (r#"{"max_items":-1}"#, 422, "expected u64"),
            (r#"{"max_text":"1 MiB"}"#, 422, "expected u64"),
            (r#"{"public":"yes"}"#, 422, "boolean"),
            (
                r#"{"origins":["https://news.example/"]}"#,
                422,
                "not an origin",
            ),
            (r#"{"origins":["news.example"]}"#, 422, "not an origin"),
            (r#"{"origins":"*"}"#, 422, "sequence"),
            (r#"{"defaults":{"limt":3}}"#, 422, "nearest is limit."),
            (r#"{"defaults":{"limit":0}}"#, 422, "limit"),
            (r#"{"defaults":[]}"#, 422, "map"),
        ] {
            let error = checked(bad.as_bytes()).unwrap_err();
            assert_eq!(error.status_code(), status, "{bad}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_model_of_one_language_compares_no_others() {
        let model = |name| ModelName::new(name).unwrap();
        for across in [None, Some(false), Some(true)] {
            assert!(fits_model(across, &model("text-2")).is_ok());
        }
        assert!(fits_model(Some(false), &model("words-1")).is_ok());
        let error = fits_model(Some(true), &model("words-1")).unwrap_err();
        assert_eq!(error.status_code(), 422);
        assert!(error.to_string().contains("text-2"), "{error}");
    }
}
