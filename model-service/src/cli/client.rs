//! Talking to a running Kindred over HTTP, blocking.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::exit::{Exit, Failure};
use crate::config::Config;

/// A connection is there at once or not at all.
const CONNECT: Duration = Duration::from_secs(10);
/// A batch is answered when all of it is durable.
const ANSWER: Duration = Duration::from_secs(120);
/// Servers close connections nobody uses after some five seconds.
const IDLE: Duration = Duration::from_secs(3);
/// Largest answer that is read.
const ANSWER_BYTES: u64 = 256 << 20;

/// What stays as it is in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A segment of a path: a domain or an item's id.
pub(crate) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// Where a server is said to be.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Server {
    /// Address of the running Kindred [default: http:// and the configured `listen`]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

impl Server {
    /// A client of that server; without `--url` of the one this configuration starts.
    pub(crate) fn client(&self, config: &Config) -> Result<Client, Failure> {
        match &self.url {
            Some(url) => Client::new(url),
            None => {
                let mut listen = config.http.listen;
                if listen.ip().is_unspecified() {
                    listen.set_ip(match listen {
                        std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                        std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                    });
                }
                Client::new(&format!("http://{listen}"))
            }
        }
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

impl Answer {
    /// Whether it is what was asked for.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The problem it tells, if it is one of Kindred's.
    pub(crate) fn problem(&self) -> Option<Problem> {
        serde_json::from_str(&self.body).ok()
    }

    /// What is wrong, in words.
    pub(crate) fn words(&self) -> String {
        match self.problem() {
            Some(problem) => format!("{} (status {})", problem.detail, self.status),
            None => format!("status {}", self.status),
        }
    }
}

/// The part of a problem (RFC 9457) that clients need.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    kind: String,
    /// What is wrong and what to do about it.
    #[serde(default)]
    pub(crate) detail: String,
}

impl Problem {
    /// The stable word: the last segment of the type.
    pub(crate) fn word(&self) -> &str {
        word(&self.kind)
    }
}

/// The stable word of a problem's type.
pub(crate) fn word(kind: &str) -> &str {
    kind.rsplit('/').next().unwrap_or(kind)
}

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    /// A client of the server at this URL.
    ///
    /// # Errors
    /// [`Exit::Usage`] when it is no `http://` URL.
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/');
        if base.strip_prefix("http://").is_none_or(str::is_empty) {
            return Err(Failure::usage(format!(
                "--url {url:?}: expected http:// and a host, such as http://127.0.0.1:8080"
            )));
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .max_idle_age(IDLE)
            .proxy(None)
            .user_agent(concat!("kindred/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self {
            agent,
            base: base.to_owned(),
        })
    }

    /// The server's address, as given.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when no answer came.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Failure> {
        let sent = self.agent.get(format!("{}{path}", self.base)).call();
        self.answer(sent)
    }

    /// Sends a body to a path.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when no answer came: it may have been done or not.
    pub(crate) fn post(&self, path: &str, kind: &str, body: &[u8]) -> Result<Answer, Failure> {
        let sent = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("content-type", kind)
            .send(body);
        self.answer(sent)
    }

    fn answer(
        &self,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, Failure> {
        sent.and_then(|mut response| {
            let status = response.status().as_u16();
            let body = response
                .body_mut()
                .with_config()
                .limit(ANSWER_BYTES)
                .lossy_utf8(true)
                .read_to_string()?;
            Ok(Answer { status, body })
        })
        .map_err(|error| {
            // A malformed URL is the caller's mistake, and trying again is no remedy.
            let exit = match &error {
                ureq::Error::BadUri(_) | ureq::Error::Http(_) => Exit::Usage,
                _ => Exit::Unreachable,
            };
            Failure::new(exit, format!("{} does not answer: {error}", self.base))
        })
    }
}

/// Characters a terminal would act on become spaces.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
