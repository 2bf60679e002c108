//! A broker for tests: the one of `KINDRED_TEST_AMQP_URL`, with a topology per test.

#![allow(clippy::unwrap_used)] // a test may panic

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kindred_runtime::amqp::{Connector, Names, close, declare};
use kindred_shared::wire::JobKind;
use lapin::options::{BasicConsumeOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Longest a test waits for the broker.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A declared topology; removed on drop.
pub(crate) struct Scope {
    pub(crate) names: Names,
    pub(crate) connector: Connector,
}

impl Scope {
    pub(crate) async fn fresh() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let url = std::env::var("KINDRED_TEST_AMQP_URL").expect("KINDRED_TEST_AMQP_URL is set");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let scope = Self {
            names: Names::scoped(&format!("test-{}-{number}", std::process::id())),
            connector: Connector::new(&url, "kindred test").unwrap(),
        };
        let connection = scope.connector.connect("topology").await.unwrap();
        declare(&connection, &scope.names, 1, None).await.unwrap();
        close(&connection).await;
        scope
    }

    /// A connector to the same broker over a slow network: whatever is sent arrives after this time, in each direction.
    pub(crate) async fn over_a_slow_network(&self, latency: Duration) -> Connector {
        let url = std::env::var("KINDRED_TEST_AMQP_URL").unwrap();
        let place = self.connector.place();
        let broker = place.split_once('/').unwrap().0.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().to_string();
        assert!(url.contains(&broker), "the URL names {broker}");
        let slow = Connector::new(&url.replace(&broker, &here), "kindred test").unwrap();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&broker).await.unwrap();
                let ((from_near, to_near), (from_far, to_far)) =
                    (near.into_split(), far.into_split());
                tokio::spawn(pass_late(from_near, to_far, latency));
                tokio::spawn(pass_late(from_far, to_near, latency));
            }
        });
        slow
    }

    pub(crate) async fn open(&self) -> (Connection, Channel) {
        let connection = self.connector.connect("test").await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    async fn remove(&self) {
        let (connection, channel) = self.open().await;
        let names = &self.names;
        for queue in [
            names.partition(0),
            names.jobs(JobKind::Extract),
            names.jobs(JobKind::Compare),
            names.items_dead(),
            names.jobs_dead(),
            names.feedback_queue(),
        ] {
            let options = QueueDeleteOptions::default();
            channel.queue_delete(queue, options).await.unwrap();
        }
        for exchange in [
            names.items(),
            names.domains(),
            names.dead(),
            names.dead_jobs(),
            names.feedback(),
        ] {
            let options = ExchangeDeleteOptions::default();
            channel.exchange_delete(exchange, options).await.unwrap();
        }
        close(&connection).await;
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let scope = Self {
            names: self.names.clone(),
            connector: self.connector.clone(),
        };
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(scope.remove());
            std::mem::forget(scope);
        });
        if removing.join().is_err() {
            eprintln!("a test's topology could not be removed");
        }
    }
}

/// Latency, not less bandwidth: reading goes on while pieces wait.
async fn pass_late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, latency: Duration) {
    let (late, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let writing = async move {
        while let Some((at, piece)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    let reading = async move {
        let mut piece = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            let _ = late.send((Instant::now() + latency, piece[..read].to_vec()));
        }
    };
    tokio::join!(writing, reading);
}

/// Consumes a queue.
pub(crate) async fn consume(channel: &Channel, queue: lapin::types::ShortString) -> Consumer {
    let options = BasicConsumeOptions::default();
    channel
        .basic_consume(queue, "test".into(), options, FieldTable::default())
        .await
        .unwrap()
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "{what}");
}
