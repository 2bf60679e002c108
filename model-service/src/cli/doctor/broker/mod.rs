//! Checks of the broker: the facts, and what they mean.

mod greeting;
pub(super) mod look;
pub(super) mod management;
#[cfg(test)]
mod tests;

use kindred_runtime::amqp::{Arguments, Inspected, Permission, Presence};

use self::greeting::Greeting;
use self::management::Management;
use super::Part;
use super::finding::Finding;

/// The oldest version that supports everything declared: at-least-once dead-lettering.
const OLDEST: (u32, u32) = (3, 10);
/// From this version on, `x-modulus-hash` needs no plugin.
const HASH_WITHOUT_PLUGIN: (u32, u32) = (4, 3);
/// The exchange type that more than one partition needs.
const MODULUS_HASH: &str = "x-modulus-hash";
/// Policy settings that override what is declared.
const OVERRIDING: [&str; 8] = [
    "max-length",
    "max-length-bytes",
    "message-ttl",
    "expires",
    "delivery-limit",
    "overflow",
    "dead-letter-exchange",
    "dead-letter-strategy",
];
const DEFINITIONS: &str = "deploy/rabbitmq/definitions.json";

/// The facts gathered about the broker.
#[derive(Debug, Clone)]
pub(super) struct BrokerFacts {
    /// Host, port and virtual host.
    pub(super) place: String,
    /// What it says before a login; `None`: not asked, because of TLS.
    pub(super) greeting: Option<Result<Greeting, String>>,
    /// What can be seen after the login.
    pub(super) inside: Result<Inside, NoEntry>,
    /// What its management API reports, or why there is no report.
    pub(super) management: Result<Management, String>,
}

/// What can be seen over a connection.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    topology: Result<Vec<Inspected>, String>,
    /// The stream of events; `None`: not needed.
    log: Option<Result<Inspected, String>>,
    permissions: Result<Vec<(Permission, Option<bool>)>, String>,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoEntry {
    /// User or password are wrong.
    Refused(String),
    /// The virtual host does not exist, or this user may not use it.
    NoVhost(String),
    /// Anything else.
    Away(String),
}

pub(super) fn judge(facts: &BrokerFacts, part: Part, partitions: u16) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(reachable(facts));
    let entered = login(facts);
    findings.extend(entered);
    findings.push(management_there(facts));
    let Ok(inside) = &facts.inside else {
        return findings;
    };
    findings.push(permissions(inside, part));
    findings.extend(topology(inside, part));
    findings.extend(log(facts, inside));
    if part == Part::ModelService && partitions > 1 {
        findings.push(sharding(facts, inside));
    }
    if let Ok(management) = &facts.management {
        findings.extend(alarms(management));
        findings.extend(policies(management));
        findings.extend(bindings(management, inside, partitions));
    }
    findings.extend(traffic(inside, part));
    findings
}

fn reachable(facts: &BrokerFacts) -> Vec<Finding> {
    let check = "broker.reachable";
    let place = &facts.place;
    match &facts.greeting {
        None => Vec::new(),
        Some(Err(words)) => vec![Finding::problem(
            check,
            format!("{place}: {words}"),
            "start RabbitMQ, or correct amqp_url",
        )],
        Some(Ok(greeting)) => {
            let said = format!("{} {}", greeting.product, greeting.version);
            let reachable = Finding::ok(check, format!("{said} answers at {place}"));
            let check = "broker.version";
            let version = match version(&greeting.version) {
                Some(found) if found >= OLDEST => Finding::ok(check, said),
                Some(_) => Finding::problem(
                    check,
                    format!("{said} is too old"),
                    format!("use RabbitMQ {}.{} or newer", OLDEST.0, OLDEST.1),
                ),
                None => Finding::unknown(
                    check,
                    format!("{said} does not report its version"),
                    "check that it is recent enough",
                ),
            };
            vec![reachable, version]
        }
    }
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn login(facts: &BrokerFacts) -> Option<Finding> {
    let check = "broker.login";
    let place = &facts.place;
    match &facts.inside {
        Ok(_) => Some(Finding::ok(check, format!("{place} accepts this user"))),
        Err(NoEntry::Refused(words)) => Some(Finding::problem(
            check,
            format!("{place} refuses this user: {words}"),
            "correct user and password in amqp_url, or create the user (deploy/rabbitmq/README.md)",
        )),
        Err(NoEntry::NoVhost(words)) => Some(Finding::problem(
            check,
            format!("{place}: {words}"),
            "correct the virtual host in amqp_url, create it, or give the user permissions in it",
        )),
        // Reported already.
        Err(NoEntry::Away(_)) if matches!(facts.greeting, Some(Err(_))) => None,
        Err(NoEntry::Away(words)) => Some(Finding::problem(
            check,
            format!("{place}: {words}"),
            "see the broker's log",
        )),
    }
}

fn management_there(facts: &BrokerFacts) -> Finding {
    let check = "broker.management";
    match &facts.management {
        Ok(management) => Finding::ok(check, format!("{} answers", management.place)),
        Err(words) => Finding::unknown(
            check,
            format!("{words}: alarms, bindings, policies and workers' versions are not checked"),
            "name it with --management http://user:password@host:15672, or enable its plugin with \
             `rabbitmq-plugins enable rabbitmq_management`",
        ),
    }
}

fn permissions(inside: &Inside, part: Part) -> Finding {
    let check = "broker.permissions";
    let who = match part {
        Part::ModelService | Part::Standalone => "a model service",
        Part::ComputeWorker => "a compute worker",
        Part::Publisher => "a publisher",
    };
    let all = match &inside.permissions {
        Ok(all) => all,
        Err(words) => {
            let found = format!("the connection was lost during the check: {words}");
            return Finding::unknown(check, found, "run it again");
        }
    };
    let of = |answer: Option<bool>| {
        let some = all.iter().filter(|(_, found)| *found == answer);
        let words: Vec<String> = some.map(|(permission, _)| permission.to_string()).collect();
        words.join(", ")
    };
    let (refused, untold) = (of(Some(false)), of(None));
    if !refused.is_empty() {
        return Finding::problem(
            check,
            format!("this user lacks what {who} needs: {refused}"),
            "set its permissions as described in deploy/rabbitmq/README.md",
        );
    }
    if !untold.is_empty() {
        let found = format!("it is unknown whether this user has these permissions: {untold}");
        return Finding::unknown(check, found, "compare them with deploy/rabbitmq/README.md");
    }
    Finding::ok(
        check,
        format!("this user has all permissions that {who} needs"),
    )
}

/// Whether this part of the topology matters to a program.
fn concerns(part: Part, one: &Inspected) -> bool {
    match part {
        Part::ModelService | Part::Standalone => true,
        Part::ComputeWorker => one.name.starts_with("kindred.jobs.") || one.name.ends_with(".dead"),
        Part::Publisher => one.name == "kindred.items",
    }
}

fn topology(inside: &Inside, part: Part) -> Vec<Finding> {
    let check = "broker.topology";
    let all: Vec<&Inspected> = match &inside.topology {
        Ok(all) => all.iter().filter(|one| concerns(part, one)).collect(),
        Err(words) => {
            let found = format!("the connection was lost during the check: {words}");
            return vec![Finding::unknown(check, found, "run it again")];
        }
    };
    let names = |which: &dyn Fn(&Inspected) -> bool| {
        let some = all.iter().filter(|one| which(one));
        some.map(|one| one.name.as_str()).collect::<Vec<_>>()
    };
    let missing = names(&|one| one.presence == Presence::Missing);
    let mut findings = Vec::new();
    if missing.len() == all.len() {
        findings.push(Finding::warning(
            check,
            "nothing is declared yet",
            format!("start a model service, which declares it, or import {DEFINITIONS}"),
        ));
    } else if !missing.is_empty() {
        findings.push(Finding::problem(
            check,
            format!("missing: {}", missing.join(", ")),
            format!("start a model service, which declares it, or import {DEFINITIONS}"),
        ));
    } else {
        let queues = all.iter().filter(|one| one.is_queue).count();
        let found = format!("{} exchanges, {queues} queues", all.len() - queues);
        findings.push(Finding::ok(check, found));
    }
    for one in &all {
        let kind = if one.is_queue { "queue" } else { "exchange" };
        let check = format!("broker.{kind} {}", one.name);
        if let Presence::Unknown(words) = &one.presence {
            findings.push(Finding::problem(
                check,
                format!("it does not answer: {words}"),
                "see whether its node or leader is down (`rabbitmq-queues quorum_status`)",
            ));
        } else if let Arguments::Wrong(words) = &one.arguments {
            findings.push(Finding::problem(
                check,
                format!("it was declared with other settings: {words}"),
                "drain it, stop the model services, delete it and start them again: they declare \
                 it again",
            ));
        }
    }
    let unknown = names(&|one| {
        one.presence == Presence::There && matches!(one.arguments, Arguments::Unknown(_))
    });
    if !unknown.is_empty() {
        findings.push(Finding::unknown(
            "broker.arguments",
            format!(
                "this user may not check whether these are declared correctly: {}",
                unknown.join(", ")
            ),
            "run this as a user who may configure them",
        ));
    }
    findings
}

/// Whether the stream keeps the events that are to be kept.
fn log(facts: &BrokerFacts, inside: &Inside) -> Option<Finding> {
    let check = "broker.log";
    let stream = match inside.log.as_ref()? {
        Ok(stream) => stream,
        Err(words) => {
            let found = format!("the connection was lost during the check: {words}");
            return Some(Finding::unknown(check, found, "run it again"));
        }
    };
    let name = &stream.name;
    match &stream.presence {
        Presence::There => {}
        Presence::Missing => {
            // Where nothing is declared yet, that is reported already.
            let others = inside.topology.as_ref().ok()?;
            others
                .iter()
                .find(|one| one.presence != Presence::Missing)?;
            return Some(Finding::problem(
                check,
                format!("there is no {name}: events are not kept"),
                "start a model service with the same log_retention, which declares it",
            ));
        }
        Presence::Unknown(words) => {
            return Some(Finding::problem(
                check,
                format!("{name} does not answer: {words}"),
                "see whether its node or leader is down (`rabbitmq-streams stream_status`)",
            ));
        }
    }
    let bindings = facts.management.as_ref().ok();
    let bindings = bindings.and_then(|management| management.bindings.as_ref());
    let is_bound = |all: &Vec<(String, String)>| {
        all.iter()
            .any(|(destination, key)| destination == name && key == "#")
    };
    if bindings.is_some_and(|all| !is_bound(all)) {
        return Some(Finding::problem(
            check,
            format!("kindred.items is not bound to {name}: events are not kept"),
            "restart a model service with the same log_retention, which binds it",
        ));
    }
    Some(match &stream.arguments {
        Arguments::Right => Finding::ok(check, format!("{name} keeps events as configured")),
        Arguments::Wrong(words) => Finding::warning(
            check,
            format!("{name} was declared with another log_retention or log_size: {words}"),
            "docs/OPERATIONS.md says how to change what it keeps (Replay, Changing it)",
        ),
        Arguments::Unknown(words) => Finding::unknown(
            check,
            format!("it is unknown whether {name} keeps events as configured: {words}"),
            "run this as a user who may configure it",
        ),
    })
}

fn sharding(facts: &BrokerFacts, inside: &Inside) -> Finding {
    let check = "broker.sharding";
    let there = |topology: &[Inspected]| {
        topology
            .iter()
            .any(|one| one.name == "kindred.partitions" && one.presence == Presence::There)
    };
    let newer = match &facts.greeting {
        Some(Ok(greeting)) => version(&greeting.version).is_some_and(|v| v >= HASH_WITHOUT_PLUGIN),
        _ => false,
    };
    let types = facts.management.as_ref().ok();
    let types = types.and_then(|management| management.exchange_types.as_ref());
    match types {
        Some(types) if types.iter().any(|one| one == MODULUS_HASH) => {
            Finding::ok(check, format!("exchange type {MODULUS_HASH} is available"))
        }
        _ if newer || inside.topology.as_deref().is_ok_and(there) => {
            Finding::ok(check, format!("exchange type {MODULUS_HASH} is available"))
        }
        Some(_) => Finding::problem(
            check,
            format!("exchange type {MODULUS_HASH} is missing; more than one partition needs it"),
            "enable it on every node with `rabbitmq-plugins enable rabbitmq_sharding`",
        ),
        None => Finding::unknown(
            check,
            format!("it is unknown whether exchange type {MODULUS_HASH} is available"),
            "make sure that the plugin rabbitmq_sharding is enabled on every node",
        ),
    }
}

fn alarms(management: &Management) -> Option<Finding> {
    let check = "broker.alarms";
    let alarms = management.alarms.as_ref()?;
    Some(if alarms.is_empty() {
        Finding::ok(check, "it has enough memory and disk")
    } else {
        Finding::problem(
            check,
            format!("it accepts no messages: {}", alarms.join(", ")),
            "free memory or disk on the broker's node; publishers then resume by themselves",
        )
    })
}

fn policies(management: &Management) -> Option<Finding> {
    let check = "broker.policies";
    let overriding: Vec<String> = management
        .policies
        .as_ref()?
        .iter()
        .filter(|(_, setting)| OVERRIDING.contains(&setting.as_str()))
        .map(|(queue, setting)| format!("{setting} of {queue}"))
        .collect();
    Some(if overriding.is_empty() {
        Finding::ok(check, "no policy overrides what is declared")
    } else {
        Finding::warning(
            check,
            format!("policies set {}", overriding.join(", ")),
            "make sure that it drops no events, or remove the policy",
        )
    })
}

fn bindings(management: &Management, inside: &Inside, partitions: u16) -> Option<Finding> {
    let check = "broker.bindings";
    let wanted = if partitions > 1 {
        "kindred.partitions"
    } else {
        "kindred.items.p00"
    };
    // Without an exchange there are no bindings; that is reported elsewhere.
    let topology = inside.topology.as_ref().ok()?;
    topology
        .iter()
        .find(|one| one.name == "kindred.items" && one.presence == Presence::There)?;
    let found = management.bindings.as_ref()?;
    let bound = found
        .iter()
        .any(|(destination, key)| destination == wanted && key == "#");
    let others: Vec<&str> = found
        .iter()
        .map(|(destination, _)| destination.as_str())
        .filter(|other| {
            *other != wanted
                && (other.starts_with("kindred.items.p") || *other == "kindred.partitions")
        })
        .collect();
    Some(if !bound {
        Finding::problem(
            check,
            format!("kindred.items is not bound to {wanted}: events reach no queue"),
            "start a model service, which binds it",
        )
    } else if !others.is_empty() {
        Finding::problem(
            check,
            format!("kindred.items is also bound to {}", others.join(", ")),
            "it belongs to another number of partitions: unbind it, or events will pile up there",
        )
    } else {
        Finding::ok(check, format!("kindred.items is bound to {wanted}"))
    })
}

/// Who consumes from which queue, and how much is in queues without consumers.
fn traffic(inside: &Inside, part: Part) -> Vec<Finding> {
    let Ok(all) = &inside.topology else {
        return Vec::new();
    };
    if part == Part::Publisher {
        return Vec::new();
    }
    let there = |one: &&Inspected| one.is_queue && one.presence == Presence::There;
    let mut findings = Vec::new();
    let mut consumers = |check: &str, prefix: &str, who: &str, remedy: &str| {
        let some: Vec<&Inspected> = all
            .iter()
            .filter(there)
            .filter(|one| one.name.starts_with(prefix))
            .collect();
        if some.is_empty() {
            return;
        }
        let alone: Vec<&&Inspected> = some.iter().filter(|one| one.consumers == 0).collect();
        findings.push(if alone.is_empty() {
            let least = some.iter().map(|one| one.consumers).min().unwrap_or(0);
            Finding::ok(
                check,
                format!("{who} consume from every queue, at least {least} per queue"),
            )
        } else {
            let named: Vec<String> = alone
                .iter()
                .map(|one| format!("{} ({} waiting)", one.name, one.messages))
                .collect();
            Finding::warning(
                check,
                format!("no {who} consume from {}", named.join(", ")),
                remedy,
            )
        });
    };
    consumers(
        "broker.model_services",
        "kindred.items.p",
        "model services",
        "start `kindred model-service`, or find out why it does not own the partition",
    );
    consumers(
        "broker.workers",
        "kindred.jobs.extract",
        "compute workers",
        "start `compute-worker`",
    );
    let dead = |name: &str| {
        let queue = all.iter().filter(there).find(|one| one.name == name);
        queue.map(|one| one.messages)
    };
    if let Some(events) = dead("kindred.items.dead") {
        let check = "broker.dead_events";
        findings.push(if events == 0 {
            Finding::ok(check, "no event was refused")
        } else {
            Finding::warning(
                check,
                format!("{events} refused events are in kindred.items.dead"),
                "their headers x-kindred-reason and x-kindred-detail say why; docs/OPERATIONS.md \
                 says how to send them again",
            )
        });
    }
    if let Some(jobs) = dead("kindred.jobs.dead") {
        let check = "broker.dead_jobs";
        findings.push(if jobs == 0 {
            Finding::ok(check, "no job has killed its workers lately")
        } else {
            Finding::warning(
                check,
                format!("{jobs} jobs that killed their workers are in kindred.jobs.dead"),
                "docs/OPERATIONS.md says what happened to their items; keep them for a bug report",
            )
        });
    }
    findings
}
