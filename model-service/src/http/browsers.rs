//! Support for browsers and caches: pages of other origins that may query (CORS), and answers that
//! are not resent while they stay the same (ETag). Both follow the settings of the domain.

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    ORIGIN, VARY,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use kindred_shared::DomainName;
use xxhash_rust::xxh3::xxh3_128;

use super::access;
use super::parts::Lobby;
use super::query::Given;
use super::routes::Routes;
use kindred_domain::settings::DomainSettings;

/// Request headers allowed besides those that every page may send.
const MAY_SEND: &str = "authorization, content-type, if-none-match";
/// Answer headers exposed besides those that every page may read.
const MAY_READ: &str = "etag, retry-after";
/// How long a browser may cache a preflight, in seconds.
const PREFLIGHT_AGE_S: &str = "600";
/// The routes whose answers have an ETag.
const TAGGED: [&str; 2] = [
    "/v1/domains/{domain}/items/{id}",
    "/v1/domains/{domain}/items/{id}/similar",
];
/// Ignored by ETags: when a list was made.
const AS_OF: &[u8] = b"\"as_of\":";

/// Answers preflights, adds CORS headers to answers, and tags answers.
pub(crate) async fn serve(
    lobby: web::Data<Lobby>,
    routes: web::Data<Routes>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let headers = request.headers();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let route = routes.of(request.request());
    let is_tagged = is_read && route.is_some_and(|route| TAGGED.contains(&&*route.path));
    let origin = headers.get(ORIGIN).cloned();
    let if_none_match = headers.get(IF_NONE_MATCH).cloned();
    let is_preflight = *request.method() == Method::OPTIONS
        && origin.is_some()
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let is_keyed = headers.contains_key(AUTHORIZATION) || access::cookie(headers).is_some();
    // An answer for one reader is not for others.
    let is_of_reader = is_tagged && names_reader(request.query_string());
    // A preflight carries no key. Once there are keys, it is answered alike for every domain,
    // existing or not: the actual request identifies the client, and its answer says whether the
    // page may read it.
    let is_blind = is_preflight && !lobby.guard.keys.is_open();
    let settings = if (origin.is_some() || is_tagged) && !is_blind {
        settings(&lobby, request.path()).await
    } else {
        None
    };
    let is_random = is_random(request.query_string(), settings.as_deref());
    let allowed = origin.filter(|origin| is_blind || is_allowed(settings.as_deref(), origin));
    if is_preflight && let Some(route) = route {
        let allow = route.allow.clone();
        let mut answer = HttpResponse::NoContent();
        if allowed.is_some() {
            answer.insert_header((ACCESS_CONTROL_ALLOW_METHODS, allow));
            answer.insert_header((ACCESS_CONTROL_ALLOW_HEADERS, MAY_SEND));
            answer.insert_header((ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE_S));
        }
        let mut answer = request.into_response(answer.finish());
        tell(answer.headers_mut(), allowed);
        return Ok(answer.map_into_boxed_body());
    }
    let mut answer = next.call(request).await?.map_into_boxed_body();
    if is_tagged && answer.status() == StatusCode::OK {
        let max_age = settings.and_then(|settings| settings.max_age);
        let kept = kept(max_age.unwrap_or(0), is_keyed || is_of_reader);
        answer = tagged(answer, &kept, is_random, if_none_match);
    }
    tell(answer.headers_mut(), allowed);
    Ok(answer)
}

/// The settings of a path's domain; `None`: none are set, or they cannot be read now.
async fn settings(lobby: &Lobby, path: &str) -> Option<Arc<DomainSettings>> {
    let mut segments = path.strip_prefix("/v1/domains/")?.split(['/', '?']);
    let domain = DomainName::new(segments.next()?).ok()?;
    lobby.reads()?.settings(&domain).await
}

fn is_allowed(settings: Option<&DomainSettings>, origin: &HeaderValue) -> bool {
    let origins = settings.and_then(|settings| settings.origins.as_deref());
    let mut origins = origins.unwrap_or_default().iter();
    origins.any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
}

/// Allows a page of this origin to read the answer.
fn tell(headers: &mut HeaderMap, allowed: Option<HeaderValue>) {
    let Some(origin) = allowed else {
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let may_read = HeaderValue::from_static(MAY_READ);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, may_read);
    headers.append(VARY, HeaderValue::from_static("origin"));
}

/// Whether a query names its reader.
fn names_reader(query: &str) -> bool {
    let may = query.contains("reader") || query.contains('%');
    may && Given::of(query).pairs().any(|(name, _)| name == "reader")
}

/// Whether an answer differs each time, because the query or else the domain's settings ask for a random fallback.
fn is_random(query: &str, settings: Option<&DomainSettings>) -> bool {
    let set = || {
        let defaults = settings?.defaults.as_ref()?;
        Some(defaults.get("fallback")?.as_str()? == "random")
    };
    match query
        .split('&')
        .find_map(|one| one.strip_prefix("fallback="))
    {
        Some(said) => said == "random",
        None => set() == Some(true),
    }
}

/// How long caches may keep an answer; one for a key or for one reader is private.
fn kept(max_age: u64, is_private: bool) -> String {
    let kept = match max_age {
        0 => "no-cache".to_owned(),
        seconds => format!("max-age={seconds}"),
    };
    match is_private {
        true => format!("private, {kept}"),
        false => kept,
    }
}

/// The answer with its ETag, or 304 if the client has it.
fn tagged(
    answer: ServiceResponse<BoxBody>,
    kept: &str,
    is_random: bool,
    if_none_match: Option<HeaderValue>,
) -> ServiceResponse<BoxBody> {
    let (request, answer) = answer.into_parts();
    let (mut head, body) = answer.into_parts();
    let Ok(body) = body.try_into_bytes() else {
        // A streamed answer has no tag; none of these is streamed.
        let answer = HttpResponse::InternalServerError().finish();
        return ServiceResponse::new(request, answer);
    };
    if let Ok(kept) = HeaderValue::from_str(kept) {
        head.headers_mut().insert(CACHE_CONTROL, kept);
    }
    if is_random {
        return ServiceResponse::new(request, head.set_body(BoxBody::new(body)));
    }
    let tag = tag(&body);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        head.headers_mut().insert(ETAG, tag);
    }
    if if_none_match.is_some_and(|known| is_known(&known, &tag)) {
        *head.status_mut() = StatusCode::NOT_MODIFIED;
        head.headers_mut().remove(CONTENT_TYPE);
        let nothing = BoxBody::new(Bytes::new());
        return ServiceResponse::new(request, head.set_body(nothing));
    }
    ServiceResponse::new(request, head.set_body(BoxBody::new(body)))
}

/// A hash of an answer, ignoring when its list was made.
fn tag(body: &[u8]) -> String {
    let begin = body.windows(AS_OF.len()).position(|part| part == AS_OF);
    let hash = match begin {
        None => xxh3_128(body),
        Some(begin) => {
            let rest = &body[begin..];
            let end = rest.iter().position(|byte| *byte == b',');
            let rest = end.map_or(&[][..], |end| &rest[end..]);
            xxh3_128(&[&body[..begin], rest].concat())
        }
    };
    format!("\"{hash:032x}\"")
}

/// Whether one of the client's tags is this one; weak and strong tags compare alike.
pub(super) fn is_known(known: &HeaderValue, tag: &str) -> bool {
    let known = known.to_str().unwrap_or_default().split(',');
    let mut known = known.map(|one| one.trim().trim_start_matches("W/"));
    known.any(|one| one == "*" || one == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_random_where_the_query_or_else_the_domain_says_so() {
        let set = |fallback: &str| DomainSettings {
            defaults: serde_json::from_value(serde_json::json!({ "fallback": fallback })).ok(),
            ..DomainSettings::default()
        };
        assert!(is_random("limit=3&fallback=random", None));
        assert!(is_random("limit=3", Some(&set("random"))));
        assert!(!is_random("fallback=none", Some(&set("random"))));
        assert!(!is_random("limit=3", Some(&set("newest"))));
        assert!(!is_random("limit=3", Some(&DomainSettings::default())));
    }

    #[test]
    fn a_tag_depends_on_all_but_when_the_list_was_made() {
        let body = |at: &str, id: &str| format!(r#"{{"id":"{id}","as_of":{at},"similar":[1,2]}}"#);
        let tag = |at: &str, id: &str| tag(body(at, id).as_bytes());
        let one = tag(r#""2026-11-23T09:00:00.410Z""#, "a");
        assert_eq!(one, tag(r#""2026-11-24T09:00:00.410Z""#, "a"));
        assert_eq!(one, tag("null", "a"));
        assert_ne!(one, tag("null", "b"));
        assert_ne!(
            tag("null", r#"\"as_of\":1,\""#),
            tag("null", r#"\"as_of\":2,\""#)
        );
    }

    #[test]
    fn a_client_may_have_several() {
        let known = |said: &'static str| is_known(&HeaderValue::from_static(said), "\"a\"");
        assert!(known("\"a\"") && known("\"b\", W/\"a\"") && known("*"));
        assert!(!known("\"b\"") && !known("a"));
    }

    #[test]
    fn origins_are_those_that_are_set() {
        let settings = |origins: &[&str]| DomainSettings {
            origins: Some(origins.iter().map(|one| (*one).to_owned()).collect()),
            ..DomainSettings::default()
        };
        let is_allowed = |settings: Option<&DomainSettings>| {
            is_allowed(settings, &HeaderValue::from_static("https://a.example"))
        };
        assert!(is_allowed(Some(&settings(&["https://a.example"]))));
        assert!(is_allowed(Some(&settings(&["*"]))));
        assert!(!is_allowed(Some(&settings(&[
            "https://b.example",
            "https://a.example:444"
        ]))));
        assert!(!is_allowed(Some(&DomainSettings::default())) && !is_allowed(None));
    }
}
