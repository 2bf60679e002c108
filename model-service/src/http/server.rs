//! The HTTP server around the application.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{Extensions, HttpService, Protocol, Request};
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, Error, HttpServer, web};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::app::app;
use super::connection::{Connection, Deadlines};
use super::gate::{Full, Gate, Pass};
use super::parts::Lobby;
use super::tls::{Stream, Tls};
use crate::metrics::Metrics;

/// Threads that answer. They only wait and read; the work is done elsewhere.
const WORKERS: usize = 2;
/// How long a connection may stay open without a request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to close a connection after the server has.
const DISCONNECT: Duration = Duration::from_secs(2);
/// Connections for reading metrics where no key is needed.
const SCRAPERS: usize = 64;
/// How long requests may continue after the server is told to stop, in seconds.
const STOP_DEADLINE_S: u64 = 5;

/// Serves on a bound listener, with one server for the life of the process: what needs parts that
/// are not available yet is answered with 503. Await the server, or hand it to a task;
/// `server.handle().stop(true)` lets running requests finish, for at most 5 s. Signals are left to
/// the caller.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn serve(
    listener: TcpListener,
    gate: &Arc<Gate>,
    deadlines: Deadlines,
    tls: Option<Arc<Tls>>,
    lobby: Arc<Lobby>,
    metrics: Arc<Metrics>,
) -> io::Result<Server> {
    let (lobby, metrics) = (web::Data::from(lobby), web::Data::from(metrics));
    let address = listener.local_addr()?;
    let gate = Arc::clone(gate);
    let builder = Server::build()
        .workers(WORKERS)
        // The gate does the limiting: connections that are not accepted would block everyone else.
        .max_concurrent_connections(usize::MAX)
        .shutdown_timeout(STOP_DEADLINE_S)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("http", listener, move || {
        let (lobby, metrics, gate) = (lobby.clone(), metrics.clone(), Arc::clone(&gate));
        let (stopping, tls) = (stopping.clone(), tls.clone());
        let application = app(lobby, metrics.clone());
        let application = IntoServiceFactory::<_, Request>::into_factory(application)
            .map_err(|error: Error| error.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(deadlines.head)
            .client_disconnect_timeout(DISCONNECT)
            // A client that has closed its side is gone: its request is dropped.
            .h1_allow_half_closed(false)
            .local_addr(address)
            .on_connect_ext(|connection: &Connection<Stream>, data: &mut Extensions| {
                data.insert(connection.requests());
            })
            .finish(map_config(application, |()| AppConfig::default()));
        fn_service(move |stream: TcpStream| {
            let entered = enter(&gate, &metrics, tls.is_some(), &stream);
            let tls = tls.clone();
            async move {
                let (pass, from) = entered?;
                // Answers are written whole: there is nothing to coalesce with.
                stream.set_nodelay(true)?;
                let stream = match tls {
                    None => Stream::Plain(stream),
                    Some(tls) => timeout(deadlines.head, tls.accept(stream))
                        .await
                        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?,
                };
                let connection = Connection::new(stream, deadlines, pass);
                Ok::<_, DispatchError>((connection, Protocol::Http1, from))
            }
        })
        .and_then(http)
    })?;
    Ok(server.run())
}

/// Serves only `/metrics`, on its own listener and without keys.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn serve_metrics(listener: TcpListener, metrics: Arc<Metrics>) -> io::Result<Server> {
    let metrics = web::Data::from(metrics);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(metrics.clone())
            .service(super::metrics::metrics)
    })
    .workers(1)
    .max_connections(SCRAPERS)
    .client_request_timeout(Deadlines::default().head)
    .shutdown_timeout(STOP_DEADLINE_S)
    .disable_signals()
    .listen(listener)?
    .run();
    Ok(server)
}

/// Admits a connection, or tells the client why not and closes it.
fn enter(
    gate: &Arc<Gate>,
    metrics: &Metrics,
    is_tls: bool,
    stream: &TcpStream,
) -> io::Result<(Pass, Option<SocketAddr>)> {
    let from = stream.peer_addr().ok();
    let full = match gate.enter(from.map(|from| from.ip())) {
        Ok(pass) => return Ok((pass, from)),
        Err(full) => full,
    };
    let (answer, limit) = match full {
        Full::All => (TOO_MANY, "connections"),
        Full::Address => (TOO_MANY_OF_ADDRESS, "connections_per_address"),
    };
    metrics
        .connections_refused
        .with_label_values(&[limit])
        .inc();
    // Written only if the socket takes it at once: nothing waits for that, not even for the runtime to notice that it
    // is writable (`try_write`). With TLS, a handshake would have to come first.
    if !is_tls {
        let _ = rustix::io::write(stream, answer.as_bytes());
    }
    Err(io::Error::other("there is no room for the connection"))
}

/// The answer to a connection over the total limit.
const TOO_MANY: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n",
    "connection: close\r\ncontent-length: 154\r\n\r\n",
    r#"{"type":"/problems/too-many-connections","title":"There are too many connections","status":503,"#,
    r#""detail":"Too many connections are open. Try again later."}"#,
);
/// The answer to a connection over its address's limit.
const TOO_MANY_OF_ADDRESS: &str = concat!(
    "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n",
    "connection: close\r\ncontent-length: 167\r\n\r\n",
    r#"{"type":"/problems/too-many-connections","title":"There are too many connections","status":429,"#,
    r#""detail":"Too many connections from this address are open. Reuse them."}"#,
);

#[cfg(test)]
mod tests {
    use kindred_api::problem::{Problem, ProblemKind};

    use super::*;

    #[test]
    fn what_is_said_without_an_application_is_a_problem_like_any_other() {
        for (answer, status) in [(TOO_MANY, 503), (TOO_MANY_OF_ADDRESS, 429)] {
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
            let length = format!("content-length: {}", body.len());
            assert!(head.contains(&length), "{length}");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")));
            let problem: Problem = serde_json::from_str(body).expect("a problem");
            assert_eq!(problem.status, status);
            assert_eq!(problem.kind, ProblemKind::TooManyConnections.uri());
            assert_eq!(problem.title, ProblemKind::TooManyConnections.title());
        }
    }
}
