//! Middleware for every request and answer. Keys and limits of callers are in [`super::access`],
//! which runs before [`conform`].

use std::rc::Rc;
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use kindred_api::problem::ProblemKind;

use super::callers::Turn;
use super::connection::Requests;
use super::error::Error;
use super::outgoing;
use super::page::Label;
use super::parts::Lobby;
use super::query::Given;
use super::routes::{Route, Routes};
use crate::metrics::Metrics;

type Answered = Result<ServiceResponse<BoxBody>, actix_web::Error>;

/// Counts a request, and sets the caching headers of its answer.
pub(crate) async fn observe(
    lobby: web::Data<Lobby>,
    metrics: web::Data<Metrics>,
    routes: web::Data<Routes>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Answered {
    let started = Instant::now();
    let open = request.conn_data::<Rc<Requests>>().map(Requests::begin);
    let method = method_label(request.method());
    let response = next.call(request).await?.map_into_boxed_body();
    let turn = response.request().extensions_mut().remove::<Turn>();
    let mut response = outgoing::send(response, &lobby.waiting, turn, open);
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A cache could show deleted items.
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let (metric, seconds) = (&metrics.http_request, started.elapsed().as_secs_f64());
    let of_page = response.response().extensions().get::<Label>().copied();
    match (routes.of(response.request()), of_page) {
        (Some(route), None) => route.observe(metric, method, status, seconds),
        (_, of_page) => metric
            .with_label_values(&[
                of_page.map_or("unknown", |label| label.0),
                method,
                status.as_str(),
            ])
            .observe(seconds),
    }
    Ok(response)
}

/// Clients choose the method, so unknown methods must not become label values.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Refuses requests that name another host. A request without a host does not come from a browser.
pub(crate) async fn named(
    lobby: web::Data<Lobby>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Answered {
    let in_address = request.uri().authority().map(|at| at.as_str().as_bytes());
    let in_header = request.headers().get_all(HOST);
    let mut named = in_address
        .into_iter()
        .chain(in_header.map(|value| value.as_bytes()));
    let is_accepted = |named: &[u8]| {
        let named = std::str::from_utf8(named);
        named.is_ok_and(|named| lobby.hosts.accept(named))
    };
    if named.all(is_accepted) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    Ok(request.error_response(
        Error::new(
            ProblemKind::NotAcceptableHost,
            "This service does not accept requests under this host name. Use one of its \
             addresses, or add the name to `hosts` in its configuration.",
        )
        .field("Host"),
    ))
}

/// Answers HEAD like GET (the server omits the body), and refuses undocumented parameters and
/// bodies that do not declare JSON.
pub(crate) async fn conform(
    routes: web::Data<Routes>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Answered {
    if let Some(route) = routes.of(request.request()) {
        if request.method() == Method::HEAD && route.parameters(&Method::GET).is_some() {
            request.head_mut().method = Method::GET;
        }
        let Some(known) = route.parameters(request.method()) else {
            // Not left to the router: to it, `…/models/{name}` fits `…/models/{name}:activate`, too.
            let refused = not_taken(route, request.method());
            return Ok(request.error_response(refused));
        };
        if let Err(error) = Given::of(request.query_string()).only(known) {
            return Ok(request.error_response(error));
        }
        let is_sent = matches!(
            *request.method(),
            Method::POST | Method::PUT | Method::PATCH
        );
        if is_sent && !is_json(request.headers()) {
            return Ok(request.error_response(not_json()));
        }
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// Whether a body declares itself as JSON or NDJSON: forms of web pages cannot do that, and scripts
/// of other origins need a preflight (CORS).
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let Some((kind, subtype)) =
        kind.and_then(|kind| kind.split(';').next()?.trim().split_once('/'))
    else {
        return false;
    };
    let subtype = subtype.to_ascii_lowercase();
    subtype.ends_with("+json")
        || (kind.eq_ignore_ascii_case("application")
            && ["json", "x-ndjson", "ndjson"].contains(&subtype.as_str()))
}

fn not_json() -> Error {
    Error::new(
        ProblemKind::UnsupportedType,
        "Declare the type of the body: Content-Type: application/json (or another +json), or \
        application/x-ndjson for a batch.",
    )
    .field("Content-Type")
}

/// The route does not support the method.
fn not_taken(route: &Route, method: &Method) -> Error {
    let allow = &route.allow;
    let detail = format!("Method {method} is not supported here. Use one of: {allow}.");
    Error::new(ProblemKind::MethodNotAllowed, detail).allowing(allow)
}

/// Answers unmatched requests: the path is unknown, or does not support the method.
pub(crate) async fn unmatched(
    request: HttpRequest,
    routes: web::Data<Routes>,
) -> Result<HttpResponse, Error> {
    if let Some(route) = routes.of(&request) {
        return Err(not_taken(route, request.method()));
    }
    let path = request.uri().path();
    let segments: Vec<&str> = path.splitn(7, '/').collect();
    let detail = match segments.as_slice() {
        ["", "v1", "domains", _, "items", _, ..] if segments.len() > 6 => {
            "Unknown path. A slash inside an item's id is written %2F.".to_owned()
        }
        _ => {
            let shown: String = path.chars().take(200).collect();
            format!("Unknown path {shown:?}. /openapi.json lists every path.")
        }
    };
    Err(Error::new(ProblemKind::UnknownPath, detail))
}
