//! A service to measure, of the command's own: in this process, or over broker and database.

use super::super::exit::CommandError;
use super::super::local::ClusterArgs;
use super::super::standalone::Stop;
use super::{QUIET_WITHIN, clustered, standalone};
use crate::config::{Config, Origins};
use crate::service::Service;

/// How the service is run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deployment {
    /// In one process, in a temporary directory.
    Standalone,
    /// On the configured broker, with compute workers of its own.
    Clustered {
        /// Number of the workers.
        workers: u16,
    },
}

/// The running service.
#[derive(Clone, Copy)]
pub(super) struct UnderTest<'a> {
    /// `standalone` or `clustered`.
    pub(super) role: &'static str,
    pub(super) service: &'a Service,
    /// What it runs with.
    pub(super) config: &'a Config,
    /// Process ids of the workers that are processes of their own.
    pub(super) workers: &'a [u32],
}

impl Deployment {
    /// A service in this process.
    ///
    /// # Errors
    /// When the configuration is not one of a standalone.
    pub(super) fn standalone(config: &Config, origins: &Origins) -> Result<Self, CommandError> {
        config.domains.check_standalone(origins)?;
        Ok(Self::Standalone)
    }

    /// What the options ask for.
    ///
    /// # Errors
    /// When the configuration does not allow it.
    pub(super) fn of(
        args: &ClusterArgs,
        config: &Config,
        origins: &Origins,
    ) -> Result<Self, CommandError> {
        match args.clustered {
            true => Ok(Self::Clustered {
                workers: args.workers,
            }),
            false => Self::standalone(config, origins),
        }
    }

    /// Starts the service, measures, and stops it; Ctrl-C ends this early, as a failure.
    pub(super) fn measure<T>(
        self,
        config: &Config,
        measure: impl AsyncFnOnce(UnderTest<'_>) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let mut config = config.clone();
        config.http.listen = ([127, 0, 0, 1], 0).into();
        // A sleeping domain cannot be observed, and has no models in memory.
        config.domains.idle_after = QUIET_WITHIN;
        actix::System::new().block_on(async {
            let mut stop = Stop::listen()?;
            tokio::select! {
                measured = self.run(config, measure) => measured,
                () = stop.asked() => Err(CommandError::failed("stopped before the end")),
            }
        })
    }

    async fn run<T>(
        self,
        config: Config,
        measure: impl AsyncFnOnce(UnderTest<'_>) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        match self {
            Self::Standalone => {
                standalone::with_service(config, async |service, config| {
                    measure(UnderTest {
                        role: "standalone",
                        service,
                        config,
                        workers: &[],
                    })
                    .await
                })
                .await
            }
            Self::Clustered { workers } => {
                clustered::with_service(workers, config, async |service, config, workers| {
                    measure(UnderTest {
                        role: "clustered",
                        service,
                        config,
                        workers,
                    })
                    .await
                })
                .await
            }
        }
    }
}
