//! A blocking HTTP client, used by the command line, the relay to owners, and tests.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kindred_api::problem::Problem;
use serde::de::DeserializeOwned;
use ureq::http::HeaderMap;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::config::{self, Secret};

/// Largest answer accepted.
const ANSWER_BYTES: u64 = 256 << 20;
/// A connection is established quickly or not at all.
const CONNECT: Duration = Duration::from_secs(10);
/// Servers close idle connections after some five seconds.
const IDLE: Duration = Duration::from_secs(3);

/// No answer came: the request may or may not have been carried out.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(ureq::Error);

impl Error {
    /// Whether the URL is at fault, so that retrying does not help.
    pub fn is_bad_url(&self) -> bool {
        matches!(self.0, ureq::Error::BadUri(_) | ureq::Error::Http(_))
    }
}

/// Trusted certificates, and the client's own certificate.
#[derive(Debug, Clone, Default)]
pub struct Trust(TlsConfig);

/// A certificate or private key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {detail}", path.display())]
pub struct TrustError {
    path: PathBuf,
    detail: String,
}

impl Trust {
    /// From the configuration.
    ///
    /// # Errors
    /// When a file cannot be read or has invalid content.
    pub fn configured(config: &config::Tls) -> Result<Self, TrustError> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &config.tls_ca {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(path)?));
        }
        if let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) {
            let pem = read_file(key)?;
            let private = PrivateKey::from_pem(&pem).map_err(|error| TrustError {
                path: key.clone(),
                detail: format!("not a private key in PEM format: {error}"),
            })?;
            let shown = ClientCert::new_with_certs(&certificates(cert)?, private);
            tls = tls.client_cert(Some(shown));
        }
        Ok(Self(tls.build()))
    }

    /// A client with a deadline for a whole answer.
    pub fn with_deadline(&self, whole: Duration) -> Http {
        Http::new(self, |config| config.timeout_global(Some(whole)))
    }

    /// A client with a deadline for the beginning of an answer, however long sending the request
    /// takes.
    pub fn with_patience(&self, answer: Duration) -> Http {
        Http::new(self, |config| {
            config
                .timeout_connect(Some(CONNECT))
                .timeout_recv_response(Some(answer))
        })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, TrustError> {
    std::fs::read(path).map_err(|error| TrustError {
        path: path.to_owned(),
        detail: error.to_string(),
    })
}

/// The certificates in a file; at least one.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, TrustError> {
    let fault = |detail: String| TrustError {
        path: path.to_owned(),
        detail,
    };
    let pem = read_file(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(fault(format!("not a certificate in PEM format: {error}"))),
        }
    }
    if found.is_empty() {
        return Err(fault("no certificate in PEM format".to_owned()));
    }
    Ok(found)
}

/// An HTTP client that does not follow redirects. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Http {
    agent: ureq::Agent,
    /// The key that is sent.
    key: Option<Secret>,
}

impl Http {
    /// A client with a deadline for a whole answer.
    pub fn with_deadline(whole: Duration) -> Self {
        Trust::default().with_deadline(whole)
    }

    /// A client with a deadline for the beginning of an answer, however long sending the request
    /// takes.
    pub fn with_patience(answer: Duration) -> Self {
        Trust::default().with_patience(answer)
    }

    fn new(
        trust: &Trust,
        deadlines: impl FnOnce(
            ureq::config::ConfigBuilder<ureq::typestate::AgentScope>,
        ) -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope>,
    ) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Requests are meant for this server only.
            .max_redirects(0)
            .max_idle_age(IDLE)
            .proxy(None)
            .tls_config(trust.0.clone())
            .user_agent(concat!("kindred/", env!("CARGO_PKG_VERSION")));
        Self {
            agent: deadlines(config).build().into(),
            key: None,
        }
    }

    /// A client that sends this key.
    #[must_use]
    pub fn with_key(mut self, key: Option<Secret>) -> Self {
        self.key = key;
        self
    }

    /// The request with headers and the key.
    fn with<B>(
        &self,
        mut request: ureq::RequestBuilder<B>,
        headers: &[(&str, &str)],
    ) -> ureq::RequestBuilder<B> {
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match &self.key {
            Some(key) => request.header("authorization", format!("Bearer {}", key.expose())),
            None => request,
        }
    }

    /// GETs a URL.
    ///
    /// # Errors
    /// When no answer came.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, Error> {
        read(self.with(self.agent.get(url), headers).call())
    }

    /// Sends a DELETE for a URL.
    ///
    /// # Errors
    /// When no answer came: it may or may not have been done.
    pub fn delete(&self, url: &str) -> Result<Response, Error> {
        self.delete_with(url, &[])
    }

    /// Sends a DELETE for a URL, with headers.
    ///
    /// # Errors
    /// When no answer came: it may or may not have been done.
    pub fn delete_with(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, Error> {
        read(self.with(self.agent.delete(url), headers).call())
    }

    /// PUTs a body to a URL.
    ///
    /// # Errors
    /// When no answer came: it may or may not have been done.
    pub fn put(&self, url: &str, kind: &str, body: &[u8]) -> Result<Response, Error> {
        self.put_with(url, kind, body, &[])
    }

    /// PUTs a body to a URL, with headers.
    ///
    /// # Errors
    /// When no answer came: it may or may not have been done.
    pub fn put_with(
        &self,
        url: &str,
        kind: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Response, Error> {
        let request = self.agent.put(url).content_type(kind);
        read(self.with(request, headers).send(body))
    }

    /// PATCHes a URL, with headers.
    ///
    /// # Errors
    /// When no answer came: it may or may not have been done.
    pub fn patch_with(
        &self,
        url: &str,
        kind: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Response, Error> {
        let request = self.agent.patch(url).content_type(kind);
        read(self.with(request, headers).send(body))
    }

    /// POSTs a body to a URL.
    ///
    /// # Errors
    /// When no answer came: it may or may not have been done.
    pub fn post(&self, url: &str, kind: &str, body: &[u8]) -> Result<Response, Error> {
        self.post_with(url, kind, body, &[])
    }

    /// POSTs a body to a URL, with headers.
    ///
    /// # Errors
    /// When no answer came: it may or may not have been done.
    pub fn post_with(
        &self,
        url: &str,
        kind: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Response, Error> {
        let request = self.agent.post(url).content_type(kind);
        read(self.with(request, headers).send(body))
    }
}

fn read(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Response, Error> {
    let mut response = sent.map_err(Error)?;
    let body = response.body_mut().with_config().limit(ANSWER_BYTES);
    Ok(Response {
        body: body.read_to_vec().map_err(Error)?,
        status: response.status().as_u16(),
        headers: response.headers().clone(),
    })
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Whether the status is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether it is a redirect.
    pub fn is_redirection(&self) -> bool {
        (300..400).contains(&self.status) && self.status != 304
    }

    /// A header, if it exists and is plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text; invalid UTF-8 is replaced.
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

    /// The problem in the answer, if it is one of Kindred's.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_redirection_is_an_answer_and_is_not_followed() {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = format!("http://{}/", elsewhere.local_addr().unwrap());
        let url = format!("http://{}/v1/domains", here.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
                let (mut asked, _) = here.accept().unwrap();
                let mut lines = BufReader::new(asked.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let head = format!("HTTP/1.1 {status}\r\nlocation: {to}\r\nconnection: close\r\n");
                asked.write_all(head.as_bytes()).unwrap();
                asked.write_all(b"content-length: 0\r\n\r\n").unwrap();
            }
        });
        let http = Http::with_deadline(Duration::from_secs(10));
        for status in [301, 302, 307, 308] {
            let answer = http.get(&url, &[("x-kindred-proxied", "1")]).unwrap();
            assert_eq!(answer.status, status);
            assert!(answer.is_redirection());
        }
        server.join().unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        assert!(elsewhere.accept().is_err(), "nobody came there");
    }
}
