//! `kindred model-service`: the clustered role, until it is told to stop.

use super::exit::{Exit, Failure, Outcome};
use super::standalone::{DRAIN, Stop};
use crate::clustered::Clustered;
use crate::config::Config;

pub(super) fn run(config: &Config) -> Outcome {
    actix::System::new().block_on(async {
        let mut stop = Stop::listen()?;
        let service = tokio::select! {
            started = Clustered::start(config) => {
                started.map_err(|error| Failure::failed(error.to_string()))?
            }
            () = stop.asked() => return Ok(Exit::Done),
        };
        stop.asked().await;
        tracing::info!("stopping");
        if tokio::time::timeout(DRAIN, service.stop()).await.is_err() {
            tracing::warn!(after = ?DRAIN, "stopped before all was let go");
        }
        Ok(Exit::Done)
    })
}
