//! Forms: read whole, and taken only from the page itself.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use actix_web::{FromRequest, HttpMessage};
use kindred_api::problem::{Kind, Problem};

use super::super::body::Body;
use super::{View, parameters, text};

/// Most bytes of a form: settings as the interface takes them, each byte written as three.
const FORM_BYTES: usize = 192 << 10;
/// Most bytes of a form with a text.
const TEXT_BYTES: usize = 3 << 20;

/// The fields of a request: those of its address, or of the form that was sent.
pub(super) async fn fields(
    request: &mut ServiceRequest,
    view: &View,
) -> Result<Vec<(String, String)>, Problem> {
    if *request.method() != Method::POST {
        return Ok(parameters(request.query_string()));
    }
    if let Some(problem) = not_of_page(request) {
        return Err(problem);
    }
    let limit = if matches!(view, View::Text(_)) {
        TEXT_BYTES
    } else {
        FORM_BYTES
    };
    let mut payload = request.take_payload();
    let body = Body::from_request(request.request(), &mut payload).await;
    let body = match body {
        Ok(body) => body.read_whole(limit).await,
        Err(error) => Err(error),
    };
    let body = body.map_err(|error| error.problem().clone())?;
    let form = std::str::from_utf8(&body)
        .map_err(|_| Problem::new(Kind::InvalidParameter, "A form is UTF-8."))?;
    Ok(parameters(form))
}

/// Why it is none of the page's own, as far as the browser says; `None`: it may be.
fn not_of_page(request: &ServiceRequest) -> Option<Problem> {
    let headers = request.headers();
    let kind = text(headers, &CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    let is_form = |kind: &str| {
        kind.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    };
    if !kind.is_some_and(is_form) {
        let detail = "This address takes forms of the page. Programs ask below /v1: /openapi.json describes it.";
        return Some(Problem::new(Kind::UnsupportedType, detail));
    }
    let site = text(headers, &HeaderName::from_static("sec-fetch-site"));
    let is_of_site = site.is_none_or(|site| site == "same-origin" || site == "none");
    let is_of_origin = !headers.contains_key(ORIGIN) || {
        let origin = text(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
        origin.is_some_and(|(_, host)| text(headers, &HOST) == Some(host))
    };
    if is_of_site && is_of_origin {
        return None;
    }
    let detail = "A page of another site sent this form. Open this page and send it from there.";
    Some(Problem::new(Kind::NotGranted, detail))
}

/// The value of a field; empty where it is not there.
pub(super) fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let found = fields.iter().find(|(given, _)| given == name);
    found.map_or("", |(_, value)| value)
}
