//! The recipe for static sites: related posts are written while a site is built, with one request a post.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kindred_api::path;
use serde_json::{Map, Value};

use crate::support::client::Client;
use crate::support::place::Place;
use crate::support::program::{Kindred, PROGRAM, Start};

const DOMAIN: &str = "blog.test";
const SLEEPERS: &str = "Sleepers run again from spring on, with beds and breakfast.";
const COUCHETTES: &str =
    "Couchettes of the night train run from spring on: six beds, and no breakfast in them.";

/// A folder of posts, and a Kindred that knows none of them yet.
struct Blog {
    place: Place,
    kindred: Kindred,
    posts: PathBuf,
}

impl Blog {
    fn start() -> Self {
        let place = Place::beside_others();
        let kindred = Kindred::start(&place, &Start::default());
        let posts = place.directory().join("posts");
        fs::create_dir_all(posts.join("2026")).expect("it can be made");
        Self {
            place,
            kindred,
            posts,
        }
    }

    fn post(&self, name: &str, matter: &str, text: &str) {
        let said = format!("---\n{matter}\n---\n{text}\n");
        fs::write(self.posts.join(name), said).expect("it can be written");
    }

    fn client(&self) -> &Client {
        self.kindred.client()
    }

    /// What the script writes with these flags.
    fn related(&self, flags: &[&str]) -> Related {
        let written = self.place.directory().join("related.json");
        let url = format!("http://127.0.0.1:{}", self.place.port());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/recipes/related_posts.py");
        let done = Command::new("python3")
            .arg(&script)
            .arg(&self.posts)
            .arg("-o")
            .arg(&written)
            .args(["--url", &url, "--domain", DOMAIN, "--kindred", PROGRAM])
            .args(flags)
            .output()
            .expect("python3 is there");
        assert!(done.status.success(), "{done:?}");
        let written = fs::read_to_string(&written).expect("it is written");
        Related(serde_json::from_str(&written).expect("JSON"))
    }
}

/// The file that is written: related posts by post.
struct Related(Map<String, Value>);

impl Related {
    fn of(&self, post: &str) -> &[Value] {
        self.0[post].as_array().expect("a list")
    }

    fn ids(&self, post: &str) -> Vec<&str> {
        let all = self.of(post).iter();
        all.map(|one| one["id"].as_str().expect("an id")).collect()
    }
}

#[test]
fn related_posts_are_written_and_follow_the_folder() {
    let blog = Blog::start();
    let matter = |title: &str| format!("title: \"{title}\"\ndate: 2026-01-02\ntags: [rail, night]");
    blog.post("2026/trains.md", &matter("Night trains return"), SLEEPERS);
    blog.post(
        "2026/sleepers.md",
        &matter("Sleepers to the coast"),
        "The sleepers have beds, and breakfast on the night train.",
    );
    blog.post(
        "bread.md",
        &matter("Rye bread"),
        "Flour, water, salt and a sourdough starter make a loaf.",
    );
    let all = blog.related(&[]);
    assert_eq!(all.0.len(), 3);
    let best = &all.of("2026/trains")[0];
    assert_eq!(best["id"], "2026/sleepers");
    assert_eq!(best["url"], "/2026/sleepers/");
    fs::remove_file(blog.posts.join("2026/sleepers.md")).expect("it is there");
    let fewer = blog.related(&[]);
    assert_eq!(fewer.0.len(), 2);
    assert!(!fewer.ids("2026/trains").contains(&"2026/sleepers"));
    blog.kindred.stop();
}

#[test]
fn every_condition_counts_in_one_request_a_post() {
    let blog = Blog::start();
    let matter =
        |title: &str, date: &str, more: &str| format!("title: {title}\ndate: {date}\n{more}");
    let series = "series: Night trains\ntags: [rail]";
    for (name, matter, text) in [
        (
            "trains.md",
            matter("Night trains return", "2026-01-02", series),
            SLEEPERS,
        ),
        (
            "beds.md",
            matter("Night trains and their beds", "2026-01-09", series),
            SLEEPERS,
        ),
        (
            "old.md",
            matter("Night trains return", "2001-01-02", "tags: [rail]"),
            SLEEPERS,
        ),
        (
            "couchettes.md",
            matter("Couchettes", "2026-01-10", "tags:\n  - rail"),
            COUCHETTES,
        ),
        (
            "again.md",
            matter("Couchettes", "2026-01-11", "tags: [rail]"),
            COUCHETTES,
        ),
        (
            "bread.md",
            matter("Bread", "2026-01-12", "tags: [food]"),
            "Flour, water, salt and a sourdough starter make a loaf.",
        ),
        (
            "soup.md",
            matter("Soup", "2026-01-13", "tags: [food]"),
            "Water, salt, onions and the bread of yesterday make a soup.",
        ),
        (
            "draft.md",
            matter("Night trains", "2026-01-14", "tags: [rail]\ndraft: true"),
            SLEEPERS,
        ),
    ] {
        blog.post(name, &matter, text);
    }

    // A series leads its readers itself; drafts are nobody's.
    let plain = blog.related(&["--limit", "7"]);
    assert_eq!(plain.0.len(), 7);
    let ids = plain.ids("trains");
    assert_eq!(ids[0], "old", "the same words");
    assert!(
        !ids.contains(&"beds") && !ids.contains(&"trains"),
        "{ids:?}"
    );
    assert!(
        plain.ids("old").contains(&"beds"),
        "another series' readers get it"
    );

    // Half of a score is left after a year: of 25 years nothing.
    let newer = blog.related(&["--limit", "7", "--half-life", "365d"]);
    let ids = newer.ids("trains");
    assert!(ids[0] != "old" && ids.contains(&"old"), "{ids:?}");

    // The two about couchettes say the same: readers get one.
    let once = blog.related(&["--limit", "7", "--collapse", "near"]);
    let of_trains = once.of("trains");
    let couchettes: Vec<&Value> = of_trains
        .iter()
        .filter(|one| one["title"] == "Couchettes")
        .collect();
    assert_eq!(couchettes.len(), 1, "{of_trains:?}");
    let (shown, also) = (&couchettes[0]["id"], &couchettes[0]["also"]);
    let expected = if shown == "again" {
        "couchettes"
    } else {
        "again"
    };
    assert_eq!(also[0], expected);

    // Of one category; what is missing comes by date.
    let food = ["--category", "food", "--fallback", "newest", "--limit", "2"];
    let food = blog.related(&food);
    let mut ids = food.ids("trains");
    ids.sort_unstable();
    assert_eq!(ids, ["bread", "soup"]);
    let wide = blog.related(&["--fallback", "newest", "--limit", "6"]);
    let filled = wide.of("bread");
    assert_eq!(filled.len(), 6, "all there are");
    let mut dates: Vec<&Value> = Vec::new();
    for one in filled.iter().filter(|one| one["fallback"] == true) {
        assert_eq!(one["score"], 0.0);
        dates.push(&one["id"]);
    }
    let by_date = ["soup", "again", "couchettes", "beds", "trains", "old"];
    let order: Vec<Option<usize>> = dates
        .iter()
        .map(|id| by_date.iter().position(|known| *id == known))
        .collect();
    assert!(order.is_sorted(), "{dates:?}");

    // Less half of how close both are to what is closest to them.
    let balanced = blog.related(&["--balance", "--limit", "7"]);
    let list = |id: &str| {
        let asked = path::similar(DOMAIN, id, 10);
        let answer = blog.client().get(&asked).with_status(200).json();
        let list = answer["similar"].as_array().expect("a list").clone();
        list.into_iter()
            .map(|one| one["score"].as_f64().expect("a score"))
            .collect::<Vec<f64>>()
    };
    let hub = |id: &str| list(id).iter().sum::<f64>() / 10.0;
    let rank = |one: &Value| {
        let id = one["id"].as_str().expect("an id");
        one["score"].as_f64().expect("a score") - (hub("couchettes") + hub(id)) / 2.0
    };
    let ranks: Vec<f64> = balanced.of("couchettes").iter().map(rank).collect();
    assert!(ranks.len() >= 3, "{ranks:?}");
    let is_ordered = |pair: &[f64]| pair[0] >= pair[1] - 1e-6;
    assert!(ranks.windows(2).all(is_ordered), "{ranks:?}");
    blog.kindred.stop();
}
