//! Checks of the database: the facts, and what they mean.

pub(super) mod look;
#[cfg(test)]
mod tests;

use kindred_shared::ModelName;

use super::Part;
use super::finding::Finding;
use crate::config::Config;
use crate::store::cassandra::opening::{danger, lease_trouble};
use crate::store::cassandra::partitions::Partitions;
use crate::store::cassandra::schema::{NEWEST, Standing};

/// Most items in a domain that Kindred is meant for when lists are one partition: some 250 MiB
/// (docs/OPERATIONS.md).
const LARGEST_DOMAIN: i64 = 100_000;
const ROLES: &str = "grant it as deploy/cassandra/roles.cql does";

/// The facts gathered about the database.
#[derive(Debug, Clone)]
pub(super) struct DatabaseFacts {
    /// The nodes that were asked.
    place: String,
    /// What can be seen after the login.
    pub(super) inside: Result<Box<Inside>, NoEntry>,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoEntry {
    /// Role or password are wrong, or are required and missing.
    Refused(String),
    /// Anything else.
    Away(String),
}

/// What can be seen over a session. `Err`: why it cannot be seen.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    version: Result<String, String>,
    is_scylla: bool,
    /// Nodes in the cluster.
    nodes: usize,
    /// Nodes that are connected.
    up: usize,
    /// Replicas of every row; `None`: the keyspace does not exist.
    copies: Result<Option<u32>, String>,
    standing: Result<Standing, String>,
    /// `None`: not reported.
    commit_log: Result<Option<String>, String>,
    /// `None`: not reported.
    paxos_variant: Option<String>,
    /// Number of partitions; `None`: no service was started yet.
    partitions: Result<Option<Partitions>, String>,
    /// Models in the store that this program does not know.
    unknown_models: Vec<ModelName>,
    /// The domain with the most live items, and their number; `None`: there is none, or it is not
    /// known.
    largest: Option<(String, i64)>,
    /// Whether blocks of features can be read, or why not.
    blocks: Result<(), String>,
    /// `None`: everyone may do everything.
    rights: Result<Option<Rights>, String>,
    /// Owners of partitions.
    pub(super) owners: Vec<Owner>,
    /// How far its clock is ahead, in ms.
    pub(super) ahead_ms: Result<i64, String>,
}

/// What a role may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rights {
    is_superuser: bool,
    /// Resource, as `<keyspace kindred>`, and permission, as `SELECT`.
    granted: Vec<(String, String)>,
}

/// A row of `partitions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) partition: i16,
    /// Identifies one start of a process; empty: the lease was released.
    pub(super) owner: String,
    /// Address of its HTTP server.
    pub(super) address: String,
}

pub(super) fn judge(facts: &DatabaseFacts, config: &Config, part: Part) -> Vec<Finding> {
    let place = &facts.place;
    let inside = match &facts.inside {
        Ok(inside) => inside,
        Err(NoEntry::Refused(words)) => {
            return vec![Finding::problem(
                "database.login",
                format!("{place} refuses this role: {words}"),
                "correct cql_user and cql_password, or create the role (deploy/cassandra/roles.cql)",
            )];
        }
        Err(NoEntry::Away(words)) => {
            return vec![Finding::problem(
                "database.reachable",
                format!("no node of {place} can be used: {words}"),
                "start the database, or correct cql_nodes",
            )];
        }
    };
    let mut findings = vec![reachable(inside, place)];
    if part == Part::ComputeWorker {
        findings.push(blocks(inside));
        return findings;
    }
    findings.push(schema(inside, config));
    findings.push(replication(inside, config));
    findings.push(durability(inside, config));
    findings.extend(leases(inside, config));
    findings.push(rights(inside, config));
    findings.push(partitions(inside, config));
    findings.extend(unknown_models(inside));
    findings.extend(too_large(inside));
    findings
}

fn too_large(inside: &Inside) -> Option<Finding> {
    let (domain, live) = inside.largest.as_ref()?;
    (*live > LARGEST_DOMAIN).then(|| {
        Finding::warning(
            "database.largest_domain",
            format!(
                "{domain} has {live} items, whose lists are one partition; Kindred is meant for domains \
                 of up to {LARGEST_DOMAIN}"
            ),
            "watch the partition of similar_items in `nodetool tablestats`, or split the domain",
        )
    })
}

fn unknown_models(inside: &Inside) -> Option<Finding> {
    let names: Vec<&str> = inside
        .unknown_models
        .iter()
        .map(ModelName::as_str)
        .collect();
    (!names.is_empty()).then(|| {
        Finding::warning(
            "database.models",
            format!(
                "the keyspace has rows of unknown models: {}; this program leaves them alone",
                names.join(", ")
            ),
            "to serve their domains, run the version that wrote them",
        )
    })
}

fn reachable(inside: &Inside, place: &str) -> Finding {
    let check = "database.reachable";
    let (name, oldest) = if inside.is_scylla {
        ("ScyllaDB", None)
    } else {
        ("Cassandra", Some(4))
    };
    let version = match &inside.version {
        Ok(version) => version,
        Err(words) => {
            let found = format!("{place} accepts this role but answers no query: {words}");
            return Finding::problem(check, found, "see the database's log");
        }
    };
    let found = format!("{name} {version} at {place}");
    let major = version.split('.').next().and_then(|part| part.parse().ok());
    match (oldest, major) {
        (Some(oldest), Some(major)) if oldest > major => Finding::problem(
            check,
            format!("{found} is too old"),
            "use Cassandra 5, or 4.1 at least",
        ),
        (Some(_), Some(4)) => Finding::warning(
            check,
            format!("{found}: Kindred is tested with 5"),
            "upgrade the database",
        ),
        _ => Finding::ok(check, found),
    }
}

fn blocks(inside: &Inside) -> Finding {
    let check = "database.blocks";
    match &inside.blocks {
        Ok(()) => Finding::ok(check, "blocks of features can be read"),
        Err(words) => Finding::problem(
            check,
            format!("blocks of features cannot be read: {words}"),
            format!("create the tables with `kindred schema`; the role: {ROLES}"),
        ),
    }
}

fn schema(inside: &Inside, config: &Config) -> Finding {
    let check = "database.schema";
    let keyspace = &config.database.cql_keyspace;
    match &inside.standing {
        Ok(Standing::Current) => {
            Finding::ok(check, format!("keyspace {keyspace} is at version {NEWEST}"))
        }
        Ok(Standing::Behind(missing)) => Finding::problem(
            check,
            match &inside.copies {
                Ok(None) => format!("keyspace {keyspace} does not exist"),
                _ => format!("keyspace {keyspace} lacks the migrations {missing:?}"),
            },
            "run `kindred schema` as a role that may create tables; a model service does so \
             itself if its role may",
        ),
        Ok(Standing::Newer(found)) => Finding::problem(
            check,
            format!("keyspace {keyspace} is at version {found}, and this program knows {NEWEST}"),
            "use the newer Kindred that created it",
        ),
        Err(words) => Finding::problem(
            check,
            format!("the version of keyspace {keyspace} cannot be read: {words}"),
            format!("the role needs SELECT on the keyspace: {ROLES}"),
        ),
    }
}

fn replication(inside: &Inside, config: &Config) -> Finding {
    let check = "database.replication";
    let nodes = u32::try_from(inside.nodes).unwrap_or(u32::MAX);
    let up = u32::try_from(inside.up).unwrap_or(u32::MAX);
    let copies = match &inside.copies {
        Ok(Some(copies)) => *copies,
        Ok(None) => {
            let wanted = config.database.cql_replication;
            let found = format!(
                "the keyspace does not exist yet; it will be created with \
                replication factor {wanted}"
            );
            return if u32::from(wanted) > nodes {
                let remedy = "set cql_replication to at most the number of nodes";
                Finding::warning(
                    check,
                    format!("{found}, but there are {nodes} nodes"),
                    remedy,
                )
            } else {
                Finding::ok(check, found)
            };
        }
        Err(words) => {
            let found = format!("the keyspace's replication cannot be read: {words}");
            return Finding::unknown(check, found, "run DESCRIBE KEYSPACE by hand");
        }
    };
    let quorum = copies / 2 + 1;
    let found =
        format!("copies of every row: {copies}; nodes: {nodes}, up: {up}; QUORUM is {quorum}");
    if up < quorum {
        Finding::problem(
            check,
            found,
            "start the nodes that are down, or lower the replication factor (ALTER KEYSPACE, then \
             repair)",
        )
    } else if copies > nodes {
        let remedy = "add nodes, or lower the replication factor";
        Finding::warning(check, found, remedy)
    } else if up < nodes {
        Finding::warning(check, found, "start the nodes that are down")
    } else if copies == 2 {
        let remedy = "with two copies, no node may be down: use three";
        Finding::warning(check, found, remedy)
    } else {
        Finding::ok(check, found)
    }
}

fn leases(inside: &Inside, config: &Config) -> Option<Finding> {
    let copies = match &inside.copies {
        Ok(Some(copies)) => *copies,
        _ => u32::from(config.database.cql_replication),
    };
    let detail = lease_trouble(copies, inside.paxos_variant.as_deref())?;
    let (found, remedy) = detail.split_once("; ").unwrap_or((&detail, "set it"));
    Some(Finding::warning("database.leases", found, remedy))
}

fn durability(inside: &Inside, config: &Config) -> Finding {
    let check = "database.commitlog";
    let mode = match &inside.commit_log {
        Ok(mode) => mode.as_deref(),
        Err(words) => {
            let found = format!("commitlog_sync cannot be read: {words}");
            return Finding::unknown(check, found, "make sure that it is batch or group");
        }
    };
    let copies = match &inside.copies {
        Ok(Some(copies)) => *copies,
        _ => u32::from(config.database.cql_replication),
    };
    match danger(copies, mode) {
        None => Finding::ok(
            check,
            format!(
                "commitlog_sync is {}",
                mode.unwrap_or("not reported, which is fine")
            ),
        ),
        Some(detail) => {
            let (found, remedy) = detail.split_once("; ").unwrap_or((&detail, "set it"));
            if config.database.cql_allow_periodic {
                Finding::warning(
                    check,
                    format!("{found} (cql_allow_periodic is set)"),
                    remedy,
                )
            } else {
                Finding::problem(check, found, remedy)
            }
        }
    }
}

fn rights(inside: &Inside, config: &Config) -> Finding {
    let check = "database.permissions";
    let keyspace = &config.database.cql_keyspace;
    let rights = match &inside.rights {
        Ok(Some(rights)) => rights,
        Ok(None) => {
            return Finding::ok(check, "the database lets everyone do everything");
        }
        Err(words) => {
            let found = format!("the role's permissions cannot be read: {words}");
            return Finding::unknown(check, found, "compare them with deploy/cassandra/roles.cql");
        }
    };
    if rights.is_superuser {
        return Finding::warning(
            check,
            "this role is a superuser",
            "give Kindred a role of its own: deploy/cassandra/roles.cql",
        );
    }
    let may = |permission: &str| {
        let whole = [
            format!("<keyspace {keyspace}>"),
            "<all keyspaces>".to_owned(),
        ];
        let mut granted = rights.granted.iter();
        granted.any(|(resource, its)| its == permission && whole.contains(resource))
    };
    let lacking: Vec<&str> = ["SELECT", "MODIFY"]
        .into_iter()
        .filter(|permission| !may(permission))
        .collect();
    if lacking.is_empty() {
        Finding::ok(
            check,
            format!("this role may SELECT and MODIFY keyspace {keyspace}"),
        )
    } else {
        Finding::problem(
            check,
            format!(
                "this role lacks {} on keyspace {keyspace}",
                lacking.join(" and ")
            ),
            ROLES,
        )
    }
}

fn partitions(inside: &Inside, config: &Config) -> Finding {
    let check = "database.partitions";
    let wanted = config.domains.partitions;
    match &inside.partitions {
        Ok(Some(Partitions::Of(found))) if *found == wanted => {
            Finding::ok(check, format!("{found}, as configured"))
        }
        Ok(Some(Partitions::Of(found))) => Finding::problem(
            check,
            format!("the keyspace has {found} partitions, but {wanted} are configured"),
            format!("set partitions = {found}, or see `kindred partitions set --help`"),
        ),
        Ok(Some(Partitions::Changing { from, to })) => Finding::problem(
            check,
            format!("a change from {from} to {to} partitions is unfinished"),
            format!("finish it: `kindred partitions set {to}`"),
        ),
        Ok(None) => Finding::ok(check, format!("none yet; the first start creates {wanted}")),
        Err(_) if matches!(inside.standing, Ok(Standing::Behind(_))) => {
            Finding::ok(check, format!("none yet; the first start creates {wanted}"))
        }
        Err(words) => Finding::unknown(
            check,
            format!("the number of partitions cannot be read: {words}"),
            format!("the role needs SELECT on the keyspace: {ROLES}"),
        ),
    }
}
