//! Asking the owner of a domain for what only the owner knows.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use kindred_api::problem::Kind;
use kindred_shared::DomainName;
use tokio::sync::Semaphore;

use super::error::Error;
use crate::client::{Answer, Http};
use crate::owners::{Owners, Whose};

/// Header of a request that one model service asks of another: it is answered there or not at all.
const PROXIED: &str = "x-kindred-proxied";
/// When to ask again for what nobody owns, in seconds.
const RETRY_S: u32 = 2;
/// Requests to owners at once.
const ASKING: usize = 64;
/// How long an owner may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Asks owners.
pub(crate) struct Relay {
    http: Http,
    asking: Semaphore,
}

impl Relay {
    pub(crate) fn new() -> Self {
        Self {
            http: Http::with_deadline(ANSWER),
            asking: Semaphore::new(ASKING),
        }
    }

    /// What an owner answers to a GET of this path, whatever it is.
    pub(crate) async fn ask(&self, address: &str, path: &str) -> Result<Answer, Error> {
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
        let (http, url) = (self.http.clone(), format!("http://{address}{path}"));
        match web::block(move || http.get(&url, &[(PROXIED, "1")])).await {
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
            Whose::Ours => Ok(None),
            Whose::Theirs(owner) if !is_proxied(request.headers()) => {
                let answer = self.ask(&owner, request.uri().path()).await?;
                Ok(Some(as_ours(&answer)))
            }
            Whose::Theirs(_) | Whose::Nobody => Err(Error::new(
                Kind::NotReady,
                "No model service owns this domain's partition now; one takes it within seconds. \
                 Ask again.",
            )
            .retry_after(RETRY_S)),
        }
    }
}

/// Whether another model service asks.
pub(crate) fn is_proxied(headers: &HeaderMap) -> bool {
    headers.contains_key(PROXIED)
}

/// The same answer, as ours.
fn as_ours(answer: &Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for name in [CONTENT_TYPE, RETRY_AFTER] {
        if let Some(value) = answer.header(name.as_str()) {
            response.insert_header((name, value));
        }
    }
    response.body(answer.body.clone())
}
