//! Asking the owner of a domain for what only the owner knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use kindred_api::problem::Kind;
use kindred_shared::DomainName;
use tokio::sync::Semaphore;

use super::error::Error;
use crate::client::{self, Http, Response, Trust};
use crate::keys::{Peers, SIGNATURE, Signed};
use crate::owners::{OwnerLocation, Owners};

/// Header of a request that one model service asks of another: it is answered there or not at all.
const PROXIED: &str = "x-kindred-proxied";
/// When to ask again for what nobody owns, in seconds.
const RETRY_S: u32 = 2;
/// Requests to owners at once.
const ASKING: usize = 64;
/// How long an owner may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long it may take over a query: to wake the domain, and to compute.
const QUERY: Duration = Duration::from_secs(15);

/// How long it may take over what can be read from the store instead.
const SOON: Duration = Duration::from_secs(1);

/// For how long an owner that did not answer so is not asked again.
const SILENT: Duration = Duration::from_secs(2);

/// How other instances are asked: as this one is itself.
#[derive(Debug, Clone)]
pub(crate) struct Others {
    /// Signs what is asked of them.
    pub(crate) peers: Option<Arc<Peers>>,
    /// Which certificates are believed.
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
    /// Signs what is asked, as soon as instances share a key.
    peers: Option<Arc<Peers>>,
    /// How their addresses begin.
    scheme: &'static str,
    /// Owners that did not answer soon, and until when they are not asked so.
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

    /// What an owner answers to a GET of this path, whatever it is.
    pub(crate) async fn ask(&self, address: &str, path: &str) -> Result<Response, Error> {
        let headers = self.headers(address, &Method::GET, path, b"");
        let (http, url) = (self.http.clone(), self.url(address, path));
        self.answer(address, move || http.get(&url, &as_texts(&headers)))
            .await
    }

    fn url(&self, address: &str, path: &str) -> String {
        format!("{}://{address}{path}", self.scheme)
    }

    /// What an owner is sent beside the request itself. A client's key is not: that it grants what is asked has
    /// been seen to here.
    fn headers(&self, address: &str, method: &Method, path: &str, body: &[u8]) -> Headers {
        let mut headers = vec![(PROXIED, "1".to_owned())];
        let signed = Signed {
            to: address,
            method: method.as_str(),
            path,
        };
        let signature = self
            .peers
            .as_ref()
            .and_then(|peers| peers.sign(signed, body));
        headers.extend(signature.map(|signature| (SIGNATURE, signature)));
        headers
    }

    /// What an owner answers to a GET that the store can answer, too. One that did not answer is not asked
    /// for a while: those who wait for it would keep others from being asked.
    pub(crate) async fn ask_soon(&self, address: &str, path: &str) -> Option<Response> {
        let is_silent = self.silent().get(address).copied();
        if is_silent.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let headers = self.headers(address, &Method::GET, path, b"");
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
        // Every change leaves the map whole.
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an owner answers to a query: a GET of this path and query, or a POST there.
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
        let headers = self.headers(address, &method, path, body.as_deref().unwrap_or_default());
        let (http, url) = (self.queries.clone(), self.url(address, path));
        self.answer(address, move || match body {
            None => http.get(&url, &as_texts(&headers)),
            Some(body) => http.post_with(&url, "application/json", &body, &as_texts(&headers)),
        })
        .await
    }

    /// What an owner answers to a change.
    pub(crate) async fn change(&self, address: &str, change: Change) -> Result<Response, Error> {
        let body = change.body.as_deref().unwrap_or_default();
        let headers = self.headers(address, &change.method, &change.path, body);
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

    /// Asks when it is its turn, on a thread that may wait.
    async fn answer(
        &self,
        address: &str,
        ask: impl FnOnce() -> Result<Response, client::Error> + Send + 'static,
    ) -> Result<Response, Error> {
        let silent = |detail: String| {
            Error::new(
                Kind::NotReady,
                format!("The domain's owner at {address} does not answer: {detail}. Ask again."),
            )
            .retry_after(RETRY_S)
        };
        let Ok(_turn) = self.asking.acquire().await else {
            return Err(silent("the service is stopping".to_owned()));
        };
        match web::block(ask).await {
            Ok(Ok(answer)) if answer.status == StatusCode::UNAUTHORIZED.as_u16() => Err(silent(
                "it does not take this instance's signature; all need the same cluster_key, and clocks less than \
                 a minute apart"
                    .to_owned(),
            )),
            Ok(Ok(answer)) if answer.is_redirection() => {
                Err(silent("it only says where else to ask".to_owned()))
            }
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(silent(error.to_string())),
            Err(error) => Err(silent(error.to_string())),
        }
    }

    /// The answer of a domain's owner, where it is another. What was asked by another model service
    /// is asked no further.
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
                Kind::NotReady,
                "No model service owns this domain's partition now; one takes it within seconds. \
                 Ask again.",
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

/// A change that the owner of a domain is asked for.
pub(crate) struct Change {
    /// Its path and query.
    pub(crate) path: String,
    /// PUT, PATCH or DELETE.
    pub(crate) method: Method,
    /// What is sent; none with DELETE.
    pub(crate) body: Option<Vec<u8>>,
}

/// Whether another model service asks.
pub(crate) fn is_proxied(headers: &HeaderMap) -> bool {
    headers.contains_key(PROXIED)
}

/// The same answer, as ours.
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
