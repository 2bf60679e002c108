//! `kindred model-service`: runs the clustered role until it is told to stop.

use super::exit::{CommandError, Exit, Outcome};
use super::standalone::{DRAIN, Stop};
use crate::clustered::{Clustered, StartError};
use crate::config::Config;

pub(super) fn run(config: &Config) -> Outcome {
    actix::System::new().block_on(async {
        let mut stop = Stop::listen()?;
        let (started, is_over) = stop.while_starting(Clustered::start(config)).await;
        let Some(started) = started else {
            return Ok(Exit::Done);
        };
        let service = started.map_err(|error| match error {
            StartError::Misconfigured(_) => CommandError::usage(error.to_string()),
            _ => CommandError::failed(error.to_string()),
        })?;
        if !is_over {
            stop.asked().await;
        }
        tracing::info!("stopping");
        if tokio::time::timeout(DRAIN, service.stop()).await.is_err() {
            tracing::warn!(after = ?DRAIN, "stopped before all partitions were released");
        }
        Ok(Exit::Done)
    })
}
