//! Forms: read whole, and accepted only from the page itself.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use actix_web::{FromRequest, HttpMessage};
use kindred_api::problem::{Problem, ProblemKind};

use super::super::body::Body;
use super::{View, parameters, text};

/// Largest form, in bytes: settings up to the API's limit, with every byte encoded as three.
const FORM_BYTES: usize = 192 << 10;
/// Largest form with a text, in bytes.
const TEXT_BYTES: usize = 3 << 20;

/// The fields of a request: from its URL, or from the form.
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
        .map_err(|_| Problem::new(ProblemKind::InvalidParameter, "A form is UTF-8."))?;
    Ok(parameters(form))
}

/// Why a form does not come from the page, according to the browser; `None`: it may.
fn not_of_page(request: &ServiceRequest) -> Option<Problem> {
    let headers = request.headers();
    let kind = text(headers, &CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    let is_form = |kind: &str| {
        kind.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    };
    if !kind.is_some_and(is_form) {
        let detail = "This URL accepts forms of the page. Programs use the API below /v1, \
            described by /openapi.json.";
        return Some(Problem::new(ProblemKind::UnsupportedType, detail));
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
    let detail = "This form was sent by a page of another site. Open this page and send it from \
        here.";
    Some(Problem::new(ProblemKind::NotGranted, detail))
}

/// The value of a field; empty if it is missing.
pub(super) fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let found = fields.iter().find(|(given, _)| given == name);
    found.map_or("", |(_, value)| value)
}
