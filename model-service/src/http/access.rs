//! Access control by keys, as soon as there is one.
//!
//! A domain for which a key has no grant of any kind is answered like one that does not exist,
//! before anything about it is read: both answers take the same path.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use kindred_api::problem::ProblemKind;
use kindred_domain::keys::Right;
use kindred_shared::DomainName;
use kindred_shared::event::NOBODY;
use tracing::info;

use super::connection::Requests;
use super::error::Error;
use super::guard::SignedBody;
use super::parts::Lobby;
use super::path::{InDomain, Named};
use super::readiness::not_ready;
use super::relay::{BY, is_proxied, signed_path};
use super::routes::Routes;
use crate::keys::{Holder, NotKnown, SIGNATURE, Session, Signed};
use crate::metrics::Metrics;

/// The session cookie of the page. The first name is used over HTTPS; browsers refuse to let plain
/// HTTP set it.
pub(super) const COOKIES: [&str; 2] = ["__Host-kindred", "kindred"];
/// The header in which a signed-in client sends its token along with a change.
pub(super) const TOKEN: &str = "x-kindred-token";

/// What a request requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Any key.
    Key,
    /// The grant to read metrics.
    Metrics,
    /// The grant of an administrator.
    Admin,
    /// One of these grants for its domain.
    OneOf(&'static [Right]),
    /// The grant to read its domain, unless that is public.
    Query,
}

/// What each route requires; `None`: not listed.
pub(super) fn need(route: &str, method: &Method) -> Option<Need> {
    let below = route.strip_prefix("/v1/domains/{domain}");
    let need = match (below.unwrap_or(route), method.as_str()) {
        ("/" | "/embed.js" | "/healthz" | "/readyz", "GET") => Need::Nothing,
        ("/openapi.json" | "/v1/domains", "GET") => Need::Key,
        ("/metrics" | "/v1/activity" | "/v1/activity/stream" | "/v1/workers", "GET") => {
            Need::Metrics
        }
        ("/v1/keys", "GET" | "POST") | ("/v1/keys/{id}", "GET" | "DELETE") => Need::Admin,
        ("" | "/experiments" | "/experiments/{name}" | "/models" | "/models/{name}", "GET") => {
            Need::OneOf(&[Right::Read, Right::Manage])
        }
        ("/experiments/{name}", "PUT" | "DELETE") => Need::OneOf(&[Right::Manage]),
        ("/feedback", "POST") => Need::OneOf(&[Right::Write]),
        ("", "PUT" | "DELETE") | ("/export" | "/log", "GET") | ("/repair", "POST") => {
            Need::OneOf(&[Right::Manage])
        }
        ("/models/{name}", "PUT" | "DELETE") | ("/models/{name}:activate", "POST") => {
            Need::OneOf(&[Right::Manage])
        }
        ("/items" | "/items/{id}" | "/map", "GET") | ("/scores", "POST") => {
            Need::OneOf(&[Right::Read])
        }
        ("/items/{id}", "PUT" | "PATCH" | "DELETE") | ("/items:batch", "POST") => {
            Need::OneOf(&[Right::Write])
        }
        ("/items/{id}/similar", "GET") | ("/similar" | "/similar:batch", "POST") => Need::Query,
        _ => return None,
    };
    Some(need)
}

/// Who sent the request, for handlers whose answers depend on it.
#[derive(Debug, Clone)]
pub(crate) enum Asker {
    /// Anyone: everyone may know everything, or the request reveals nothing about domains.
    Anyone,
    /// Another instance, which has checked that the original client has the grant, and may name that client.
    Peer(Option<String>),
    /// The holder of this key.
    Holder(Arc<Holder>),
}

impl Asker {
    /// Whether they may know that a domain exists.
    pub(crate) fn knows(&self, domain: &DomainName) -> bool {
        match self {
            Self::Anyone | Self::Peer(_) => true,
            Self::Holder(holder) => holder.grants.know(domain),
        }
    }

    /// Its name in the log of a domain: the name of a key, or [`NOBODY`].
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Anyone | Self::Peer(None) => NOBODY,
            Self::Peer(Some(name)) => name,
            Self::Holder(holder) => &holder.id,
        }
    }
}

/// Whether another instance sent the request, which has already applied the domain's quotas. With
/// keys, the header alone proves nothing: instances sign their requests.
pub(super) fn is_let_in(request: &HttpRequest) -> bool {
    let holds_key = matches!(request.extensions().get(), Some(Asker::Holder(_)));
    is_proxied(request.headers()) && !holds_key
}

impl FromRequest for Asker {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let asker = request.extensions().get::<Self>().cloned();
        ready(Ok(asker.unwrap_or(Self::Anyone)))
    }
}

/// Lets a request in, or answers it.
pub(crate) async fn check(
    lobby: web::Data<Lobby>,
    routes: web::Data<Routes>,
    metrics: web::Data<Metrics>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let need = needed(&routes, &request);
    let asker = match entered(&lobby, need, &request).await {
        Ok(asker) => asker,
        Err(error) => {
            let mut refused = request.error_response(error);
            if refused.status().as_u16() == 401 {
                let bearer = HeaderValue::from_static("Bearer");
                refused.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            }
            return Ok(refused);
        }
    };
    let callers = &lobby.guard.callers;
    let from = request.peer_addr().map(|from| from.ip());
    if let (Asker::Holder(holder), Some(connection)) =
        (&asker, request.request().conn_data::<Rc<Requests>>())
        && let Err(full) = connection.is_of(&holder.id, || callers.connect(&holder.id, from))
    {
        let refused = metrics
            .connections_refused
            .with_label_values(&["connections_per_key"]);
        refused.inc();
        let mut refused = request.error_response(full);
        let head = refused.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
        return Ok(refused);
    }
    let turn = match &asker {
        Asker::Holder(holder) => callers.enter(&holder.id).map(Some),
        Asker::Anyone => Ok(from.and_then(|from| callers.come(from))),
        // The sending instance has counted the client.
        Asker::Peer(_) => Ok(None),
    };
    match turn {
        Ok(Some(turn)) => {
            request.extensions_mut().insert(turn);
        }
        Ok(None) => {}
        Err(busy) => return Ok(request.error_response(busy)),
    }
    let told = audited(need, &asker, &request);
    request.extensions_mut().insert(asker);
    let answer = next.call(request).await?.map_into_boxed_body();
    if let Some((key, what)) = told {
        let status = answer.status().as_u16();
        info!(key, what, status, "asked with a key");
    }
    Ok(answer)
}

/// What is logged about a request: who changes settings, domains or keys.
fn audited(need: Need, asker: &Asker, request: &ServiceRequest) -> Option<(String, String)> {
    let is_told = match need {
        Need::Admin => true,
        Need::OneOf(rights) => rights.contains(&Right::Manage),
        Need::Nothing | Need::Key | Need::Metrics | Need::Query => false,
    };
    match asker {
        Asker::Holder(holder) if is_told && *request.method() != Method::GET => {
            let path: String = request.path().chars().take(200).collect();
            Some((holder.id.clone(), format!("{} {path}", request.method())))
        }
        Asker::Holder(_) | Asker::Anyone | Asker::Peer(_) => None,
    }
}

fn needed(routes: &Routes, request: &ServiceRequest) -> Need {
    if *request.method() == Method::OPTIONS {
        return Need::Nothing;
    }
    let method = match *request.method() {
        Method::HEAD => &Method::GET,
        _ => request.method(),
    };
    match routes.of(request.request()) {
        // Unlisted routes are for administrators.
        Some(route) if route.parameters(method).is_some() => {
            need(&route.path, method).unwrap_or(Need::Admin)
        }
        // Unknown paths and methods reveal no domain.
        _ => Need::Key,
    }
}

async fn entered(lobby: &Lobby, need: Need, request: &ServiceRequest) -> Result<Asker, Error> {
    let keys = &lobby.guard.keys;
    if need == Need::Nothing || keys.is_open() {
        return Ok(Asker::Anyone);
    }
    if let Some(signature) = request.headers().get(SIGNATURE) {
        return signed(lobby, signature, request);
    }
    let holder = match bearer(request.headers()) {
        Some(secret) => keys.holder(secret),
        None => match session(lobby, request.headers()) {
            Some(session) => {
                is_meant(&session, request)?;
                keys.holder_of(&session.key)
            }
            None if keys.is_read() => Err(NotKnown::Bad),
            None => Err(NotKnown::NotRead),
        },
    };
    // The domain, exactly as the handler reads it. An invalid name has no grant, and no handler
    // accepts it.
    let domain = || {
        let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        InDomain::read(&segments).map(|named| named.domain)
    };
    let holder = match holder {
        Ok(holder) => holder,
        Err(NotKnown::NotRead) => return Err(not_ready(lobby.readiness.reasons())),
        Err(NotKnown::Bad) => {
            if need == Need::Query && is_public(lobby, &domain()?).await {
                return Ok(Asker::Anyone);
            }
            return Err(no_key());
        }
    };
    let rights = match need {
        Need::Nothing | Need::Key => return Ok(Asker::Holder(holder)),
        Need::Metrics if holder.grants.allow_metrics() => return Ok(Asker::Holder(holder)),
        Need::Admin if holder.grants.is_admin() => return Ok(Asker::Holder(holder)),
        Need::Metrics => return Err(not_granted("metrics")),
        Need::Admin => return Err(not_granted("admin")),
        Need::OneOf(rights) => rights,
        Need::Query => &[Right::Read],
    };
    let domain = domain()?;
    let allow = |right: &Right| holder.grants.allow(*right, &domain);
    if rights.iter().any(allow) {
        return Ok(Asker::Holder(holder));
    }
    if need == Need::Query && is_public(lobby, &domain).await {
        return Ok(Asker::Anyone);
    }
    if holder.grants.know(&domain) {
        return Err(not_granted(rights[0].word()));
    }
    Err(Error::unknown_domain())
}

/// Lets another instance in, which has checked that the original client has the grant.
fn signed(
    lobby: &Lobby,
    signature: &HeaderValue,
    request: &ServiceRequest,
) -> Result<Asker, Error> {
    let path = request.uri().path_and_query();
    let path = path.map_or("", |path| path.as_str());
    let by = request.headers().get(BY).and_then(|by| by.to_str().ok());
    let path = signed_path(path, by);
    let signed = Signed {
        to: &lobby.guard.address,
        method: request.method().as_str(),
        path: &path,
    };
    let peers = lobby.guard.peers.as_ref();
    let body = peers.and_then(|peers| peers.body_of(signed, signature.to_str().ok()?));
    // A batch is streamed before its hash is known; instances do not send batches to each other.
    let is_batch = request.path().ends_with(":batch") && !request.path().ends_with("similar:batch");
    match body {
        Some(body) if !is_batch => {
            request.extensions_mut().insert(SignedBody(body));
            Ok(Asker::Peer(by.map(str::to_owned)))
        }
        _ => Err(Error::new(
            ProblemKind::NoKey,
            "The signature of the other instance is not valid. All instances need the same \
             cluster_key, and clocks that are less than a minute apart.",
        )),
    }
}

/// The session of the cookie. A key that is also sent takes precedence.
pub(super) fn session(lobby: &Lobby, headers: &HeaderMap) -> Option<Session> {
    lobby.guard.sessions.find(cookie(headers)?)
}

/// The session cookie of the page.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    cookies(headers).find_map(|(name, value)| COOKIES.contains(&name).then_some(value))
}

/// Every cookie of a request.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let given = headers
        .get_all(COOKIE)
        .filter_map(|given| given.to_str().ok());
    let pairs = given.flat_map(|given| given.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('='))
}

/// Browsers attach cookies by themselves, so a cookie alone may change nothing: the request must
/// also carry a token that only the page knows.
fn is_meant(session: &Session, request: &ServiceRequest) -> Result<(), Error> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let given = request
        .headers()
        .get(TOKEN)
        .and_then(|given| given.to_str().ok());
    if given.is_some_and(|given| session.token.is(given)) {
        return Ok(());
    }
    let detail = format!(
        "A cookie alone does not permit changes. Make them on the page, or send its token in the \
        header {TOKEN}."
    );
    Err(Error::new(ProblemKind::NotGranted, detail))
}

/// The secret in a request; only a single one is accepted.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(AUTHORIZATION);
    let (scheme, secret) = given.next()?.to_str().ok()?.split_once(' ')?;
    let is_one = given.next().is_none() && scheme.eq_ignore_ascii_case("bearer");
    is_one.then(|| secret.trim())
}

async fn is_public(lobby: &Lobby, domain: &DomainName) -> bool {
    let Some(reads) = lobby.reads() else {
        return false;
    };
    let settings = reads.settings(domain).await;
    settings.is_some_and(|settings| settings.public == Some(true))
}

fn no_key() -> Error {
    Error::new(
        ProblemKind::NoKey,
        "Send a key that exists and has not expired: Authorization: Bearer kk_… An administrator \
         creates one with `kindred keys create`.",
    )
}

fn not_granted(word: &str) -> Error {
    Error::new(
        ProblemKind::NotGranted,
        format!(
            "This key does not allow this: it needs the grant {word}. An administrator creates \
            keys."
        ),
    )
}
