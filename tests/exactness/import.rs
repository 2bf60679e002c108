//! The whole import of Debian's packages, and what a standalone makes of it.

use std::sync::OnceLock;
use std::time::Duration;

use super::expected::Expected;
use super::stored::{self, Stored};
use kindred_api::domain::DomainAnswer;

use crate::corpus::event::Fate;
use crate::corpus::stream::{EventBatch, whole_import};
use crate::support::feed::{FEEDERS, Progress, feed};
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

/// Longest until quiet, in the dev profile on two busy cores.
pub(crate) const QUIET: Duration = Duration::from_secs(600);

/// Its events.
pub(crate) fn batches() -> &'static [EventBatch] {
    static BATCHES: OnceLock<Vec<EventBatch>> = OnceLock::new();
    BATCHES.get_or_init(whole_import)
}

/// What they come to.
pub(crate) fn expected() -> Expected {
    Expected::of(batches().iter().flat_map(|batch| &batch.events))
}

/// The store of a standalone that was sent all of it and became quiet.
pub(crate) fn imported_with(threads: usize) -> Stored {
    let batches = batches();
    let place = Place::new();
    let how = Start {
        threads: Some(threads),
        ..Start::default()
    };
    let kindred = Kindred::start(&place, &how);
    let progress = Progress::default();
    std::thread::scope(|scope| {
        for _ in 0..FEEDERS {
            scope.spawn(|| feed(kindred.client(), batches, &progress));
        }
    });
    let domains = kindred.client().wait_quiet(QUIET);
    assert_counts(&domains);
    kindred.stop();
    stored::read(&place.data_dir())
}

/// Asserts that every domain counts what was sent.
#[track_caller]
pub(crate) fn assert_counts(domains: &[DomainAnswer]) {
    let expected = expected();
    assert_eq!(domains.len(), expected.domains().len());
    for domain in domains {
        let (shown, hidden) = (
            expected.count(domain.domain.as_str(), Fate::Shown),
            expected.count(domain.domain.as_str(), Fate::Hidden),
        );
        assert_eq!(
            (domain.visible, domain.live),
            (shown, shown + hidden),
            "visible and live items of {}",
            domain.domain.as_str()
        );
    }
}
