//! The driver of a partition's host in one process.

use std::sync::Arc;

use kindred_domain::hosting::{HostEffect, HostInput};
use kindred_domain::store::DomainRow;

use crate::database::Reading;
use crate::mutations::Mutation;
use crate::process::{Context, Message};
use crate::seat::{Ownership, Seat};
use crate::tenure::Tenure;

impl Seat {
    /// The host is told whether it owns the partition.
    pub(crate) fn owned(&mut self, context: &mut Context<'_>, number: u64, ownership: Ownership) {
        // The machines may rely on this, whatever happens to processes.
        assert_eq!(
            number,
            self.heard + 1,
            "news of an ownership overtakes others"
        );
        self.heard = number;
        let input = match ownership {
            Ownership::Owned(epoch, term) => {
                self.hosted_for = term;
                HostInput::Owned(epoch)
            }
            Ownership::Lost => HostInput::Lost,
            Ownership::HandedOver => HostInput::HandOver,
        };
        self.host_input(context, input);
    }

    pub(crate) fn intake_opened(&mut self, context: &mut Context<'_>, number: u64, is_open: bool) {
        if self.opening.take_if(|newest| *newest == number).is_some() {
            let input = match is_open {
                true => HostInput::Opened,
                false => HostInput::NotOpened,
            };
            self.host_input(context, input);
        }
    }

    pub(crate) fn domains_read(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        rows: Option<Vec<DomainRow>>,
    ) {
        if self.reading.take_if(|newest| *newest == number).is_some() {
            let input = rows.map_or(HostInput::DomainsNotRead, HostInput::DomainsRead);
            self.host_input(context, input);
        }
    }

    pub(crate) fn host_alarm(&mut self, context: &mut Context<'_>, number: u64) {
        if self.host_alarm.rings(number) {
            self.host_input(context, HostInput::Tick);
        }
    }

    fn host_input(&mut self, context: &mut Context<'_>, input: HostInput) {
        let now = context.me.clock(context.world.now);
        for effect in self.hosting.handle(now, input) {
            self.carry_out_hosting(context, effect);
        }
        if let Some(at) = self.hosting.deadline()
            && let Some(number) = self.host_alarm.set(at, context.world)
        {
            let alarm = Message::HostAlarm(self.partition, number);
            let at = context.me.at(at);
            context.world.tell_at(context.me.id, at, alarm);
        }
    }

    fn carry_out_hosting(&mut self, context: &mut Context<'_>, effect: HostEffect) {
        let (id, partition) = (context.me.id, self.partition);
        match effect {
            HostEffect::Open => {
                let number = context.world.number();
                self.opening = Some(number);
                let is_open = !context.world.goes_wrong(4);
                let delay = context.world.latency();
                let answer = Message::IntakeOpened(partition, number, is_open);
                context.world.tell(id, delay, answer);
            }
            HostEffect::Host(epoch) => {
                let term = Arc::clone(&self.hosted_for);
                self.tenure = Some(Tenure::begin(context, partition, epoch, term));
            }
            HostEffect::Raise(epoch) => {
                if let Some(tenure) = &mut self.tenure
                    && !context.world.is_mutated(Mutation::RaiseNotHeard)
                {
                    tenure.raise(context, epoch);
                }
            }
            HostEffect::ReadDomains => {
                let number = context.world.number();
                self.reading = Some(number);
                context.world.read(Reading::Domains(id, partition, number));
            }
            HostEffect::Resume(rows) => {
                if let Some(tenure) = &mut self.tenure {
                    tenure.resume(context, rows);
                }
            }
            HostEffect::Serve => {
                if let Some(tenure) = &mut self.tenure {
                    tenure.serve(context);
                }
            }
            HostEffect::LetGo => {
                (self.opening, self.reading) = (None, None);
                if let Some(tenure) = self.tenure.take() {
                    tenure.end(context);
                }
            }
            HostEffect::HandedOver => {
                if !context.world.is_mutated(Mutation::HandedOverEarly) {
                    let delay = std::time::Duration::from_micros(10);
                    context.world.tell(id, delay, Message::LetGo(partition));
                }
            }
        }
    }
}
