//! The socket in the data directory of a running standalone: whoever may write to it may create
//! keys, even the first one. A request is one line of JSON, and so is its answer.

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

/// Its name in the data directory.
const NAME: &str = "kindred.sock";
/// Longest request, in bytes.
const LINE_BYTES: u64 = 64 << 10;
/// Longest answer accepted, in bytes: ten thousand keys.
const ANSWER_BYTES: u64 = 64 << 20;
/// Longest wait for a request, and for an answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Answers on the socket of a data directory, whose lock this process holds, for the life of the
/// process. If it cannot be created (some file systems do not support sockets, and its path may
/// have only some hundred bytes), that is logged.
pub(crate) fn listen(directory: &Path, store: Arc<dyn KeyStore>, ring: Arc<KeyRing>) {
    let path = directory.join(NAME);
    // Left over from a killed process: holding the lock proves that it is gone.
    let _ = std::fs::remove_file(&path);
    let bound = UnixListener::bind(&path).and_then(|listener| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    let listener = match bound {
        Ok(listener) => listener,
        Err(error) => {
            let socket = path.display();
            warn!(%socket, %error, "no socket: while this process runs, keys can only be created \
                over HTTP");
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
                        warn!(%error, "socket request not answered");
                    }
                }
                Err(error) => {
                    warn!(%error, "the socket accepts no connections");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
}

async fn answer(mut stream: UnixStream, store: &dyn KeyStore, ring: &KeyRing) -> io::Result<()> {
    // Somebody else may have connected between bind and chmod.
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
                    info!(key = key.id, grants = ?body.grants, "key created over the socket");
                }
                (Ask::Revoke(key), Told::Revoked(true)) => {
                    info!(key, "key revoked over the socket");
                }
                _ => {}
            }
            // It takes effect here at once; if keys cannot be read now, they are read again soon.
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

/// Sends a request to the service running on a data directory. `None`: none is running.
///
/// # Errors
/// When one is running and does not answer.
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
