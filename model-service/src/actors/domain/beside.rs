//! The actor of a model next to the served one: like the actor of a domain, but it follows another
//! actor.

use std::sync::Arc;

use actix::prelude::*;
use kindred_shared::{DomainName, ModelName};
use tokio::sync::oneshot;

use super::{DomainActor, MAILBOX};
use crate::actors::services::Services;
use kindred_domain::effect::{Input, Passed};
use kindred_domain::machine::{Domain, Tenure};
use kindred_domain::models::ModelReport;
use kindred_query::DomainView;

/// What makes an actor that of a model next to the served one.
pub(super) struct Role {
    pub(super) model: ModelName,
    pub(super) kind: ModelName,
    run: u64,
    served: Addr<DomainActor>,
    /// What the served model's actor was told last.
    told: Option<ModelReport>,
    /// Callers that wait until everything passed on has been taken in.
    waiting: Vec<oneshot::Sender<()>>,
    /// Set when the actor is ending: the caller that waits until it has no writes in flight.
    pub(super) ending: Option<oneshot::Sender<()>>,
}

/// State of the machine of a model next to the served one.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Told {
    pub(super) model: ModelName,
    pub(super) run: u64,
    pub(super) report: ModelReport,
}

/// These items are now stored like this. Answered once the machine has taken them in.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Follow(pub(super) Vec<Passed>);

/// End. Answered once no writes are in flight.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct End;

impl DomainActor {
    /// Starts the actor of a model of this name and kind next to the served one, whose actor is
    /// told its state.
    pub(super) fn start_beside(
        name: DomainName,
        (model, kind): (ModelName, ModelName),
        run: u64,
        served: Addr<Self>,
        services: Arc<Services>,
        view: Arc<DomainView>,
    ) -> Addr<Self> {
        let tenure = Tenure {
            domain: name.clone(),
            partition: services.owner.partition(),
            epoch: services.owner.epoch(),
        };
        let settings = Arc::clone(&services.settings);
        Self::create(move |context| {
            context.set_mailbox_capacity(MAILBOX);
            let (machine, effects) =
                Domain::start_beside(tenure, settings, model.clone(), kind.clone());
            let mut this = Self::new(name, machine, services, view);
            this.beside = Some(Role {
                model,
                kind,
                run,
                served,
                told: None,
                waiting: Vec::new(),
                ending: None,
            });
            this.perform(effects, context);
            this.tell_status();
            this
        })
    }

    /// Called after each step of the machine: tells those who wait for that.
    pub(super) fn tell_served(&mut self) {
        let (Some(role), Some(machine)) = (&mut self.beside, &self.machine) else {
            return;
        };
        if self.inputs.is_empty() {
            for waiting in role.waiting.drain(..) {
                let _ = waiting.send(());
            }
        }
        let report = machine.report();
        if role.told.as_ref() != Some(&report) {
            role.told = Some(report.clone());
            role.served.do_send(Told {
                model: role.model.clone(),
                run: role.run,
                report,
            });
        }
    }

    /// Whether the actor has ended, except for writes in flight; it stops after the last of them.
    pub(super) fn has_ended(&mut self, context: &mut Context<Self>) -> bool {
        let Some(role) = self.beside.as_mut().filter(|role| role.ending.is_some()) else {
            return false;
        };
        self.machine = None;
        self.inputs.clear();
        role.waiting.clear();
        if self.commits == 0 && !self.is_away {
            if let Some(ending) = role.ending.take() {
                let _ = ending.send(());
            }
            context.stop();
        }
        true
    }
}

impl Handler<Follow> for DomainActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Follow(passed): Follow, context: &mut Context<Self>) -> Self::Result {
        let (taken_in, heard) = oneshot::channel();
        if let Some(role) = &mut self.beside {
            role.waiting.push(taken_in);
        }
        self.step(Input::Follow { passed }, context);
        Box::pin(async move {
            // An error means it has ended and its view is already closed.
            let _ = heard.await;
        })
    }
}

impl Handler<End> for DomainActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, End: End, context: &mut Context<Self>) -> Self::Result {
        let (ended, heard) = oneshot::channel();
        if let Some(role) = &mut self.beside {
            role.ending = Some(ended);
        }
        self.has_ended(context);
        Box::pin(async move {
            let _ = heard.await;
        })
    }
}
