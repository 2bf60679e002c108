//! The order of deliveries when the process that reads them dies.

use super::*;

/// An intake that ends like that of a killed process: its connection just breaks.
struct Mortal {
    runtime: tokio::runtime::Runtime,
    intake: RabbitIntake,
}

impl Mortal {
    fn start(scope: &Scope, publisher: &Publisher) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let intake = {
            let _in_it = runtime.enter();
            Rabbit::start(scope, publisher, &Arc::default())
        };
        Self { runtime, intake }
    }

    fn die(self) {
        // Stop the runtime first: dropping an intake would close the connection properly.
        self.runtime.shutdown_background();
        drop(self.intake);
    }

    async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let more = tokio::time::timeout(DEADLINE, self.intake.next(count - taken.len())).await;
            taken.extend(more.expect("in time").unwrap());
        }
        taken
    }

    fn store(&self, deliveries: &[Delivery]) {
        let stored = deliveries.iter().map(|d| (d.tag, Outcome::Stored(None)));
        self.intake.settler().settle(stored.collect());
    }
}

/// Queues events of these versions.
async fn queued(versions: std::ops::Range<u64>) -> (Scope, Publisher, RabbitPublisher) {
    let scope = Scope::fresh().await;
    let raw = Publisher::start(scope.connector.clone(), "publish", CAPACITY);
    raw.connected().await;
    let publisher = RabbitPublisher::new(
        raw.clone(),
        scope.names.clone(),
        Settlements::new("test".to_owned()),
    );
    publish(&publisher, versions).await;
    (scope, raw, publisher)
}

async fn publish(publisher: &RabbitPublisher, versions: std::ops::Range<u64>) {
    for version in versions {
        let confirm = publisher.publish(deletion("a", version)).await;
        confirm.unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn order_is_kept_over_deaths_while_much_is_read_ahead() {
    let (scope, raw, publisher) = queued(0..30).await;
    for death in 0..SUSPECT_FROM {
        let mut mortal = Mortal::start(&scope, &raw);
        let got = mortal.take(30).await;
        assert_eq!(versions(&got), (0..30).collect::<Vec<_>>(), "{death}");
        assert!(got.iter().all(|one| one.redeliveries == death));
        mortal.die();
    }
    // One at a time, and what is published now comes last.
    let mut mortal = Mortal::start(&scope, &raw);
    for version in 0..30 {
        let got = mortal.take(1).await;
        if version == 0 {
            publish(&publisher, 30..40).await;
        }
        assert_eq!(versions(&got), [version]);
        assert_eq!(got[0].redeliveries, SUSPECT_FROM);
        mortal.store(&got);
    }
    // Then reading ahead again.
    let got = mortal.take(10).await;
    assert_eq!(versions(&got), (30..40).collect::<Vec<_>>());
    assert!(got.iter().all(|one| one.redeliveries == 0));
    mortal.die();
    let mut mortal = Mortal::start(&scope, &raw);
    assert_eq!(
        versions(&mortal.take(10).await),
        (30..40).collect::<Vec<_>>()
    );
    mortal.die();
}

#[tokio::test]
async fn order_is_kept_when_only_later_events_were_settled() {
    let (scope, raw, _) = queued(0..20).await;
    let mut mortal = Mortal::start(&scope, &raw);
    assert_eq!(mortal.take(20).await.len(), 20);
    mortal.die();
    let mut mortal = Mortal::start(&scope, &raw);
    let got = mortal.take(20).await;
    // The first event stays with the careful consumer.
    mortal.store(&got[1..10]);
    mortal.store(&got[15..16]);
    // Acknowledges what was settled.
    mortal.intake.drop_connection().await;
    let wanted = [0, 10, 11, 12, 13, 14, 16, 17, 18, 19];
    assert_eq!(versions(&mortal.take(10).await), wanted);
    mortal.die();
    // For the broker that was the third delivery: one at a time from now on.
    let mut mortal = Mortal::start(&scope, &raw);
    for version in wanted {
        let got = mortal.take(1).await;
        assert_eq!(versions(&got), [version]);
        mortal.store(&got);
    }
    mortal.die();
}
