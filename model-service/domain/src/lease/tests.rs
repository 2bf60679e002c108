use std::slice;

use super::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn lease(epoch: u64, owner: &str, beat: u64) -> Lease {
    Lease {
        epoch,
        owner: owner.into(),
        address: format!("{owner}:1"),
        beat,
    }
}

fn machine(exclusive: bool) -> LeaseMachine {
    let times = LeaseTimes::default();
    LeaseMachine::start("me".into(), "me:1".into(), exclusive, times, Wish::Have).0
}

fn set(expected: Option<Lease>, wanted: Lease) -> LeaseEffect {
    LeaseEffect::Set { expected, wanted }
}

#[track_caller]
fn step(machine: &mut LeaseMachine, now: u64, input: LeaseInput, expected: &[LeaseEffect]) {
    assert_eq!(machine.handle(at(now), input), expected);
}

/// A machine that took an unowned partition at second 0.
fn held() -> LeaseMachine {
    let mut machine = machine(false);
    step(
        &mut machine,
        0,
        LeaseInput::Read(None),
        &[set(None, lease(1, "me", 0))],
    );
    step(
        &mut machine,
        0,
        LeaseInput::Decided(Cas::Applied),
        &[LeaseEffect::Own(Epoch(1))],
    );
    machine
}

#[test]
fn takes_what_nobody_has() {
    assert_eq!(held().epoch(), Some(Epoch(1)));
}

#[test]
fn takes_over_only_after_a_still_beat() {
    let mut m = machine(false);
    step(&mut m, 0, LeaseInput::Read(Some(lease(4, "other", 7))), &[]);
    step(&mut m, 2, LeaseInput::Tick, &[LeaseEffect::Look]);
    step(&mut m, 2, LeaseInput::Read(Some(lease(4, "other", 8))), &[]);
    for second in [4, 6] {
        step(&mut m, second, LeaseInput::Tick, &[LeaseEffect::Look]);
        step(
            &mut m,
            second,
            LeaseInput::Read(Some(lease(4, "other", 8))),
            &[],
        );
    }
    step(&mut m, 8, LeaseInput::Tick, &[LeaseEffect::Look]);
    step(
        &mut m,
        8,
        LeaseInput::Read(Some(lease(4, "other", 8))),
        &[set(Some(lease(4, "other", 8)), lease(5, "me", 0))],
    );
    step(
        &mut m,
        9,
        LeaseInput::Decided(Cas::Applied),
        &[LeaseEffect::Own(Epoch(5))],
    );
}

#[test]
fn an_exclusive_store_has_no_other_owner_and_needs_no_beat() {
    let mut m = machine(true);
    let dead = lease(3, "before", 9);
    step(
        &mut m,
        0,
        LeaseInput::Read(Some(dead.clone())),
        &[set(Some(dead), lease(4, "me", 0))],
    );
    step(
        &mut m,
        0,
        LeaseInput::Decided(Cas::Applied),
        &[LeaseEffect::Own(Epoch(4))],
    );
    assert_eq!(m.deadline(), None);
    assert_eq!(m.lasts_until(), Some(Duration::MAX));
    step(&mut m, 1_000_000, LeaseInput::Tick, &[]);
    assert_eq!(m.epoch(), Some(Epoch(4)));
}

#[test]
fn who_loses_the_race_watches() {
    let mut m = machine(false);
    step(
        &mut m,
        0,
        LeaseInput::Read(None),
        &[set(None, lease(1, "me", 0))],
    );
    let winner = lease(1, "other", 0);
    step(
        &mut m,
        0,
        LeaseInput::Decided(Cas::Refused(Some(winner))),
        &[],
    );
    assert_eq!((m.epoch(), m.deadline()), (None, Some(at(1))));
}

#[test]
fn beats_while_it_owns() {
    let mut m = held();
    assert_eq!(m.deadline(), Some(at(2)));
    let beat = set(Some(lease(1, "me", 0)), lease(1, "me", 1));
    step(&mut m, 2, LeaseInput::Tick, &[beat]);
    assert_eq!(m.lasts_until(), Some(at(5)));
    step(&mut m, 3, LeaseInput::Decided(Cas::Applied), &[]);
    assert_eq!(m.deadline(), Some(at(4)), "counted from when it was sent");
    assert_eq!(
        m.lasts_until(),
        Some(at(7)),
        "counted from when it was sent"
    );
}

#[test]
fn stops_when_no_beat_is_confirmed_though_the_answer_comes_late() {
    let mut m = held();
    m.handle(at(2), LeaseInput::Tick);
    assert_eq!(m.deadline(), Some(at(5)));
    let late = LeaseInput::Decided(Cas::Applied);
    step(&mut m, 5, late, &[LeaseEffect::Disown, LeaseEffect::Look]);
    assert_eq!(m.epoch(), None);
}

#[test]
fn stops_at_once_when_another_took_over() {
    let mut m = held();
    m.handle(at(2), LeaseInput::Tick);
    let other = LeaseInput::Decided(Cas::Refused(Some(lease(2, "other", 0))));
    step(&mut m, 3, other, &[LeaseEffect::Disown]);
}

#[test]
fn an_unknown_outcome_is_read_again() {
    let mut m = machine(false);
    m.handle(at(0), LeaseInput::Read(None));
    step(&mut m, 1, LeaseInput::Unknown, &[LeaseEffect::Read]);
    let done = LeaseInput::Read(Some(lease(1, "me", 0)));
    step(&mut m, 1, done, &[LeaseEffect::Own(Epoch(1))]);
}

/// A machine whose beat of second 2 got no answer, and was sent again at second 4.
fn beaten_twice() -> LeaseMachine {
    let mut m = held();
    let beat = set(Some(lease(1, "me", 0)), lease(1, "me", 1));
    step(&mut m, 2, LeaseInput::Tick, slice::from_ref(&beat));
    step(&mut m, 3, LeaseInput::Unknown, &[]);
    assert_eq!(m.deadline(), Some(at(3) + Duration::from_millis(100)));
    step(&mut m, 3, LeaseInput::Tick, &[]);
    step(&mut m, 4, LeaseInput::Tick, &[beat]);
    assert_eq!((m.lasts_until(), m.deadline()), (Some(at(5)), Some(at(5))));
    m
}

#[test]
fn a_beat_without_an_answer_is_sent_again_and_counts_from_then() {
    let mut m = beaten_twice();
    step(&mut m, 4, LeaseInput::Decided(Cas::Applied), &[]);
    assert_eq!(m.lasts_until(), Some(at(9)));
    assert_eq!(m.deadline(), Some(at(6)));
}

#[test]
fn a_beat_that_had_been_applied_after_all_counts_from_when_it_was_first_sent() {
    let mut m = beaten_twice();
    let row = Some(lease(1, "me", 1));
    step(&mut m, 4, LeaseInput::Decided(Cas::Refused(row)), &[]);
    assert_eq!(m.lasts_until(), Some(at(7)));
    let next = set(Some(lease(1, "me", 1)), lease(1, "me", 2));
    step(&mut m, 4, LeaseInput::Tick, &[next]);
}

#[test]
fn a_beat_sent_again_does_not_outlive_another_owner() {
    let mut m = beaten_twice();
    let other = LeaseInput::Decided(Cas::Refused(Some(lease(2, "other", 0))));
    step(&mut m, 4, other, &[LeaseEffect::Disown]);
}

#[test]
fn in_an_exclusive_store_too_a_raised_epoch_without_an_answer_is_sent_again() {
    let mut m = machine(true);
    m.handle(at(0), LeaseInput::Read(None));
    m.handle(at(0), LeaseInput::Decided(Cas::Applied));
    let raise = set(Some(lease(1, "me", 0)), lease(2, "me", 0));
    step(&mut m, 1, LeaseInput::Exhausted, slice::from_ref(&raise));
    assert_eq!(m.deadline(), None);
    step(&mut m, 2, LeaseInput::Unknown, &[]);
    assert_eq!(m.deadline(), Some(at(2) + Duration::from_millis(100)));
    step(&mut m, 3, LeaseInput::Tick, &[raise]);
}

#[test]
fn raises_its_own_epoch_when_sequence_numbers_run_out() {
    let mut m = held();
    let raise = set(Some(lease(1, "me", 0)), lease(2, "me", 0));
    step(&mut m, 1, LeaseInput::Exhausted, &[raise]);
    step(
        &mut m,
        1,
        LeaseInput::Decided(Cas::Applied),
        &[LeaseEffect::Own(Epoch(2))],
    );
}

/// The row after a hand-over.
fn vacant(epoch: u64) -> Lease {
    Lease {
        address: String::new(),
        ..lease(epoch, "", 0)
    }
}

#[test]
fn hands_over_only_what_was_let_go_and_whoever_wishes_takes_it_at_once() {
    let mut m = held();
    let leave = LeaseInput::Wished(Wish::Leave);
    step(&mut m, 1, leave, &[LeaseEffect::HandOver]);
    assert_eq!((m.epoch(), m.deadline()), (None, None));
    assert_eq!(m.lasts_until(), None);
    // A beat that was in flight has no effect any more.
    step(&mut m, 1, LeaseInput::Decided(Cas::Applied), &[]);
    step(&mut m, 1, LeaseInput::Unknown, &[]);
    step(&mut m, 2, LeaseInput::LetGo, &[LeaseEffect::Read]);
    let own = lease(1, "me", 3);
    let give = set(Some(own.clone()), vacant(1));
    step(&mut m, 2, LeaseInput::Read(Some(own)), &[give]);
    assert!(!m.is_away());
    step(&mut m, 3, LeaseInput::Decided(Cas::Applied), &[]);
    assert!(m.is_away());

    let mut other = machine(false);
    let mut seen = lease(1, "you", 3);
    step(&mut other, 0, LeaseInput::Read(Some(seen.clone())), &[]);
    seen = vacant(1);
    let take = set(Some(seen.clone()), lease(2, "me", 0));
    step(&mut other, 2, LeaseInput::Read(Some(seen)), &[take]);
}

#[test]
fn what_was_handed_over_is_not_taken_back_unless_wished() {
    let mut m = held();
    m.handle(at(1), LeaseInput::Wished(Wish::Leave));
    m.handle(at(1), LeaseInput::LetGo);
    m.handle(at(1), LeaseInput::Read(Some(lease(1, "me", 0))));
    m.handle(at(1), LeaseInput::Decided(Cas::Applied));
    for second in [3, 30] {
        step(&mut m, second, LeaseInput::Tick, &[LeaseEffect::Look]);
        step(&mut m, second, LeaseInput::Read(Some(vacant(1))), &[]);
    }
    let have = LeaseInput::Wished(Wish::Have);
    step(&mut m, 31, have, &[LeaseEffect::Look]);
    let take = set(Some(vacant(1)), lease(2, "me", 0));
    step(&mut m, 31, LeaseInput::Read(Some(vacant(1))), &[take]);
}

#[test]
fn one_that_waits_takes_what_stays_free() {
    for row in [None, Some(vacant(4)), Some(lease(4, "dead", 9))] {
        let mut m = machine(false);
        m.handle(at(0), LeaseInput::Wished(Wish::Wait));
        step(&mut m, 0, LeaseInput::Read(row.clone()), &[]);
        for second in 1..18 {
            step(&mut m, second, LeaseInput::Tick, &[LeaseEffect::Look]);
            step(&mut m, second, LeaseInput::Read(row.clone()), &[]);
        }
        let epoch = row.as_ref().map_or(1, |lease| lease.epoch + 1);
        step(&mut m, 18, LeaseInput::Tick, &[LeaseEffect::Look]);
        let take = set(row.clone(), lease(epoch, "me", 0));
        step(&mut m, 18, LeaseInput::Read(row), &[take]);
    }
}

#[test]
fn what_was_taken_when_it_was_no_longer_wanted_is_handed_over_before_anybody_hosts_it() {
    let mut m = machine(false);
    m.handle(at(0), LeaseInput::Read(None));
    step(&mut m, 0, LeaseInput::Wished(Wish::Leave), &[]);
    let applied = LeaseInput::Decided(Cas::Applied);
    step(&mut m, 1, applied.clone(), &[LeaseEffect::HandOver]);
    step(&mut m, 1, LeaseInput::LetGo, &[LeaseEffect::Read]);
    let own = lease(1, "me", 0);
    let give = set(Some(own.clone()), vacant(1));
    step(&mut m, 1, LeaseInput::Read(Some(own)), &[give]);
    step(&mut m, 1, applied, &[]);
    assert!(m.is_away());
}

#[test]
fn a_hand_over_of_unknown_outcome_is_asked_for_and_one_that_came_too_late_is_none() {
    let leaving = || {
        let mut m = held();
        m.handle(at(1), LeaseInput::Wished(Wish::Leave));
        m.handle(at(1), LeaseInput::LetGo);
        m.handle(at(1), LeaseInput::Read(Some(lease(1, "me", 0))));
        m
    };
    let mut m = leaving();
    step(&mut m, 2, LeaseInput::Unknown, &[LeaseEffect::Read]);
    step(&mut m, 2, LeaseInput::Read(Some(vacant(1))), &[]);
    assert!(m.is_away());

    let mut m = leaving();
    let other = Cas::Refused(Some(lease(2, "other", 0)));
    step(&mut m, 9, LeaseInput::Decided(other), &[]);
    assert_eq!(m.owner(), Some("other"));

    let mut m = leaving();
    step(&mut m, 9, LeaseInput::Unknown, &[LeaseEffect::Read]);
    step(&mut m, 9, LeaseInput::ReadFailed, &[]);
    assert!(m.is_away());
}

#[test]
fn an_exclusive_store_is_left_without_a_write() {
    let mut m = machine(true);
    m.handle(at(0), LeaseInput::Read(None));
    m.handle(at(0), LeaseInput::Decided(Cas::Applied));
    let leave = LeaseInput::Wished(Wish::Leave);
    step(&mut m, 1, leave, &[LeaseEffect::HandOver]);
    step(&mut m, 1, LeaseInput::LetGo, &[]);
    assert!(m.is_away());
}

#[test]
fn an_owner_that_nobody_could_see_for_long_has_its_time_again() {
    let mut m = machine(false);
    let row = lease(4, "other", 8);
    step(&mut m, 0, LeaseInput::Read(Some(row.clone())), &[]);
    for second in 1..30 {
        step(&mut m, second, LeaseInput::Tick, &[LeaseEffect::Look]);
        step(&mut m, second, LeaseInput::ReadFailed, &[]);
    }
    // The store answers again. The owner may be alive: it could not beat either.
    for second in 30..36 {
        step(&mut m, second, LeaseInput::Tick, &[LeaseEffect::Look]);
        step(&mut m, second, LeaseInput::Read(Some(row.clone())), &[]);
    }
    let take = set(Some(row.clone()), lease(5, "me", 0));
    step(&mut m, 36, LeaseInput::Tick, &[LeaseEffect::Look]);
    step(&mut m, 36, LeaseInput::Read(Some(row)), &[take]);
}

#[test]
fn one_failed_look_delays_no_take_over() {
    let mut m = machine(false);
    let row = lease(4, "other", 8);
    step(&mut m, 0, LeaseInput::Read(Some(row.clone())), &[]);
    step(&mut m, 3, LeaseInput::Tick, &[LeaseEffect::Look]);
    step(&mut m, 3, LeaseInput::ReadFailed, &[]);
    step(&mut m, 4, LeaseInput::Tick, &[LeaseEffect::Look]);
    step(&mut m, 4, LeaseInput::Read(Some(row.clone())), &[]);
    step(&mut m, 6, LeaseInput::Tick, &[LeaseEffect::Look]);
    let take = set(Some(row.clone()), lease(5, "me", 0));
    step(&mut m, 6, LeaseInput::Read(Some(row)), &[take]);
}

#[test]
fn what_it_had_to_let_go_of_it_takes_again_at_once_if_nobody_else_did() {
    let mut m = held();
    m.handle(at(2), LeaseInput::Tick);
    let stopped = [LeaseEffect::Disown, LeaseEffect::Look];
    step(&mut m, 5, LeaseInput::Unknown, &stopped);
    step(&mut m, 9, LeaseInput::ReadFailed, &[]);
    step(&mut m, 10, LeaseInput::Tick, &[LeaseEffect::Look]);
    let own = lease(1, "me", 0);
    let take = set(Some(own.clone()), lease(2, "me", 0));
    step(&mut m, 10, LeaseInput::Read(Some(own)), &[take]);
    // The beat that was in flight was applied meanwhile.
    let beaten = lease(1, "me", 1);
    let take = set(Some(beaten.clone()), lease(2, "me", 0));
    let refused = LeaseInput::Decided(Cas::Refused(Some(beaten)));
    step(&mut m, 10, refused, &[take]);
    let applied = LeaseInput::Decided(Cas::Applied);
    step(&mut m, 10, applied, &[LeaseEffect::Own(Epoch(2))]);
}
