//! Deliveries of a domain that are not yet settled.

use std::collections::HashMap;
use std::time::Instant;

use kindred_shared::event::Event;
use kindred_shared::{DomainName, ItemId};
use tracing::debug;

use crate::metrics::Metrics;
use kindred_domain::intake::{DeliveryTag, Failure, Outcome};

/// Accepted and unsettled deliveries.
#[derive(Debug, Default)]
pub(super) struct Unsettled(HashMap<DeliveryTag, Taken>);

#[derive(Debug)]
struct Taken {
    /// The event's type, as a metric label.
    kind: &'static str,
    /// `None`: the event is about the domain.
    item: Option<ItemId>,
    at: Instant,
}

impl Unsettled {
    /// Records an accepted event.
    pub(super) fn took(&mut self, tag: DeliveryTag, event: &Event) {
        let taken = Taken {
            kind: event.type_name(),
            item: event.id().cloned(),
            at: Instant::now(),
        };
        self.0.insert(tag, taken);
    }

    /// Removes settled deliveries and counts them.
    pub(super) fn settled(
        &mut self,
        domain: &DomainName,
        settled: &[(DeliveryTag, Outcome)],
        metrics: &Metrics,
    ) {
        for (tag, outcome) in settled {
            let Some(Taken { kind, item, at }) = self.0.remove(tag) else {
                continue;
            };
            let word = match outcome {
                Outcome::Stored(_) => {
                    let took = at.elapsed().as_secs_f64();
                    metrics.event_to_durable.observe(took);
                    "stored"
                }
                Outcome::Refused(refusal) => {
                    let reason = [refusal.reason.word()];
                    metrics.events_refused.with_label_values(&reason).inc();
                    "refused"
                }
                Outcome::Failed(_) => "failed",
            };
            metrics.events.with_label_values(&[kind, word]).inc();
            let version = match outcome {
                Outcome::Stored(version) => *version,
                Outcome::Refused(_) | Outcome::Failed(_) => None,
            };
            let item = item.as_ref().map(tracing::field::display);
            debug!(%domain, kind, item, version, after = ?at.elapsed(), outcome = word, "event settled");
        }
    }

    /// All of them as failed.
    pub(super) fn failed(&self, detail: &str) -> Vec<(DeliveryTag, Outcome)> {
        let failure = Failure::passing(detail);
        let tags = self.0.keys();
        tags.map(|tag| (*tag, Outcome::Failed(failure.clone())))
            .collect()
    }
}
