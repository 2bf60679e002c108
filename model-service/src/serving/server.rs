//! The HTTP server around the API.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, web};

use super::api::{Api, routes};

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

/// Serves the API on a bound listener, from now on. Await the server, or hand it to a task;
/// `server.handle().stop(true)` lets requests at hand end, for at most 5 s. Signals are the
/// caller's.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(listener: TcpListener, api: Arc<Api>) -> io::Result<Server> {
    let data = web::Data::from(api);
    let server = HttpServer::new(move || App::new().app_data(data.clone()).configure(routes))
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
