//! `kindred completions` and `kindred man`: the command line, for shells and for readers.

use std::io::Write;
use std::path::PathBuf;

use clap_complete::Shell;

use super::Command;
use super::exit::{CommandError, Exit, Outcome};

/// Writes shell completions to standard output.
///
/// For bash: `kindred completions bash > ~/.local/share/bash-completion/completions/kindred`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes manual pages, one per command, into a folder.
///
/// To read one: `man DIR/kindred-import.1`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The folder; it is created if missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Runs either command on the given command line definition.
///
/// # Errors
/// When the output cannot be written.
pub(super) fn run(command: &Command, mut line: clap::Command, out: &mut dyn Write) -> Outcome {
    match command {
        Command::Completions(args) => {
            // The generator panics on write errors, as on a closed pipe: write to memory first.
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut line, "kindred", &mut script);
            out.write_all(&script)?;
        }
        Command::Man(args) => {
            let to = &args.directory;
            let written = std::fs::create_dir_all(to)
                .and_then(|()| clap_mangen::generate_to(line.disable_help_subcommand(true), to));
            written.map_err(|error| CommandError::failed(format!("{}: {error}", to.display())))?;
        }
        _ => {}
    }
    Ok(Exit::Done)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::Cli;
    use super::*;

    fn run_line(line: &[&str]) -> String {
        let cli = Cli::try_parse_from(line).unwrap();
        let mut out = Vec::new();
        let exit = run(&cli.command.unwrap(), Cli::command(), &mut out).unwrap();
        assert_eq!(exit, Exit::Done);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = run_line(&["kindred", "completions", shell]);
            for command in Cli::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("pages");
        run_line(&["kindred", "man", to.to_str().unwrap()]);
        for command in Cli::command().get_subcommands() {
            let page = to.join(format!("kindred-{}.1", command.get_name()));
            let text = std::fs::read_to_string(&page).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{}", page.display());
        }
        assert!(to.join("kindred-domain-set.1").exists());
    }
}
