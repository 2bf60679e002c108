//! Ctrl-C for commands that send: what is in flight is completed and reported; a second Ctrl-C ends
//! at once.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::ctrl_c;

use super::exit::CommandError;

/// The exit code that shells expect after Ctrl-C.
const EXIT_CODE: i32 = 130;

/// Whether the command should end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the first Ctrl-C is only recorded; a second one ends the process.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub(crate) fn listen() -> Result<Self, CommandError> {
        let interrupt = Self::default();
        let asked = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| CommandError::failed(format!("signals cannot be handled: {error}")))?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                if ctrl_c().await.is_err() {
                    return;
                }
                asked.0.store(true, Ordering::Relaxed);
                let words = "stopping after sending what was read; press Ctrl-C again to stop at \
                    once";
                // Standard error may be closed.
                let _ = writeln!(std::io::stderr(), "{words}");
                if ctrl_c().await.is_ok() {
                    std::process::exit(EXIT_CODE);
                }
            });
        });
        Ok(interrupt)
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The failure to end the command with.
    pub(crate) fn failure() -> CommandError {
        CommandError::failed(
            "interrupted: the items reported above were imported; run it again to send the rest",
        )
    }
}
