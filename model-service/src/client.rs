//! Asking over HTTP, blocking. The one client there is: the command line, the relay to owners and
//! tests ask with it.

use std::borrow::Cow;
use std::time::Duration;

use kindred_api::problem::Problem;
use serde::de::DeserializeOwned;
use ureq::http::HeaderMap;

/// Largest answer that is read.
const ANSWER_BYTES: u64 = 256 << 20;
/// A connection is there at once or not at all.
const CONNECT: Duration = Duration::from_secs(10);
/// Servers close connections nobody uses after some five seconds.
const IDLE: Duration = Duration::from_secs(3);

/// No answer came: what was asked for may have been done or not.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(ureq::Error);

impl Error {
    /// Whether the URL is at fault, so that asking again is no remedy.
    pub fn is_bad_url(&self) -> bool {
        matches!(self.0, ureq::Error::BadUri(_) | ureq::Error::Http(_))
    }
}

/// Asks servers. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Http(ureq::Agent);

impl Http {
    /// One that waits so long for a whole answer.
    pub fn with_deadline(whole: Duration) -> Self {
        Self::new(|config| config.timeout_global(Some(whole)))
    }

    /// One that waits so long for an answer to begin, however long the request takes to send.
    pub fn with_patience(answer: Duration) -> Self {
        Self::new(|config| {
            config
                .timeout_connect(Some(CONNECT))
                .timeout_recv_response(Some(answer))
        })
    }

    fn new(
        deadlines: impl FnOnce(
            ureq::config::ConfigBuilder<ureq::typestate::AgentScope>,
        ) -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope>,
    ) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_age(IDLE)
            .proxy(None)
            .user_agent(concat!("kindred/", env!("CARGO_PKG_VERSION")));
        Self(deadlines(config).build().into())
    }

    /// Asks for a URL.
    ///
    /// # Errors
    /// When no answer came.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, Error> {
        let mut request = self.0.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.call())
    }

    /// Deletes what is at a URL.
    ///
    /// # Errors
    /// When no answer came: it may have been done or not.
    pub fn delete(&self, url: &str) -> Result<Answer, Error> {
        self.delete_with(url, &[])
    }

    /// Deletes what is at a URL, with headers.
    ///
    /// # Errors
    /// When no answer came: it may have been done or not.
    pub fn delete_with(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, Error> {
        let mut request = self.0.delete(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.call())
    }

    /// Puts a body at a URL.
    ///
    /// # Errors
    /// When no answer came: it may have been done or not.
    pub fn put(&self, url: &str, kind: &str, body: &[u8]) -> Result<Answer, Error> {
        self.put_with(url, kind, body, &[])
    }

    /// Puts a body at a URL, with headers.
    ///
    /// # Errors
    /// When no answer came: it may have been done or not.
    pub fn put_with(
        &self,
        url: &str,
        kind: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        let mut request = self.0.put(url).content_type(kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body))
    }

    /// Patches what is at a URL, with headers.
    ///
    /// # Errors
    /// When no answer came: it may have been done or not.
    pub fn patch_with(
        &self,
        url: &str,
        kind: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        let mut request = self.0.patch(url).content_type(kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body))
    }

    /// Posts a body to a URL.
    ///
    /// # Errors
    /// When no answer came: it may have been done or not.
    pub fn post(&self, url: &str, kind: &str, body: &[u8]) -> Result<Answer, Error> {
        self.post_with(url, kind, body, &[])
    }

    /// Posts a body to a URL, with headers.
    ///
    /// # Errors
    /// When no answer came: it may have been done or not.
    pub fn post_with(
        &self,
        url: &str,
        kind: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        let mut request = self.0.post(url).content_type(kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body))
    }
}

fn read(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, Error> {
    let mut response = sent.map_err(Error)?;
    let body = response.body_mut().with_config().limit(ANSWER_BYTES);
    Ok(Answer {
        body: body.read_to_vec().map_err(Error)?,
        status: response.status().as_u16(),
        headers: response.headers().clone(),
    })
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether it is what was asked for.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header, if it is there and plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// The problem it tells, if it is one of Kindred's.
    pub fn problem(&self) -> Option<Problem> {
        self.json().ok()
    }

    /// What is wrong, in words.
    pub fn words(&self) -> String {
        match self.problem() {
            Some(problem) => format!("{} (status {})", problem.detail, self.status),
            None => format!("status {}", self.status),
        }
    }
}
