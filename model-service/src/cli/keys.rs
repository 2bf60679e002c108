//! `kindred keys`: manages API keys and their rights.

use std::io::Write;
use std::sync::Arc;

use kindred_api::key::{CreatedKey, Key, KeyBody, KeysAnswer};
use kindred_api::path;
use kindred_domain::keys::KeyStore;
use kindred_runtime::cql::connect;

use super::client::{Client, Server, printable};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::AllFlags;
use super::output::json_line;
use crate::config::Config;
use crate::keys::{Ask, Told, ask_socket, perform};
use crate::store::cassandra::KeyTable;
use crate::store::cassandra::schema::Keyspace;
use crate::store::embedded::EmbeddedStore;

/// Where the keys are stored.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct KeyLocation {
    #[command(flatten)]
    server: Server,
    /// In the database of a cluster, as the configuration names it
    #[arg(long, conflicts_with = "url")]
    in_database: bool,
}

/// Creates a key and shows its secret, once.
///
/// With a key configured (KINDRED_KEY, key_file) or with --url, works over HTTP; with
/// --in-database, in the database of a cluster; otherwise in the data directory of a standalone on
/// this machine, running or not, which is created if missing. Once there is a key, every request
/// needs one.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// What it allows: read, write or manage on a domain (read:news.example), on domains with a
    /// common prefix (read:news.*) or on all (read:*); metrics; or admin, which is everything. May
    /// be repeated
    #[arg(long, required = true, value_name = "GRANT")]
    grant: Vec<String>,
    /// How long it is valid, such as 90d [default: forever]
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
    #[command(flatten)]
    place: KeyLocation,
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// Lists keys, without their secrets.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    place: KeyLocation,
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// Revokes a key; it stops working within 5 s.
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// The key's name, as `kindred keys list` shows it
    #[arg(allow_hyphen_values = true)]
    id: String,
    #[command(flatten)]
    place: KeyLocation,
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

pub(crate) fn create(
    args: &CreateArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let body = KeyBody {
        grants: args.grant.clone(),
        expires: args.expires.clone(),
    };
    let Told::Created(key) = args.place.ask(config, &Ask::Create(body))? else {
        return Err(otherwise());
    };
    if json {
        json_line(out, &key)?;
        return Ok(Exit::Done);
    }
    let CreatedKey {
        id,
        secret,
        grants,
        expires,
    } = key;
    writeln!(out, "{secret}")?;
    // Only the secret goes to standard output, for scripts.
    let until = expires.map_or_else(|| "forever".to_owned(), |at| format!("until {at}"));
    let told = format!(
        "key {id}: {}, {until}. The secret is not shown again.",
        grants.join(" ")
    );
    let _ = writeln!(std::io::stderr(), "{told}");
    Ok(Exit::Done)
}

pub(crate) fn list(args: &ListArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let Told::Keys(keys) = args.place.ask(config, &Ask::List)? else {
        return Err(otherwise());
    };
    if keys.is_empty() && !json {
        writeln!(out, "no keys")?;
    }
    for key in &keys {
        if json {
            json_line(out, key)?;
        } else {
            writeln!(out, "{}", in_words(key))?;
        }
    }
    Ok(Exit::Done)
}

fn in_words(key: &Key) -> String {
    let until = key.expires.as_deref().unwrap_or("forever");
    let grants = key.grants.join(" ");
    printable(&format!("{}  {}  {until}  {grants}", key.id, key.created))
}

pub(crate) fn revoke(
    args: &RevokeArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let id = &args.id;
    match args.place.ask(config, &Ask::Revoke(id.clone()))? {
        Told::Revoked(true) if json => json_line(out, &serde_json::json!({"revoked": id}))?,
        Told::Revoked(true) => writeln!(out, "{} is revoked", printable(id))?,
        Told::Revoked(false) => {
            let what = format!(
                "unknown key {}; `kindred keys list` shows all keys",
                printable(id)
            );
            return Err(CommandError::new(Exit::NotFound, what));
        }
        Told::Created(_) | Told::Keys(_) | Told::Refused(_) => return Err(otherwise()),
    }
    Ok(Exit::Done)
}

fn otherwise() -> CommandError {
    CommandError::failed("unexpected answer: is the server another version?")
}

impl KeyLocation {
    /// Sends the request to wherever the keys are stored.
    fn ask(&self, config: &Config, ask: &Ask) -> Result<Told, CommandError> {
        let has_key = config.access.sent_key()?.is_some();
        let told = if self.in_database {
            in_database(config, ask)?
        } else if has_key || self.server.url.is_some() {
            over_http(&self.server.client(config)?, ask)?
        } else {
            in_directory(config, ask)?
        };
        match told {
            Told::Refused(why) => Err(CommandError::failed(why)),
            told => Ok(told),
        }
    }
}

fn over_http(client: &Client, ask: &Ask) -> Result<Told, CommandError> {
    let answer = match ask {
        Ask::Create(body) => {
            let body = serde_json::to_vec(body)
                .map_err(|error| CommandError::failed(error.to_string()))?;
            client.post_json(path::KEYS, &body)?
        }
        Ask::List => client.get(path::KEYS)?,
        Ask::Revoke(id) => client.delete(&path::key(id))?,
    };
    let is_unknown = answer.status == 404
        && answer
            .problem()
            .is_some_and(|problem| problem.word() == "unknown-key");
    match ask {
        Ask::Revoke(_) if is_unknown => Ok(Told::Revoked(false)),
        _ if !answer.is_success() => Err(CommandError::failed(answer.words())),
        Ask::Create(_) => client.read(&answer).map(Told::Created),
        Ask::List => client
            .read(&answer)
            .map(|all: KeysAnswer| Told::Keys(all.keys)),
        Ask::Revoke(_) => Ok(Told::Revoked(true)),
    }
}

/// In the data directory of a standalone: through its socket if it runs, else in its store.
fn in_directory(config: &Config, ask: &Ask) -> Result<Told, CommandError> {
    let directory = &config.store.data_dir;
    let asked = ask_socket(directory, ask);
    let asked = asked.map_err(|error| {
        let place = directory.display();
        CommandError::failed(format!(
            "the service running on {place} does not answer on its socket: {error}"
        ))
    })?;
    if let Some(told) = asked {
        return Ok(told);
    }
    let store = EmbeddedStore::open_as_it_is(directory);
    let store = store.map_err(|error| CommandError::failed(error.to_string()))?;
    performed(store.as_ref(), ask)
}

fn in_database(config: &Config, ask: &Ask) -> Result<Told, CommandError> {
    let name = &config.database.cql_keyspace;
    let keyspace = Keyspace::new(name).ok_or_else(|| {
        CommandError::usage(format!(
            "cql_keyspace: {name:?} is not a valid keyspace name"
        ))
    })?;
    actix::System::new().block_on(async {
        let session = connect(&config.database.options(), name).await;
        let session = session.map_err(|error| {
            CommandError::failed(format!("the database cannot be reached: {error}"))
        })?;
        let table = KeyTable::prepare(Arc::new(session), &keyspace).await;
        let table = table.map_err(|error| {
            CommandError::failed(format!(
                "the table of keys in {name} cannot be used: {error}; `kindred schema` creates it"
            ))
        })?;
        Ok(perform(&table, ask).await)
    })
}

fn performed(store: &dyn KeyStore, ask: &Ask) -> Result<Told, CommandError> {
    actix::System::new().block_on(async { Ok(perform(store, ask).await) })
}
