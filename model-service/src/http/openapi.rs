//! The API's description, made from the code, and the index page.

use std::fmt::Write;

use actix_web::http::Method;
use actix_web::http::header::VARY;
use actix_web::{HttpResponse, get, web};
use kindred_api::batch::{BatchAnswer, RejectedLine};
use kindred_api::problem::{Kind, Problem};
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
    /// Where requests need a key.
    guarded: String,
    /// Where none is needed as long as there is none.
    open: String,
}

impl Document {
    /// The routes' own documentation, with an introduction, and what it says of keys.
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

/// Says which routes need a key, and what they answer without one that opens them; `is_open`: there is no key yet, and
/// none is needed.
fn secure(document: &mut utoipa::openapi::OpenApi, is_open: bool) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("kk_ and 43 characters of base64url")
        .description(Some(
            "A key, as soon as there is one. `kindred keys create` and `POST /v1/keys` make them.",
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
        // Of a query: where the domain is public.
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

/// What no route documents by itself: the problems, which are answers of many.
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
        (name = "items", description = "Items, and what is similar to them."),
        (name = "domains", description = "Domains, and how they fare."),
        (name = "experiments", description = "Experiments, and what readers did."),
        (name = "keys", description = "Keys: who may ask what."),
        (name = "service", description = "The service itself."),
    )
)]
struct Description;

fn introduction() -> String {
    let mut text = String::from(
        "Kindred keeps, for every item of every domain, the exact list of its most similar items, \
         while items are created, changed and deleted.\n\n\
         Ids in addresses are percent-encoded once; a slash inside an id is `%2F`.\n\n\
         Every error is `application/problem+json` (RFC 9457). `type` is stable: act on it, not \
         on the words. `detail` names the remedy, `field` the field or parameter at fault.\n\n\
         As soon as there is a key, requests need one: `Authorization: Bearer kk_…`. Without one, or with one that is \
         not known, the answer is 401; a domain for which the key has no grant is not there (404); and what it \
         does not grant is 403. `/healthz`, `/readyz` and queries of `public` domains need none.\n\n\
         | type | status | title |\n|---|---|---|\n",
    );
    for kind in Kind::ALL {
        let (uri, status, title) = (kind.uri(), kind.status(), kind.title());
        writeln!(text, "| `{uri}` | {status} | {title} |").expect("a String takes all text");
    }
    text.push_str(
        "\n`invalid-domain`, `invalid-id` and `invalid-version` are 400 where the address is at \
         fault.\n",
    );
    text
}

/// One answer for all problems of a status: what each means, and one as an example.
fn problem_response(
    status: u16,
    means: &str,
    kinds: &[Kind],
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
        [Kind::InvalidParameter, Kind::UnknownParameter, Kind::Refused(Reason::InvalidJson), Kind::Refused(Reason::InvalidDomain),
         Kind::Refused(Reason::InvalidId), Kind::Refused(Reason::InvalidVersion), Kind::IncompleteBody],
        {"detail": "limit is one whole number of 1 to 1000; without it 10.", "field": "limit"};
    /// 404
    NotFound = 404, "There is no such domain or item for readers.",
        [Kind::UnknownItem, Kind::Refused(Reason::UnknownDomain), Kind::Refused(Reason::UnknownExperiment),
         Kind::UnknownModel, Kind::UnknownPath],
        {"detail": "No item of this id is there for readers.", "field": "id"};
    /// 401
    NoKey = 401, "No key was sent, or one that is not known or has expired.",
        [Kind::NoKey],
        {"detail": "Send a key that is known here and has not expired: Authorization: Bearer kk_…"};
    /// 403
    NotGranted = 403, "The key opens other things.",
        [Kind::NotGranted],
        {"detail": "This key is good, but for other things: this needs the grant manage."};
    /// 404 of a model
    UnknownModel = 404, "There is no such model, or no such domain.",
        [Kind::UnknownModel, Kind::Refused(Reason::UnknownDomain)],
        {"detail": "There is no model words-9 in this domain, or it is not ready.", "field": "model"};
    /// 404 of a key
    UnknownKey = 404, "There is no key of this name.",
        [Kind::UnknownKey],
        {"detail": "There is no key of this name; GET /v1/keys lists those there are.", "field": "id"};
    /// 409
    Contradiction = 409, "What is asked for contradicts what there is.",
        [Kind::Conflict],
        {"detail": "languages may change only while the domain is empty", "field": "languages"};
    /// 408
    SlowBody = 408, "The body did not come in time.",
        [Kind::SlowBody],
        {"detail": "The body did not come in time: one that is held whole may take 60 s, a batch comes with 1024 bytes a second or more. Send it again, without pauses."};
    /// 413
    TooLarge = 413, "A limit of size is passed; a body that announces it is not read.",
        [Kind::Refused(Reason::TooLarge)],
        {"detail": "The body is over 1048576 bytes. Send less in one request, or raise the limit."};
    /// 415
    UnsupportedEncoding = 415, "The body is packed in another way than gzip, or does not say that it is JSON.",
        [Kind::UnsupportedEncoding, Kind::UnsupportedType],
        {"detail": "Send the body as it is, or with Content-Encoding: gzip.", "field": "Content-Encoding"};
    /// 422 of a batch
    TooManyRejected = 422, "More lines were rejected than a batch may have; the rest was not read. It tells what became of the lines before `resend_from_line`.",
        [Kind::TooManyRejected],
        {"detail": "100000 lines were rejected, so that the rest was not read. Mend what the first of them name, and send again.", "resend_from_line": 100_001, "accepted": 0, "rejected": [], "rejected_more": 90_000};
    /// 422
    Unprocessable = 422, "The body is JSON but no valid item.",
        [Kind::Refused(Reason::InvalidVector), Kind::Refused(Reason::UnknownType),
         Kind::Refused(Reason::MissingField), Kind::Refused(Reason::InvalidField),
         Kind::Refused(Reason::InvalidDomain), Kind::Refused(Reason::InvalidId),
         Kind::Refused(Reason::DomainMismatch), Kind::Refused(Reason::IdMismatch),
         Kind::Refused(Reason::InvalidVersion), Kind::Refused(Reason::UnknownArm)],
        {"detail": "a vector has 1 to 4096 numbers; this one has none", "field": "vector"};
    /// 429
    OverQuota = 429, "The domain may not hold more, or the key has too many requests under way.",
        [Kind::Refused(Reason::OverQuota), Kind::Busy],
        {"detail": "the domain holds as many items as it may; delete some, or raise its quota"};
    /// 429 of queries
    Busy = 429, "Too much is being computed; `Retry-After` says when to ask again.",
        [Kind::Busy],
        {"detail": "Too many queries are being computed. Ask again in a moment, or ask for the plain list."};
    /// 503
    Unavailable = 503, "The store cannot take or tell it now; `Retry-After` says when to ask again.",
        [Kind::NotStored, Kind::NotReadable, Kind::NotReady],
        {"detail": "the store is full: no space left on device. Nothing of this request is taken as stored; send it again once that is put right."};
    /// 503 of a batch
    BatchBrokenOff = 503, "The batch could not go on. `accepted` and `rejected` tell how the lines before `resend_from_line` went; send again from that line on. A batch whose body broke off (400, 408, 413) tells the same.",
        [Kind::NotStored],
        {"detail": "the store is away. Send it again.", "resend_from_line": 1208, "accepted": 1206,
         "rejected": [{"line": 3, "type": "/problems/invalid-json", "detail": "the event is not JSON: send one JSON object"}]};
    /// 503 of readyz
    NotReady = 503, "The service cannot do its work now.",
        [Kind::NotReady],
        {"detail": "store: opening. It goes on by itself; ask again.", "reasons": ["store: opening"]};
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

/// What there is: a page for browsers, else the paths in plain text.
///
/// Who takes `text/html` gets the page: all domains, and from there a view for each domain, item, map, settings, activity
/// and keys, at addresses of their own. Views are for people: what they show is what this interface answers.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "The paths, one a line.", body = String, content_type = "text/plain",
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
        // Browsers are shown the page instead.
        .insert_header((VARY, "accept"))
        .body(text)
}
