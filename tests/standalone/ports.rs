//! The ports that tests' programs are given.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::place::{Place, free_port};

/// Ports that are looked for.
const PORTS: usize = 2000;

/// What other threads start at the moment does not inherit anything that holds the port.
#[test]
fn a_free_port_can_be_listened_on_at_once() {
    let _place = Place::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Command::new("true").status().expect("a program");
                }
            });
        }
        let in_use = (0..PORTS).map(|_| free_port());
        let in_use = in_use.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_err());
        let in_use: Vec<u16> = in_use.collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(in_use, [0; 0]);
    });
}
