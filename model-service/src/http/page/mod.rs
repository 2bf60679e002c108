//! The page: views of the API's answers, each with its own URL.
//!
//! It runs before [`super::access`]: a view queries the API ([`ask`]) with the viewer's identity,
//! passing every check. So it shows nothing that viewers could not query themselves. Forms that
//! change something carry a token ([`crate::keys::Sessions`]), and so do the API requests they
//! cause.

mod ask;
mod door;
mod form;
mod views;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, VARY,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use kindred_web::assets::Asset;
use kindred_web::{Frame, Theme, Who};

use self::ask::Ask;
use super::access;
use super::parts::Lobby;
use super::query::Given;

/// Content security policy of views: only their own resources.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// When to reload a view that is not ready, in seconds.
const RETRY_S: &str = "2";
/// Stores whether the viewer prefers light or dark.
const THEME: &str = "kindred-theme";

/// A view, by its URL. Names are as they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum View {
    Domains,
    Items(String),
    Item(String, String),
    Text(String),
    Map(String),
    Experiments(String),
    Settings(String),
    Activity,
    Keys,
    SignIn,
    SignOut,
}

impl View {
    /// The view of a request. `None`: it is for the API.
    fn of(request: &ServiceRequest) -> Option<Self> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_sent = *request.method() == Method::POST;
        let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let view = match segments.as_slice() {
            // Clients that do not ask for HTML get plain text.
            [""] if is_read && wants_page(request.headers()) => Self::Domains,
            ["domains", domain] if is_read => Self::Items(name(domain)?),
            ["domains", domain, "items", id] if is_read => Self::Item(name(domain)?, name(id)?),
            ["domains", domain, "text"] if is_read || is_sent => Self::Text(name(domain)?),
            ["domains", domain, "map"] if is_read => Self::Map(name(domain)?),
            ["domains", domain, "experiments"] if is_read => Self::Experiments(name(domain)?),
            ["domains", domain, "settings"] if is_read || is_sent => Self::Settings(name(domain)?),
            ["activity"] if is_read => Self::Activity,
            ["keys"] if is_read || is_sent => Self::Keys,
            ["sign-in"] if is_read || is_sent => Self::SignIn,
            ["sign-out"] if is_sent => Self::SignOut,
            _ => return None,
        };
        Some(view)
    }

    /// Its label in metrics.
    fn label(&self) -> &'static str {
        match self {
            Self::Domains => "/",
            Self::Items(_) => "/domains/{domain}",
            Self::Item(..) => "/domains/{domain}/items/{id}",
            Self::Text(_) => "/domains/{domain}/text",
            Self::Map(_) => "/domains/{domain}/map",
            Self::Experiments(_) => "/domains/{domain}/experiments",
            Self::Settings(_) => "/domains/{domain}/settings",
            Self::Activity => "/activity",
            Self::Keys => "/keys",
            Self::SignIn => "/sign-in",
            Self::SignOut => "/sign-out",
        }
    }
}

/// The label of a page request in metrics, besides the API's routes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label(pub(super) &'static str);

/// An answer of the page.
enum Shown {
    /// A view.
    Page(StatusCode, String),
    /// A redirect, perhaps with a new cookie.
    Elsewhere(String, Option<String>),
}

/// Answers requests for the page, and passes on the others.
pub(crate) async fn serve(
    lobby: web::Data<Lobby>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if matches!(*request.method(), Method::GET | Method::HEAD)
        && let Some(asset) = Asset::at(request.uri().path())
    {
        let answer = file(asset, request.query_string());
        return Ok(labelled(request.into_response(answer), asset.path));
    }
    let Some(view) = View::of(&request) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let label = view.label();
    let visit = Visit::new(&lobby, &request);
    let mut request = request;
    let fields = match form::fields(&mut request, &view).await {
        Ok(fields) => fields,
        Err(problem) => {
            let answer = respond(&visit, views::refused(&visit, &problem));
            return Ok(labelled(request.into_response(answer), label));
        }
    };
    let mut ask = Ask::new(request, next, visit.frame.token.clone());
    let shown = match &view {
        View::SignIn | View::SignOut => door::shown(&lobby, &visit, &view, &fields),
        _ => views::shown(&lobby, &visit, &view, &fields, &mut ask).await?,
    };
    let answer = respond(&visit, shown);
    Ok(labelled(ServiceResponse::new(ask.end()?, answer), label))
}

fn labelled(answer: ServiceResponse<BoxBody>, label: &'static str) -> ServiceResponse<BoxBody> {
    let mut answer = answer;
    answer.response_mut().extensions_mut().insert(Label(label));
    answer
}

/// The viewer, what they view, and how.
struct Visit {
    frame: Frame,
    /// Whether something is changed.
    is_sent: bool,
    /// Whether the request came over TLS.
    is_https: bool,
    /// The session cookie.
    cookie: Option<String>,
}

impl Visit {
    fn new(lobby: &Lobby, request: &ServiceRequest) -> Self {
        let headers = request.headers();
        let (keys, sessions) = (&lobby.guard.keys, &lobby.guard.sessions);
        let session = access::session(lobby, headers);
        let holder = session
            .as_ref()
            .and_then(|session| keys.holder_of(&session.key).ok());
        let who = match &holder {
            _ if keys.is_open() => Who::Anyone,
            Some(holder) => Who::Key {
                name: holder.id.clone(),
                is_admin: holder.grants.is_admin(),
            },
            None => Who::Nobody,
        };
        // Without randomness there is no token, and an empty one is never accepted.
        let token = match &session {
            Some(session) => session.token.as_str().to_owned(),
            None => sessions
                .of_nobody()
                .map(|token| token.as_str().to_owned())
                .unwrap_or_default(),
        };
        let is_https = lobby.guard.is_https
            || text(headers, &HeaderName::from_static("x-forwarded-proto")) == Some("https");
        let scheme = if is_https { "https" } else { "http" };
        let host = text(headers, &HOST).unwrap_or(&lobby.guard.address);
        let here = request
            .uri()
            .path_and_query()
            .map_or("/", |here| here.as_str());
        let theme = access::cookies(headers).find(|(name, _)| *name == THEME);
        Self {
            frame: Frame {
                here: here.to_owned(),
                base: format!("{scheme}://{host}"),
                theme: Theme::of(theme.map_or("", |(_, theme)| theme)),
                who,
                token,
                version: env!("CARGO_PKG_VERSION"),
            },
            is_sent: *request.method() == Method::POST,
            is_https,
            cookie: access::cookie(headers).map(str::to_owned),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a browser asks: browsers accept HTML explicitly, other clients accept anything.
fn wants_page(headers: &HeaderMap) -> bool {
    text(headers, &ACCEPT).is_some_and(|accept| accept.to_ascii_lowercase().contains("text/html"))
}

/// The parameters of a view.
fn parameters(query: &str) -> Vec<(String, String)> {
    Given::of(query)
        .pairs()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn respond(visit: &Visit, shown: Shown) -> HttpResponse {
    let (status, page) = match shown {
        Shown::Page(status, page) => (status, page),
        Shown::Elsewhere(to, cookie) => {
            let mut answer = HttpResponse::SeeOther();
            if let Some(cookie) = cookie {
                answer.insert_header((SET_COOKIE, cookie));
            }
            return guarded(&mut answer).insert_header((LOCATION, to)).finish();
        }
    };
    let mut answer = HttpResponse::build(status);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.insert_header((RETRY_AFTER, RETRY_S));
    }
    // Other clients get something else at "/".
    if visit.frame.here.starts_with("/?") || visit.frame.here == "/" {
        answer.insert_header((VARY, "accept"));
    }
    guarded(&mut answer)
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .body(page)
}

/// The headers of every view. Caching is forbidden for all answers that do not allow it.
fn guarded(answer: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    answer
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "same-origin"))
        .insert_header(("cross-origin-opener-policy", "same-origin"))
        .insert_header(("cross-origin-resource-policy", "same-origin"))
        .insert_header(("x-frame-options", "DENY"))
}

/// A static file; if requested by its content hash, it may be cached forever.
fn file(asset: &Asset, query: &str) -> HttpResponse {
    let kept = if asset.is_as_named(query) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let mut answer = HttpResponse::Ok();
    guarded(&mut answer)
        .insert_header((CACHE_CONTROL, HeaderValue::from_static(kept)))
        .insert_header((CONTENT_TYPE, asset.content_type))
        .body(asset.bytes)
}
