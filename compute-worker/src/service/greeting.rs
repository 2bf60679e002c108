//! Greetings: an idle worker announces itself to every model service that owns a partition.
//! `kindred status` lists workers from these announcements.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kindred_runtime::amqp::{APP_ID, Names, ReplyAddress, card_to_value, timestamp_of_seconds};
use kindred_shared::worker::{GREETING, WORKER_HEADER};
use lapin::BasicProperties;
use lapin::types::{FieldTable, ShortString};
use scylla::client::session::Session;

use super::job::Outbox;
use super::status::WorkerStatus;

/// The interval of greetings.
const EVERY: Duration = Duration::from_secs(5);
/// How long an unread greeting stays in a queue, in ms.
const EXPIRATION_MS: &str = "15000";

/// Finds model services and sends them greetings.
pub(crate) struct Greeter {
    session: Arc<Session>,
    owners: String,
    status: Arc<WorkerStatus>,
}

impl Greeter {
    /// Reads owners from this keyspace; greetings carry what the status says.
    pub(crate) fn new(session: Arc<Session>, keyspace: &str, status: Arc<WorkerStatus>) -> Self {
        Self {
            session,
            owners: format!("SELECT owner FROM \"{keyspace}\".partitions"),
            status,
        }
    }

    /// Sends greetings for as long as it is polled. Failures are left for the next time, because
    /// nothing waits for a greeting. `has_exchange` says whether the exchange for replies exists.
    pub(crate) async fn run(&self, outbox: &impl Outbox, has_exchange: bool) -> Infallible {
        let mut again = tokio::time::interval(EVERY);
        loop {
            again.tick().await;
            let owners = match self.owners().await {
                Ok(owners) => owners,
                Err(error) => {
                    tracing::debug!(
                        error,
                        "no greetings sent: the owners of partitions are unknown"
                    );
                    continue;
                }
            };
            for owner in owners {
                let queue = Names::default().replies(&owner);
                let to = ReplyAddress::new(queue.clone(), has_exchange);
                if let Err(lost) = outbox.answer(&to, self.properties(), Vec::new()).await {
                    tracing::debug!(%queue, %lost, "greeting not delivered");
                }
            }
        }
    }

    async fn owners(&self) -> Result<BTreeSet<String>, String> {
        let answer = self.session.query_unpaged(self.owners.as_str(), ()).await;
        let rows = answer
            .map_err(|error| error.to_string())?
            .into_rows_result()
            .map_err(|error| error.to_string())?;
        let rows = rows
            .rows::<(Option<String>,)>()
            .map_err(|error| error.to_string())?;
        // A partition that was handed over and not claimed yet has an empty owner.
        let owners = rows.filter_map(|row| row.ok()?.0);
        Ok(owners.filter(|owner| !owner.is_empty()).collect())
    }

    fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(WORKER_HEADER.into(), card_to_value(&self.status.card()));
        BasicProperties::default()
            .with_type(ShortString::from(GREETING))
            .with_app_id(ShortString::from(APP_ID))
            .with_timestamp(timestamp_of_seconds())
            .with_expiration(ShortString::from(EXPIRATION_MS))
            .with_headers(headers)
    }
}
