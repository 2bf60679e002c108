//! Replays into a keyspace or a data directory: a service in this process takes the events, one after the other, and
//! makes the lists.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use kindred_domain::intake::{Confirm, PublishError};
use kindred_shared::event::{Event, Reason, Refusal};

use super::account::Account;
use super::judge::{Judge, Step};
use super::pace::Pace;
use super::source::{Log, Records};
use super::state::Counts;
use super::target::Target;
use super::{Filled, Present};
use crate::cli::exit::{CommandError, Exit};
use crate::cli::interrupt::Interrupt;
use crate::cli::retry::Retry;
use crate::cli::standalone::{drain, failure};
use crate::config::{self, Config};
use crate::service::Service;
use crate::standalone::Standalone;
use crate::{crash, event_log, filling};

/// Events that are on their way at a time; the intake limits their bytes.
const ON_THEIR_WAY: usize = 2_000;
/// How often Ctrl-C is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a target is filled with.
pub(super) struct Fill<'a> {
    pub(super) records: Records,
    pub(super) judge: Judge,
    pub(super) pace: Pace,
    pub(super) account: &'a mut Account,
    pub(super) interrupt: &'a Interrupt,
    /// How long to retry what the target cannot store.
    pub(super) timeout: Duration,
}

/// Fills the target, and makes its lists.
pub(super) fn run(
    target: &Target,
    config: &Config,
    log: &Log,
    fill: Fill<'_>,
) -> Result<Filled, CommandError> {
    let mut config = beside_others(config);
    actix::System::new().block_on(async {
        match target {
            Target::DataDir(path) => {
                config.store.data_dir.clone_from(path);
                if is_log_of(log, &config) {
                    // It would be extended by what is read from it.
                    config.event_log.log_retention = None;
                }
                let service = Standalone::start(&config).await.map_err(failure)?;
                let filled = fill.into_service(&service).await;
                drain(service).await;
                filled
            }
            Target::Keyspace(name) => {
                config.database.cql_keyspace.clone_from(name);
                let timeout = fill.timeout;
                let started = tokio::time::timeout(timeout, filling::start(&config)).await;
                let service = started.map_err(|_| {
                    let nodes = config.database.cql_nodes.join(", ");
                    let words = format!("the database at {nodes} was not ready within {timeout:?}");
                    CommandError::new(Exit::Unreachable, words)
                })?;
                let service = service.map_err(|error| CommandError::failed(error.to_string()))?;
                let filled = fill.into_service(&service).await;
                filling::stop(service).await;
                filled
            }
        }
    })
}

/// The configuration for a service beside those that it describes: nobody asks it anything.
fn beside_others(config: &Config) -> Config {
    let mut config = config.clone();
    config.http.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.http.metrics_listen = None;
    config.http.advertise = None;
    config.tls = config::Tls::none();
    config.access.admin_key_file = None;
    config.domains.partitions = 1;
    config
}

/// Whether the log that is read is the one that a service with this configuration writes.
fn is_log_of(log: &Log, config: &Config) -> bool {
    let Log::Folder(data_dir, _) = log else {
        return false;
    };
    let folder = |data_dir: &std::path::Path| data_dir.join(event_log::FOLDER).canonicalize().ok();
    let read = folder(data_dir);
    read.is_some() && read == folder(&config.store.data_dir)
}

/// An event on its way.
struct Sent {
    /// Its place in the log; `None`: settings that come with others.
    place: Option<u64>,
    event: Event,
    confirm: Confirm,
}

impl Fill<'_> {
    async fn into_service(mut self, service: &Service) -> Result<Filled, CommandError> {
        let rows = service.store.domains().await;
        let rows = rows.map_err(|error| CommandError::failed(error.to_string()))?;
        let there = rows.into_iter().filter(|row| row.is_there());
        let there: Present = there.map(|row| row.domain).collect();
        self.judge.present = self.account.present(there);
        let mut way = Way {
            service,
            sent: VecDeque::new(),
            retry: Retry::new(self.timeout),
        };
        let outcome = self.feed(&mut way).await;
        // What is on its way is settled in any case.
        let settled = way.settle_all(self.account).await;
        outcome.and(settled)?;
        let begun = Instant::now();
        loop {
            if service.quiet(LOOK_EVERY).await {
                let lists_after = Some(begun.elapsed());
                return Ok(Filled { lists_after });
            }
            if self.interrupt.is_asked() {
                return Ok(Filled::default());
            }
            let views = service.views.all();
            let pending: u64 = views.iter().map(|(_, view)| view.status().pending).sum();
            self.account
                .waiting(format!("making lists: {pending} items wait"));
        }
    }

    async fn feed(&mut self, way: &mut Way<'_>) -> Result<(), CommandError> {
        while let Some(record) = self.next().await? {
            let place = record.place;
            match self.judge.judge(record) {
                Step::Apply(event) => {
                    let wait = self.pace.take(Instant::now());
                    if !wait.is_zero() {
                        tokio::time::sleep(wait).await;
                    }
                    if let Some(settings) = self.judge.settings_before(&event) {
                        way.send(None, settings, self.account).await?;
                    }
                    crash::point("before-replayed-event");
                    self.account.sent(place);
                    way.send(Some(place), event, self.account).await?;
                }
                step => leave_out(self.account, place, step),
            }
        }
        if !self.interrupt.is_asked() {
            for settings in self.judge.settings_after() {
                way.send(None, settings, self.account).await?;
            }
        }
        Ok(())
    }

    /// The next entry; `None`: there is none, or the command is to end.
    async fn next(&mut self) -> Result<Option<super::record::Record>, CommandError> {
        loop {
            if self.interrupt.is_asked() {
                return Ok(None);
            }
            if let Ok(next) = tokio::time::timeout(LOOK_EVERY, self.records.recv()).await {
                if next.is_none() {
                    self.account.ended();
                }
                return next.transpose();
            }
        }
    }
}

/// Counts an entry that is not applied.
pub(super) fn leave_out(account: &mut Account, place: u64, step: Step) {
    let count: fn(&mut Counts) -> &mut u64 = match step {
        Step::Unreadable(domain, why) => {
            return account.unreadable(place, domain.as_ref(), &why);
        }
        Step::Done => return account.done(place),
        Step::Apply(_) | Step::Elsewhere => return account.passed(place),
        Step::Deleted => |counts| &mut counts.deleted,
        Step::Other => |counts| &mut counts.others,
        Step::SettingsLeft => |counts| &mut counts.settings_left,
    };
    account.left_out(place, count);
}

/// Whether a refusal says that there is nothing for a patch to change.
pub(super) fn is_groundless(event: &Event, reason: &str) -> bool {
    matches!(event, Event::Patch(_)) && reason == Reason::UnknownItem.word()
}

/// The way of events into a service, in order.
struct Way<'a> {
    service: &'a Service,
    sent: VecDeque<Sent>,
    retry: Retry,
}

impl Way<'_> {
    async fn send(
        &mut self,
        place: Option<u64>,
        event: Event,
        account: &mut Account,
    ) -> Result<(), CommandError> {
        let confirm = self.publish(&event).await;
        self.sent.push_back(Sent {
            place,
            event,
            confirm,
        });
        // Those that are settled by now.
        while let Some(oldest) = self.sent.front_mut()
            && let Some(settled) = oldest.confirm.as_mut().now_or_never()
        {
            self.settled(settled, account).await?;
        }
        while self.sent.len() >= ON_THEIR_WAY {
            self.settle_oldest(account).await?;
        }
        Ok(())
    }

    async fn publish(&self, event: &Event) -> Confirm {
        match self.service.publish.publish(event.clone()).await {
            Ok(confirm) => confirm,
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    async fn settle_all(&mut self, account: &mut Account) -> Result<(), CommandError> {
        while !self.sent.is_empty() {
            self.settle_oldest(account).await?;
        }
        Ok(())
    }

    async fn settle_oldest(&mut self, account: &mut Account) -> Result<(), CommandError> {
        let Some(oldest) = self.sent.front_mut() else {
            return Ok(());
        };
        let settled = oldest.confirm.as_mut().await;
        self.settled(settled, account).await
    }

    /// The oldest event is settled. If it was not stored, it is sent again with all that came after it: later events of
    /// its item may depend on it.
    async fn settled(
        &mut self,
        settled: Result<Option<u64>, PublishError>,
        account: &mut Account,
    ) -> Result<(), CommandError> {
        let words = match settled {
            Ok(_) => {
                let sent = self.sent.pop_front();
                if let Some(place) = sent.and_then(|sent| sent.place) {
                    account.applied(place);
                }
                self.retry.renew();
                return Ok(());
            }
            Err(PublishError::Refused(refusal)) => {
                if let Some(sent) = self.sent.pop_front() {
                    refused(&sent, &refusal, account);
                }
                return Ok(());
            }
            Err(PublishError::Failed(failure)) => failure.detail,
            Err(PublishError::Away(words)) => words,
        };
        let Some(pause) = self.retry.next_pause() else {
            return Err(self.retry.given_up(Exit::Failed, &words));
        };
        account.waiting(self.retry.words(&words));
        let mut again = std::mem::take(&mut self.sent).into_iter();
        let first = again.next();
        let mut events: Vec<(Option<u64>, Event)> = Vec::new();
        events.extend(first.map(|sent| (sent.place, sent.event)));
        for sent in again {
            // Whatever comes of it: it is sent again.
            let _ = sent.confirm.await;
            events.push((sent.place, sent.event));
        }
        tokio::time::sleep(pause).await;
        for (place, event) in events {
            let confirm = self.publish(&event).await;
            self.sent.push_back(Sent {
                place,
                event,
                confirm,
            });
        }
        Ok(())
    }
}

fn refused(sent: &Sent, refusal: &Refusal, account: &mut Account) {
    let Some(place) = sent.place else {
        return account.say(&format!(
            "the settings of {} were refused: {}",
            sent.event.domain(),
            refusal.detail
        ));
    };
    let reason = refusal.reason.word();
    let is_groundless = is_groundless(&sent.event, reason);
    let why = (reason, refusal.detail.as_str());
    account.refused(place, sent.event.domain(), why, is_groundless);
}
