//! The socket in the data directory of a running standalone: who may write there may make keys, also the first
//! one. A line of JSON is asked, a line is answered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kindred_domain::keys::KeyStore;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use super::making::{Ask, Told, perform};
use super::ring::KeyRing;

/// Its name, in the data directory.
const NAME: &str = "kindred.sock";
/// Longest line, in bytes.
const LINE_BYTES: u64 = 64 << 10;
/// Longest answer that is read, in bytes: of ten thousand keys.
const ANSWER_BYTES: u64 = 64 << 20;
/// How long who asks may take, and how long an answer is waited for.
const DEADLINE: Duration = Duration::from_secs(10);

/// Answers on the socket of a data directory, whose lock this process has, for as long as it runs. Where there can
/// be none (some file systems know no sockets, and its path may have some hundred bytes), that is logged.
pub(crate) fn listen(directory: &Path, store: Arc<dyn KeyStore>, ring: Arc<KeyRing>) {
    let path = directory.join(NAME);
    // Of a process that was killed: the lock says that it is gone.
    let _ = std::fs::remove_file(&path);
    let bound = UnixListener::bind(&path).and_then(|listener| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    let listener = match bound {
        Ok(listener) => listener,
        Err(error) => {
            let socket = path.display();
            warn!(%socket, %error, "no socket: while this runs, keys are made over HTTP alone");
            return;
        }
    };
    tokio::task::spawn_local(async move {
        loop {
            match listener.accept().await {
                // One after the other: each has a deadline.
                Ok((stream, _)) => {
                    let answered = answer(stream, &*store, &ring);
                    let answered = tokio::time::timeout(DEADLINE, answered).await;
                    if let Err(error) =
                        answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                    {
                        warn!(%error, "not answered on the socket");
                    }
                }
                Err(error) => {
                    warn!(%error, "the socket takes nobody");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
}

async fn answer(mut stream: UnixStream, store: &dyn KeyStore, ring: &KeyRing) -> io::Result<()> {
    // Between binding and the permissions somebody else may have come.
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (read, mut write) = stream.split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(LINE_BYTES))
        .read_line(&mut line)
        .await?;
    let told = match serde_json::from_str::<Ask>(&line) {
        Ok(ask) => {
            let told = perform(store, &ask).await;
            match (&ask, &told) {
                (Ask::Create(body), Told::Created(key)) => {
                    info!(key = key.id, grants = ?body.grants, "key made by the socket");
                }
                (Ask::Revoke(key), Told::Revoked(true)) => info!(key, "key revoked by the socket"),
                _ => {}
            }
            // It counts here at once; what cannot be read now is read in a moment.
            let _ = ring.read().await;
            told
        }
        Err(error) => Told::Refused(format!("expected one line of JSON: {error}")),
    };
    let mut answer = serde_json::to_vec(&told)?;
    answer.push(b'\n');
    write.write_all(&answer).await?;
    write.shutdown().await
}

/// Asks the service that runs on a data directory. `None`: none does.
///
/// # Errors
/// When one does and does not answer.
pub(crate) fn ask_socket(directory: &Path, ask: &Ask) -> io::Result<Option<Told>> {
    let mut stream = match BlockingStream::connect(directory.join(NAME)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES)).read_line(&mut answer)?;
    Ok(Some(serde_json::from_str(&answer)?))
}
