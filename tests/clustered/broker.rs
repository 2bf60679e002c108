//! A virtual host of a test's own, and what the management's HTTP says about it.

use std::collections::BTreeMap;

use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use model_service::client::Http;
use serde_json::{Value, json};

use super::services::{ANSWER, own_name, variable, wait};

/// Users and what each may do, as deploy/ has them.
const USERS: &str = include_str!("../../deploy/rabbitmq/users.json");
/// Roles of tests, and their users' names in deploy/.
const ROLES: [(&str, &str); 3] = [
    ("service", "kindred"),
    ("worker", "compute-worker"),
    ("publisher", "publisher"),
];
/// What one who listens to notifications may: queues named by the broker, bound to one exchange.
const LISTENER: [&str; 3] = [
    r"^amq\.gen-.*",
    r"^amq\.gen-.*",
    r"^(amq\.gen-.*|kindred\.domains)$",
];

/// A virtual host with a user for each kind of client; removed when dropped.
pub(crate) struct Broker {
    http: Http,
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
            http: Http::with_deadline(ANSWER),
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
        for (role, deployed) in ROLES {
            let [configure, write, read] = deployed_permissions(deployed);
            broker.make_user(role, [&configure, &write, &read]);
        }
        broker.make_user("listener", LISTENER);
        broker
    }

    fn make_user(&self, role: &str, patterns: [&str; 3]) {
        let user = self.user(role);
        self.put(
            &format!("users/{user}"),
            &json!({"password": user, "tags": ""}),
        );
        self.allow(&user, patterns);
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

    /// `host:port` of AMQP.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Limits a user to what deploy/ lets the publisher publish: events and feedback of `news.…`.
    pub(crate) fn limit_publisher(&self) {
        let users: Value = serde_json::from_str(USERS).expect("deploy/rabbitmq/users.json");
        let limits = users["topic_permissions"].as_array().expect("a list");
        // What it publishes items to, and what readers did.
        assert_eq!(limits.len(), 2);
        let user = self.user("publisher");
        for of in limits {
            assert_eq!(of["user"], "publisher");
            self.put(
                &format!("topic-permissions/{}/{user}", self.name),
                &json!({"exchange": of["exchange"], "write": of["write"], "read": of["read"]}),
            );
        }
    }

    /// `user:password` of one who may do everything, the management included.
    pub(crate) fn admin_login(&self) -> &str {
        &self.admin
    }

    /// The virtual host.
    pub(crate) fn virtual_host(&self) -> &str {
        &self.name
    }

    /// For one who may do everything, the management included.
    pub(crate) fn admin_url(&self) -> String {
        self.url_of(&self.admin)
    }

    /// The management's address, without a user.
    pub(crate) fn management(&self) -> String {
        let (scheme, rest) = self.management.split_once("://").expect("a URL");
        let place = rest.rsplit('@').next().unwrap_or(rest);
        format!("{scheme}://{place}")
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

    /// Declares a durable exchange.
    #[track_caller]
    pub(crate) fn declare_exchange(&self, exchange: &str, kind: &str) {
        let body = json!({"type": kind, "durable": true});
        self.put(&format!("exchanges/{}/{exchange}", self.name), &body);
    }

    /// Declares a durable queue with these arguments.
    #[track_caller]
    pub(crate) fn declare_queue(&self, queue: &str, arguments: &Value) {
        let body = json!({"durable": true, "arguments": arguments});
        self.put(&format!("queues/{}/{queue}", self.name), &body);
    }

    /// Names of all queues.
    #[track_caller]
    pub(crate) fn queues(&self) -> Vec<String> {
        let queues = self.get(&format!("queues/{}", self.name));
        let queues = queues.as_array().expect("queues").iter();
        let name = |queue: &Value| queue["name"].as_str().expect("a name").to_owned();
        queues.map(name).collect()
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
        let answer = self.http.delete(&path).expect("an answer");
        assert!(answer.is_success(), "{}", answer.status);
    }

    fn allow(&self, user: &str, [configure, write, read]: [&str; 3]) {
        self.put(
            &format!("permissions/{}/{user}", self.name),
            &json!({"configure": configure, "write": write, "read": read}),
        );
    }

    #[track_caller]
    fn put(&self, path: &str, body: &Value) {
        let url = format!("{}/api/{path}", self.management);
        let body = body.to_string();
        let answer = self
            .http
            .put(&url, "application/json", body.as_bytes())
            .unwrap_or_else(|error| panic!("PUT {path}: {error}"));
        assert!(answer.is_success(), "PUT {path}: {}", answer.status);
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let answer = self
            .http
            .get(&format!("{}/api/{path}", self.management), &[])
            .unwrap_or_else(|error| panic!("GET {path}: {error}"));
        answer
            .json()
            .unwrap_or_else(|error| panic!("GET {path}: {error}: {}", answer.text()))
    }
}

/// What a user of deploy/ may configure, write and read.
#[track_caller]
fn deployed_permissions(user: &str) -> [String; 3] {
    let users: Value = serde_json::from_str(USERS).expect("deploy/rabbitmq/users.json");
    let permissions = users["permissions"].as_array().expect("permissions");
    let of = permissions
        .iter()
        .find(|one| one["user"] == user)
        .unwrap_or_else(|| panic!("deploy/rabbitmq/users.json has no user {user}"));
    ["configure", "write", "read"].map(|what| of[what].as_str().expect("a pattern").to_owned())
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
            let _ = self.http.delete(&format!("{}/api/{path}", self.management));
        }
    }
}
