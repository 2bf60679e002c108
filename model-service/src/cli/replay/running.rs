//! Replays into a running Kindred, over HTTP: standalone, or any model service of a cluster.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kindred_shared::event::{PATCHED, Reason};

use super::Filled;
use super::account::Account;
use super::judge::{Judge, Step};
use super::pace::Pace;
use super::source::Records;
use super::within::leave_out;
use crate::cli::client::Client;
use crate::cli::exit::CommandError;
use crate::cli::import::{Batches, ImportBatch, LineOrigin, Sender, Settled, Watch};
use crate::cli::interrupt::Interrupt;

/// What is sent at once, at most: this part of a second's events.
const PARTS: u32 = 4;

/// What a running Kindred is sent.
pub(super) struct Feed<'a> {
    pub(super) records: Records,
    pub(super) judge: Judge,
    pub(super) pace: Pace,
    pub(super) rate: Option<NonZeroU32>,
    pub(super) account: &'a mut Account,
    pub(super) interrupt: &'a Interrupt,
}

/// Sends everything, and waits until it is answered.
pub(super) fn run(
    client: &Client,
    timeout: Duration,
    feed: Feed<'_>,
) -> Result<Filled, CommandError> {
    let Feed {
        mut records,
        mut judge,
        mut pace,
        rate,
        account,
        interrupt,
    } = feed;
    let most = rate.map(|rate| (rate.get() / PARTS).max(1));
    let watch = Answers(Mutex::new(account));
    let sender = Sender::new(client, timeout, &watch);
    sender.run(|| {
        let mut batches = Batches::default();
        let mut gathered = 0;
        let mut failure = None;
        while !interrupt.is_asked() {
            let record = match records.blocking_recv() {
                Some(Ok(record)) => record,
                Some(Err(broken)) => {
                    failure = Some(broken);
                    break;
                }
                None => {
                    watch.account().ended();
                    break;
                }
            };
            let place = record.place;
            let event = match judge.judge(record) {
                Step::Apply(event) => event,
                step => {
                    leave_out(&mut watch.account(), place, step);
                    continue;
                }
            };
            watch.account().sent(place);
            let origin = LineOrigin {
                file: 0,
                line: place,
                original: None,
            };
            let line = event.to_json();
            if let Some(full) = batches.add(event.domain(), line.as_bytes(), origin) {
                sender.push(full)?;
            }
            gathered += 1;
            if most.is_some_and(|most| gathered >= most) {
                gathered = 0;
                for batch in std::mem::take(&mut batches).finish() {
                    sender.push(batch)?;
                }
            }
            let wait = pace.take(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
        }
        // What was read is sent, whatever ended the reading.
        for batch in batches.finish() {
            sender.push(batch)?;
        }
        failure.map_or(Ok(()), Err)
    })?;
    Ok(Filled::default())
}

/// Takes the answers of the server.
struct Answers<'a>(Mutex<&'a mut Account>);

impl<'a> Answers<'a> {
    fn account(&self) -> MutexGuard<'_, &'a mut Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Answers<'_> {
    fn settled(&self, batch: &ImportBatch, settled: Settled) -> Result<(), CommandError> {
        let mut account = self.account();
        let mut refused = BTreeSet::new();
        for line in &settled.refused {
            let Some(origin) = batch.places.get(line.at) else {
                continue;
            };
            refused.insert(line.at);
            let is_groundless = line.reason == Reason::UnknownItem.word()
                && batch.original(line.at).is_some_and(|text| is_patch(&text));
            let why = (line.reason.as_str(), line.detail.as_str());
            account.refused(origin.line, &batch.domain, why, is_groundless);
        }
        for (at, origin) in batch.places.iter().enumerate() {
            if !refused.contains(&at) {
                account.applied(origin.line);
            }
        }
        Ok(())
    }

    fn say(&self, words: &str) {
        self.account().say(words);
    }
}

/// Whether an event in canonical form is a patch.
fn is_patch(event: &str) -> bool {
    event
        .strip_prefix(r#"{"type":""#)
        .is_some_and(|rest| rest.starts_with(PATCHED))
}
