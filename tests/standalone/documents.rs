//! What documents say works: their commands are run, in order, beside a standalone.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::documents::{Block, Document, commands, documents};
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, kindred};
use crate::support::script::{ELSEWHERE, Runs, Stage, runs};

/// Rows and values per row of `rows.npy`.
const ROWS: usize = 40;
const VALUES: usize = 8;

/// A file as NumPy saves it.
fn rows() -> Vec<u8> {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({ROWS}, {VALUES}), }}");
    // Magic, version and length are 10 bytes; all of it is a multiple of 64.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(
        u16::try_from(header.len())
            .expect("a short one")
            .to_le_bytes(),
    );
    file.extend(header.as_bytes());
    for n in 0..ROWS * VALUES {
        let value = ((n * 7919 % 101) as f32 - 50.0) / 50.0;
        file.extend(value.to_le_bytes());
    }
    file
}

/// Files that documents take for granted: a site, a blog with links, a matrix.
fn set(stage: &Stage<'_>) {
    stage.file("blog/hugo.toml", "baseURL = 'https://blog.example/'\n");
    for (name, title, text) in [
        (
            "trains",
            "Night trains return",
            "Sleepers run again, with beds and breakfast.",
        ),
        (
            "sleepers",
            "Sleepers to the coast",
            "Beds and breakfast on the night train.",
        ),
        (
            "bread",
            "Rye bread",
            "Flour, water, salt and a sourdough starter make a loaf.",
        ),
    ] {
        let page = format!("---\ntitle: {title}\ndate: 2026-01-02\n---\n{text}\n");
        stage.file(&format!("blog/content/posts/{name}.md"), page);
        let other = if name == "trains" {
            "sleepers"
        } else {
            "trains"
        };
        let post = format!("# {title}\n\n{text} See [more](/blog/{other}).\n");
        stage.file(&format!("BLOG/_content/blog/{name}.md"), post);
    }
    for n in 0..20 {
        let post = format!("# Loaf {n}\n\nFlour and {n} grams of salt.\n");
        stage.file(&format!("BLOG/_content/blog/loaf-{n}.md"), post);
    }
    stage.file("rows.npy", rows());
    stage.link("tests/quality/markdown.py");
}

/// What to wait for, and what to do, while a block's last command runs.
fn while_it_runs(stage: &mut Stage<'_>, block: &Block) {
    let last = block
        .text
        .trim_end()
        .lines()
        .next_back()
        .unwrap_or_default();
    let until = |what: &str| format!("until {what}; do kill -0 $!; sleep 0.05; done; cat served");
    if last.contains("--watch") {
        stage.line("cp blog/content/posts/trains.md blog/content/posts/added.md");
        let added = "curl http://$KINDRED_LISTEN/v1/domains/blog.example/items/posts%2Fadded";
        stage.line(&until(&format!("{added} > asked 2>&1")));
        // It has nothing to hand over, and ends at once.
        stage.line("kill $!; wait $! || true");
        return;
    } else if last.contains("demo") {
        stage.line(&until("grep -s 'until Ctrl-C' served"));
    } else {
        // A service, which the blocks below ask.
        stage.line(&until("curl http://$KINDRED_LISTEN/readyz > asked 2>&1"));
        return;
    }
    stage.line("kill $!; wait $!");
}

/// Runs the blocks of a document; what they said.
#[track_caller]
fn follow(document: &Document) -> String {
    let place = Place::beside_others();
    let blocks = document.of("sh");
    let blocks: Vec<&Block> = blocks
        .filter(|block| runs(document, block) == Runs::Standalone)
        .collect();
    if blocks.is_empty() {
        return String::new();
    }
    let starts_its_own = blocks
        .iter()
        .any(|block| block.text.contains("kindred standalone"));
    // What is replayed is kept.
    let keeping = Start {
        flags: ["--log-retention", "30days"].map(str::to_owned).to_vec(),
        ..Start::default()
    };
    let service = (!starts_its_own).then(|| Kindred::start(&place, &keeping));
    let mut stage = Stage::new(&place);
    set(&stage);
    if service.is_some() {
        let data_dir = place.data_dir().display().to_string();
        stage.replace(
            "--from-dir ./kindred-data",
            &format!("--from-dir {data_dir}"),
        );
        stage.variable("KINDRED_DATA_DIR", data_dir);
    }
    // While a standalone has the port.
    stage.replace("kindred demo", "KINDRED_LISTEN=127.0.0.1:0 kindred demo");
    // What the reader of a document has to find out.
    let id = "$(kindred keys list | awk '/write:news.example/ {print $1}')";
    stage.replace("revoke ID", &format!("revoke \"{id}\""));
    let is_ready =
        "until kindred models list news.example | grep 'words-1 .* ready'; do sleep 0.05; done";
    let activate = "kindred models activate news.example words-1";
    stage.replace(activate, &format!("{is_ready}; {activate}"));
    for block in blocks {
        stage.block(block);
        let shown = commands(&block.text);
        if shown.last().is_some_and(|last| last.keeps_running()) {
            while_it_runs(&mut stage, block);
        }
    }
    let said = stage.run();
    if let Some(service) = service {
        service.stop();
    }
    said
}

/// Text without what differs between runs: versions, which are milliseconds.
fn without_versions(text: &str) -> String {
    let mut plain = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        plain += if digits.len() == 13 {
            "VERSION"
        } else {
            &digits
        };
        digits.clear();
        plain.push(c);
    }
    plain
}

#[test]
fn the_readme_works_from_top_to_bottom_and_prints_what_it_shows() {
    let all = documents();
    let readme = all.iter().find(|one| one.path == "README.md");
    let readme = readme.expect("a README");
    let said = without_versions(&follow(readme));
    let shown = readme.of("").map(|block| without_versions(&block.text));
    let shown: Vec<String> = shown.collect();
    assert!(shown.len() > 3, "{shown:?}");
    for line in shown.iter().flat_map(|text| text.lines()) {
        let line = line.trim();
        assert!(
            line == "…" || said.contains(line),
            "{line:?} is not in\n{said}"
        );
    }
}

#[test]
fn commands_of_other_documents_work() {
    let mut followed = 0;
    for document in documents() {
        if document.path != "README.md" {
            followed += usize::from(!follow(&document).is_empty());
        }
    }
    assert!(followed > 3, "{followed} documents have commands");
}

#[test]
fn what_is_not_run_is_there_and_says_why() {
    let documents = documents();
    let mut not_run = BTreeSet::new();
    for (path, line, where_it_runs) in ELSEWHERE {
        let document = documents.iter().find(|one| one.path == path);
        let document = document.unwrap_or_else(|| panic!("there is no {path}"));
        let found: Vec<&Block> = document
            .of("sh")
            .filter(|block| block.text.contains(line))
            .collect();
        assert_eq!(found.len(), 1, "{path}: {line}: {found:?}");
        if let Runs::Nowhere(why) = where_it_runs {
            assert!(!why.is_empty());
            assert!(not_run.insert(found[0].place.clone()), "{path}: {line}");
        }
    }
}

#[test]
fn events_of_the_contract_are_taken() {
    let place = Place::beside_others();
    let service = Kindred::start(&place, &Start::default());
    let documents = documents();
    let contract = documents.iter().find(|one| one.path == "docs/CONTRACT.md");
    let events = contract.expect("the contract").of("json");
    let events: Vec<&Block> = events
        .filter(|block| block.text.contains("item.created"))
        .collect();
    assert_eq!(events.len(), 1, "{events:?}");
    let file = place.directory().join("events.json");
    std::fs::write(&file, &events[0].text).expect("a file");
    let mut import = kindred(place.directory());
    let url = format!("http://127.0.0.1:{}", place.port());
    import
        .arg("import")
        .arg(&file)
        .args(["--wait", "--url", &url]);
    let done = import.output().expect("the program starts");
    assert!(done.status.success(), "{done:?}");
    let item = "/v1/domains/news.example/items/a-17";
    let item = service.client().get(item).with_status(200).json();
    assert_eq!(item["status"], "deleted", "{item}");
    service.stop();
}

#[test]
fn examples_in_python_are_python() {
    let mut seen = 0;
    for document in documents() {
        for block in document.of("python") {
            let mut python = Command::new("python3")
                .args(["-c", "import ast, sys; ast.parse(sys.stdin.read())"])
                .stdin(Stdio::piped())
                .spawn()
                .expect("python3 is there");
            let mut input = python.stdin.take().expect("its standard input");
            input.write_all(block.text.as_bytes()).expect("it reads");
            drop(input);
            let ended = python.wait().expect("its own child");
            assert!(ended.success(), "{}", block.place);
            seen += 1;
        }
    }
    assert!(seen > 0, "there are examples");
}
