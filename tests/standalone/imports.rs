//! Sites through the front door: a folder, a feed or a table in, lists out; followed, and kept as they are.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kindred_api::path;
use serde_json::Value;

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::process::Process;
use crate::support::program::{Kindred, Start, kindred, run};

const DOMAIN: &str = "rail.test";
/// How soon a change of a file is served, at the latest.
const SOON: Duration = Duration::from_secs(60);
/// Events of an import that is interrupted: some batches of them.
const MANY: usize = 3_000;
const SLEEPERS: &str = "Sleepers run again from spring on, with beds and breakfast.";

/// A site of Jekyll with posts about trains and bread, and a Kindred.
struct Blog {
    place: Place,
    kindred: Kindred,
}

impl Blog {
    fn start() -> Self {
        let place = Place::beside_others();
        let kindred = Kindred::start(&place, &Start::default());
        let blog = Self { place, kindred };
        blog.write("_config.yml", "url: https://rail.test\npermalink: pretty\n");
        blog.post("trains", "Night trains return", SLEEPERS);
        blog.post(
            "sleepers",
            "Sleepers to the coast",
            "The sleepers have beds, and breakfast on the night train.",
        );
        for n in 0..20 {
            let text =
                format!("Flour, water, salt and {n} grams of sourdough starter make a loaf.");
            blog.post(&format!("bread-{n}"), &format!("Rye bread {n}"), &text);
        }
        blog
    }

    fn folder(&self) -> PathBuf {
        self.place.directory().join("site")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }

    fn post(&self, name: &str, title: &str, text: &str) {
        let said = format!("---\ntitle: {title}\n---\n{text}\n");
        self.write(&format!("_posts/2026-01-02-{name}.md"), &said);
    }

    fn remove(&self, name: &str) {
        let path = self.folder().join(format!("_posts/2026-01-02-{name}.md"));
        fs::remove_file(path).expect("it is there");
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.place.port())
    }

    /// `kindred import` of the folder, with these flags.
    fn import(&self, flags: &[&str]) -> Output {
        self.import_of("site", flags)
    }

    fn import_of(&self, source: &str, flags: &[&str]) -> Output {
        let url = self.url();
        let mut arguments = vec!["import", source, "--url", &url];
        arguments.extend(flags);
        run(self.place.directory(), &arguments)
    }

    fn client(&self) -> &Client {
        self.kindred.client()
    }

    fn ids(&self) -> Vec<String> {
        ids(self.client()).expect("a domain")
    }
}

fn ids(client: &Client) -> Option<Vec<String>> {
    let answer = client.get(&format!("/v1/domains/{DOMAIN}/items?limit=1000"));
    let answer = (answer.status == 200).then(|| answer.json())?;
    let items = answer["items"].as_array().expect("a list").iter();
    Some(
        items
            .map(|item| item["id"].as_str().expect("an id").to_owned())
            .collect(),
    )
}

fn words(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().expect("it ended by itself"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_folder_becomes_lists_and_the_domain_follows_it() {
    let blog = Blog::start();
    let (code, said, trouble) = words(&blog.import(&["--wait"]));
    assert_eq!(code, 0, "{said}{trouble}");
    assert!(
        said.contains("a site of Jekyll") && said.contains("22 accepted"),
        "{said}"
    );
    let similar = blog.client().similar(DOMAIN, "2026/01/02/trains", 5);
    let similar = similar.expect("the domain is named like the host");
    assert_eq!(similar[0].id.as_str(), "2026/01/02/sleepers");
    assert_eq!(
        similar[0].url.as_deref(),
        Some("https://rail.test/2026/01/02/sleepers/")
    );

    // Without --sync what is gone stays.
    blog.remove("bread-0");
    assert_eq!(words(&blog.import(&[])).0, 0);
    assert_eq!(blog.ids().len(), 22);
    // A file that cannot be read may be what the domain has.
    blog.write(
        "_posts/2026-01-02-bad.md",
        "---\ntitle: a: b: c\n---\nText.\n",
    );
    let (code, _, trouble) = words(&blog.import(&["--sync"]));
    assert_eq!(code, 3, "{trouble}");
    assert!(trouble.contains("nothing was deleted"), "{trouble}");
    assert!(
        trouble.contains("site/_posts/2026-01-02-bad.md:2: "),
        "{trouble}"
    );
    assert_eq!(blog.ids().len(), 22);
    let rejects = fs::read_to_string(blog.place.directory().join("import.rejects.ndjson"));
    let reject: Value = serde_json::from_str(&rejects.expect("it is written")).expect("JSON");
    assert_eq!(reject["reason"], "unreadable");
    assert_eq!(reject["line"], 2);
    blog.remove("bad");
    // How many is said, and one of 22 is not many.
    let (code, said, trouble) = words(&blog.import(&["--sync"]));
    assert_eq!(code, 0, "{trouble}");
    assert!(trouble.contains("deleting 1 of 22 items"), "{trouble}");
    assert!(said.contains("1 deleted"), "{said}");
    assert!(!blog.ids().contains(&"2026/01/02/bread-0".to_owned()));
    // Three of 21 are more than a tenth.
    for n in 1..4 {
        blog.remove(&format!("bread-{n}"));
    }
    let (code, _, trouble) = words(&blog.import(&["--dry-run", "--sync"]));
    assert_eq!(code, 0, "{trouble}");
    assert!(
        trouble.contains("3 of 21 items would be deleted, but only with --yes"),
        "{trouble}"
    );
    let (code, _, trouble) = words(&blog.import(&["--sync"]));
    assert_eq!(code, 1, "{trouble}");
    assert!(
        trouble.contains("3 of its 21 items") && trouble.contains("--yes"),
        "{trouble}"
    );
    assert_eq!(blog.ids().len(), 21);
    assert_eq!(words(&blog.import(&["--sync", "--yes"])).0, 0);
    assert_eq!(blog.ids().len(), 18);
    blog.kindred.stop();
}

#[test]
fn a_dry_run_sends_nothing_and_says_what_would_be_left_out() {
    let blog = Blog::start();
    blog.write("_drafts/idea.md", "---\ntitle: Idea\n---\nNot yet.\n");
    blog.write(
        "_posts/2999-01-02-later.md",
        "---\ntitle: Later\n---\nIn time.\n",
    );
    let (code, said, trouble) = words(&blog.import(&["--dry-run=2"]));
    assert_eq!(code, 0, "{trouble}");
    let events: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    assert_eq!(events.len(), 2, "{said}");
    assert_eq!(events[0]["domain"], DOMAIN);
    assert_eq!(events[0]["type"], "item.updated");
    for words in [
        "a site of Jekyll",
        "23 events would be sent",
        "1 drafts",
        "1 scheduled for later",
    ] {
        assert!(trouble.contains(words), "{words}: {trouble}");
    }
    assert_eq!(ids(blog.client()), None, "nothing was sent");
    // Drafts stay out, and what is to come is scheduled.
    assert_eq!(words(&blog.import(&[])).0, 0);
    let path = format!("/v1/domains/{DOMAIN}/items/2999%2F01%2F02%2Flater");
    let later = blog.client().get(&path).with_status(200).json();
    assert_eq!(later["publish_at"], "2999-01-02T00:00:00.000Z");
    assert!(!blog.ids().iter().any(|id| id.contains("idea")));
    blog.kindred.stop();
}

#[test]
fn a_folder_is_followed_however_editors_write() {
    let blog = Blog::start();
    let log = blog.place.directory().join("watch.log");
    let mut command = kindred(blog.place.directory());
    command.args([
        "import",
        "site",
        "--url",
        &blog.url(),
        "--watch",
        "--sync",
        "--yes",
    ]);
    let watching = Process::spawn("kindred import --watch", command, &log);
    wait_for("the folder is watched", SOON, || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        if said.contains("watching") {
            Ok(())
        } else {
            Err(said)
        }
    });
    assert_eq!(blog.ids().len(), 22);
    let title = |name: &str| {
        let path = format!("/v1/domains/{DOMAIN}/items/2026%2F01%2F02%2F{name}");
        let answer = blog.client().get(&path);
        (answer.status == 200).then(|| answer.json()["title"].as_str().map(str::to_owned))?
    };
    let becomes = |name: &str, expected: Option<&str>| {
        wait_for("a change is sent", SOON, || {
            let now = title(name);
            if now.as_deref() == expected {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        });
    };
    // Over it.
    blog.post("trains", "Written over", SLEEPERS);
    becomes("trains", Some("Written over"));
    // Beside it, and renamed.
    let posts = blog.folder().join("_posts");
    fs::write(
        posts.join(".swap"),
        "---\ntitle: Renamed over\n---\nSleepers.\n",
    )
    .expect("it is written");
    fs::rename(posts.join(".swap"), posts.join("2026-01-02-trains.md")).expect("it is renamed");
    becomes("trains", Some("Renamed over"));
    // Out of the way first, as some editors keep a copy.
    fs::rename(posts.join("2026-01-02-trains.md"), posts.join("trains.md~"))
        .expect("it is renamed");
    blog.post("trains", "After a copy", SLEEPERS);
    becomes("trains", Some("After a copy"));
    // A folder that is new, with a file at once.
    blog.write(
        "travel/_posts/2026-01-03-new.md",
        "---\ntitle: New\n---\nText.\n",
    );
    wait_for("a new folder is found", SOON, || {
        let ids = blog.ids();
        let is_there = ids.contains(&"travel/2026/01/03/new".to_owned());
        if is_there {
            Ok(())
        } else {
            Err(format!("{ids:?}"))
        }
    });
    // And what goes is gone; a file that cannot be read keeps what it was.
    blog.write(
        "_posts/2026-01-02-sleepers.md",
        "---\ntitle: a: b: c\n---\nText.\n",
    );
    blog.post("bread-1", "Baked again", "Flour and water.");
    becomes("bread-1", Some("Baked again"));
    becomes("sleepers", Some("Sleepers to the coast"));
    blog.post("sleepers", "Mended", "Beds.");
    becomes("sleepers", Some("Mended"));
    blog.remove("bread-2");
    becomes("bread-2", None);
    watching.kill_9();
    blog.kindred.stop();
}

#[test]
fn feeds_and_tables_are_items_too() {
    let blog = Blog::start();
    let at = |name: &str| blog.place.directory().join(name);
    fs::write(
        at("feed.xml"),
        "<rss version='2.0'><channel><link>https://rail.test/</link><item><title>From a feed</title>\
         <link>https://rail.test/feed/one/</link><description>&lt;p&gt;Beds.&lt;/p&gt;</description></item></channel></rss>",
    )
    .expect("it is written");
    let (code, said, trouble) = words(&blog.import_of("feed.xml", &["--wait"]));
    assert_eq!(code, 0, "{trouble}");
    assert!(said.contains("a feed"), "{said}");
    assert_eq!(blog.ids(), ["feed/one"]);
    fs::write(
        at("more.csv"),
        "id,title,published_at\ntable/one,From a table,2026-01-02\ntable/two,Bad,soon\n",
    )
    .expect("it is written");
    let (code, _, trouble) = words(&blog.import_of("more.csv", &[]));
    assert_eq!(code, 2, "no domain is named: {trouble}");
    assert!(trouble.contains("--domain"), "{trouble}");
    let (code, _, trouble) = words(&blog.import_of("more.csv", &["--domain", DOMAIN]));
    assert_eq!(code, 3, "{trouble}");
    assert!(
        trouble.contains("more.csv:3: line 3, column 3 (published_at)"),
        "{trouble}"
    );
    assert_eq!(blog.ids(), ["feed/one", "table/one"]);
    // A file that is damaged does not stop the others.
    fs::write(
        at("broken.xml"),
        "<rss version='2.0'><channel><item></channel>",
    )
    .expect("it is written");
    let url = blog.url();
    let both = ["import", "broken.xml", "site", "--url", &url];
    let (code, _, trouble) = words(&run(blog.place.directory(), &both));
    assert_eq!(code, 3, "{trouble}");
    assert!(
        trouble.contains("broken.xml:1: it cannot be read as a feed"),
        "{trouble}"
    );
    assert_eq!(blog.ids().len(), 24);
    let nowhere = ["import", "nowhere", "--url", &url];
    assert_eq!(words(&run(blog.place.directory(), &nowhere)).0, 2);
    blog.kindred.stop();
}

#[test]
fn a_demo_of_a_site_of_ones_own() {
    let blog = Blog::start();
    let arguments = [
        "demo",
        "site",
        "--once",
        "--listen",
        "127.0.0.1:0",
        "--json",
    ];
    let (code, said, trouble) = words(&run(blog.place.directory(), &arguments));
    assert_eq!(code, 0, "{trouble}");
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(report["domain"], DOMAIN);
    assert_eq!(report["accepted"], 22);
    assert_eq!(report["articles"].as_array().map(Vec::len), Some(3));
    assert!(
        report["page"]
            .as_str()
            .expect("a page")
            .starts_with("http://127.0.0.1:")
    );
    fs::remove_file(blog.folder().join("_config.yml")).expect("it is there");
    let (code, said, trouble) = words(&run(blog.place.directory(), &arguments));
    assert_eq!(code, 0, "{trouble}");
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        report["domain"], "site",
        "nobody says where it is: its folder names it"
    );
    blog.kindred.stop();
}

/// Ctrl-C ends an import before all is read; what was read goes in, and is told of.
#[test]
fn an_interrupted_import_says_what_went_in() {
    let place = Place::beside_others();
    let service = Kindred::start(&place, &Start::default());
    let url = format!("http://127.0.0.1:{}", place.port());
    let mut import = kindred(place.directory())
        .args(["import", "--url", &url, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let event = |id: &str| {
        let event = serde_json::json!({"type": "item.created", "domain": DOMAIN, "id": id, "title": "Trains"});
        format!("{event}\n")
    };
    let mut stdin = import.stdin.take().expect("a pipe");
    let many: String = (0..MANY).map(|n| event(&n.to_string())).collect();
    stdin.write_all(many.as_bytes()).expect("it reads");
    let mut told = BufReader::new(import.stderr.take().expect("a pipe"));
    let mut line = String::new();
    let kill = |signal: &str| {
        let id = import.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("the command kill").success());
    };
    let client = service.client();
    let live = || client.get(&path::domain(DOMAIN)).json()["live"].as_u64();
    wait_for("some of it is in", SOON, || {
        live()
            .filter(|live| *live > 0)
            .ok_or_else(|| "nothing".to_owned())
    });
    kill("-INT");
    while !line.contains("stopping") {
        line.clear();
        assert!(told.read_line(&mut line).expect("words") > 0, "it ended");
    }
    // What comes after that is not read any more; it may have ended already.
    let _ = stdin.write_all(event("last").as_bytes());
    drop(stdin);
    let mut out = String::new();
    let mut stdout = import.stdout.take().expect("a pipe");
    stdout.read_to_string(&mut out).expect("words");
    let mut rest = String::new();
    told.read_to_string(&mut rest).expect("words");
    let status = import.wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "{rest}");
    assert!(rest.contains("interrupted"), "{rest}");
    let accepted = out
        .split(" accepted")
        .next()
        .and_then(|n| n.trim().parse().ok());
    client.wait_quiet(SOON);
    assert_eq!(live(), accepted, "{out}{rest}");
    assert_eq!(client.get(&path::item(DOMAIN, "last")).status, 404);
}
