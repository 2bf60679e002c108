//! The HTTP server around the application.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{HttpServer, web};

use super::app::app;
use super::parts::Lobby;
use crate::metrics::Metrics;

/// Threads that answer. They only wait and read; the work is done elsewhere.
const WORKERS: usize = 2;
/// Connections a thread serves at once. With a body of at most one message held for each, this
/// bounds what all requests together hold.
const CONNECTIONS: usize = 512;
/// How long a connection may stay open without a request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a request's head may take to come.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long requests may go on once the server is told to stop, in seconds.
const STOP_DEADLINE_S: u64 = 5;

/// Answers on a bound listener from now on, one server from the process's start to its end: what
/// needs parts that are not there yet is answered with 503. Await the server, or hand it to a
/// task; `server.handle().stop(true)` lets requests at hand end, for at most 5 s. Signals are the
/// caller's.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn serve(
    listener: TcpListener,
    lobby: Arc<Lobby>,
    metrics: Arc<Metrics>,
) -> io::Result<Server> {
    let (lobby, metrics) = (web::Data::from(lobby), web::Data::from(metrics));
    let server = HttpServer::new(move || app(lobby.clone(), metrics.clone()))
        .workers(WORKERS)
        .max_connections(CONNECTIONS)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_DEADLINE)
        .shutdown_timeout(STOP_DEADLINE_S)
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(server)
}
