//! Configuration of the log.

use super::section::Role::{
    Client, ComputeWorker, ModelService, Operator, Standalone, Temporary, Tool,
};
use super::section::{Role, Validate, section};
use super::{ConfigError, Origin, Origins, key, values};
use crate::telemetry::{self, LogFormat};

/// The default log filter. The broker's client reports every lost channel as an error of its own; that is filtered out,
/// because it is logged together with the reaction to it.
pub const LOG: &str = "info,lapin=off";

const EVERYONE: &[Role] = &[
    Standalone,
    Temporary,
    ModelService,
    ComputeWorker,
    Client,
    Operator,
    Tool,
];

section! {
    /// What is logged, and how.
    struct Logging;

    /// What is logged to standard error: a level, or levels by module.
    log: String = "info" {
        roles: EVERYONE,
        expects: "a tracing filter such as info or warn,model_service=debug",
        read: |text| (!text.is_empty()).then(|| text.to_owned()),
        show: String::clone,
    }

    /// How log lines are written.
    log_format: LogFormat = "text" {
        roles: EVERYONE,
        expects: "text or json",
        read: values::log_format,
        show: values::show_log_format,
    }
}

impl Validate for Logging {}

impl Logging {
    /// Starts the log. Uses the filter `unasked` unless the configuration sets one.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the message of the logging library, the only code that can parse a filter.
    pub fn start(&self, origins: &Origins, unasked: &str) -> Result<(), ConfigError> {
        let filter = match origins.of("log") {
            Origin::Default => unasked,
            Origin::File(_) | Origin::Environment(_) | Origin::Flag(_) => &self.log,
        };
        telemetry::start(filter, self.log_format).map_err(|complaint| {
            let expects = key("log").map_or("", |key| key.expects);
            ConfigError::unsuitable(
                "log",
                &self.log,
                origins.of("log"),
                format!("{expects} ({complaint})"),
            )
        })
    }
}
