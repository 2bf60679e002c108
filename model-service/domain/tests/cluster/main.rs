//! A simulated cluster: several processes with the state machines of the domain crate (domain, extraction, lease,
//! hosting, sharing, dispatch table, intake), against a broker, a database and workers that lose, delay, repeat and
//! reorder messages. Processes die at any effect, wake up as zombies, and have wrong clocks.
//!
//! One seed is one history, in virtual time, on one thread. CONTRIBUTING.md says how to run more histories, or one
//! again.

#[path = "../simulated/mod.rs"]
mod simulated;

mod actor;
mod beside;
mod broker;
mod building;
mod clients;
mod clocks;
mod database;
mod extraction;
mod faults;
mod host;
mod invariants;
mod mail;
mod mutations;
mod process;
mod reader;
mod removals;
mod seat;
mod tenure;
mod workers;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use invariants::{Invariant, Violation};
use mutations::Mutation;
use world::{HistorySummary, World};

/// Number of histories of a run, unless the environment says otherwise.
const HISTORIES: u64 = 300;

/// A number from the environment.
fn told(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a whole number, not {text:?}")),
    )
}

fn history(seed: u64, mutation: Option<Mutation>) -> Result<HistorySummary, Violation> {
    let tells = told("KINDRED_SIMULATION_TELL").is_some();
    let run = || World::new(seed, mutation, tells).run();
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation {
            invariant: Invariant::NeverBlocked,
            detail: format!("a panic: {}", text.unwrap_or_default()),
        })
    })
}

#[test]
fn every_history_keeps_the_invariants() {
    let first = told("KINDRED_SIMULATION_SEED").unwrap_or(0);
    let one = told("KINDRED_SIMULATION_SEED").map(|_| 1);
    let histories = told("KINDRED_SIMULATION_HISTORIES")
        .or(one)
        .unwrap_or(HISTORIES);
    let (mut steps, mut deaths, mut epochs, mut dead_letters) = (0, 0, 0, 0);
    let mut swaps = 0;
    for seed in first..first + histories {
        match history(seed, None) {
            Ok(report) => {
                steps += report.steps;
                deaths += u64::from(report.deaths);
                epochs += report.epochs;
                dead_letters += report.dead_letters;
                swaps += report.swaps;
            }
            Err(violation) => panic!(
                "seed {seed}: {violation}\n\
                 again: KINDRED_SIMULATION_SEED={seed} cargo test -p kindred-domain --test cluster every_history"
            ),
        }
    }
    println!(
        "{histories} histories: {steps} steps, {deaths} deaths, {epochs} ownerships, {dead_letters} dead letters, \
         {swaps} activations"
    );
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..10 {
        let traces = [(); 2].map(|()| {
            history(seed, None)
                .map(|report| (report.steps, report.trace))
                .ok()
        });
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}

/// Number of histories within which an omitted rule must be noticed.
const UNTIL_FOUND: u64 = 20_000;

#[test]
fn every_rule_left_out_is_noticed() {
    let mut unnoticed = Vec::new();
    // Machines may panic when rules are broken; that counts as noticed, too.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for mutation in mutations::ALL {
        let found =
            (0..UNTIL_FOUND).find_map(|seed| Some((seed, history(seed, Some(mutation)).err()?)));
        match found {
            Some((seed, violation)) => println!("{mutation:?}: seed {seed}: {violation}"),
            None => unnoticed.push(mutation),
        }
    }
    std::panic::set_hook(hook);
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:?}");
}
