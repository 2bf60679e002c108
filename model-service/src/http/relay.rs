//! Asks the owner of a domain for what only the owner knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use kindred_api::problem::ProblemKind;
use kindred_shared::DomainName;
use tokio::sync::Semaphore;

use super::error::Error;
use crate::client::{self, Http, Response, Trust};
use crate::keys::{Peers, SIGNATURE, Signed};
use crate::owners::{OwnerLocation, Owners};

/// Header of requests between model services: such a request is not passed on any further.
const PROXIED: &str = "x-kindred-proxied";
/// Header of such requests that names who asked for a change, for the log of the domain. It is signed with the request.
pub(super) const BY: &str = "x-kindred-by";
/// When to retry for a domain without an owner, in seconds.
const RETRY_S: u32 = 2;
/// Concurrent requests to owners.
const ASKING: usize = 64;
/// Longest wait for an owner's answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Longest wait for a query, including waking the domain and computing.
const QUERY: Duration = Duration::from_secs(15);

/// Longest wait for an answer that could be read from the store instead.
const SOON: Duration = Duration::from_secs(1);

/// For how long an owner that did not answer in that time is skipped.
const SILENT: Duration = Duration::from_secs(2);

/// How to reach other instances: the same way as this one is reached.
#[derive(Debug, Clone)]
pub(crate) struct Others {
    /// Signs requests to them.
    pub(crate) peers: Option<Arc<Peers>>,
    /// Which certificates are trusted.
    pub(crate) trust: Trust,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// Asks owners.
pub(crate) struct Relay {
    http: Http,
    soon: Http,
    queries: Http,
    asking: Semaphore,
    /// Signs requests, if instances share a key.
    peers: Option<Arc<Peers>>,
    /// The scheme of their URLs.
    scheme: &'static str,
    /// Owners that did not answer quickly, and until when they are skipped.
    silent: Mutex<HashMap<String, Instant>>,
}

impl Relay {
    pub(crate) fn new(others: Others) -> Self {
        let Others {
            peers,
            trust,
            scheme,
        } = others;
        Self {
            peers,
            scheme,
            http: trust.with_deadline(ANSWER),
            soon: trust.with_deadline(SOON),
            queries: trust.with_deadline(QUERY),
            asking: Semaphore::new(ASKING),
            silent: Mutex::default(),
        }
    }

    /// An owner's answer to a GET of this path, whatever it is.
    pub(crate) async fn ask(&self, address: &str, path: &str) -> Result<Response, Error> {
        let headers = self.headers(address, &Method::GET, path, b"", None);
        let (http, url) = (self.http.clone(), self.url(address, path));
        self.answer(address, move || http.get(&url, &as_texts(&headers)))
            .await
    }

    fn url(&self, address: &str, path: &str) -> String {
        format!("{}://{address}{path}", self.scheme)
    }

    /// Additional headers for an owner. The client's key is not sent: its grants have been checked
    /// here.
    fn headers(
        &self,
        address: &str,
        method: &Method,
        path: &str,
        body: &[u8],
        by: Option<&str>,
    ) -> Headers {
        let mut headers = vec![(PROXIED, "1".to_owned())];
        headers.extend(by.map(|by| (BY, by.to_owned())));
        let signed = Signed {
            to: address,
            method: method.as_str(),
            path: &signed_path(path, by),
        };
        let signature = self
            .peers
            .as_ref()
            .and_then(|peers| peers.sign(signed, body));
        headers.extend(signature.map(|signature| (SIGNATURE, signature)));
        headers
    }

    /// An owner's answer to a GET that the store could answer, too. An owner that did not answer is
    /// skipped for a while: waiting for it would delay requests to others.
    pub(crate) async fn ask_soon(&self, address: &str, path: &str) -> Option<Response> {
        let is_silent = self.silent().get(address).copied();
        if is_silent.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let headers = self.headers(address, &Method::GET, path, b"", None);
        let (http, url) = (self.soon.clone(), self.url(address, path));
        let answer = self
            .answer(address, move || http.get(&url, &as_texts(&headers)))
            .await;
        match &answer {
            Ok(_) if is_silent.is_some() => {
                self.silent().remove(address);
            }
            Ok(_) => {}
            Err(_) => {
                self.silent()
                    .insert(address.to_owned(), Instant::now() + SILENT);
            }
        }
        answer.ok()
    }

    fn silent(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // Every change leaves the map consistent.
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An owner's answer to a query: a GET of this path and query, or a POST to it.
    pub(crate) async fn query(
        &self,
        address: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response, Error> {
        let method = if body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let headers = self.headers(
            address,
            &method,
            path,
            body.as_deref().unwrap_or_default(),
            None,
        );
        let (http, url) = (self.queries.clone(), self.url(address, path));
        self.answer(address, move || match body {
            None => http.get(&url, &as_texts(&headers)),
            Some(body) => http.post_with(&url, "application/json", &body, &as_texts(&headers)),
        })
        .await
    }

    /// An owner's answer to a change.
    pub(crate) async fn change(&self, address: &str, change: Change) -> Result<Response, Error> {
        let body = change.body.as_deref().unwrap_or_default();
        let headers = self.headers(
            address,
            &change.method,
            &change.path,
            body,
            change.by.as_deref(),
        );
        let (http, url) = (self.http.clone(), self.url(address, &change.path));
        let kind = "application/json";
        self.answer(address, move || {
            let headers = as_texts(&headers);
            match (change.method, change.body) {
                (Method::PATCH, Some(body)) => http.patch_with(&url, kind, &body, &headers),
                (_, Some(body)) => http.put_with(&url, kind, &body, &headers),
                (_, None) => http.delete_with(&url, &headers),
            }
        })
        .await
    }

    /// Sends a request when it is its turn, on a thread that may block.
    async fn answer(
        &self,
        address: &str,
        ask: impl FnOnce() -> Result<Response, client::Error> + Send + 'static,
    ) -> Result<Response, Error> {
        let silent = |detail: String| {
            Error::new(
                ProblemKind::NotReady,
                format!("The domain's owner at {address} does not answer: {detail}. Try again."),
            )
            .retry_after(RETRY_S)
        };
        let Ok(_turn) = self.asking.acquire().await else {
            return Err(silent("the service is stopping".to_owned()));
        };
        match web::block(ask).await {
            Ok(Ok(answer)) if answer.status == StatusCode::UNAUTHORIZED.as_u16() => Err(silent(
                "it rejects this instance's signature; all instances need the same cluster_key, \
                 and clocks less than a minute apart"
                    .to_owned(),
            )),
            Ok(Ok(answer)) if answer.is_redirection() => {
                Err(silent("it answered with a redirect".to_owned()))
            }
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(silent(error.to_string())),
            Err(error) => Err(silent(error.to_string())),
        }
    }

    /// The answer of a domain's owner, if that is another instance. A request from another model
    /// service is not passed on.
    pub(crate) async fn of_owner(
        &self,
        owners: &Owners,
        request: &HttpRequest,
        domain: &DomainName,
    ) -> Result<Option<HttpResponse>, Error> {
        match owners.of_domain(domain).await? {
            OwnerLocation::Local => Ok(None),
            OwnerLocation::Remote(owner) if !is_proxied(request.headers()) => {
                let answer = self.ask(&owner, request.uri().path()).await?;
                Ok(Some(as_ours(&answer)))
            }
            OwnerLocation::Remote(_) | OwnerLocation::Unowned => Err(Error::new(
                ProblemKind::NotReady,
                "No model service owns this domain's partition at the moment; one takes it \
                 within seconds. Try again.",
            )
            .retry_after(RETRY_S)),
        }
    }
}

/// Headers of a request.
type Headers = Vec<(&'static str, String)>;

fn as_texts(headers: &Headers) -> Vec<(&str, &str)> {
    let pairs = headers.iter();
    pairs.map(|(name, value)| (*name, value.as_str())).collect()
}

/// A change requested from the owner of a domain.
pub(crate) struct Change {
    /// Its path and query.
    pub(crate) path: String,
    /// PUT, PATCH or DELETE.
    pub(crate) method: Method,
    /// The body; none for DELETE.
    pub(crate) body: Option<Vec<u8>>,
    /// Who asked for it, if the log of the domain will name them.
    pub(crate) by: Option<String>,
}

/// The path of a request in the form that is signed: followed by who asked for the change, if that is given. No path
/// contains a line end.
pub(super) fn signed_path(path: &str, by: Option<&str>) -> String {
    match by {
        Some(by) => format!("{path}\n{BY}: {by}"),
        None => path.to_owned(),
    }
}

/// Whether another model service sent the request.
pub(crate) fn is_proxied(headers: &HeaderMap) -> bool {
    headers.contains_key(PROXIED)
}

/// Passes an answer on as this instance's own.
pub(crate) fn as_ours(answer: &Response) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for name in [CONTENT_TYPE, RETRY_AFTER] {
        if let Some(value) = answer.header(name.as_str()) {
            response.insert_header((name, value));
        }
    }
    response.body(answer.body.clone())
}
