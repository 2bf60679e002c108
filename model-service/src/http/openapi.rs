//! The API's description, made from the code, and the index page.

use std::fmt::Write;

use actix_web::{HttpResponse, get, web};
use kindred_api::batch::{BatchAnswer, RejectedLine};
use kindred_api::problem::{BrokenOff, Kind, Problem};
use kindred_shared::event::Reason;
use serde_json::json;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{OpenApi, ToResponse};
use utoipa_actix_web::service_config::ServiceConfig;

use super::routes::Routes;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(openapi_json).service(index);
}

/// The description of the interface (OpenAPI 3.1) as JSON.
pub(crate) struct Document(String);

impl Document {
    /// The routes' own documentation, with an introduction.
    pub(crate) fn of(mut document: utoipa::openapi::OpenApi) -> Self {
        document.info.description = Some(introduction());
        Self(
            document
                .to_pretty_json()
                .expect("a description is plain data"),
        )
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
        schemas(Problem, BrokenOff, BatchAnswer, RejectedLine),
        responses(
            BadRequest,
            NotFound,
            Contradiction,
            SlowBody,
            TooLarge,
            UnsupportedEncoding,
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
        [Kind::UnknownItem, Kind::Refused(Reason::UnknownDomain), Kind::UnknownPath],
        {"detail": "No item of this id is there for readers.", "field": "id"};
    /// 409
    Contradiction = 409, "What is asked for contradicts what there is.",
        [Kind::Conflict],
        {"detail": "languages may change only while the domain is empty", "field": "languages"};
    /// 408
    SlowBody = 408, "The body did not come in time.",
        [Kind::SlowBody],
        {"detail": "No byte of the body came for 30 s. Send it again, without pauses."};
    /// 413
    TooLarge = 413, "A limit of size is passed; a body that announces it is not read.",
        [Kind::Refused(Reason::TooLarge)],
        {"detail": "The body is over 1048576 bytes. Send less in one request, or raise the limit."};
    /// 415
    UnsupportedEncoding = 415, "The body is packed in another way than gzip.",
        [Kind::UnsupportedEncoding],
        {"detail": "Send the body as it is, or with Content-Encoding: gzip.", "field": "Content-Encoding"};
    /// 422
    Unprocessable = 422, "The body is JSON but no valid item.",
        [Kind::Refused(Reason::InvalidVector), Kind::Refused(Reason::UnknownType),
         Kind::Refused(Reason::MissingField), Kind::Refused(Reason::InvalidField),
         Kind::Refused(Reason::InvalidDomain), Kind::Refused(Reason::InvalidId),
         Kind::Refused(Reason::DomainMismatch), Kind::Refused(Reason::IdMismatch),
         Kind::Refused(Reason::InvalidVersion)],
        {"detail": "a vector has 1 to 4096 numbers; this one has none", "field": "vector"};
    /// 429
    OverQuota = 429, "The domain may not hold more.",
        [Kind::Refused(Reason::OverQuota)],
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
async fn openapi_json(document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(document.0.clone())
}

/// What there is.
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
        .body(text)
}
