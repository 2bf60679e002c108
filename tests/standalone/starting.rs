//! What clients get while the program starts: from the first answer on, every connection is
//! answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::place::Place;
use crate::support::program::{Kindred, START, Start};

/// Starts in a row.
const STARTS: usize = 5;
/// Requests, each over a connection of its own, that are answered after the program is ready.
const AFTERWARDS: usize = 50;
/// Longest an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// Asks over a connection of its own; the answer, head and body.
fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

#[test]
fn no_connection_is_refused_or_cut_while_the_program_starts() {
    let place = Place::beside_others();
    for start in 0..STARTS {
        let kindred = Kindred::spawn(&place, &Start::default());
        let began = Instant::now();
        let mut first = None;
        let mut left = AFTERWARDS;
        while left > 0 {
            match ask(place.port(), "/v1/domains") {
                Ok(answer) => {
                    let status = answer.split(' ').nth(1).unwrap_or_default();
                    match status {
                        "200" => left -= 1,
                        "503" => {
                            let head = answer.to_lowercase();
                            assert!(head.contains("retry-after: "), "{answer}");
                            assert!(answer.contains("/problems/not-ready"), "{answer}");
                        }
                        _ => panic!("start {start}: {answer}"),
                    }
                    first.get_or_insert_with(|| began.elapsed());
                }
                Err(error) => assert!(
                    first.is_none(),
                    "start {start}: after an answer at {first:?}, at {:?}: {error}\n{}",
                    began.elapsed(),
                    kindred.last_words()
                ),
            }
            assert!(
                began.elapsed() < START,
                "start {start}: {}",
                kindred.last_words()
            );
        }
        kindred.stop();
    }
}

/// It answers a moment before its start has come to its end.
#[test]
fn a_stop_right_after_the_first_answer_is_one_like_any_other() {
    for start in 0..STARTS {
        let place = Place::beside_others();
        let mut kindred = Kindred::spawn(&place, &Start::default());
        let began = Instant::now();
        while !ask(place.port(), "/v1/domains").is_ok_and(|answer| answer.contains(" 200 ")) {
            assert!(
                began.elapsed() < START,
                "start {start}: {}",
                kindred.last_words()
            );
        }
        kindred.signal("TERM");
        assert_eq!(kindred.ended(ANSWER).code(), Some(0));
        let words = kindred.last_words();
        assert!(words.contains("stopping"), "start {start}: {words}");
    }
}
