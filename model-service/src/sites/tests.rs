//! Sources as generators write them, with our own texts.
#![allow(clippy::unwrap_used)] // a test may panic

use std::fs::{self, File};
use std::io::BufReader;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// A folder, filled by a test.
struct Source(TempDir);

impl Source {
    fn of(files: &[(&str, &str)]) -> Self {
        let source = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = source.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        source
    }

    fn read(&self, below: &str) -> Reading {
        self.read_with(below, None)
    }

    fn read_with(&self, below: &str, base: Option<&str>) -> Reading {
        let path = self.0.path().join(below);
        let form = if path.is_dir() {
            Form::Folder
        } else {
            Form::of_file(&path, &fs::read(&path).unwrap()).unwrap()
        };
        let wishes = Wishes {
            base: base.map(|base| Base::parse(base).unwrap()),
            now: DateTime::parse_from_rfc3339("2026-11-29T12:00:00Z")
                .unwrap()
                .to_utc(),
            max_text: 100_000,
        };
        let mut reading = Reading::default();
        let open = |path: &Path| -> std::io::Result<Box<dyn BufRead + Send>> {
            Ok(Box::new(BufReader::new(File::open(path)?)))
        };
        let done = read(&path, form, open, &wishes, &mut |found| {
            match found {
                Found::Item(_, item) => {
                    reading.items.push(serde_json::to_value(item).unwrap());
                }
                Found::Trouble(place, why) => reading.troubles.push((
                    place
                        .file
                        .strip_prefix(self.0.path())
                        .unwrap()
                        .display()
                        .to_string(),
                    place.line,
                    why,
                )),
            }
            Ok(())
        });
        match done {
            Ok(summary) => reading.summary = summary,
            Err(stop) => reading.stop = Some(format!("{stop:?}")),
        }
        reading
    }
}

#[derive(Default, Debug)]
struct Reading {
    items: Vec<Value>,
    troubles: Vec<(String, u64, String)>,
    summary: Summary,
    stop: Option<String>,
}

impl Reading {
    /// Ids in order of appearance; nothing was unreadable.
    #[track_caller]
    fn ids(&self) -> Vec<&str> {
        assert!(self.troubles.is_empty() && self.stop.is_none(), "{self:?}");
        let all = self.items.iter();
        all.map(|item| item["id"].as_str().unwrap()).collect()
    }

    #[track_caller]
    fn item(&self, id: &str) -> &Value {
        let found = self.items.iter().find(|item| item["id"] == id);
        found.unwrap_or_else(|| panic!("no {id} in {:?}", self.items))
    }

    fn left(&self, left: Left) -> u64 {
        self.summary.left.get(&left).copied().unwrap_or(0)
    }
}

#[test]
fn a_site_of_hugo() {
    let source = Source::of(&[
        (
            "hugo.toml",
            "baseURL = 'https://rail.example/'\ndefaultContentLanguage = 'en'\n[languages.en]\nweight = 1\n[languages.de]\n\
             [uglyURLs]\nnews = true\n[permalinks]\nnews = '/:year/:month/:slug/'\n",
        ),
        (
            "content/posts/Night Trains.md",
            "+++\ntitle = 'Night trains return'\ndate = 2026-01-02T03:04:05Z\nlastmod = 2026-02-03\ntags = ['rail']\n\
             series = ['Sleepers']\ndescription = 'They are back'\n[cover]\nimage = 'cover.png'\n+++\nBeds and *breakfast*.\n",
        ),
        (
            "content/posts/nachtzug.de.md",
            "---\ntitle: Nachtzug\nslug: zug\n---\nBetten.",
        ),
        (
            "content/posts/bundle/index.md",
            "---\ntitle: Bundle\n---\nText {{< figure src=\"x\" >}}.",
        ),
        ("content/posts/bundle/notes.txt", "no page"),
        ("content/posts/_index.md", "---\ntitle: Posts\n---\n"),
        (
            "content/news/a.md",
            "---\ntitle: A\nslug: First\ndate: 2026-03-04\n---\nNews.",
        ),
        (
            "content/about.md",
            "---\ntitle: About\nurl: /who/\n---\nUs.",
        ),
        ("content/_index.md", "---\ntitle: Home\n---\nWelcome."),
        (
            "content/draft.md",
            "---\ntitle: Draft\ndraft: true\n---\nNot yet.",
        ),
        (
            "content/old.md",
            "---\ntitle: Old\nexpiryDate: 2020-01-01\n---\nGone.",
        ),
        (
            "content/later.md",
            "---\ntitle: Later\ndate: 2027-01-01\n---\nSoon.",
        ),
        ("public/posts/night-trains/index.html", "<html>built</html>"),
        ("README.md", "of the repository"),
    ]);
    let read = source.read("");
    assert_eq!(
        read.ids(),
        [
            "index",
            "who",
            "later",
            "2026/03/first",
            "posts/night-trains",
            "posts/bundle",
            "de/posts/zug"
        ]
    );
    assert_eq!(
        read.item("posts/night-trains"),
        &json!({"id": "posts/night-trains", "title": "Night trains return",
            "text": "<p>Beds and <em>breakfast</em>.</p>\n", "url": "https://rail.example/posts/night-trains/",
            "image": "https://rail.example/posts/night-trains/cover.png", "language": "en", "group": "Sleepers",
            "categories": ["rail"], "published_at": "2026-01-02T03:04:05Z",
            "attributes": {"description": "They are back", "lastmod": "2026-02-03T00:00:00Z"}})
    );
    assert_eq!(
        read.item("2026/03/first")["url"],
        "https://rail.example/2026/03/first.html"
    );
    assert_eq!(read.item("de/posts/zug")["language"], "de");
    assert_eq!(read.item("later")["publish_at"], "2027-01-01T00:00:00Z");
    assert_eq!(read.item("posts/bundle")["text"], "<p>Text .</p>\n");
    assert_eq!(read.summary.scheduled, 1);
    assert_eq!(read.left(Left::Draft), 1);
    assert_eq!(read.left(Left::Expired), 1);
    assert_eq!(read.left(Left::NoText), 1);
    let part = source.read("content/news");
    assert_eq!(
        part.ids(),
        ["2026/03/first"],
        "a folder in a site is read as its part"
    );
    let one = source.read("content/posts/bundle/index.md");
    assert_eq!(one.ids(), ["posts/bundle"], "and so is a file");
    assert_eq!(read.summary.kind, "a site of Hugo");
}

#[test]
fn languages_of_hugo_in_folders_of_their_own() {
    let source = Source::of(&[
        (
            "config/_default/hugo.toml",
            "baseURL = 'https://rail.example/x/'\n",
        ),
        (
            "config/_default/languages.en.toml",
            "contentDir = 'content/en'\n",
        ),
        (
            "config/_default/languages.pt-br.toml",
            "contentDir = 'content/pt-br'\n",
        ),
        ("content/en/a.md", "---\ntitle: A\n---\nText."),
        ("content/pt-br/a.md", "---\ntitle: A\n---\nTexto."),
        (
            "content/base/a.md",
            "---\ntitle: Of no language\n---\nText.",
        ),
    ]);
    let read = source.read("");
    assert_eq!(read.ids(), ["x/a", "x/pt-br/a"]);
    assert_eq!(read.item("x/pt-br/a")["language"], "pt-br");
    assert_eq!(
        read.item("x/pt-br/a")["url"],
        "https://rail.example/x/pt-br/a/"
    );
    let moved = source.read_with("", Some("https://new.example"));
    assert_eq!(moved.ids(), ["a", "pt-br/a"]);
    assert_eq!(moved.item("a")["url"], "https://new.example/a/");
}

#[test]
fn a_site_of_jekyll() {
    let source = Source::of(&[
        (
            "_config.yml",
            "url: https://rail.example\nbaseurl: /blog\ncollections:\n  guides:\n    output: true\n  notes:\n    output: false\n\
             defaults:\n  - scope: {path: '', type: posts}\n    values: {author: The desk}\nexclude: [vendor, drafts.md]\n",
        ),
        (
            "_posts/2026-01-02-night-trains.md",
            "---\ntitle: Night trains\ntags: rail night\ncategory: travel\n---\nBeds {% include x.html %} {{ page.x }}.\n{: .note}\n",
        ),
        (
            "travel/_posts/2026-01-03-sleepers.markdown",
            "---\n---\n# Sleepers\n\nBeds.",
        ),
        (
            "_posts/2026-01-04-own.md",
            "---\npermalink: /own/:title\n---\nText.",
        ),
        ("_posts/undated.md", "---\ntitle: no post\n---\nText."),
        (
            "_posts/2026-01-05-off.md",
            "---\npublished: false\n---\nText.",
        ),
        (
            "_posts/2026-12-24-later.md",
            "---\ntitle: Later\n---\nText.",
        ),
        ("_drafts/idea.md", "---\ntitle: Idea\n---\nText."),
        ("_guides/tickets.md", "---\ntitle: Tickets\n---\nText."),
        ("_notes/a.md", "---\ntitle: no page\n---\nText."),
        ("_includes/x.html", "---\n---\nText."),
        ("about.md", "---\ntitle: About\n---\nUs."),
        (
            "index.html",
            "---\ntitle: Home\n---\n{% for post in site.posts %}{{ post.title }}{% endfor %}",
        ),
        ("README.md", "# of the repository"),
        ("vendor/gem/a.md", "---\ntitle: vendored\n---\nText."),
        ("drafts.md", "---\ntitle: excluded\n---\nText."),
        ("404.html", "---\n---\nNothing here."),
    ]);
    let read = source.read("");
    assert_eq!(
        read.ids(),
        [
            "blog/guides/tickets",
            "blog/travel/2026/01/02/night-trains",
            "blog/own/own",
            "blog/2026/12/24/later",
            "blog/about",
            "blog/travel/2026/01/03/sleepers",
        ]
    );
    let trains = read.item("blog/travel/2026/01/02/night-trains");
    assert_eq!(
        trains["url"],
        "https://rail.example/blog/travel/2026/01/02/night-trains.html"
    );
    assert_eq!(trains["categories"], json!(["travel", "rail", "night"]));
    assert_eq!(trains["attributes"], json!({"author": "The desk"}));
    assert_eq!(trains["text"], "<p>Beds  .</p>\n");
    assert_eq!(trains["published_at"], "2026-01-02T00:00:00Z");
    assert_eq!(
        read.item("blog/travel/2026/01/03/sleepers")["title"],
        "Sleepers"
    );
    assert_eq!(read.left(Left::Draft), 2);
    assert_eq!(read.left(Left::NoText), 1);
    assert_eq!(read.left(Left::Unlisted), 1);
}

#[test]
fn a_site_of_astro() {
    let post = "---\ntitle: Trains\npubDate: 'Jan 02 2026'\nupdatedDate: 2026-01-03\nheroImage: '../../assets/x.png'\n---\n";
    let source = Source::of(&[
        (
            "astro.config.mjs",
            "export default defineConfig({\n  site: 'https://rail.example',\n});",
        ),
        ("src/content/blog/First Post!.md", &format!("{post}Text.")),
        (
            "src/content/blog/deep/index.mdx",
            "---\ntitle: Deep\n---\nimport A from 'a'\n\n<A x={1}>\n  Inside\n</A>",
        ),
        ("src/content/blog/_hidden.md", "---\ntitle: H\n---\nText."),
        (
            "src/content/blog/renamed.md",
            "---\ntitle: R\nslug: other\n---\nText.",
        ),
        ("src/content/docs/de/a.md", "---\ntitle: A\n---\nText."),
        ("src/content/docs/fr/a.md", "---\ntitle: A\n---\nTexte."),
        (
            "src/pages/about.md",
            "---\ntitle: About\nlayout: x\n---\nUs.",
        ),
        ("src/pages/index.astro", "<html></html>"),
        ("README.md", "# of the repository"),
    ]);
    let read = source.read("");
    assert_eq!(
        read.ids(),
        [
            "blog/first-post",
            "blog/deep",
            "blog/other",
            "docs/de/a",
            "docs/fr/a",
            "about"
        ]
    );
    let first = read.item("blog/first-post");
    assert_eq!(first["published_at"], "2026-01-02T00:00:00Z");
    assert_eq!(first.get("image"), None, "a build renames it");
    assert_eq!(first["url"], "https://rail.example/blog/first-post/");
    assert!(
        read.item("blog/deep")["text"]
            .as_str()
            .unwrap()
            .contains("Inside")
    );
    assert_eq!(read.item("docs/fr/a")["language"], "fr");
    let bases = Source::of(&[
        ("astro.config.ts", "export default {}"),
        (
            "src/content.config.ts",
            "const posts = defineCollection({ loader: glob({ base: \"./content/posts\" }) })",
        ),
        ("content/posts/a.md", "---\ntitle: A\n---\nText."),
        ("content/other/b.md", "---\ntitle: B\n---\nText."),
    ]);
    assert_eq!(bases.read("").ids(), ["posts/a"]);
}

#[test]
fn a_site_of_docusaurus() {
    let source = Source::of(&[
        (
            "website/docusaurus.config.ts",
            "const config = {\n  url: 'https://rail.example',\n  baseUrl: '/',\n  presets: [['classic', {docs: {path: '../docs'}}]],\n};",
        ),
        (
            "docs/01-intro.md",
            "# Intro\n\n:::tip[Mind]\nthe gap\n:::\n",
        ),
        ("docs/02-guides/README.md", "---\ntitle: Guides\n---\nAll."),
        (
            "docs/02-guides/03-beds.mdx",
            "---\nid: sleeping\ntags: [{label: Rail, permalink: /r}]\n---\nBeds.",
        ),
        ("docs/slugged.md", "---\nslug: /top\n---\nText."),
        ("docs/_part.md", "Text."),
        (
            "website/blog/2026-01-02-trains.md",
            "---\ntitle: Trains\nauthors: [{name: A}]\n---\nText.",
        ),
        (
            "website/blog/2026-01-03-sleepers/index.md",
            "---\nslug: sleepers\n---\nText.",
        ),
        ("website/blog/2026/01/04/beds.md", "Text."),
        ("website/blog/2026-01-05/rails.md", "Text."),
        (
            "website/i18n/fr/docusaurus-plugin-content-docs/current/01-intro.md",
            "# Bonjour\n\nTexte.",
        ),
        ("website/node_modules/x/README.md", "of a package"),
    ]);
    let read = source.read("");
    assert_eq!(
        read.ids(),
        [
            "docs/intro",
            "docs/guides/sleeping",
            "docs/guides",
            "docs/top",
            "blog/2026/01/04/beds",
            "blog/2026/01/02/trains",
            "blog/sleepers",
            "blog/2026/01/05/rails",
            "fr/docs/intro"
        ]
    );
    assert_eq!(
        read.item("docs/guides/sleeping")["categories"],
        json!(["Rail"])
    );
    assert_eq!(
        read.item("docs/guides")["url"],
        "https://rail.example/docs/guides"
    );
    assert_eq!(read.item("fr/docs/intro")["language"], "fr");
    assert_eq!(
        read.item("blog/sleepers")["published_at"],
        "2026-01-03T00:00:00Z"
    );

    let versions = Source::of(&[
        ("docusaurus.config.js", "module.exports = {}"),
        ("versions.json", "[\"2.0\", \"1.0\"]"),
        ("docs/a.md", "Next."),
        ("versioned_docs/version-2.0/a.md", "Two."),
        ("versioned_docs/version-1.0/a.md", "One."),
    ]);
    let read = versions.read("");
    assert_eq!(read.ids(), ["docs/a"]);
    assert_eq!(read.items[0]["text"], "<p>Two.</p>\n");
    assert_eq!(read.left(Left::OtherVersion), 2);
}

#[test]
fn a_site_of_eleventy() {
    let source = Source::of(&[
        (
            "eleventy.config.js",
            "export const config = { dir: { input: \"content\", includes: \"../_includes\" } };",
        ),
        (
            "content/blog/blog.json",
            "{\"tags\": [\"posts\"], \"lang\": \"en\"}",
        ),
        (
            "content/blog/2026-01-02-trains.md",
            "---\ntitle: Trains\n---\nText {% image \"x\" %}.",
        ),
        (
            "content/blog/own.md",
            "---\ntitle: Own\npermalink: /{{ page.fileSlug }}-x/\ntags: rail\n---\nText.",
        ),
        (
            "content/blog/strange.md",
            "---\ntitle: Strange\npermalink: '/{{ x | y }}/'\n---\nText.",
        ),
        (
            "content/blog/none.md",
            "---\ntitle: None\npermalink: false\n---\nText.",
        ),
        ("content/about/index.md", "---\ntitle: About\n---\nUs."),
        ("content/_data/a.md", "no page"),
        ("README.md", "of the repository"),
    ]);
    let read = source.read("");
    assert_eq!(
        read.ids(),
        ["about", "blog/trains", "own-x", "blog/strange"]
    );
    assert_eq!(read.item("blog/trains")["categories"], json!(["posts"]));
    assert_eq!(read.item("own-x")["categories"], json!(["rail"]));
    assert_eq!(read.item("own-x")["language"], "en");
    assert_eq!(read.left(Left::Unlisted), 1);
}

#[test]
fn a_folder_of_no_generator() {
    let source = Source::of(&[
        ("README.md", "# All of it\n\nText."),
        ("notes/night-trains.md", "Text."),
        (
            "notes/2026-01-02-dated.md",
            "---\nslug: renamed\n---\nText.",
        ),
        ("en/a.md", "Text."),
        ("de/a.md", "Text."),
        (
            "page.html",
            "<!doctype html><html lang=nl><title>Bladzijde | Site</title><nav>no</nav><p>Tekst.",
        ),
        ("part.html", "<h1>Part</h1><p>Text."),
        (
            "away.html",
            "<html><meta http-equiv=refresh content='0;url=/x'>Go on",
        ),
        (".git/x.md", "no page"),
        ("img.png", "\u{1}"),
    ]);
    let read = source.read("");
    assert_eq!(
        read.ids(),
        [
            "index",
            "de/a",
            "en/a",
            "notes/renamed",
            "notes/night-trains",
            "page",
            "part"
        ]
    );
    assert_eq!(read.item("index")["title"], "All of it");
    assert_eq!(read.item("notes/night-trains")["title"], "Night trains");
    assert_eq!(
        read.item("notes/night-trains")["url"],
        "/notes/night-trains/"
    );
    assert_eq!(
        read.item("notes/renamed")["published_at"],
        "2026-01-02T00:00:00Z"
    );
    assert_eq!(read.item("de/a")["language"], "de");
    assert_eq!(read.item("page")["language"], "nl");
    assert_eq!(read.item("part")["title"], "Part");
    assert_eq!(read.left(Left::NoText), 1);
}

#[test]
fn files_that_cannot_be_read_are_named_and_the_others_are_read() {
    let source = Source::of(&[
        ("a.md", "---\ntitle: A\n---\nText."),
        ("bad.md", "---\ntitle: x\nbad: a: b\n---\nText."),
        ("open.md", "---\ntitle: x\nText."),
        ("same/index.md", "Text."),
        ("same.md", "Text."),
    ]);
    fs::write(source.0.path().join("large.md"), vec![b'x'; 17 << 20]).unwrap();
    fs::write(source.0.path().join("latin.md"), b"Caf\xe9.").unwrap();
    let read = source.read("");
    let ids: Vec<_> = read.items.iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, ["a", "latin", "same"]);
    let troubles: Vec<_> = read
        .troubles
        .iter()
        .map(|(file, line, why)| (file.as_str(), *line, why.as_str()))
        .collect();
    assert_eq!(troubles.len(), 4, "{troubles:?}");
    assert!(
        matches!(troubles[0], ("bad.md", 3, why) if why.contains("YAML")),
        "{troubles:?}"
    );
    assert!(matches!(troubles[1], ("large.md", 1, why) if why.contains("16777216")));
    assert!(matches!(troubles[2], ("open.md", 1, why) if why.contains("does not end")));
    assert!(matches!(troubles[3], (_, 1, why) if why.contains("has the same address as")));
    let settings = Source::of(&[
        ("_config.yml", "url: [\n"),
        ("_posts/2026-01-02-a.md", "---\n---\nA."),
    ]);
    let read = settings.read("");
    assert_eq!(read.items.len(), 1);
    assert_eq!(read.troubles[0].0, "_config.yml");
}

const RSS: &str = "<?xml version='1.0'?><rss version='2.0' xmlns:content='http://purl.org/rss/1.0/modules/content/' \
    xmlns:dc='http://purl.org/dc/elements/1.1/'><channel><title>Rail</title><link>https://rail.example/</link>\
    <language>en-gb</language>\
    <item><title>Night trains &amp; more</title><link>https://rail.example/posts/night-trains/</link><guid>1</guid>\
    <description>Short.</description><content:encoded><![CDATA[<p>Beds and breakfast.</p>]]></content:encoded>\
    <pubDate>Fri, 02 Jan 2026 03:04:05 GMT</pubDate><category>rail</category><category>rail</category>\
    <dc:creator>A. Writer</dc:creator><enclosure url='https://rail.example/a.png' type='image/png' length='1'/></item>\
    <item><title>Elsewhere</title><link>https://other.example/x.html</link><description>Text.</description></item>\
    <item><title>By query</title><link>https://rail.example/?p=7#c</link><description>Text.</description></item>\
    <item><title>Again</title><link>https://rail.example/?p=7</link><description>Text.</description></item>\
    </channel></rss>";

#[test]
fn a_feed_of_rss() {
    let source = Source::of(&[("feed.xml", RSS)]);
    let read = source.read("feed.xml");
    assert_eq!(read.troubles.len(), 1, "{:?}", read.troubles);
    assert!(read.troubles[0].2.contains("?p=7"));
    let ids: Vec<_> = read.items.iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, ["posts/night-trains", "other.example/x", "?p=7"]);
    assert_eq!(
        read.items[0],
        json!({"id": "posts/night-trains", "title": "Night trains & more", "text": "<p>Beds and breakfast.</p>",
            "url": "https://rail.example/posts/night-trains/", "image": "https://rail.example/a.png",
            "language": "en-gb", "categories": ["rail"], "published_at": "2026-01-02T03:04:05Z",
            "attributes": {"author": "A. Writer"}})
    );
}

#[test]
fn feeds_of_atom_and_json() {
    let source = Source::of(&[
        (
            "atom.xml",
            "<feed xmlns='http://www.w3.org/2005/Atom' xml:lang='de'><title>Bahn</title><id>x</id>\
             <link href='https://rail.example/atom.xml' rel='self'/><link href='https://rail.example/'/>\
             <updated>2026-01-01T00:00:00Z</updated><entry><title type='html'>Nachtz&amp;uuml;ge</title><id>urn:1</id>\
             <link rel='alternate' href='https://rail.example/nachtzuege'/><published>2026-01-02T00:00:00Z</published>\
             <updated>2026-01-03T00:00:00Z</updated><content type='html'>&lt;p&gt;Betten.&lt;/p&gt;</content>\
             <category term='bahn' label='Bahn'/></entry></feed>",
        ),
        (
            "feed.json",
            "{\"version\": \"https://jsonfeed.org/version/1.1\", \"title\": \"Rail\", \"home_page_url\": \"https://rail.example/\",\
             \"items\": [{\"id\": \"1\", \"url\": \"https://rail.example/a/\", \"title\": \"A\", \"content_html\": \"<p>Text.</p>\",\
             \"date_published\": \"2027-01-02T00:00:00Z\", \"tags\": [\"x\"]}]}",
        ),
        ("broken.xml", "<rss version='2.0'><channel><item></channel>"),
    ]);
    let atom = source.read("atom.xml");
    assert_eq!(atom.ids(), ["nachtzuege"]);
    assert_eq!(atom.items[0]["text"], "<p>Betten.</p>");
    assert_eq!(atom.items[0]["categories"], json!(["Bahn"]));
    assert_eq!(atom.items[0]["published_at"], "2026-01-02T00:00:00Z");
    assert_eq!(
        atom.items[0]["attributes"],
        json!({"lastmod": "2026-01-03T00:00:00Z"})
    );
    let feed = source.read("feed.json");
    assert_eq!(feed.ids(), ["a"]);
    assert_eq!(feed.items[0]["publish_at"], "2027-01-02T00:00:00Z");
    let broken = source.read("broken.xml");
    assert!(broken.stop.is_some(), "{broken:?}");
}

#[test]
fn a_sitemap_leads_to_the_pages_beside_it() {
    let page = |title: &str| {
        format!(
            "<!doctype html><html lang=en><title>{title}</title><main><p>Text of {title}.</main>"
        )
    };
    let source = Source::of(&[
        (
            "public/sitemap.xml",
            "<?xml version='1.0'?><sitemapindex xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>\
             <sitemap><loc>https://rail.example/sitemap-0.xml</loc></sitemap>\
             <sitemap><loc>https://rail.example/missing.xml</loc></sitemap></sitemapindex>",
        ),
        (
            "public/sitemap-0.xml",
            "<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>\
             <url><loc>https://rail.example/</loc></url><url><loc> https://rail.example/a/ </loc><lastmod>2026-01-02</lastmod></url>\
             <url><loc>https://rail.example/b&amp;c.html</loc></url><url><loc>https://rail.example/d</loc></url>\
             <url><loc>https://rail.example/away/</loc></url><url><loc>https://rail.example/../secret.html</loc></url></urlset>",
        ),
        ("public/index.html", &page("Home")),
        ("public/a/index.html", &page("A")),
        ("public/b&c.html", &page("B")),
        ("public/d.html", &page("D")),
        ("public/unlisted/index.html", &page("U")),
        ("secret.html", &page("S")),
    ]);
    let read = source.read("public/sitemap.xml");
    assert_eq!(read.ids(), ["index", "a", "b&c", "d"]);
    assert_eq!(read.item("a")["url"], "https://rail.example/a/");
    assert_eq!(read.item("a")["title"], "A");
    assert_eq!(read.left(Left::NoPage), 3);
}

#[test]
fn a_table_names_the_fields_of_events() {
    let source = Source::of(&[
        (
            "a.csv",
            "\u{feff}id,title,text,categories,published_at,hidden,attributes.color,version\n\
             a,\"Night, trains\",\"Two\nlines\",rail|night,2026-01-02,no,red,7\n\
             b,B,,\"[\"\"x,y\"\"]\",,true,,\n",
        ),
        ("b.tsv", "id\ttitle\na\tA, b\n"),
        ("c.csv", "id,titel\na,b\n"),
        ("d.csv", "title\na\n"),
        (
            "e.csv",
            "id,title,published_at\na,A,soon\n,B,\nc,C,,d\nd,D\ne,\"E\n",
        ),
    ]);
    let read = source.read("a.csv");
    assert_eq!(
        read.items,
        [
            json!({"id": "a", "title": "Night, trains", "text": "Two\nlines", "categories": ["rail", "night"],
                "published_at": "2026-01-02T00:00:00Z", "hidden": false, "attributes": {"color": "red"}, "version": 7}),
            json!({"id": "b", "title": "B", "categories": ["x,y"], "hidden": true}),
        ]
    );
    assert_eq!(
        source.read("b.tsv").items,
        [json!({"id": "a", "title": "A, b"})]
    );
    let unknown = source.read("c.csv").stop.unwrap();
    assert!(
        unknown.contains("line 1, column 2") && unknown.contains("did you mean title?"),
        "{unknown}"
    );
    assert!(
        source
            .read("d.csv")
            .stop
            .unwrap()
            .contains("column id is missing")
    );
    fs::write(
        source.0.path().join("open.csv"),
        format!("id,text\na,\"{}", "x".repeat(17 << 20)),
    )
    .unwrap();
    let open = source.read("open.csv").stop.unwrap();
    assert!(open.contains("is not closed"), "{open}");
    let bad = source.read("e.csv");
    let why: Vec<_> = bad
        .troubles
        .iter()
        .map(|(_, line, why)| (*line, why.as_str()))
        .collect();
    assert_eq!(why.len(), 3, "{why:?}");
    assert!(
        matches!(why[0], (2, why) if why.starts_with("line 2, column 3 (published_at): \"soon\"")),
        "{why:?}"
    );
    assert!(
        matches!(why[1], (3, why) if why.contains("id is empty")),
        "{why:?}"
    );
    assert!(
        matches!(why[2], (4, why) if why.contains("column 4") && why.contains("double quotes")),
        "{why:?}"
    );
    assert_eq!(
        bad.items.len(),
        2,
        "a row may be short, and the last one open"
    );
}
