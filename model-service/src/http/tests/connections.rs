//! Clients that keep their connections, and others next to them.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::http::serve;

/// How long anything is waited for.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// Starts a server, and queries it from another thread.
async fn beside(gate: Gate, deadlines: Deadlines, ask: impl FnOnce(SocketAddr) + Send + 'static) {
    let bench = bench();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = serve(
        listener,
        &Arc::new(gate),
        deadlines,
        None,
        bench.lobby,
        bench.metrics,
    );
    let server = server.expect("a server");
    let handle = server.handle();
    actix_web::rt::spawn(server);
    let asked = web::block(move || ask(address)).await;
    handle.stop(false).await;
    asked.expect("what was asked for was answered");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(LONG)).expect("a deadline");
    stream
}

/// The status of an answer to a GET over this connection; `None`: it was closed without one.
fn status(mut stream: &TcpStream) -> Option<u16> {
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    if asked.is_err() {
        return None;
    }
    let mut head = [0; 12];
    match stream.read_exact(&mut head) {
        Ok(()) => std::str::from_utf8(&head[9..]).ok()?.parse().ok(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer in time"),
        Err(_) => None,
    }
}

/// Asks over new connections until one of them is answered.
fn answered_in_the_end(address: SocketAddr) {
    let begun = Instant::now();
    while status(&connect(address)) != Some(200) {
        assert!(begun.elapsed() < LONG, "nobody else was let in");
        std::thread::yield_now();
    }
}

/// Waits until the server closes a connection, and returns what came before.
fn closed(mut stream: &TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it stays open"),
        _ => String::from_utf8_lossy(&said).into_owned(),
    }
}

#[actix_web::test]
async fn one_address_has_so_many_connections_and_one_more_is_told_so() {
    beside(Gate::with_room(10, 2), Deadlines::default(), |address| {
        let two = [connect(address), connect(address)];
        for stream in &two {
            assert_eq!(status(stream), Some(200));
        }
        // What it asks may come too late to be read before the connection is closed.
        let more = closed(&connect(address));
        assert!(more.starts_with("HTTP/1.1 429 "), "{more}");
        let more = connect(address);
        assert!(matches!(status(&more), Some(429) | None));
        drop(two);
        answered_in_the_end(address);
    })
    .await;
}

#[actix_web::test]
async fn a_connection_without_a_whole_head_is_closed() {
    let deadlines = Deadlines {
        head: SHORT,
        ..Deadlines::default()
    };
    beside(Gate::with_room(10, 10), deadlines, |address| {
        let silent = connect(address);
        let mut first = connect(address);
        first
            .write_all(b"GET /healthz HTTP/1.1\r\n")
            .expect("half a head");
        // The second head of a connection is limited like the first.
        let mut second = connect(address);
        assert_eq!(status(&second), Some(200));
        second
            .write_all(b"GET /healthz HTTP/1.1\r\n")
            .expect("half a head");
        for stream in [&silent, &first, &second] {
            closed(stream);
        }
    })
    .await;
}

#[actix_web::test]
async fn a_connection_that_waits_between_requests_stays() {
    let deadlines = Deadlines {
        head: SHORT,
        ..Deadlines::default()
    };
    beside(Gate::with_room(10, 10), deadlines, |address| {
        let stream = connect(address);
        assert_eq!(status(&stream), Some(200));
        // Another connection waits longer than heads may take.
        let silent = connect(address);
        closed(&silent);
        let mut rest = [0; 4_096];
        let read = (&stream).read(&mut rest).expect("the rest of the answer");
        assert!(read > 0);
        assert_eq!(status(&stream), Some(200));
    })
    .await;
}

#[actix_web::test]
async fn who_does_not_read_is_not_waited_for() {
    let deadlines = Deadlines {
        write: SHORT,
        ..Deadlines::default()
    };
    beside(Gate::with_room(10, 1), deadlines, |address| {
        let mut slow = connect(address);
        slow.set_write_timeout(Some(LONG)).expect("a deadline");
        // More than the system buffers for both sides.
        let ask = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
        for _ in 0..1_000 {
            if slow.write_all(ask).is_err() {
                break;
            }
        }
        answered_in_the_end(address);
    })
    .await;
}
