//! What every request passes on its way in and out. Authentication and limits of callers belong
//! here, before [`conform`].

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse, web};
use kindred_api::problem::Kind;

use super::error::Error;
use super::query::Given;
use super::routes::Routes;
use crate::metrics::Metrics;

type Answered = Result<ServiceResponse<BoxBody>, actix_web::Error>;

/// Counts a request, and says to those in between what to do with its answer.
pub(crate) async fn observe(
    metrics: web::Data<Metrics>,
    routes: web::Data<Routes>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Answered {
    let started = Instant::now();
    let method = method_label(request.method());
    let mut response = next.call(request).await?.map_into_boxed_body();
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A cache in between could show what is gone.
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let (metric, seconds) = (&metrics.http_request, started.elapsed().as_secs_f64());
    match routes.of(response.request()) {
        Some(route) => route.observe(metric, method, status, seconds),
        None => metric
            .with_label_values(&["unknown", method, status.as_str()])
            .observe(seconds),
    }
    Ok(response)
}

/// Whoever sends a request chooses its method, so other words do not become label values.
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

/// Has HEAD answered as GET is (the server leaves the body out), and refuses parameters that the
/// route does not document.
pub(crate) async fn conform(
    routes: web::Data<Routes>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Answered {
    if let Some(route) = routes.of(request.request()) {
        if request.method() == Method::HEAD && route.parameters(&Method::GET).is_some() {
            request.head_mut().method = Method::GET;
        }
        if let Some(known) = route.parameters(request.method())
            && let Err(error) = Given::of(request.query_string()).only(known)
        {
            return Ok(request.error_response(error));
        }
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// What no handler takes: nothing is at the path, or it does not know the method.
pub(crate) async fn unmatched(
    request: HttpRequest,
    routes: web::Data<Routes>,
) -> Result<HttpResponse, Error> {
    if let Some(route) = routes.of(&request) {
        return Err(Error::new(
            Kind::MethodNotAllowed,
            format!(
                "{} is not known here. Use one of: {}.",
                request.method(),
                route.allow
            ),
        )
        .allowing(&route.allow));
    }
    let path = request.uri().path();
    let segments: Vec<&str> = path.splitn(7, '/').collect();
    let detail = match segments.as_slice() {
        ["", "v1", "domains", _, "items", _, ..] if segments.len() > 6 => {
            "No such path. A slash inside an item's id is written %2F.".to_owned()
        }
        _ => {
            let shown: String = path.chars().take(200).collect();
            format!("Nothing is at {shown:?}. /openapi.json lists every path.")
        }
    };
    Err(Error::new(Kind::UnknownPath, detail))
}
