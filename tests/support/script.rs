//! Blocks of documents, run as whoever follows the document would: in order, in one shell.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::documents::{Block, Document, commands, root};
use super::place::Place;
use super::program::{PROGRAM, clean};

/// Longest a document may take, and then its end, in seconds.
const LIMIT_S: u32 = 300;
const END_S: u32 = 20;

/// Where the commands of a block are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// By the tests of a standalone, which is where a block runs that [`ELSEWHERE`] does not name.
    Standalone,
    /// By the tests of a cluster.
    Clustered,
    /// Nowhere, and why: its commands are only parsed.
    Nowhere(&'static str),
}

use Runs::{Clustered, Nowhere};

const DOCKER: &str = "needs Docker";
const BROKER_SHELL: &str = "rabbitmqctl needs the shell of a broker that is not the tests'";
const CQLSH: &str = "needs cqlsh; its statement is run by the tests of a cluster";
const DATA_SETS: &str = "fetches data sets, and takes an hour";

/// Blocks that do not run beside a standalone: the document, and a line of the block.
pub(crate) const ELSEWHERE: [(&str, &str, Runs); 25] = [
    (
        "CONTRIBUTING.md",
        "tests/faults/run deletions",
        Nowhere("each fault takes two minutes"),
    ),
    ("README.md", "tests/run", Nowhere("it runs this test")),
    ("deploy/README.md", "docker compose", Nowhere(DOCKER)),
    (
        "deploy/README.md",
        "KINDRED_AMQP_URL=",
        Nowhere("its passwords and hosts are left out"),
    ),
    (
        "deploy/rabbitmq/README.md",
        "import_definitions",
        Nowhere(BROKER_SHELL),
    ),
    (
        "deploy/rabbitmq/README.md",
        "add_user",
        Nowhere(BROKER_SHELL),
    ),
    ("docs/CLUSTER.md", "tests/services/up", Clustered),
    ("docs/CLUSTER.md", "kindred status", Clustered),
    ("docs/CLUSTER.md", "cqlsh", Nowhere(CQLSH)),
    ("docs/CLUSTER.md", "kill $(jobs -p)", Clustered),
    ("docs/CLUSTER.md", "docker compose", Nowhere(DOCKER)),
    ("docs/OPERATIONS.md", "kindred doctor", Clustered),
    ("docs/OPERATIONS.md", "kindred publish", Clustered),
    ("docs/OPERATIONS.md", "kindred.items/publish", Clustered),
    ("docs/OPERATIONS.md", "cqlsh", Nowhere(CQLSH)),
    ("docs/OPERATIONS.md", "kindred.items.dead/get", Clustered),
    ("docs/OPERATIONS.md", "send_dead_again.py", Clustered),
    (
        "docs/OPERATIONS.md",
        "kindred-events",
        Nowhere(BROKER_SHELL),
    ),
    ("docs/OPERATIONS.md", "kindred-log", Nowhere(BROKER_SHELL)),
    (
        "docs/OPERATIONS.md",
        "kindred replay --from start --domain news.example\n",
        Clustered,
    ),
    ("docs/OPERATIONS.md", "--undelete", Clustered),
    (
        "docs/OPERATIONS.md",
        "--into kindred2",
        Nowhere("makes a keyspace, which its role may not; tests/clustered/replay.rs does"),
    ),
    ("docs/OPERATIONS.md", "kindred agreement", Clustered),
    ("docs/QUALITY.md", "--bin kindred", Nowhere(DATA_SETS)),
    ("docs/QUALITY.md", "--terms", Nowhere(DATA_SETS)),
];

/// Where a block of commands is run.
pub(crate) fn runs(document: &Document, block: &Block) -> Runs {
    let said = ELSEWHERE.iter();
    let mut said =
        said.filter(|(path, line, _)| *path == document.path && block.text.contains(line));
    said.next().map_or(Runs::Standalone, |(_, _, runs)| *runs)
}

/// A folder in which a document's commands find what they name: programs, the repository, files.
pub(crate) struct Stage<'a> {
    place: &'a Place,
    script: String,
    replaced: Vec<(String, String)>,
    variables: Vec<(&'static str, String)>,
}

/// What cargo does here: the programs were built with the tests.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
  build*) exit 0 ;;
  "run --release -- "*) shift 3 && exec kindred "$@" ;;
  "run --release -p compute-worker --example "*) shift 5 && exec "$EXAMPLES/$1" ;;
esac
echo "cargo $*: unknown to the test" >&2
exit 2
"#;

/// Requests that are answered with an error fail; what still runs at the end is ended.
const PRELUDE: &str = r#"set -eu -o pipefail
curl() { command curl --silent --show-error --fail-with-body "$@"; }
trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT
"#;

impl<'a> Stage<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        let folder = place.directory();
        let programs = [folder.join("bin"), folder.join("target/release")];
        for programs in &programs {
            fs::create_dir_all(programs).expect("a folder of the test's own");
            for program in ["kindred", "compute-worker"] {
                let built = Path::new(PROGRAM).with_file_name(program);
                symlink(built, programs.join(program)).expect("a link");
            }
        }
        let mut stage = Self {
            place,
            script: PRELUDE.to_owned(),
            replaced: Vec::new(),
            variables: Vec::new(),
        };
        for name in ["model-service", "deploy"] {
            stage.link(name);
        }
        stage.program("bin/cargo", CARGO);
        let here = format!("127.0.0.1:{}", place.port());
        stage.replace("127.0.0.1:8080", &here);
        stage.replace("~/", "./");
        stage.variable("KINDRED_LISTEN", here);
        stage
    }

    /// Sets a variable for all commands.
    pub(crate) fn variable(&mut self, name: &'static str, value: String) {
        self.variables.push((name, value));
    }

    /// What stands for something else here, such as an address or a name.
    pub(crate) fn replace(&mut self, shown: &str, here: &str) {
        self.replaced.push((shown.to_owned(), here.to_owned()));
    }

    /// A file, below the folder.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.place.directory().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(path, content).expect("it can be written");
    }

    /// A file of the repository, at its own place below the folder.
    pub(crate) fn link(&self, name: &str) {
        let path = self.place.directory().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        symlink(root().join(name), path).expect("a link");
    }

    /// A script, below the folder.
    pub(crate) fn program(&self, name: &str, script: &str) {
        self.file(name, script);
        let path = self.place.directory().join(name);
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("it is ours");
    }

    /// A line of the test's own.
    pub(crate) fn line(&mut self, line: &str) {
        self.script += line;
        self.script.push('\n');
    }

    /// The next block. One whose last command runs until it is ended is left running, and what it says is in
    /// the file `served`.
    pub(crate) fn block(&mut self, block: &Block) {
        let mut text = block.text.trim_end().to_owned();
        for (shown, here) in &self.replaced {
            text = text.replace(shown, here);
        }
        self.line(&format!("echo '### {}'", block.place));
        let found = commands(&text);
        if found.last().is_some_and(|last| last.keeps_running()) {
            let last = text.lines().next_back().unwrap_or_default();
            // A note behind it would hide what is appended.
            let command = last.split(" #").next().unwrap_or(last).trim_end();
            let before = &text[..text.len() - last.len()];
            text = format!("{before}rm -f served\n{command} > served 2>&1 &");
        }
        self.line(&text);
    }

    /// Runs all of it; what was said.
    ///
    /// # Panics
    /// When a command fails, or takes too long.
    #[track_caller]
    pub(crate) fn run(self) -> String {
        let folder = self.place.directory();
        self.file("script", &self.script);
        let mut shell = Command::new("timeout");
        shell
            .arg(format!("--kill-after={END_S}"))
            .arg(LIMIT_S.to_string())
            .args(["bash", "-c", "exec bash ./script 2>&1"]);
        let mut shell = clean(shell, folder);
        let path = std::env::var("PATH").unwrap_or_default();
        let examples: PathBuf = Path::new(PROGRAM).with_file_name("examples");
        shell
            .env("PATH", format!("{}:{path}", folder.join("bin").display()))
            .env("EXAMPLES", examples)
            .envs(self.variables);
        let done = shell.output().expect("bash and timeout are there");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let served = fs::read_to_string(folder.join("served")).unwrap_or_default();
        assert!(done.status.success(), "{}\n{said}\n{served}", done.status);
        said
    }
}
