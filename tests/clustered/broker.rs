//! A virtual host of a test's own, and what the management's HTTP says about it.

use std::collections::BTreeMap;

use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};

use super::services::{ANSWER, own_name, variable, wait};

/// What a model service may configure, write and read. As in deploy/rabbitmq.
const SERVICE: [&str; 3] = [
    r"^kindred\..*$",
    r"^(kindred\..*|amq\.default)$",
    r"^kindred\..*$",
];
/// What a compute worker may: take jobs, answer them, and set aside those it cannot read.
const WORKER: [&str; 3] = [
    "^$",
    r"^(kindred\.dead|amq\.default)$",
    r"^kindred\.jobs\.(extract|compare)$",
];
/// What a publisher's user may.
const PUBLISHER: [&str; 3] = ["^$", r"^kindred\.items$", "^$"];
/// What one who listens to notifications may: queues named by the broker, bound to one exchange.
const LISTENER: [&str; 3] = [
    r"^amq\.gen-.*",
    r"^amq\.gen-.*",
    r"^(amq\.gen-.*|kindred\.domains)$",
];

/// A virtual host with a user for each kind of client; removed when dropped.
pub(crate) struct Broker {
    agent: ureq::Agent,
    management: String,
    /// `host:port` of AMQP.
    address: String,
    admin: String,
    name: String,
}

/// A message that was dead-lettered.
#[derive(Debug)]
pub(crate) struct Dead {
    /// Headers that are texts.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Broker {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let url = variable("KINDRED_TEST_AMQP_URL");
        let (login, rest) = url
            .trim_start_matches("amqp://")
            .split_once('@')
            .expect("amqp://user:password@host:port/");
        let broker = Self {
            agent: ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(ANSWER))
                .proxy(None)
                .build()
                .new_agent(),
            management: variable("KINDRED_TEST_AMQP_MANAGEMENT")
                .trim_end_matches('/')
                .to_owned(),
            address: rest.split('/').next().unwrap_or(rest).to_owned(),
            admin: login.to_owned(),
            name: own_name(),
        };
        let name = &broker.name;
        broker.put(&format!("vhosts/{name}"), &json!({}));
        let admin = login.split(':').next().unwrap_or_default();
        broker.allow(admin, [".*", ".*", ".*"]);
        for (user, patterns) in [
            ("service", SERVICE),
            ("worker", WORKER),
            ("publisher", PUBLISHER),
            ("listener", LISTENER),
        ] {
            let user = broker.user(user);
            broker.put(
                &format!("users/{user}"),
                &json!({"password": user, "tags": ""}),
            );
            broker.allow(&user, patterns);
        }
        broker
    }

    fn user(&self, role: &str) -> String {
        format!("{role}-{}", self.name)
    }

    fn url_of(&self, login: &str) -> String {
        format!("amqp://{login}@{}/{}?heartbeat=10", self.address, self.name)
    }

    fn url_of_role(&self, role: &str) -> String {
        let user = self.user(role);
        self.url_of(&format!("{user}:{user}"))
    }

    /// For model services: the least that they need.
    pub(crate) fn service_url(&self) -> String {
        self.url_of_role("service")
    }

    /// For compute workers: the least that they need.
    pub(crate) fn worker_url(&self) -> String {
        self.url_of_role("worker")
    }

    /// For who may do nothing but publish events.
    pub(crate) fn publisher_url(&self) -> String {
        self.url_of_role("publisher")
    }

    /// For who may do nothing but listen to `kindred.domains`.
    pub(crate) fn listener_url(&self) -> String {
        self.url_of_role("listener")
    }

    /// Messages of a queue that nobody holds. `None`: no such queue, or the broker is away.
    pub(crate) fn ready(&self, queue: &str) -> Option<u32> {
        wait(async {
            let channel = self.admin_channel().await.ok()?;
            let passive = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let declared = channel
                .queue_declare(queue.into(), passive, FieldTable::default())
                .await
                .ok()?;
            Some(declared.message_count())
        })
    }

    /// Takes every message out of a dead-letter queue.
    #[track_caller]
    pub(crate) fn take_dead(&self, queue: &str) -> Vec<Dead> {
        wait(async {
            let channel = self.admin_channel().await.expect("the broker");
            let mut dead = Vec::new();
            while let Some(message) = channel
                .basic_get(queue.into(), BasicGetOptions::default())
                .await
                .expect("the dead-letter queue")
            {
                let headers = message.properties.headers().clone().unwrap_or_default();
                dead.push(Dead {
                    headers: headers
                        .inner()
                        .iter()
                        .filter_map(|(key, value)| match value {
                            AMQPValue::LongString(text) => {
                                Some((key.to_string(), text.to_string()))
                            }
                            _ => None,
                        })
                        .collect(),
                    body: message.data.clone(),
                });
                message
                    .ack(BasicAckOptions::default())
                    .await
                    .expect("an acknowledgement");
            }
            dead
        })
    }

    async fn admin_channel(&self) -> lapin::Result<Channel> {
        let connection = Connection::connect(
            &self.url_of(&self.admin),
            ConnectionProperties::default().with_connection_name("test".into()),
        )
        .await?;
        connection.create_channel().await
    }

    /// Every channel of the virtual host, as the management last heard of it.
    #[track_caller]
    pub(crate) fn channels(&self) -> Vec<ChannelState> {
        self.get(&format!("vhosts/{}/channels", self.name))
            .as_array()
            .expect("channels")
            .iter()
            .filter_map(|one| {
                Some(ChannelState {
                    client_port: u16::try_from(one["connection_details"]["peer_port"].as_u64()?)
                        .ok()?,
                    unacknowledged: one["messages_unacknowledged"].as_u64()?,
                    consumers: one["consumer_count"].as_u64()?,
                })
            })
            .collect()
    }

    /// Lets a queue take this many messages, and then refuse what is published.
    #[track_caller]
    pub(crate) fn limit(&self, queue: &str, messages: u32) {
        self.put(
            &format!("policies/{}/limit", self.name),
            &json!({
                "pattern": format!("^{}$", queue.replace('.', r"\.")),
                "apply-to": "queues",
                "definition": {"max-length": messages},
            }),
        );
    }

    /// Takes the limit away.
    #[track_caller]
    pub(crate) fn lift_limit(&self) {
        let path = format!("{}/api/policies/{}/limit", self.management, self.name);
        let answer = self.agent.delete(path).call().expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    fn allow(&self, user: &str, [configure, write, read]: [&str; 3]) {
        self.put(
            &format!("permissions/{}/{user}", self.name),
            &json!({"configure": configure, "write": write, "read": read}),
        );
    }

    #[track_caller]
    fn put(&self, path: &str, body: &Value) {
        let answer = self
            .agent
            .put(format!("{}/api/{path}", self.management))
            .content_type("application/json")
            .send(body.to_string())
            .unwrap_or_else(|error| panic!("PUT {path}: {error}"));
        assert!(
            answer.status().is_success(),
            "PUT {path}: {}",
            answer.status()
        );
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let mut answer = self
            .agent
            .get(format!("{}/api/{path}", self.management))
            .call()
            .unwrap_or_else(|error| panic!("GET {path}: {error}"));
        let body = answer.body_mut().read_to_string().expect("a body");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("GET {path}: {error}: {body}"))
    }
}

/// A channel, as the management tells.
#[derive(Debug)]
pub(crate) struct ChannelState {
    /// Port of the client's end.
    pub(crate) client_port: u16,
    pub(crate) unacknowledged: u64,
    pub(crate) consumers: u64,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A test that failed may have left no broker.
        for path in ["service", "worker", "publisher", "listener"]
            .map(|role| format!("users/{}", self.user(role)))
            .into_iter()
            .chain([format!("vhosts/{}", self.name)])
        {
            let _ = self
                .agent
                .delete(format!("{}/api/{path}", self.management))
                .call();
        }
    }
}
