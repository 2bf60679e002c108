//! Asking a program over HTTP.

use std::time::Duration;

use kindred_api::batch::BatchAnswer;
use kindred_api::domain::{DomainAnswer, DomainsAnswer};
use kindred_api::path;
use kindred_api::similar::{SimilarAnswer, SimilarItem};
use model_service::client::{self, Error, Http};
use model_service::config::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::deadline::wait_for;

/// Longest a single answer may take: longer than the program itself waits for its store.
const ANSWER: Duration = Duration::from_secs(150);

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) body: String,
}

impl Response {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        self.read()
    }

    /// The body as what it must be.
    #[track_caller]
    pub(crate) fn read<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| {
            panic!("something else ({error}): {} {}", self.status, self.body)
        })
    }

    /// Asserts the status.
    #[track_caller]
    pub(crate) fn with_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// Speaks to one program.
#[derive(Clone)]
pub(crate) struct Client {
    http: Http,
    base: String,
}

impl Client {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            http: Http::with_deadline(ANSWER),
            base: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Speaks to a program that is asked in another way.
    pub(crate) fn over(http: Http, base: String) -> Self {
        Self { http, base }
    }

    /// The same program, asked with a key.
    pub(crate) fn with_key(&self, secret: &str) -> Self {
        Self {
            http: self.http.clone().with_key(Some(Secret::new(secret))),
            base: self.base.clone(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// # Errors
    /// In words, when no answer came: the program is not there, or died.
    pub(crate) fn try_get(&self, path: &str) -> Result<Response, String> {
        answer(self.http.get(&self.url(path), &[]))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.try_get(path)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &str) -> Response {
        self.try_put(path, body)
            .unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    /// # Errors
    /// In words, when no answer came: the program is not there, or died.
    pub(crate) fn try_put(&self, path: &str, body: &str) -> Result<Response, String> {
        let (url, kind) = (self.url(path), "application/json");
        answer(self.http.put(&url, kind, body.as_bytes()))
    }

    /// # Errors
    /// In words, when no answer came: the program is not there, or died.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Result<Response, String> {
        let body = body.to_string();
        let url = self.url(path);
        answer(self.http.post(&url, "application/json", body.as_bytes()))
    }

    /// Asks a path with JSON.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.try_post(path, body)
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: &str) -> Response {
        let (url, kind) = (self.url(path), "application/merge-patch+json");
        answer(self.http.patch_with(&url, kind, body.as_bytes(), &[]))
            .unwrap_or_else(|error| panic!("PATCH {path}: {error}"))
    }

    /// # Errors
    /// In words, when no answer came.
    pub(crate) fn try_delete(&self, path: &str) -> Result<Response, String> {
        answer(self.http.delete(&self.url(path)))
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Response {
        answer(self.http.delete(&self.url(path)))
            .unwrap_or_else(|error| panic!("DELETE {path}: {error}"))
    }

    /// # Errors
    /// In words, when no answer came.
    pub(crate) fn try_batch(&self, domain: &str, lines: &str) -> Result<Response, String> {
        let url = self.url(&path::batch(domain));
        answer(
            self.http
                .post(&url, "application/x-ndjson", lines.as_bytes()),
        )
    }

    /// Sends a batch whose lines are all good.
    #[track_caller]
    pub(crate) fn batch(&self, domain: &str, lines: &[String]) {
        let answer = self
            .try_batch(domain, &lines.join("\n"))
            .unwrap_or_else(|error| panic!("a batch for {domain}: {error}"))
            .with_status(200)
            .read::<BatchAnswer>();
        assert_eq!(answer.accepted, lines.len() as u64, "{answer:?}");
        assert_eq!(answer.rejected, [], "{answer:?}");
    }

    /// `/similar` of an item. `None`: 404, the item is not visible.
    #[track_caller]
    pub(crate) fn similar(&self, domain: &str, id: &str, limit: usize) -> Option<Vec<SimilarItem>> {
        let answer = self.get(&path::similar(domain, id, limit));
        if answer.status == 404 {
            return None;
        }
        Some(answer.with_status(200).read::<SimilarAnswer>().similar)
    }

    /// Every domain.
    ///
    /// # Errors
    /// In words, when no answer came.
    pub(crate) fn try_domains(&self) -> Result<Vec<DomainAnswer>, String> {
        let answer = self.try_get(path::DOMAINS)?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.body));
        }
        Ok(answer.read::<DomainsAnswer>().domains)
    }

    /// Waits until every domain is quiet: lists exact and stored.
    #[track_caller]
    pub(crate) fn wait_quiet(&self, limit: Duration) -> Vec<DomainAnswer> {
        wait_for("every domain is quiet", limit, || {
            let domains = self.try_domains()?;
            let busy: Vec<&DomainAnswer> = domains.iter().filter(|one| !one.quiet).collect();
            if busy.is_empty() {
                Ok(domains)
            } else {
                Err(format!("{busy:?}"))
            }
        })
    }

    /// Waits until a domain has so many live items. [`Self::wait_quiet`] alone does not wait for events that the
    /// broker still holds, nor for a domain that its first event has not registered yet.
    #[track_caller]
    pub(crate) fn wait_live(&self, domain: &str, count: usize, limit: Duration) {
        let count = count as u64;
        wait_for("all items are there", limit, || {
            let answer = self.try_get(&path::domain(domain))?;
            match answer.status {
                200 if answer.read::<DomainAnswer>().live == count => Ok(()),
                _ => Err(format!(
                    "not {count} live: {} {}",
                    answer.status, answer.body
                )),
            }
        });
    }

    /// A metric, summed over its labels.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").with_status(200).body;
        let samples: Vec<f64> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let value = match rest.strip_prefix('{') {
                    Some(labelled) => labelled.rsplit_once('}')?.1,
                    None => rest.strip_prefix(' ')?,
                };
                value.split_whitespace().next()?.parse().ok()
            })
            .collect();
        assert!(!samples.is_empty(), "no metric {name} in\n{text}");
        samples.iter().sum()
    }
}

fn answer(sent: Result<client::Response, Error>) -> Result<Response, String> {
    let sent = sent.map_err(|error| error.to_string())?;
    Ok(Response {
        status: sent.status,
        content_type: sent.header("content-type").unwrap_or_default().to_owned(),
        retry_after_s: sent
            .header("retry-after")
            .and_then(|value| value.parse().ok()),
        body: sent.text().into_owned(),
    })
}
