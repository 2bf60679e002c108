//! API keys: created, listed and revoked by administrators.

use std::sync::Arc;

use actix_web::{HttpResponse, delete, get, post, web};
use kindred_api::key::{CreatedKey, KEY_FIELDS, Key, KeyBody, KeysAnswer};
use kindred_api::problem::ProblemKind;
use kindred_domain::keys::KeyStore;
use kindred_shared::event::{Reason, without_mark};
use serde_json::{Map, Value};
use utoipa_actix_web::service_config::ServiceConfig;

use super::body::Body;
use super::error::Error;
use super::openapi;
use super::parts::Lobby;
use super::path::{InPath, OfKey};
use super::query::nearest;
use super::readiness::not_ready;
use crate::keys::{MakeError, make, told};

/// Largest request body, in bytes.
const MAX_BYTES: usize = 64 << 10;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(create)
        .service(get)
        .service(revoke);
}

/// Creates a key.
///
/// Its secret is in this answer and stored nowhere. The key works on every instance within 5 s. The
/// first key is created by `kindred keys create`.
#[utoipa::path(operation_id = "create_key", tag = "keys",
    request_body(content = KeyBody, content_type = "application/json",
        example = json!({"grants": ["read:news.example"], "expires": "90d"})),
    responses(
        (status = 201, description = "Made.", body = CreatedKey),
        (status = 400, response = openapi::BadRequest),
        (status = 401, response = openapi::NoKey),
        (status = 403, response = openapi::NotGranted),
        (status = 408, response = openapi::SlowBody),
        (status = 409, response = openapi::Contradiction),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 422, response = openapi::Unprocessable),
        (status = 503, response = openapi::Unavailable),
    ))]
#[post("/v1/keys")]
async fn create(body: Body, lobby: web::Data<Lobby>) -> Result<HttpResponse, Error> {
    let wanted = wanted(&body.read_whole(MAX_BYTES).await?)?;
    let key = make(&**store(&lobby)?, &wanted).await?;
    // It works on this instance at once; if keys cannot be read now, they are read again soon.
    let _ = lobby.guard.keys.read().await;
    Ok(HttpResponse::Created().json(key))
}

/// Every key, without secrets.
#[utoipa::path(operation_id = "list_keys", tag = "keys", responses(
    (status = 200, description = "The oldest first.", body = KeysAnswer),
    (status = 401, response = openapi::NoKey),
    (status = 403, response = openapi::NotGranted),
    (status = 503, response = openapi::Unavailable),
))]
#[get("/v1/keys")]
async fn list(lobby: web::Data<Lobby>) -> Result<web::Json<KeysAnswer>, Error> {
    let mut rows = store(&lobby)?.keys().await?;
    rows.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(web::Json(KeysAnswer {
        keys: rows.iter().map(told).collect(),
    }))
}

/// One key, without its secret.
#[utoipa::path(operation_id = "get_key", tag = "keys", params(OfKey), responses(
    (status = 200, description = "The key.", body = Key),
    (status = 401, response = openapi::NoKey),
    (status = 403, response = openapi::NotGranted),
    (status = 404, response = openapi::UnknownKey),
    (status = 503, response = openapi::Unavailable),
))]
#[get("/v1/keys/{id}")]
async fn get(path: InPath<OfKey>, lobby: web::Data<Lobby>) -> Result<web::Json<Key>, Error> {
    let rows = store(&lobby)?.keys().await?;
    let row = rows.iter().find(|row| row.id == path.0.id);
    row.map(told).map(web::Json).ok_or_else(unknown)
}

/// Revokes a key: within 5 s it no longer works on any instance.
#[utoipa::path(operation_id = "revoke_key", tag = "keys", params(OfKey), responses(
    (status = 204, description = "Revoked."),
    (status = 401, response = openapi::NoKey),
    (status = 403, response = openapi::NotGranted),
    (status = 404, response = openapi::UnknownKey),
    (status = 503, response = openapi::Unavailable),
))]
#[delete("/v1/keys/{id}")]
async fn revoke(path: InPath<OfKey>, lobby: web::Data<Lobby>) -> Result<HttpResponse, Error> {
    if !store(&lobby)?.remove_key(&path.0.id).await? {
        return Err(unknown());
    }
    let _ = lobby.guard.keys.read().await;
    Ok(HttpResponse::NoContent().finish())
}

/// The store of keys. While there is no key, keys can only be created by other means: otherwise the
/// first client could lock everyone else out.
fn store(lobby: &Lobby) -> Result<&Arc<dyn KeyStore>, Error> {
    let keys = &lobby.guard.keys;
    let Some(store) = keys.store() else {
        return Err(not_ready(lobby.readiness.reasons()));
    };
    if keys.is_open() {
        return Err(Error::new(
            ProblemKind::NoKey,
            "There is no key yet. Create the first one where the data is: kindred keys create \
            --grant admin.",
        ));
    }
    Ok(store)
}

fn unknown() -> Error {
    Error::new(
        ProblemKind::UnknownKey,
        "Unknown key; GET /v1/keys lists all keys.",
    )
    .field("id")
}

/// Parses the description of a key in a body.
fn wanted(bytes: &[u8]) -> Result<KeyBody, Error> {
    let object: Map<String, Value> =
        serde_json::from_slice(without_mark(bytes)).map_err(|error| {
            let detail = format!("Send one JSON object with the grants of the key: {error}");
            Error::new(ProblemKind::Refused(Reason::InvalidJson), detail)
        })?;
    if let Some(name) = object.keys().find(|name| !KEY_FIELDS.contains(&&***name)) {
        let shown: String = name.chars().take(100).collect();
        let nearest = nearest(&shown, &KEY_FIELDS).unwrap_or_default();
        let known = KEY_FIELDS.join(", ");
        let detail = format!("Unknown field {shown:?}; the nearest is {nearest}. Known: {known}.");
        return Err(Error::new(ProblemKind::UnknownParameter, detail).field(shown));
    }
    if !object.contains_key("grants") {
        let detail = "Say what the key allows: \"grants\":[\"read:news.example\"].";
        return Err(Error::new(ProblemKind::Refused(Reason::MissingField), detail).field("grants"));
    }
    let at_fault = if object["grants"].is_array() {
        "expires"
    } else {
        "grants"
    };
    serde_json::from_value(Value::Object(object)).map_err(|error| {
        let detail = format!("grants is a list of strings, expires a string such as 90d: {error}");
        Error::new(ProblemKind::Refused(Reason::InvalidField), detail).field(at_fault)
    })
}

impl From<MakeError> for Error {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Field { field, detail } => {
                Self::new(ProblemKind::Refused(Reason::InvalidField), detail).field(field)
            }
            MakeError::Full => Self::new(ProblemKind::Conflict, error.to_string()),
            MakeError::NoRandomness => {
                Self::new(ProblemKind::NotStored, error.to_string()).retry_after(60)
            }
            MakeError::Store(error) => error.into(),
        }
    }
}
