//! Checks what `kindred standalone` needs: its data directory and its address.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use kindred_api::service::Ready;

use super::super::client::Server;
use super::finding::Finding;
use crate::config::Config;
use crate::store::embedded::FILE;

/// On this machine a connection succeeds or fails at once.
const CONNECT: Duration = Duration::from_secs(2);

/// The facts gathered.
#[derive(Debug)]
pub(super) struct StandaloneFacts {
    data_dir: PathBuf,
    directory: Directory,
    listen: SocketAddr,
    http: Http,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Directory {
    Missing,
    /// The path is not a directory, or cannot be read.
    Unusable(String),
    /// It has no store yet.
    Empty,
    /// Its store can be read and written, or why not.
    Store(Result<(), String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Http {
    Nobody,
    Ready,
    NotReady(String),
    SomethingElse(String),
}

/// Gathers the facts; changes nothing.
pub(super) fn look(config: &Config) -> StandaloneFacts {
    let directory = match std::fs::metadata(&config.store.data_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Directory::Missing,
        Err(error) => Directory::Unusable(error.to_string()),
        Ok(metadata) if !metadata.is_dir() => {
            Directory::Unusable("it is not a directory".to_owned())
        }
        Ok(_) => {
            let store = config.store.data_dir.join(FILE);
            match File::options().read(true).write(true).open(store) {
                Ok(_) => Directory::Store(Ok(())),
                Err(error) if error.kind() == ErrorKind::NotFound => Directory::Empty,
                Err(error) => Directory::Store(Err(error.to_string())),
            }
        }
    };
    StandaloneFacts {
        data_dir: config.store.data_dir.clone(),
        directory,
        listen: config.http.listen,
        http: ask(config),
    }
}

fn ask(config: &Config) -> Http {
    if config.http.listen.port() == 0
        || TcpStream::connect_timeout(&config.http.listen, CONNECT).is_err()
    {
        return Http::Nobody;
    }
    let answer = Server::default()
        .client(config)
        .and_then(|client| client.get("/readyz"));
    match answer {
        Ok(answer) if answer.json().is_ok_and(|Ready { ready, .. }| ready) => Http::Ready,
        Ok(answer) if answer.status == 503 => Http::NotReady(answer.words()),
        Ok(answer) => Http::SomethingElse(answer.words()),
        Err(failure) => Http::SomethingElse(failure.message),
    }
}

pub(super) fn judge(facts: &StandaloneFacts) -> Vec<Finding> {
    let place = facts.data_dir.display();
    let check = "standalone.data_dir";
    let directory = match &facts.directory {
        Directory::Missing => Finding::ok(
            check,
            format!("{place} does not exist yet; it will be created"),
        ),
        Directory::Empty => Finding::ok(
            check,
            format!("{place} has no store yet; it will be created"),
        ),
        Directory::Store(Ok(())) => Finding::ok(check, format!("{place} has a store")),
        Directory::Unusable(words) | Directory::Store(Err(words)) => Finding::problem(
            check,
            format!("{place} cannot be used: {words}"),
            "make it writable for the user that runs kindred, or choose another with --data-dir",
        ),
    };
    let check = "standalone.http";
    let listen = facts.listen;
    let http = match &facts.http {
        Http::Nobody => Finding::ok(check, format!("{listen} is free")),
        Http::Ready => Finding::ok(check, format!("a Kindred is ready at {listen}")),
        Http::NotReady(words) => Finding::warning(
            check,
            format!("a Kindred at {listen} is not ready: {words}"),
            "it recovers by itself once the cause is gone",
        ),
        Http::SomethingElse(words) => Finding::problem(
            check,
            format!("another program uses {listen}: {words}"),
            "stop it, or choose another address with --listen",
        ),
    };
    vec![directory, http]
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn says_what_is_in_the_way() {
        let levels = |directory, http| {
            let facts = StandaloneFacts {
                data_dir: "/data".into(),
                directory,
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                http,
            };
            let findings = judge(&facts);
            (findings[0].level, findings[1].level)
        };
        assert_eq!(
            levels(Directory::Missing, Http::Nobody),
            (Level::Ok, Level::Ok)
        );
        assert_eq!(
            levels(
                Directory::Store(Err("denied".to_owned())),
                Http::SomethingElse("status 404".to_owned())
            ),
            (Level::Problem, Level::Problem)
        );
        assert_eq!(
            levels(Directory::Empty, Http::NotReady("opening".to_owned())).1,
            Level::Warning
        );
    }
}
