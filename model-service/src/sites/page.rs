//! HTML pages: the metadata in their head, and the main content of their body.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};
use serde_json::Value;

use super::matter::Matter;
use super::text::{escaped, folded, has_words};

/// Elements that belong to the site rather than to the page, or contain no text.
const AROUND: [&str; 12] = [
    "aside", "button", "dialog", "form", "nav", "noscript", "script", "select", "style", "svg",
    "template", "textarea",
];
/// The same, outside of `main` and `article`.
const FRAME: [&str; 2] = ["footer", "header"];
/// Deepest nesting counted for elements of one name.
const MAX_DEPTH: usize = 1 << 16;

/// A parsed page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Metadata of its head, under the names used in front matter.
    pub(super) matter: Matter,
    /// Its canonical URL.
    pub(super) canonical: Option<String>,
    /// Its main content, as HTML.
    pub(super) html: String,
    /// The text of its first top-level heading.
    pub(super) heading: Option<String>,
    /// Whether it redirects at once.
    pub(super) is_redirection: bool,
}

/// Whether a text is a whole page rather than a fragment.
pub(super) fn is_whole(text: &str) -> bool {
    let begin = text[..text.floor_char_boundary(4 << 10)].to_ascii_lowercase();
    ["<!doctype html", "<html", "<head>", "<head ", "<body"]
        .iter()
        .any(|mark| begin.contains(mark))
}

/// Parses a page.
pub(super) fn read(text: &str) -> Page {
    let tokenizer = Tokenizer::new(
        Sink(RefCell::new(PageBuilder::default())),
        TokenizerOpts::default(),
    );
    let queue = BufferQueue::default();
    queue.push_back(StrTendril::from(text));
    // The sink never requests a pause, so one call reads everything.
    let _ = tokenizer.feed(&queue);
    tokenizer.end();
    tokenizer.sink.0.into_inner().finish()
}

/// What text is collected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Title,
    Heading,
}

#[derive(Default)]
struct PageBuilder {
    page: Page,
    title: String,
    headings: Vec<String>,
    gathered: Option<Part>,
    /// The element, and its nesting depth.
    dropped: Option<(String, usize)>,
    main: usize,
    article: usize,
    of_main: String,
    of_article: String,
    of_body: String,
    in_head: bool,
}

struct Sink(RefCell<PageBuilder>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => return state.tag(&tag),
            Token::CharacterTokens(text) => state.text(&text),
            Token::NullCharacterToken
            | Token::DoctypeToken(_)
            | Token::CommentToken(_)
            | Token::EOFToken
            | Token::ParseError(_) => {}
        }
        TokenSinkResult::Continue
    }
}

fn attribute<'a>(tag: &'a Tag, name: &str) -> Option<&'a str> {
    let mut found = tag.attrs.iter().filter(|one| &*one.name.local == name);
    found.next().map(|one| &*one.value)
}

impl PageBuilder {
    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        let is_start = tag.kind == TagKind::StartTag;
        if let Some((dropped, depth)) = &mut self.dropped {
            if *dropped == name {
                if is_start && !tag.self_closing && *depth < MAX_DEPTH {
                    *depth += 1;
                } else if !is_start {
                    *depth -= 1;
                    if *depth == 0 {
                        self.dropped = None;
                    }
                }
            }
            return raw(name, is_start);
        }
        match (name, is_start) {
            ("html", true) => self.say("lang", attribute(tag, "lang")),
            ("head", is_start) => self.in_head = is_start,
            ("body", _) => self.in_head = false,
            ("meta", true) => self.meta(tag),
            ("link", true) if attribute(tag, "rel") == Some("canonical") => {
                self.page.canonical = attribute(tag, "href").map(str::to_owned);
            }
            // A drawing's title is a different one.
            ("title", true) if self.title.is_empty() => self.gathered = Some(Part::Title),
            ("title", false) => self.gathered = None,
            ("h1", true) => {
                self.headings.push(String::new());
                self.gathered = Some(Part::Heading);
            }
            ("h1", false) => self.gathered = None,
            ("main", true) => self.main = (self.main + 1).min(MAX_DEPTH),
            ("main", false) => self.main = self.main.saturating_sub(1),
            ("article", true) => self.article = (self.article + 1).min(MAX_DEPTH),
            ("article", false) => self.article = self.article.saturating_sub(1),
            ("time", true)
                if self.main + self.article > 0 && !self.page.matter.contains_key("date") =>
            {
                self.say("date", attribute(tag, "datetime"));
            }
            _ => {}
        }
        let is_frame = FRAME.contains(&name) && self.main + self.article == 0;
        if is_start && !tag.self_closing && (AROUND.contains(&name) || is_frame) {
            self.dropped = Some((name.to_owned(), 1));
            self.put("<br>");
            return raw(name, is_start);
        }
        match (name, is_start) {
            ("html" | "head" | "body" | "title" | "meta" | "link" | "base", _) => {}
            (name, true) => self.put(&format!("<{name}>")),
            (name, false) => self.put(&format!("</{name}>")),
        }
        raw(name, is_start)
    }

    fn meta(&mut self, tag: &Tag) {
        let content = attribute(tag, "content").unwrap_or_default();
        let refreshes =
            attribute(tag, "http-equiv").is_some_and(|name| name.eq_ignore_ascii_case("refresh"));
        if refreshes && content.to_ascii_lowercase().contains("url") {
            self.page.is_redirection = true;
        }
        let Some(name) = attribute(tag, "property").or_else(|| attribute(tag, "name")) else {
            return;
        };
        match name.to_ascii_lowercase().as_str() {
            "og:title" => self.say("title", Some(content)),
            "description" => {
                self.page.matter.remove("description");
                self.say("description", Some(content));
            }
            "og:description" if !self.page.matter.contains_key("description") => {
                self.say("description", Some(content));
            }
            "og:image" => self.say("image", Some(content)),
            "article:published_time" | "date" | "dc.date" | "datepublished" => {
                self.page.matter.remove("date");
                self.say("date", Some(content));
            }
            "article:modified_time" | "og:updated_time" => self.say("lastmod", Some(content)),
            "author" | "article:author" => self.say("author", Some(content)),
            "article:tag" => {
                let tags = self
                    .page
                    .matter
                    .entry("tags")
                    .or_insert(Value::Array(vec![]));
                if let Value::Array(tags) = tags
                    && tags.len() < 256
                {
                    tags.push(Value::String(content.to_owned()));
                }
            }
            "article:section" => self.say("categories", Some(content)),
            "robots" if content.to_ascii_lowercase().contains("noindex") => {
                self.page.matter.insert("unlisted".to_owned(), true.into());
            }
            _ => {}
        }
    }

    /// The first non-empty value counts.
    fn say(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.and_then(folded) {
            let entry = self.page.matter.entry(name);
            entry.or_insert(Value::String(value));
        }
    }

    fn text(&mut self, text: &str) {
        if self.dropped.is_some() {
            return;
        }
        match self.gathered {
            Some(Part::Title) => return self.title.push_str(text),
            Some(Part::Heading) => {
                if let Some(heading) = self.headings.last_mut() {
                    heading.push_str(text);
                }
            }
            None => {}
        }
        if self.in_head {
            return;
        }
        let mut html = String::with_capacity(text.len());
        escaped(text, &mut html);
        self.put(&html);
    }

    /// Adds to the innermost content element, and to those around it.
    fn put(&mut self, html: &str) {
        if self.in_head {
            return;
        }
        if self.main > 0 {
            self.of_main.push_str(html);
        }
        if self.article > 0 {
            self.of_article.push_str(html);
        }
        self.of_body.push_str(html);
    }

    fn finish(mut self) -> Page {
        // A heading is the page's title if it is the only one; the title element often includes the
        // site's name.
        let mut headings = self.headings.iter().filter_map(|one| folded(one));
        self.page.heading = headings.next();
        let heading = self
            .page
            .heading
            .clone()
            .filter(|_| headings.next().is_none());
        let title = heading.or_else(|| folded(&self.title));
        self.say("title", title.as_deref());
        let of_page = [self.of_article, self.of_main, self.of_body];
        let own = of_page.into_iter().find(|html| has_words(html));
        self.page.html = own.unwrap_or_default();
        self.page
    }
}

/// How the tokenizer continues: the content of some elements is not HTML.
fn raw(name: &str, is_start: bool) -> TokenSinkResult<()> {
    match name {
        _ if !is_start => TokenSinkResult::Continue,
        "script" => TokenSinkResult::RawData(RawKind::ScriptData),
        "style" | "iframe" | "noembed" | "noframes" | "xmp" => {
            TokenSinkResult::RawData(RawKind::Rawtext)
        }
        "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
        _ => TokenSinkResult::Continue,
    }
}

#[cfg(test)]
mod tests {
    use kindred_domain::markup::plain_text;
    use serde_json::json;

    use super::*;

    fn words(page: &Page) -> String {
        let text = plain_text(&page.html);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_page_is_its_own_text_and_what_its_head_says() {
        let page = read(
            "<!DOCTYPE html><html lang=de-AT><head><title>Nachtzüge | Beispiel</title>\
             <meta name=description content='Wieder da'><meta property='og:image' content='/a.png'>\
             <meta property='article:published_time' content='2026-01-02'><meta name=author content='A. W.'>\
             <meta property='article:tag' content=Bahn><meta property='article:tag' content=Nacht>\
             <link rel=canonical href='https://e.example/nachtzuege/'><style>p{}</style><script>if(a<b){}</script>\
             </head><body><header>Site <nav>Menu</nav></header><main><header><h1>Nachtzüge</h1></header>\
             <p>Sie fahren &lt;wieder&gt;.</p><aside>Mehr</aside><nav>1 2</nav><script>x</script></main>\
             <footer>Impressum</footer></body></html>",
        );
        assert_eq!(words(&page), "Nachtzüge Sie fahren <wieder>.");
        assert_eq!(
            Value::Object(page.matter),
            json!({"lang": "de-AT", "title": "Nachtzüge", "description": "Wieder da", "image": "/a.png",
                "date": "2026-01-02", "author": "A. W.", "tags": ["Bahn", "Nacht"]})
        );
        assert_eq!(
            page.canonical.as_deref(),
            Some("https://e.example/nachtzuege/")
        );
        assert!(!page.is_redirection);
    }

    #[test]
    fn an_article_goes_before_the_rest_of_main() {
        let page = read(
            "<html><title>A &amp; B</title><body><main>Before<article>Own<svg><title>no</title></svg>\
             </article>After</main>",
        );
        assert_eq!(words(&page), "Own");
        assert_eq!(page.matter["title"], "A & B");
        let page = read("<body><div>All</div><footer>no</footer>");
        assert_eq!(words(&page), "All");
    }

    #[test]
    fn redirections_and_unlisted_pages_say_so() {
        let page = read("<html><meta http-equiv=Refresh content='0; URL=/x'>");
        assert!(page.is_redirection);
        let page = read("<html><meta name=robots content='NOINDEX, follow'>");
        assert_eq!(page.matter["unlisted"], true);
    }

    #[test]
    fn any_page_ends() {
        for text in [
            "<",
            "<html",
            "<nav>",
            "</main></main>",
            "<svg><svg>",
            "<title>a",
        ] {
            read(text);
        }
        assert!(is_whole("\n<!DOCTYPE HTML>") && is_whole("<HTML>"));
        assert!(!is_whole("<p>a</p>"));
    }
}
