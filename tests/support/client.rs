//! Asking a program over HTTP.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::deadline::wait_for;

/// Longest a single answer may take: longer than the program itself waits for its store.
const ANSWER: Duration = Duration::from_secs(150);

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", self.status, self.body))
    }

    /// Asserts the status.
    #[track_caller]
    pub(crate) fn with_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// A neighbour as answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Similar {
    pub(crate) id: String,
    pub(crate) score: f64,
}

/// One domain as `GET /v1/domains` tells.
#[derive(Debug, Clone)]
pub(crate) struct DomainState {
    pub(crate) domain: String,
    pub(crate) quiet: bool,
    pub(crate) live: u64,
    pub(crate) visible: u64,
}

/// Speaks to one program.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    pub(crate) fn new(port: u16) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER))
            .proxy(None)
            .build()
            .new_agent();
        Self {
            agent,
            base: format!("http://127.0.0.1:{port}"),
        }
    }

    /// # Errors
    /// In words, when no answer came: the program is not there, or died.
    pub(crate) fn try_get(&self, path: &str) -> Result<Answer, String> {
        answer(self.agent.get(format!("{}{path}", self.base)).call())
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &str) -> Answer {
        let sent = self
            .agent
            .put(format!("{}{path}", self.base))
            .content_type("application/json")
            .send(body);
        answer(sent).unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        let sent = self.agent.delete(format!("{}{path}", self.base)).call();
        answer(sent).unwrap_or_else(|error| panic!("DELETE {path}: {error}"))
    }

    /// # Errors
    /// In words, when no answer came.
    pub(crate) fn try_batch(&self, domain: &str, lines: &str) -> Result<Answer, String> {
        answer(
            self.agent
                .post(format!("{}/v1/domains/{domain}/items:batch", self.base))
                .content_type("application/x-ndjson")
                .send(lines),
        )
    }

    /// Sends a batch whose lines are all good.
    #[track_caller]
    pub(crate) fn batch(&self, domain: &str, lines: &[String]) {
        let answer = self
            .try_batch(domain, &lines.join("\n"))
            .unwrap_or_else(|error| panic!("a batch for {domain}: {error}"))
            .with_status(200)
            .json();
        assert_eq!(answer["accepted"], lines.len(), "{answer}");
        assert_eq!(answer["rejected"], Value::Array(Vec::new()), "{answer}");
    }

    /// `/similar` of an item. `None`: 404, the item is not visible.
    #[track_caller]
    pub(crate) fn similar(&self, domain: &str, id: &str, limit: usize) -> Option<Vec<Similar>> {
        let answer = self.get(&format!("{}/similar?limit={limit}", item(domain, id)));
        if answer.status == 404 {
            return None;
        }
        let answer = answer.with_status(200).json();
        let similar = answer["similar"]
            .as_array()
            .unwrap_or_else(|| panic!("no `similar`: {answer}"))
            .iter()
            .map(|one| Similar {
                id: one["id"].as_str().expect("an id").to_owned(),
                score: one["score"].as_f64().expect("a score"),
            })
            .collect();
        Some(similar)
    }

    /// Every domain.
    ///
    /// # Errors
    /// In words, when no answer came.
    pub(crate) fn try_domains(&self) -> Result<Vec<DomainState>, String> {
        let answer = self.try_get("/v1/domains")?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.body));
        }
        let answer = answer.json();
        let domains = answer["domains"]
            .as_array()
            .ok_or_else(|| format!("no `domains`: {answer}"))?;
        Ok(domains
            .iter()
            .map(|one| DomainState {
                domain: one["domain"].as_str().expect("a name").to_owned(),
                quiet: one["quiet"].as_bool().expect("whether it is quiet"),
                live: one["live"].as_u64().expect("live items"),
                visible: one["visible"].as_u64().expect("visible items"),
            })
            .collect())
    }

    /// Waits until every domain is quiet: lists exact and stored.
    #[track_caller]
    pub(crate) fn wait_quiet(&self, limit: Duration) -> Vec<DomainState> {
        wait_for("every domain is quiet", limit, || {
            let domains = self.try_domains()?;
            let busy: Vec<&DomainState> = domains.iter().filter(|one| !one.quiet).collect();
            if busy.is_empty() {
                Ok(domains)
            } else {
                Err(format!("{busy:?}"))
            }
        })
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

/// The path of an item.
pub(crate) fn item(domain: &str, id: &str) -> String {
    format!(
        "/v1/domains/{domain}/items/{}",
        utf8_percent_encode(id, NON_ALPHANUMERIC)
    )
}

fn answer(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, String> {
    let mut response = sent.map_err(|error| error.to_string())?;
    let content_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let retry_after = response.headers().get("retry-after");
    let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response
        .body_mut()
        .with_config()
        .limit(256 << 20)
        .read_to_string()
        .map_err(|error| error.to_string())?;
    Ok(Answer {
        status: response.status().as_u16(),
        content_type,
        retry_after_s,
        body,
    })
}
