//! What the broker's management API reports over HTTP; it needs a plugin and a user with a tag.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kindred_runtime::amqp::Names;
use lapin::uri::AMQPUri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::cli::exit::CommandError;
use crate::client::{Error, Http};
use crate::config::Config;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The management API's default port.
const PORT: u16 = 15_672;
/// HTTP dates are truncated to whole seconds: on average half a second is missing, in ms.
const HALF_A_SECOND_MS: i64 = 500;

/// Address and credentials of the management API.
#[derive(Debug, Clone)]
pub(in super::super) struct Address {
    /// With user and password.
    base: String,
    /// Without them, for messages.
    place: String,
    vhost: String,
}

impl Address {
    /// As given, or on the broker's host with the broker's user.
    pub(in super::super) fn of(config: &Config, given: Option<&str>) -> Result<Self, CommandError> {
        let uri: AMQPUri =
            config.broker.amqp_url.expose().parse().map_err(|error| {
                CommandError::usage(format!("amqp_url cannot be read: {error}"))
            })?;
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let user = &uri.authority.userinfo;
        let login = format!("{}:{}", encode(&user.username), encode(&user.password));
        let given = given.map(|url| url.trim_end_matches('/'));
        let rest = match given {
            None => format!("{}:{PORT}", uri.authority.host),
            Some(url) => url
                .strip_prefix("http://")
                .filter(|rest| !rest.is_empty())
                .ok_or_else(|| {
                    CommandError::usage(
                        "--management: expected http:// and a host, such as http://127.0.0.1:15672",
                    )
                })?
                .to_owned(),
        };
        let (login, place) = match rest.rsplit_once('@') {
            Some((own, place)) => (own.to_owned(), place.to_owned()),
            None => (login, rest),
        };
        Ok(Self {
            base: format!("http://{login}@{place}/api"),
            place: format!("http://{place}"),
            vhost: encode(&uri.vhost),
        })
    }
}

/// What the management API reported. `None`: it did not tell this user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Management {
    /// Where it is.
    pub(in super::super) place: String,
    /// How far its clock is ahead of this machine's, in ms.
    pub(in super::super) ahead_ms: Option<i64>,
    /// Exchange types that can be declared.
    pub(in super::super) exchange_types: Option<Vec<String>>,
    /// Resources the node is short of; empty: none.
    pub(in super::super) alarms: Option<Vec<String>>,
    /// Bindings of `kindred.items`, as (destination, routing key).
    pub(in super::super) bindings: Option<Vec<(String, String)>>,
    /// Settings of policies that apply to Kindred's queues, as (queue, setting).
    pub(in super::super) policies: Option<Vec<(String, String)>>,
    /// Programs connected, as (product, version), one per connection.
    pub(in super::super) programs: Option<Vec<(String, String)>>,
}

/// Asks for everything.
///
/// # Errors
/// A message, when it is unreachable or refuses this user.
pub(super) fn ask(address: &Address) -> Result<Management, String> {
    let http = Http::with_deadline(ANSWER);
    let get = |path: &str| get(&http, &format!("{}/{path}", address.base));
    let place = address.place.clone();
    let (status, ahead_ms, overview) =
        get("overview").map_err(|error| format!("{place} does not answer: {error}"))?;
    match status {
        200 => {}
        401 => {
            return Err(format!(
                "{place} refuses this user: it needs the right password and one of the tags \
                 management, monitoring, administrator"
            ));
        }
        status => return Err(format!("{place} answers with status {status}")),
    }
    let told = |path: String| match get(&path) {
        Ok((200, _, body)) => Some(body),
        _ => None,
    };
    let vhost = &address.vhost;
    let alarms = match get("health/checks/local-alarms") {
        Ok((200, ..)) => Some(Vec::new()),
        Ok((503, _, body)) => Some(vec![text(&body, "reason")]),
        _ => None,
    };
    let items = Names::default().items();
    let bindings = told(format!("exchanges/{vhost}/{items}/bindings/source")).map(|body| {
        list(&body)
            .map(|one| (text(one, "destination"), text(one, "routing_key")))
            .collect()
    });
    let policies = told(format!("queues/{vhost}")).map(|body| policies(&body));
    let programs = told("connections".to_owned()).map(|body| {
        list(&body)
            .filter_map(|one| one.get("client_properties"))
            .map(|of| (text(of, "product"), text(of, "version")))
            .collect()
    });
    Ok(Management {
        place,
        ahead_ms,
        exchange_types: overview
            .get("exchange_types")
            .map(|types| list(types).map(|one| text(one, "name")).collect()),
        alarms,
        bindings,
        policies,
        programs,
    })
}

/// Settings of policies that apply to Kindred's queues.
fn policies(queues: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for queue in list(queues) {
        let name = text(queue, "name");
        if !name.starts_with("kindred.") {
            continue;
        }
        if let Some(definition) = queue
            .get("effective_policy_definition")
            .and_then(Value::as_object)
        {
            found.extend(definition.keys().map(|key| (name.clone(), key.clone())));
        }
    }
    found
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Status, how far the server's clock is ahead, and body.
fn get(http: &Http, url: &str) -> Result<(u16, Option<i64>, Value), Error> {
    let answer = http.get(url, &[])?;
    let now = Utc::now();
    let date = answer.header("date").and_then(|date| {
        let date = DateTime::parse_from_rfc2822(date).ok()?;
        Some((date.to_utc() - now).num_milliseconds() + HALF_A_SECOND_MS)
    });
    Ok((answer.status, date, answer.json().unwrap_or_default()))
}
