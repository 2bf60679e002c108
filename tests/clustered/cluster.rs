//! Model services and compute workers on a virtual host and a keyspace of the test's own, started
//! from the environment alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::broker::Broker;
use super::database::{Database, Login};
use super::services::own_name;
use crate::corpus::event::Fate;
use crate::exactness::check::faults;
use crate::exactness::expected::Expected;
use crate::exactness::stored::Stored;
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::{Place, free_port};
use crate::support::process::Process;
use crate::support::program::{PROGRAM, START, clean, kindred};

/// The queue of the one partition.
pub(crate) const EVENTS: &str = "kindred.items.p00";
/// Where events that cannot be handled end.
pub(crate) const DEAD_EVENTS: &str = "kindred.items.dead";

/// What programs are started on. Their data goes before the test's turn ends.
pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    pub(crate) database: Database,
    roles: Roles,
    place: Place,
}

/// As whom programs log in to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roles {
    /// As one who may make what is not there.
    MayMake,
    /// With the least they need, as deploy/ has it.
    LeastPrivilege,
}

/// How to start a model service; the rest is the program's default.
#[derive(Debug, Clone, Default)]
pub(crate) struct How {
    pub(crate) window: Option<&'static str>,
    pub(crate) job_deadline: Option<&'static str>,
    /// `KINDRED_TEST_CRASH_AT`.
    pub(crate) crash_at: Option<String>,
    /// Where it listens; a free one if it is left out.
    pub(crate) port: Option<u16>,
    /// Further variables of the environment.
    pub(crate) more: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Keyspace, tables and roles are made beforehand, as deploy/ says; programs may make nothing.
    /// Beside other tests.
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::made(Place::beside_others())
    }

    /// The same, with the machine for itself, broker and database included.
    #[track_caller]
    pub(crate) fn alone() -> Self {
        Self::made(Place::new())
    }

    #[track_caller]
    fn made(place: Place) -> Self {
        let cluster = Self::with(Roles::LeastPrivilege, place);
        let mut schema = kindred(cluster.place.directory());
        cluster.database_environment(&mut schema, cluster.database.admin());
        let made = schema.arg("schema").output().expect("the program starts");
        assert!(
            made.status.success(),
            "kindred schema: {}\n{}",
            made.status,
            String::from_utf8_lossy(&made.stderr)
        );
        cluster.database.make_roles();
        cluster
    }

    /// Nothing is made beforehand; programs may make what they miss. Beside other tests.
    #[track_caller]
    pub(crate) fn bare() -> Self {
        Self::with(Roles::MayMake, Place::beside_others())
    }

    #[track_caller]
    fn with(roles: Roles, place: Place) -> Self {
        Self {
            broker: Broker::new(),
            database: Database::new(&own_name()),
            roles,
            place,
        }
    }

    /// The working directory of programs started here.
    pub(crate) fn directory(&self) -> &Path {
        self.place.directory()
    }

    /// Where programs started here find the test's files, and which port is theirs.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Tells a program where the database is, and who it is there.
    pub(crate) fn database_environment(&self, command: &mut Command, login: Login) {
        command
            .env("KINDRED_CQL_NODES", self.database.nodes())
            .env("KINDRED_CQL_KEYSPACE", self.database.keyspace());
        if let Some((user, password)) = login {
            command
                .env("KINDRED_CQL_USER", user)
                .env("KINDRED_CQL_PASSWORD", password);
        }
    }

    fn environment(&self, command: &mut Command, amqp_url: String, least: Login) {
        let login = match self.roles {
            Roles::MayMake => self.database.admin(),
            Roles::LeastPrivilege => least,
        };
        self.database_environment(command, login);
        command.env("KINDRED_AMQP_URL", amqp_url);
    }

    /// Starts a model service and waits until it is ready.
    #[track_caller]
    pub(crate) fn service(&self, how: &How) -> Service {
        let mut service = self.spawn_service(how);
        service.wait_ready();
        service
    }

    /// Starts a model service on a port of its own and waits for nothing.
    #[track_caller]
    pub(crate) fn spawn_service(&self, how: &How) -> Service {
        let port = how.port.unwrap_or_else(free_port);
        let mut command = kindred(self.place.directory());
        self.environment(
            &mut command,
            self.broker.service_url(),
            self.database.service(),
        );
        command
            .arg("model-service")
            .env("KINDRED_LISTEN", format!("127.0.0.1:{port}"));
        for (key, value) in [
            ("KINDRED_WINDOW", how.window),
            ("KINDRED_JOB_DEADLINE", how.job_deadline),
            ("KINDRED_TEST_CRASH_AT", how.crash_at.as_deref()),
        ] {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        for (key, value) in &how.more {
            command.env(key, value);
        }
        let log = self.place.directory().join(format!("service-{port}.log"));
        Service {
            process: Process::spawn("kindred model-service", command, &log),
            client: Client::new(port),
            port,
        }
    }

    /// Starts a compute worker and waits for nothing.
    #[track_caller]
    pub(crate) fn worker(&self) -> Process {
        self.worker_with(&[])
    }

    /// Likewise, with further variables of the environment.
    #[track_caller]
    pub(crate) fn worker_with(&self, more: &[(&'static str, &str)]) -> Process {
        let program = Path::new(PROGRAM).with_file_name("compute-worker");
        assert!(
            program.exists(),
            "{} is not there: cargo build -p compute-worker",
            program.display()
        );
        let mut command = clean(Command::new(program), self.place.directory());
        self.environment(
            &mut command,
            self.broker.worker_url(),
            self.database.worker(),
        );
        command
            .env("KINDRED_THREADS", "1")
            .envs(more.iter().copied());
        let log = self.place.directory().join("workers.log");
        Process::spawn("compute-worker", command, &log)
    }

    /// Waits until all that was published is stored and every domain is quiet; then asserts that
    /// the tables are exact, and hands them out.
    #[track_caller]
    pub(crate) fn settled(&self, client: &Client, expected: &Expected, limit: Duration) -> Stored {
        wait_for("all events are taken", limit, || {
            match self.broker.ready(EVENTS) {
                Some(0) => Ok(()),
                ready => Err(format!("{ready:?} wait in {EVENTS}")),
            }
        });
        // Taken is not yet stored: up to a prefetch of them are in the service's hands.
        wait_for("all events are stored", limit, || {
            match self.not_stored(expected) {
                0 => Ok(()),
                n => Err(format!("{n} items are not as their newest event says")),
            }
        });
        client.wait_quiet(limit);
        let stored = self.database.read();
        let faults = faults(&stored, expected);
        assert!(
            faults.is_empty(),
            "{} faults; the first:\n{}",
            faults.len(),
            faults[..faults.len().min(10)].join("\n")
        );
        stored
    }

    /// Items that the store does not yet know as expected.
    #[track_caller]
    fn not_stored(&self, expected: &Expected) -> usize {
        let stored: BTreeMap<(String, String), (i64, Fate)> = self
            .database
            .item_states()
            .into_iter()
            .map(|(domain, id, version, live, hidden)| {
                let fate = match (live, hidden) {
                    (true, false) => Fate::Shown,
                    (true, true) => Fate::Hidden,
                    (false, _) => Fate::Deleted,
                };
                ((domain, id), (version, fate))
            })
            .collect();
        expected
            .items()
            .filter(|(domain, id, version, fate)| {
                let key = ((*domain).to_owned(), (*id).to_owned());
                stored.get(&key) != Some(&(i64::try_from(*version).expect("a version"), *fate))
            })
            .count()
    }
}

/// A started model service; killed when dropped.
pub(crate) struct Service {
    pub(crate) process: Process,
    client: Client,
    port: u16,
}

impl Service {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether this is the address it tells others.
    pub(crate) fn is_at(&self, address: &str) -> bool {
        address.ends_with(&self.port())
    }

    /// The end of that address.
    pub(crate) fn port(&self) -> String {
        format!(":{}", self.port)
    }

    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        wait_for("the model service is ready", START, || {
            self.process.assert_running();
            self.readiness()
        });
    }

    /// # Errors
    /// In words, why it is not ready, or what it does without.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        let answer = self.client.try_get("/readyz")?;
        match answer.status {
            200 if !answer.body.contains("degraded") => Ok(()),
            status => Err(format!("{status} {}", answer.body)),
        }
    }

    /// Waits until it says that it has to do without this edge.
    #[track_caller]
    pub(crate) fn wait_without(&mut self, edge: &str, limit: Duration) {
        wait_for("the service says what is away", limit, || {
            self.process.assert_running();
            match self.readiness() {
                Err(words) if words.contains(edge) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}
