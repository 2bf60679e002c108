//! A standalone service to measure, in a temporary directory.

use super::super::demo::temporary;
use super::super::exit::CommandError;
use super::super::standalone::drain;
use crate::config::{self, Config};
use crate::service::Service;
use crate::standalone::Standalone;

/// Starts the service, measures, and stops it.
pub(super) async fn with_service<T>(
    mut config: Config,
    measure: impl AsyncFnOnce(&Service, &Config) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let directory = temporary()?;
    config.store.data_dir = directory.path().join("data");
    config.tls = config::Tls::none();
    config.access.admin_key_file = None;
    let service = Standalone::start(&config)
        .await
        .map_err(|error| CommandError::failed(error.to_string()))?;
    let measured = measure(&service, &config).await;
    drain(service).await;
    measured
}
