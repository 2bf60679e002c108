//! Configuration of the program before it starts.

use std::path::Path;

use kindred_runtime::config::{self, Config};

use crate::service::{command, worker};
use kindred_similarity::Kernel;

#[test]
fn the_command_line_takes_every_key_and_no_other() {
    command().debug_assert();
    let given = ["compute-worker", "--listen", "[::1]:1", "--threads", "3"];
    let matches = command().try_get_matches_from(given).unwrap();
    let flags = config::read(&matches, |_| true);
    let (config, _) = Config::resolve(&flags, [], Path::new("/nonexistent")).unwrap();
    assert_eq!(config.compute.threads, 3);
    let unknown = ["compute-worker", "--lisn"];
    assert!(command().try_get_matches_from(unknown).is_err());
}

#[test]
fn the_worker_is_as_configured() {
    let flags = config::Flags {
        file: None,
        values: vec![("kernel", "scalar".to_owned()), ("threads", "2".to_owned())],
    };
    let (config, _) = Config::resolve(&flags, [], Path::new("/nonexistent")).unwrap();
    let worker = worker(&config).map_err(|failure| failure.words).unwrap();
    assert_eq!((worker.kernel(), worker.threads()), (Kernel::Scalar, 2));
}
