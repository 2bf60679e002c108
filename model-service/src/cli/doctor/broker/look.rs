//! Gathers the facts about the broker.

use kindred_runtime::amqp::{
    AmqpError, Connector, LogRetention, Names, Permission, close, inspect, inspect_log, permitted,
};
use lapin::uri::{AMQPScheme, AMQPUri};

use super::super::Part;
use super::management::{self, Address};
use super::{BrokerFacts, Inside, NoEntry, greeting};
use crate::config::Config;

pub(in super::super) async fn look(
    connector: &Connector,
    config: &Config,
    management: &Address,
    part: Part,
) -> BrokerFacts {
    BrokerFacts {
        place: connector.place(),
        greeting: greet(config),
        inside: look_inside(
            connector,
            part,
            config.domains.partitions,
            config.event_log.retention(),
        )
        .await,
        management: management::ask(management),
    }
}

fn greet(config: &Config) -> Option<Result<greeting::Greeting, String>> {
    let uri: AMQPUri = config.broker.amqp_url.expose().parse().ok()?;
    // Over TLS there is no greeting in clear text.
    (uri.scheme == AMQPScheme::AMQP).then(|| greeting::ask(&uri.authority.host, uri.authority.port))
}

async fn look_inside(
    connector: &Connector,
    part: Part,
    partitions: u16,
    retention: Option<LogRetention>,
) -> Result<Inside, NoEntry> {
    let connection = connector.connect("look").await.map_err(|error| {
        let words = error.broker_words();
        match &error {
            _ if error.is_refused() => NoEntry::Refused(words),
            AmqpError::Broker { .. } if words.starts_with("NOT_ALLOWED") => NoEntry::NoVhost(words),
            _ => NoEntry::Away(words),
        }
    })?;
    let names = Names::default();
    let wanted = match part {
        Part::ModelService | Part::Standalone => Permission::of_service(&names, partitions),
        Part::ComputeWorker => Permission::of_worker(&names),
        Part::Publisher => Permission::of_publisher(&names),
    };
    let lost = |error: AmqpError| error.to_string();
    let permissions = permitted(&connection, &names, &wanted).await;
    let topology = inspect(&connection, &names, partitions).await;
    let log = match (part, retention) {
        (Part::ModelService, Some(retention)) => {
            Some(inspect_log(&connection, &names, retention).await)
        }
        (Part::ModelService | Part::ComputeWorker | Part::Publisher | Part::Standalone, _) => None,
    };
    close(&connection).await;
    Ok(Inside {
        log: log.map(|log| log.map_err(lost)),
        topology: topology.map_err(lost),
        permissions: permissions
            .map(|answers| wanted.into_iter().zip(answers).collect())
            .map_err(lost),
    })
}
