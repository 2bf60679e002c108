//! Asks the running Kindred and its broker how much of what was published is served.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use kindred_api::domain::DomainAnswer;
use kindred_api::item::ItemAnswer;
use kindred_api::path;
use kindred_runtime::amqp::{AmqpError, Connector, Names, close, queue_counts};
use kindred_shared::{DomainName, ItemId};

use super::super::client::Client;
use super::super::exit::{CommandError, Exit};
use super::super::import::Progress;
use super::super::status;
use super::served::{Row, World};

/// Path of the health check.
const HEALTH: &str = "/healthz";

/// A running Kindred and its broker.
pub(super) struct Asking<'a> {
    client: &'a Client,
    connector: &'a Connector,
    progress: Progress,
    began: Instant,
}

impl<'a> Asking<'a> {
    pub(super) fn new(client: &'a Client, connector: &'a Connector) -> Self {
        Self {
            client,
            connector,
            progress: Progress::new(None, true),
            began: Instant::now(),
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.progress.finish();
    }

    fn look_at_queues(&self) -> Result<BTreeSet<String>, AmqpError> {
        let names = Names::default();
        actix::System::new().block_on(async {
            let connection = self.connector.connect("look").await?;
            let looked = async {
                let mut full = BTreeSet::new();
                for number in 0..u16::MAX {
                    let name = names.partition(number);
                    // This works without any permissions.
                    match queue_counts(&connection, name.clone()).await? {
                        Some(counts) if counts.messages > 0 => {
                            full.insert(name.to_string());
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
                Ok(full)
            };
            let looked = looked.await;
            close(&connection).await;
            looked
        })
    }
}

impl World for Asking<'_> {
    fn ahead_ms(&mut self) -> Result<i64, CommandError> {
        let answer = self.client.get(HEALTH)?;
        let date = answer.header("date").map(DateTime::parse_from_rfc2822);
        match date {
            Some(Ok(date)) => Ok((date.to_utc() - Utc::now()).num_milliseconds()),
            _ => Err(self.client.other(&"it does not report the time")),
        }
    }

    fn item(&mut self, domain: &DomainName, id: &ItemId) -> Result<Option<Row>, CommandError> {
        let answer = match self
            .client
            .get_good(&path::item(domain.as_str(), id.as_str()))
        {
            Err(failure) if failure.exit == Exit::NotFound => return Ok(None),
            answer => answer?,
        };
        let (version, since) = match self.client.read(&answer)? {
            ItemAnswer::There(item) => (item.version, item.status_since),
            ItemAnswer::Gone(item) => (item.version, item.status_since),
        };
        let since = DateTime::parse_from_rfc3339(&since);
        let since = since.map_err(|error| self.client.other(&error))?;
        Ok(Some(Row {
            version,
            since_ms: since.timestamp_millis(),
        }))
    }

    fn domains(&mut self) -> Result<Vec<DomainAnswer>, CommandError> {
        status::domains(self.client)
    }

    fn full_queues(&mut self) -> Result<BTreeSet<String>, CommandError> {
        self.look_at_queues().map_err(|error| {
            let exit = if error.is_refused() {
                Exit::Failed
            } else {
                Exit::Unreachable
            };
            let place = self.connector.place();
            CommandError::new(
                exit,
                format!("RabbitMQ at {place} cannot be queried: {error}"),
            )
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn waiting(&self, words: String) {
        self.progress.waiting(words);
    }
}
