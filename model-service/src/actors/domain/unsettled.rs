//! Deliveries of a domain that are not settled yet.

use std::collections::HashMap;
use std::time::Instant;

use kindred_shared::event::Event;

use crate::metrics::Metrics;
use kindred_domain::intake::{DeliveryTag, Failure, Outcome};

/// What was taken in and is not settled: the type of each event, as counted, and when it came.
#[derive(Debug, Default)]
pub(super) struct Unsettled(HashMap<DeliveryTag, (&'static str, Instant)>);

impl Unsettled {
    /// An event was taken in.
    pub(super) fn took(&mut self, tag: DeliveryTag, event: &Event) {
        self.0.insert(tag, (event.type_name(), Instant::now()));
    }

    /// These are settled now; they are counted.
    pub(super) fn settled(&mut self, settled: &[(DeliveryTag, Outcome)], metrics: &Metrics) {
        for (tag, outcome) in settled {
            let Some((kind, came)) = self.0.remove(tag) else {
                continue;
            };
            let word = match outcome {
                Outcome::Stored(_) => {
                    let took = came.elapsed().as_secs_f64();
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
        }
    }

    /// All of them as failed, to be settled so.
    pub(super) fn failed(&self, detail: &str) -> Vec<(DeliveryTag, Outcome)> {
        let failure = Failure::passing(detail);
        let tags = self.0.keys();
        tags.map(|tag| (*tag, Outcome::Failed(failure.clone())))
            .collect()
    }
}
