//! Talking to a running Kindred: finding it, and turning its answers into exit codes.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::exit::{CommandError, Exit};
use crate::client::{Error, Http, Response, Trust};
use crate::config::Config;

/// Longest wait for an answer: a batch is answered only when all of it is durable.
const ANSWER: Duration = Duration::from_secs(120);

/// Options that name a server.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Server {
    /// Address of the running Kindred [default: the configured `listen`]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

impl Server {
    /// A client for that server; without `--url`, for the one this configuration starts.
    pub(crate) fn client(&self, config: &Config) -> Result<Client, CommandError> {
        self.patient_client(config, ANSWER)
    }

    /// The same, with its own limit on waiting for an answer.
    pub(crate) fn patient_client(
        &self,
        config: &Config,
        patience: Duration,
    ) -> Result<Client, CommandError> {
        let trust = Trust::configured(&config.tls);
        let trust = trust.map_err(|error| CommandError::usage(error.to_string()))?;
        let client = match &self.url {
            Some(url) => Client::trusting(&trust, url, patience)?,
            None => {
                let mut listen = config.http.listen;
                if listen.ip().is_unspecified() {
                    listen.set_ip(match listen {
                        std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                        std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                    });
                }
                let url = format!("{}://{listen}", config.tls.scheme());
                Client::trusting(&trust, &url, patience)?
            }
        };
        Ok(Client {
            http: client.http.with_key(config.access.sent_key()?),
            ..client
        })
    }
}

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: Http,
    base: String,
}

impl Client {
    /// A client of the server at this URL.
    ///
    /// # Errors
    /// [`Exit::Usage`] when it is not an `http://` or `https://` URL.
    pub(crate) fn new(url: &str) -> Result<Self, CommandError> {
        Self::trusting(&Trust::default(), url, ANSWER)
    }

    fn trusting(trust: &Trust, url: &str, patience: Duration) -> Result<Self, CommandError> {
        let base = url.trim_end_matches('/');
        let host = base
            .strip_prefix("http://")
            .or_else(|| base.strip_prefix("https://"));
        if host.is_none_or(str::is_empty) {
            return Err(CommandError::usage(format!(
                "--url {url:?}: expected http:// or https:// and a host, such as http://127.0.0.1:8080"
            )));
        }
        Ok(Self {
            http: trust.with_patience(patience),
            base: base.to_owned(),
        })
    }

    /// The server's address, as given.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// GETs a path.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when no answer came.
    pub(crate) fn get(&self, path: &str) -> Result<Response, CommandError> {
        let asked = self.http.get(&format!("{}{path}", self.base), &[]);
        asked.map_err(|error| self.silent(&error))
    }

    /// GETs a path that must exist.
    ///
    /// # Errors
    /// [`Exit::NotFound`] when it does not, [`Exit::Unreachable`] when no answer came.
    pub(crate) fn get_good(&self, path: &str) -> Result<Response, CommandError> {
        Self::good(self.get(path)?)
    }

    /// Returns a successful answer unchanged.
    ///
    /// # Errors
    /// What the service says; [`Exit::NotFound`] when there is no such thing.
    pub(crate) fn good(answer: Response) -> Result<Response, CommandError> {
        match answer.status {
            404 => Err(CommandError::new(Exit::NotFound, answer.words())),
            _ if answer.is_success() => Ok(answer),
            _ => Err(CommandError::failed(answer.words())),
        }
    }

    /// POSTs JSON to a path.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when no answer came.
    pub(crate) fn post_json(&self, path: &str, json: &[u8]) -> Result<Response, CommandError> {
        let url = format!("{}{path}", self.base);
        let sent = self.http.post(&url, "application/json", json);
        sent.map_err(|error| self.silent(&error))
    }

    /// POSTs JSON to a path that must exist.
    ///
    /// # Errors
    /// As [`Self::get_good`].
    pub(crate) fn post_good(&self, path: &str, json: &[u8]) -> Result<Response, CommandError> {
        Self::good(self.post_json(path, json)?)
    }

    /// POSTs NDJSON to a path.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when no answer came: it may or may not have been done.
    pub(crate) fn post(&self, path: &str, ndjson: &[u8]) -> Result<Response, CommandError> {
        let sent = self.http.post(
            &format!("{}{path}", self.base),
            "application/x-ndjson",
            ndjson,
        );
        sent.map_err(|error| self.silent(&error))
    }

    /// PUTs JSON to a path.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when no answer came: it may or may not have been done.
    pub(crate) fn put(&self, path: &str, json: &[u8]) -> Result<Response, CommandError> {
        let url = format!("{}{path}", self.base);
        let sent = self.http.put(&url, "application/json", json);
        sent.map_err(|error| self.silent(&error))
    }

    /// Sends a DELETE for a path.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when no answer came: it may or may not have been done.
    pub(crate) fn delete(&self, path: &str) -> Result<Response, CommandError> {
        let sent = self.http.delete(&format!("{}{path}", self.base));
        sent.map_err(|error| self.silent(&error))
    }

    /// Parses an answer.
    ///
    /// # Errors
    /// When it is not what was expected: the server is not Kindred, or is another version.
    pub(crate) fn read<T: DeserializeOwned>(&self, answer: &Response) -> Result<T, CommandError> {
        answer.json().map_err(|error| self.other(&error))
    }

    /// The failure for an unexpected answer.
    pub(crate) fn other(&self, what: &dyn std::fmt::Display) -> CommandError {
        CommandError::failed(format!("unexpected answer from {}: {what}", self.base))
    }

    fn silent(&self, error: &Error) -> CommandError {
        // A malformed URL is the caller's mistake; retrying does not help.
        let exit = if error.is_bad_url() {
            Exit::Usage
        } else {
            Exit::Unreachable
        };
        CommandError::new(exit, format!("{} does not answer: {error}", self.base))
    }
}

/// Replaces characters that a terminal would act on by spaces.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
