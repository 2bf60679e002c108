//! Ctrl-C for commands that send: what is under way is sent and told of, and a second one ends at once.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::ctrl_c;

use super::exit::CommandError;

/// What shells expect of a program that Ctrl-C ended.
const EXIT_CODE: i32 = 130;

/// Whether the command is to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on Ctrl-C is noted, and only the second one ends the process.
    ///
    /// # Errors
    /// When signals cannot be heard.
    pub(crate) fn listen() -> Result<Self, CommandError> {
        let interrupt = Self::default();
        let asked = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| CommandError::failed(format!("signals cannot be heard: {error}")))?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                if ctrl_c().await.is_err() {
                    return;
                }
                asked.0.store(true, Ordering::Relaxed);
                let words = "stopping: what was read is sent; Ctrl-C once more ends at once";
                // Standard error may be closed.
                let _ = writeln!(std::io::stderr(), "{words}");
                if ctrl_c().await.is_ok() {
                    std::process::exit(EXIT_CODE);
                }
            });
        });
        Ok(interrupt)
    }

    /// Whether it was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Why the command ends then.
    pub(crate) fn failure() -> CommandError {
        CommandError::failed(
            "interrupted: what is told above went in; run it again to send the rest",
        )
    }
}
