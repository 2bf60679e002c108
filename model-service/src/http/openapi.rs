//! The API's description, generated from the code, and the index page.

use std::fmt::Write;

use actix_web::http::Method;
use actix_web::http::header::VARY;
use actix_web::{HttpResponse, get, web};
use kindred_api::batch::{BatchAnswer, RejectedLine};
use kindred_api::problem::{Problem, ProblemKind};
use kindred_shared::event::Reason;
use serde_json::json;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{OpenApi, ToResponse};
use utoipa_actix_web::service_config::ServiceConfig;

use super::access::{Need, need};
use super::parts::Lobby;
use super::routes::Routes;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(openapi_json).service(index);
}

/// The description of the interface (OpenAPI 3.1) as JSON.
pub(crate) struct Document {
    /// If requests need a key.
    guarded: String,
    /// If none is needed because there is none.
    open: String,
}

impl Document {
    /// The routes' own documentation, with an introduction and the security scheme.
    pub(crate) fn of(mut document: utoipa::openapi::OpenApi) -> Self {
        document.info.description = Some(introduction());
        let mut told = |is_open| {
            secure(&mut document, is_open);
            let json = document.to_pretty_json();
            json.expect("a description is plain data")
        };
        Self {
            open: told(true),
            guarded: told(false),
        }
    }
}

/// The name of the security scheme.
const KEY: &str = "key";

/// Documents which routes need a key, and their answers without a sufficient one; `is_open`: there
/// is no key yet, and none is needed.
fn secure(document: &mut utoipa::openapi::OpenApi, is_open: bool) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("kk_ and 43 characters of base64url")
        .description(Some(
            "A key, needed once the first key exists. `kindred keys create` and `POST /v1/keys` \
            create keys.",
        ));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(KEY, SecurityScheme::Http(bearer.build()));
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let need = need(path, &method).unwrap_or(Need::Admin);
            secure_one(operation, need, is_open);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    let all = all.into_iter();
    all.filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn secure_one(operation: &mut Operation, need: Need, is_open: bool) {
    let key = SecurityRequirement::new(KEY, Vec::<String>::new());
    let refusals: &[(&str, &str)] = match need {
        Need::Nothing => {
            operation.security = Some(vec![]);
            return;
        }
        Need::Key => &[("401", "NoKey"), ("429", "Busy")],
        Need::Metrics | Need::Admin => &[("401", "NoKey"), ("403", "NotGranted"), ("429", "Busy")],
        Need::OneOf(_) | Need::Query => &[
            ("401", "NoKey"),
            ("403", "NotGranted"),
            ("404", "NotFound"),
            ("429", "Busy"),
        ],
    };
    let mut security = vec![key];
    if is_open || need == Need::Query {
        // Queries of public domains need no key.
        security.push(SecurityRequirement::default());
    }
    operation.security = Some(security);
    for (status, response) in refusals {
        let known = &mut operation.responses.responses;
        known
            .entry((*status).to_owned())
            .or_insert_with(|| RefOr::Ref(Ref::from_response_name(*response)));
    }
}

/// Problems, which many routes answer with and none documents by itself.
pub(crate) fn problems() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Kindred",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(
        schemas(Problem, BatchAnswer, RejectedLine),
        responses(
            BadRequest,
            NotFound,
            NoKey,
            NotGranted,
            UnknownKey,
            UnknownModel,
            Contradiction,
            SlowBody,
            TooLarge,
            UnsupportedEncoding,
            TooManyRejected,
            Unprocessable,
            OverQuota,
            Busy,
            Unavailable,
            BatchBrokenOff,
            NotReady,
        )
    ),
    tags(
        (name = "items", description = "Items and their similar items."),
        (name = "domains", description = "Domains and their state."),
        (name = "experiments", description = "Experiments, and what readers did."),
        (name = "keys", description = "Keys and what they allow."),
        (name = "service", description = "The service itself."),
    )
)]
struct Description;

fn introduction() -> String {
    let mut text = String::from(
        "Kindred keeps, for every item of every domain, the exact list of its most similar \
         items, while items are created, changed and deleted.\n\nIds in URLs are percent-encoded \
         once; a slash inside an id is `%2F`.\n\nEvery error is `application/problem+json` (RFC \
         9457). `type` is stable: act on it, not on the words. `detail` names the remedy, \
         `field` the field or parameter at fault.\n\nOnce there is a key, requests need one: \
         `Authorization: Bearer kk_…`. Without one, or with an unknown one, the answer is 401; a \
         domain for which the key has no grant looks unknown (404); and what the key does not \
         allow is 403. `/healthz`, `/readyz` and queries of `public` domains need none.\n\n| \
         type | status | title |\n|---|---|---|\n",
    );
    for kind in ProblemKind::ALL {
        let (uri, status, title) = (kind.uri(), kind.status(), kind.title());
        writeln!(text, "| `{uri}` | {status} | {title} |").expect("a String takes all text");
    }
    text.push_str(
        "\n`invalid-domain`, `invalid-id` and `invalid-version` are 400 if the URL is at fault.\n",
    );
    text
}

/// One answer for all problems of a status: their meanings, and one as an example.
fn problem_response(
    status: u16,
    means: &str,
    kinds: &[ProblemKind],
    example: serde_json::Value,
) -> Response {
    let mut description = format!("{means} Types:");
    for kind in kinds {
        write!(description, " `{}`", kind.uri()).expect("a String takes all text");
    }
    description.push('.');
    let mut body = json!({"type": kinds[0].uri(), "title": kinds[0].title(), "status": status});
    if let (Some(body), serde_json::Value::Object(members)) = (body.as_object_mut(), example) {
        body.extend(members);
    }
    ResponseBuilder::new()
        .description(description)
        .content(
            "application/problem+json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .example(Some(body))
                .build(),
        )
        .build()
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $means:literal, [$($kind:expr),+], $example:tt;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl<'r> ToResponse<'r> for $name {
            fn response() -> (&'r str, RefOr<Response>) {
                let response = problem_response($status, $means, &[$($kind),+], json!($example));
                (stringify!($name), response.into())
            }
        }
    )+};
}

problems! {
    /// 400
    BadRequest = 400, "The request cannot be read.",
        [ProblemKind::InvalidParameter, ProblemKind::UnknownParameter, ProblemKind::Refused(Reason::InvalidJson), ProblemKind::Refused(Reason::InvalidDomain),
         ProblemKind::Refused(Reason::InvalidId), ProblemKind::Refused(Reason::InvalidVersion), ProblemKind::IncompleteBody],
        {"detail": "limit is an integer from 1 to 1000; the default is 10.", "field": "limit"};
    /// 404
    NotFound = 404, "The domain or item is unknown, or not visible.",
        [ProblemKind::UnknownItem, ProblemKind::Refused(Reason::UnknownDomain), ProblemKind::Refused(Reason::UnknownExperiment),
         ProblemKind::UnknownModel, ProblemKind::UnknownPath],
        {"detail": "Unknown item, or one that is not visible.", "field": "id"};
    /// 401
    NoKey = 401, "No key was sent, or it is unknown or has expired.",
        [ProblemKind::NoKey],
        {"detail": "Send a key that exists and has not expired: Authorization: Bearer kk_…"};
    /// 403
    NotGranted = 403, "The key does not allow this.",
        [ProblemKind::NotGranted],
        {"detail": "This key does not allow this: it needs the grant manage."};
    /// 404 of a model
    UnknownModel = 404, "The model or the domain is unknown.",
        [ProblemKind::UnknownModel, ProblemKind::Refused(Reason::UnknownDomain)],
        {"detail": "Unknown model words-9 in this domain, or it is not ready.", "field": "model"};
    /// 404 of a key
    UnknownKey = 404, "The key is unknown.",
        [ProblemKind::UnknownKey],
        {"detail": "Unknown key; GET /v1/keys lists all keys.", "field": "id"};
    /// 409
    Contradiction = 409, "The request conflicts with the current state.",
        [ProblemKind::Conflict],
        {"detail": "languages may change only while the domain is empty", "field": "languages"};
    /// 408
    SlowBody = 408, "The body did not arrive in time.",
        [ProblemKind::SlowBody],
        {"detail": "The body did not arrive in time: it may take 60 s, and a batch must send at \
            least 1024 bytes per second. Send it again, without pauses."};
    /// 413
    TooLarge = 413, "A size limit is exceeded; a body that announces it is not read.",
        [ProblemKind::Refused(Reason::TooLarge)],
        {"detail": "The body is over 1048576 bytes. Send less in one request, or raise the limit."};
    /// 415
    UnsupportedEncoding = 415, "The body is compressed with something other than gzip, or does \
        not declare that it is JSON.",
        [ProblemKind::UnsupportedEncoding, ProblemKind::UnsupportedType],
        {"detail": "Send the body uncompressed, or with Content-Encoding: gzip.", "field": "Content-Encoding"};
    /// 422 of a batch
    TooManyRejected = 422, "More lines were rejected than a batch may have; the rest was not \
        read. The answer has the outcome of the lines before `resend_from_line`.",
        [ProblemKind::TooManyRejected],
        {"detail": "100000 lines were rejected, so the rest was not read. Fix what the first of \
            them name, and send again.", "resend_from_line": 100_001, "accepted": 0, "rejected": [], "rejected_more": 90_000};
    /// 422
    Unprocessable = 422, "The body is JSON but not a valid item.",
        [ProblemKind::Refused(Reason::InvalidVector), ProblemKind::Refused(Reason::UnknownType),
         ProblemKind::Refused(Reason::MissingField), ProblemKind::Refused(Reason::InvalidField),
         ProblemKind::Refused(Reason::InvalidDomain), ProblemKind::Refused(Reason::InvalidId),
         ProblemKind::Refused(Reason::DomainMismatch), ProblemKind::Refused(Reason::IdMismatch),
         ProblemKind::Refused(Reason::InvalidVersion), ProblemKind::Refused(Reason::UnknownArm)],
        {"detail": "a vector has 1 to 4096 numbers; this one has none", "field": "vector"};
    /// 429
    OverQuota = 429, "The domain is at its quota, or the key has too many requests in progress.",
        [ProblemKind::Refused(Reason::OverQuota), ProblemKind::Busy],
        {"detail": "the domain holds as many items as it may; delete some, or raise its quota"};
    /// 429 of queries
    Busy = 429, "Too many queries are running; `Retry-After` says when to retry.",
        [ProblemKind::Busy],
        {"detail": "Too many queries are running. Try again in a moment, or request the plain \
            list."};
    /// 503
    Unavailable = 503, "The store cannot be written or read now; `Retry-After` says when to \
    retry.",
        [ProblemKind::NotStored, ProblemKind::NotReadable, ProblemKind::NotReady],
        {"detail": "the store is full: no space left on device. Nothing of this request counts \
            as stored; send it again once that is fixed."};
    /// 503 of a batch
    BatchBrokenOff = 503, "The batch could not continue. `accepted` and `rejected` have the \
        outcome of the lines before `resend_from_line`; send again from that line on. A batch \
        whose body broke off (400, 408, 413) answers in the same way.",
        [ProblemKind::NotStored],
        {"detail": "the store is unreachable. Send it again.", "resend_from_line": 1208, "accepted": 1206,
         "rejected": [{"line": 3, "type": "/problems/invalid-json", "detail": "the event is not JSON: send one JSON object"}]};
    /// 503 of readyz
    NotReady = 503, "The service cannot do its work now.",
        [ProblemKind::NotReady],
        {"detail": "store: opening. It recovers by itself; try again.", "reasons": ["store: opening"]};
}

/// This description.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json",
     example = json!({"openapi": "3.1.0"})),
))]
#[get("/openapi.json")]
async fn openapi_json(document: web::Data<Document>, lobby: web::Data<Lobby>) -> HttpResponse {
    let document = if lobby.guard.keys.is_open() {
        &document.open
    } else {
        &document.guarded
    };
    HttpResponse::Ok()
        .content_type("application/json")
        .body(document.clone())
}

/// The index: a page for browsers, else the paths in plain text.
///
/// Clients that accept `text/html` get the page: all domains, and from there views of each domain,
/// item, map, settings, activity and keys, each with its own URL. Views are for people: they show
/// what this API answers.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "The paths, one per line.", body = String, content_type = "text/plain",
     example = "GET, HEAD  /v1/domains\n"),
))]
#[get("/")]
async fn index(routes: web::Data<Routes>) -> HttpResponse {
    let mut text = format!("Kindred {}\n\n", env!("CARGO_PKG_VERSION"));
    for route in routes.all() {
        writeln!(text, "{}  ({})", route.path, route.allow).expect("a String takes all text");
    }
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        // Browsers get the page instead.
        .insert_header((VARY, "accept"))
        .body(text)
}
