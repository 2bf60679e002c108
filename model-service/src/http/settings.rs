//! Settings of a domain: set here, kept by its owner.
//!
//! They travel as an event, so that they have their place among the domain's other events whoever was
//! asked; what became of them is then read from the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::{HttpResponse, put};
use compute_worker::models::{compares_languages, default_model, names_of_texts};
use kindred_api::domain::{DomainAnswer, SETTINGS, SettingsBody};
use kindred_api::problem::Kind;
use kindred_shared::event::{Configure, Event, Reason, without_mark};
use kindred_shared::{DomainName, ModelName};
use serde_json::{Map, Value};
use tokio::time::{Instant, interval};
use utoipa_actix_web::service_config::ServiceConfig;

use super::body::Body;
use super::domains::describe_whole;
use super::error::Error;
use super::openapi;
use super::parts::{Part, Reads, Writes, confirmed};
use super::path::{InDomain, InPath};
use super::query::nearest;
use crate::preprocessing::language;
use kindred_domain::settings::{DomainSettings, SettingsOutcome, WINDOW};

/// Most bytes of settings.
const MAX_BYTES: usize = 64 << 10;
/// How often it is looked whether the owner has set them, and for how long.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(5);
/// When to ask again where the owner took longer, in seconds.
const RETRY_S: u32 = 2;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(put);
}

/// Sets all settings of a domain.
///
/// A domain that is not registered is registered. `languages`, `default_language`, `across_languages`
/// and `model` may change only while the domain has no live item; left out they stay as they are.
#[utoipa::path(operation_id = "put_domain", tag = "domains", params(InDomain),
    request_body(content = SettingsBody, content_type = "application/json",
        example = json!({"languages": ["en", "de"], "window": "1s"})),
    responses(
        (status = 200, description = "Set.", body = DomainAnswer),
        (status = 201, description = "The domain is registered now, and so set.", body = DomainAnswer),
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
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let settings = checked(&body.read_whole(MAX_BYTES).await?)?;
    go_together(&settings, &reads, &domain).await?;
    let request = request_name();
    let event = Event::Configure(Box::new(Configure {
        domain: domain.clone(),
        request: request.clone(),
        settings,
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
                "{setting} may change only while the domain is empty; delete its items first, or \
                 leave {setting} out."
            );
            Err(Error::new(Kind::Conflict, detail).field(setting))
        }
    }
}

/// Waits until the owner has set them; what became of it.
async fn outcome(
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
    let detail = "The settings are on their way to the domain's owner, which has not set them yet. \
                  GET shows when it has.";
    Err(Error::new(Kind::NotReady, detail).retry_after(RETRY_S))
}

/// The settings of a body, each one known and fit.
fn checked(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let object: Map<String, Value> =
        serde_json::from_slice(without_mark(bytes)).map_err(|error| {
            let detail = format!("Send one JSON object of settings: {error}");
            Error::new(Kind::Refused(Reason::InvalidJson), detail)
        })?;
    if let Some(name) = object.keys().find(|name| !SETTINGS.contains(&&***name)) {
        let shown: String = name.chars().take(100).collect();
        let nearest = nearest(&shown, &SETTINGS).unwrap_or_default();
        let known = SETTINGS.join(", ");
        let detail =
            format!("There is no setting {shown:?}; the nearest is {nearest}. Known: {known}.");
        return Err(Error::new(Kind::UnknownParameter, detail).field(shown));
    }
    // One by one, so that the one at fault is named.
    for (name, value) in &object {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        let read: Result<DomainSettings, _> = serde_json::from_value(Value::Object(alone));
        let read = read.map_err(|error| error.to_string()).and_then(fit);
        read.map_err(|detail| Error::new(Kind::Refused(Reason::InvalidField), detail).field(name))?;
    }
    Ok(object)
}

/// Whether values are such as this program can keep to.
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
        return Err(format!("There is no model {model}. Known: {known}."));
    }
    if settings
        .window
        .is_some_and(|window| !WINDOW.contains(&window))
    {
        return Err("A window is 1ms to 1m long.".to_owned());
    }
    Ok(())
}

/// Whether the model that the domain is to have can do what else is set. Two requests at once may still pass
/// with what only together does not fit; then the model's way is taken.
async fn go_together(
    wanted: &Map<String, Value>,
    reads: &Reads,
    domain: &DomainName,
) -> Result<(), Error> {
    if !wanted.contains_key("across_languages") && !wanted.contains_key("model") {
        return Ok(());
    }
    let stored = reads.store.settings(domain).await?.map(|row| row.settings);
    let stored = stored.unwrap_or_default();
    let row = reads.store.domain(domain).await?;
    let across = match wanted.get("across_languages") {
        Some(value) if !value.is_null() => value.as_bool(),
        _ => stored.across_languages,
    };
    let named = wanted.get("model").and_then(Value::as_str);
    let model = named
        .and_then(|name| ModelName::new(name).ok())
        .or_else(|| row.map(|row| row.model))
        .unwrap_or_else(default_model);
    fits_model(across, &model)
}

fn fits_model(across_languages: Option<bool>, model: &ModelName) -> Result<(), Error> {
    if across_languages != Some(true) || compares_languages(model) {
        return Ok(());
    }
    let detail = format!(
        "{model} compares texts of one language alone; set \"model\":\"{}\" with it, or \
         \"across_languages\":false.",
        default_model()
    );
    let kind = Kind::Refused(Reason::InvalidField);
    Err(Error::new(kind, detail).field("across_languages"))
}

/// A name that no other request has.
fn request_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    format!("{:x}-{process:x}-{count:x}", since.as_nanos())
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

    #[test]
    fn no_two_requests_have_one_name() {
        assert_ne!(request_name(), request_name());
        assert!(request_name().len() <= 64);
    }
}
