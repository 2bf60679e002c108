//! Feedback on a real broker: a domain that is not counted keeps no other from being counted.

use std::collections::BTreeSet;
use std::sync::Mutex;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use super::*;

/// Messages of the domain that is not counted: many more than are read ahead.
const STUCK: usize = 1_500;

/// Takes everything but one domain's feedback.
#[derive(Default)]
struct Door {
    is_stuck: AtomicBool,
    taken: Mutex<BTreeSet<(String, Bytes)>>,
}

impl Door {
    fn taken(&self, key: &str) -> usize {
        let taken = self.taken.lock().unwrap();
        taken.iter().filter(|(of, _)| of == key).count()
    }
}

#[async_trait]
impl TakeFeedback for Door {
    async fn take(&self, key: &str, bodies: Vec<Bytes>) -> Result<(), String> {
        if key == "stuck" && self.is_stuck.load(Ordering::SeqCst) {
            return Err("nobody owns it".to_owned());
        }
        let bodies = bodies.into_iter().map(|body| (key.to_owned(), body));
        self.taken.lock().unwrap().extend(bodies);
        Ok(())
    }
}

async fn publish(publisher: &Publisher, names: &Names, key: &'static str, count: usize) {
    let mut confirmed = Vec::new();
    for number in 0..count {
        let message = Outgoing {
            exchange: names.feedback(),
            key: key.into(),
            properties: BasicProperties::default().with_delivery_mode(2),
            body: number.to_string().into_bytes(),
            mandatory: true,
        };
        confirmed.push(publisher.publish(message).await);
    }
    for confirmed in confirmed {
        confirmed.await.unwrap();
    }
}

#[tokio::test]
async fn a_domain_that_is_not_counted_keeps_no_other_waiting() {
    let scope = Scope::fresh().await;
    let names = &scope.names;
    let publisher = Publisher::start(scope.connector.clone(), "publish", 1 << 20);
    publisher.connected().await;
    publish(&publisher, names, "stuck", STUCK).await;
    publish(&publisher, names, "other", 3).await;

    let door = Arc::new(Door::default());
    door.is_stuck.store(true, Ordering::SeqCst);
    let reading = tokio::spawn(read_feedback(
        scope.connector.clone(),
        publisher.clone(),
        names.clone(),
        Arc::clone(&door) as Arc<dyn TakeFeedback>,
    ));
    until("the other is counted", || door.taken("other") == 3).await;
    assert_eq!(door.taken("stuck"), 0);

    door.is_stuck.store(false, Ordering::SeqCst);
    until("none is lost", || door.taken("stuck") == STUCK).await;
    let (connection, channel) = scope.open().await;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let options = QueueDeclareOptions::durable().passive();
        let queue = channel.queue_declare(names.feedback_queue(), options, FieldTable::default());
        if queue.await.unwrap().message_count() == 0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "messages are left");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    reading.abort();
    kindred_runtime::amqp::close(&connection).await;
}
