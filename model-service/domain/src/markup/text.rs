//! Converts HTML to text.
//!
//! [`super::tags`] decides tag by tag what is markup, and leaves tags and character references that are simple to read.
//! html5ever's tokenizer decodes all but the most frequent references. Nothing is nested on the stack and nothing is
//! read twice, so broken or deeply nested HTML costs no more than any other text of its size.

use std::borrow::Cow;
use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use super::elements::INLINE;
use super::tags;

/// How many times a text may have been escaped.
const MAX_ESCAPED: usize = 3;

/// The plain text of a title or text that may be HTML; plain text is returned unchanged.
///
/// Tags of inline elements disappear, all others become a space. `<wbr>` and comments disappear. Scripts, styles,
/// titles, formulas and the like disappear with their contents. Shortcodes become a space. Character references are
/// decoded. HTML that was escaped more than once is also read.
pub fn plain_text(input: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(input);
    for _ in 0..MAX_ESCAPED {
        let Some(tame) = tags::tame(&text) else {
            break;
        };
        let has_elements = tame.has_elements;
        let decoded = text_of(&tame.html);
        let is_escaped = !has_elements && tags::is_escaped(&decoded);
        text = Cow::Owned(decoded);
        if !is_escaped {
            break;
        }
    }
    text
}

/// The text of HTML as [`tags::tame`] leaves it: only tags without attributes and character references have to be
/// distinguished from text.
fn text_of(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    // The tokenizer ignores a byte-order mark, makes each end of a line one character, and NUL none.
    let mut rest = html.strip_prefix('\u{feff}').unwrap_or(html);
    while let Some(at) = rest.find(['<', '&', '\r', '\0']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.as_bytes()[0] {
            b'<' => push_tag(&mut text, rest),
            b'&' => push_reference(&mut text, rest),
            b'\r' => {
                text.push('\n');
                1 + usize::from(rest[1..].starts_with('\n'))
            }
            _ => {
                text.push(' ');
                1
            }
        };
        rest = &rest[length..];
    }
    text.push_str(rest);
    text
}

/// Adds what the tag that begins here stands for, and returns its length.
fn push_tag(text: &mut String, html: &str) -> usize {
    let length = html.find('>').map_or(html.len(), |end| end + 1);
    let name = html[1..length]
        .trim_start_matches('/')
        .trim_end_matches('>');
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        text.push_str(&tokenized(&html[..length]));
    } else if ends_word(name) {
        text.push(' ');
    }
    length
}

/// Adds the characters that the reference that begins here stands for, and returns its length.
fn push_reference(text: &mut String, html: &str) -> usize {
    let length = html.find(';').map_or(html.len(), |end| end + 1);
    match &html[..length] {
        "&amp;" => text.push('&'),
        "&gt;" => text.push('>'),
        "&lt;" => text.push('<'),
        "&nbsp;" => text.push('\u{a0}'),
        "&quot;" => text.push('"'),
        other => text.push_str(&tokenized(other)),
    }
    length
}

/// Whether a tag of this element stands between words.
fn ends_word(name: &str) -> bool {
    name != "wbr" && INLINE.binary_search(&name).is_err()
}

/// The text of any HTML, as the tokenizer of HTML reads it.
fn tokenized(html: &str) -> String {
    let sink = TextSink {
        text: RefCell::new(String::with_capacity(html.len())),
    };
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    let queue = BufferQueue::default();
    queue.push_back(StrTendril::from(html));
    // The sink never asks for a pause, so one call processes everything.
    let _ = tokenizer.feed(&queue);
    tokenizer.end();
    tokenizer.sink.text.into_inner()
}

/// Collects the text that the tokenizer finds.
struct TextSink {
    text: RefCell<String>,
}

impl TokenSink for TextSink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut text = self.text.borrow_mut();
        match token {
            Token::CharacterTokens(characters) => text.push_str(&characters),
            Token::TagToken(tag) => {
                if ends_word(&tag.name) {
                    text.push(' ');
                }
            }
            Token::NullCharacterToken => text.push(' '),
            Token::DoctypeToken(_)
            | Token::CommentToken(_)
            | Token::EOFToken
            | Token::ParseError(_) => {}
        }
        TokenSinkResult::Continue
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is read without the tokenizer is what the tokenizer reads.
        #[test]
        fn tame_html_is_read_as_the_tokenizer_reads_it(
            pieces in proptest::collection::vec(prop::sample::select(vec![
                "<p>", "</p>", "<P class=x>", "<b>", "</b>", "<wbr>", "<br/>", "<a:1b>", "</a:1b>", "<a:-b/>",
                "<my-card/>", "<jats:title>", "</jats:title>", "<title>", "<script>", "</script>", "<svg", "<", ">", "</",
                "<!-- x -->", "<!doctype html>", "<![CDATA[", "<?xml ?>", "[b]", "[/b]", "&amp;", "&lt;", "&nbsp;",
                "&quot;", "&gt;", "&auml;", "&Auml", "&notit;", "&unknown;", "&#65;", "&#x41;", "&#13;", "&#0;",
                "&#128;", "&#xD800;", "&#1114112;", "&#x;", "&#a;", "&", ";", "\0", "\r\n", "\r", "\n", "\u{feff}",
                "x", " ", "ä", "日本",
            ]), 0..24),
        ) {
            let html = pieces.concat();
            if let Some(tame) = tags::tame(&html) {
                prop_assert_eq!(text_of(&tame.html), tokenized(&tame.html));
            }
        }
    }

    #[track_caller]
    fn reduces(html: &str, text: &str) {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&plain_text(html)), text, "{html}");
    }

    #[test]
    fn plain_text_comes_through_whole() {
        for plain in [
            "",
            "a < b",
            "List<String> and Map<String, Vec<u8>>",
            "x<y and y>z",
            "i<b && c>d",
            "if a <b and c> d",
            "AT&T, R&D, a&b;c",
            "?a=1&copy=2&lt=3",
            "x <- y -> z <3 <= <> </ <",
            "<jane@example.org> <http://example.org/b>",
            "cp <FILE> <my-dir>",
            "<b",
            "<p class=\"",
            "a <!-- never closed",
            "tail <",
            "tail &",
            "1 < 2 <p",
            "\u{0}nul",
        ] {
            assert_eq!(plain_text(plain), plain);
        }
    }

    #[test]
    fn html_is_reduced_to_its_text() {
        reduces("<p>One</p><p>two</p>", "One two");
        reduces("one<br>two<br/>three<hr />four", "one two three four");
        reduces(
            "un<b>believ</b>able <em>H<sub>2</sub>O</em>",
            "unbelievable H2O",
        );
        reduces("Donau<wbr>dampf", "Donaudampf");
        reduces("<UL><LI>a<LI CLASS=x>b</UL>", "a b");
        reduces("<td>1</td><td>2</td>", "1 2");
        reduces(
            "<a href=\"https://e.example/?a>b\" title='x > y'>link</a>.",
            "link.",
        );
        reduces("<div hidden>h</div><input disabled>", "h");
        reduces("a<!-- not <b>this</b> -->b", "ab");
        reduces(
            "<!DOCTYPE html><html><head><title>Head</title></head><body>Body</body></html>",
            "Body",
        );
        reduces("<?xml version=\"1.0\"?><div>x</div>", "x");
        reduces("<![CDATA[<p>inside</p>]]>", "inside ]]>");
    }

    #[test]
    fn character_references_are_decoded() {
        reduces("AT&amp;T", "AT&T");
        reduces("caf&eacute; &#8364;5 &#x41;", "café €5 A");
        reduces("a&nbsp;b", "a b");
        reduces("1 &lt; 2 &gt; 0 &lt;p&gt;", "1 < 2 > 0 <p>");
        reduces(
            "&unknown; &#xD800; &#1114112;",
            "&unknown; \u{fffd} \u{fffd}",
        );
    }

    #[test]
    fn scripts_and_styles_vanish_with_their_contents() {
        reduces(
            "a<script>if (x<b && y == \"</p>\") { f('<script>') }</script>b",
            "a b",
        );
        reduces("a<STYLE type=x>p { color: red }</Style >b", "a b");
        reduces("a<template><p>t</p></template>b", "a b");
        reduces(
            "a<svg viewBox='0 0'><path d='M1'/><title>t</title></svg>b",
            "a b",
        );
        reduces("a<svg/>b", "a b");
        // Mentioned in passing, these have no contents.
        reduces(
            "Put <script> and <template> last & smile",
            "Put and last & smile",
        );
    }

    #[test]
    fn what_is_no_tag_stays_text_beside_tags() {
        reduces(
            "<p>List<String></p> x<y and y>z",
            "List<String> x<y and y>z",
        );
        reduces("<p>R&D &amp; a < b</p>", "R&D & a < b");
        reduces(
            "<p>x</p><my-card kind=\"y\">z</my-card><o:p>w</o:p>",
            "x z w",
        );
        reduces("<p>open <b and", "open <b and");
        reduces("<p title=\"never closed>x</p>", "x");
    }

    #[test]
    fn prefixed_elements_are_what_they_are_without() {
        let plain = "We measured ice. It is gone.";
        reduces(
            "<jats:title>Abstract</jats:title><jats:p>We measured <jats:italic>ice</jats:italic>. It is gone.</jats:p>",
            plain,
        );
        reduces(
            "<JATS:sec><JATS:title>Aim</JATS:title><JATS:p>We measured ice.</JATS:p></JATS:sec><jats:p>It is gone.</jats:p>",
            plain,
        );
        reduces(
            "<sec><title>Aim</title><p>We measured ice. It is <bold>gone</bold>.</p></sec>",
            plain,
        );
        reduces(
            "<dc:title>We measured</dc:title> <dc:description>ice. It is gone.</dc:description>",
            plain,
        );
        reduces(
            "We measured <mml:math><mml:mi>x</mml:mi><mml:mo>=</mml:mo></mml:math>ice. It<math display=\"block\"><semantics><mi>y</mi><annotation encoding=\"application/x-tex\">y^2</annotation></semantics></math> is gone.",
            plain,
        );
        reduces("<wp:image /> We measured ice. It is gone.", plain);
        // Not tags, but things that people write in angle brackets.
        for text in [
            "<host:port>",
            "std::vector<std::string>",
            "cp <my-dir> <key:value>",
            "1<a:b>2",
        ] {
            assert_eq!(plain_text(text), text);
        }
    }

    #[test]
    fn what_word_leaves_behind_vanishes() {
        reduces(
            "<p class=\"MsoNormal\"><?xml:namespace prefix = \"o\" ns = \"urn:x\" /><![if !supportLists]><span>1.</span><![endif]>Bees.<o:p></o:p></p>",
            "1. Bees.",
        );
        reduces(
            "<!--[if gte mso 9]><xml><w:View>Normal</w:View></xml><![endif]--><p>Bees</p>",
            "Bees",
        );
        reduces(
            "<p>Bees</p><xml><w:WordDocument><w:View>Normal</w:View></w:WordDocument></xml>",
            "Bees",
        );
        reduces("<p>Bees</p><!--[if gte mso 9]><xml><w:View>Nor", "Bees");
        reduces("<?php echo 1; ?>Bees", "Bees");
    }

    #[test]
    fn what_was_cut_off_vanishes() {
        reduces("<p>Bees</p><script>var x = {a: 1}; f(x", "Bees");
        reduces(
            "<p>Bees</p><style type=\"text/css\">p { color: red; } b {",
            "Bees",
        );
        reduces("<p>Bees <a href=\"https://e.example/abc", "Bees");
        reduces("<p>Bees <img src='x' alt='the", "Bees");
        reduces(
            "Put <script> last; it is (much) better",
            "Put last; it is (much) better",
        );
    }

    #[test]
    fn references_without_a_semicolon() {
        reduces(
            "Caf&eacute au lait, Fran&ccedilais, stra&szlige",
            "Café au lait, Français, straße",
        );
        reduces(
            "Procter &amp Gamble &copy 2026&nbsp",
            "Procter & Gamble © 2026",
        );
        for text in [
            "?a=1&copy=2&lt=3&eacute=4",
            "AT&T R&D a &not b &unknown &ampere",
        ] {
            assert_eq!(plain_text(text), text);
        }
    }

    #[test]
    fn shortcodes_vanish() {
        reduces(
            "[vc_row full_width=\"stretch_row\"][caption id=\"a_1\" width=\"300\"]Bees fly.[/caption][/vc_row]",
            "Bees fly.",
        );
        reduces(
            "[gallery ids=\"1,2\"]Bees[embed]https://e.example[/embed] [b]f[/b]ly [url=https://e.example]there[/url]",
            "Bees https://e.example fly there",
        );
        reduces("[quote author='x']Bees[/quote]", "Bees");
        for text in [
            "[sic]",
            "a[i] = b[j]",
            "[1] [2]",
            "[x = 1]",
            "[note] [/home]",
            "array[n]",
            "[0, 1]",
        ] {
            assert_eq!(plain_text(text), text);
        }
    }

    #[test]
    fn html_that_was_escaped_is_html() {
        reduces(
            "&lt;div class=&quot;x&quot;&gt;&lt;p&gt;Bees&lt;/p&gt;&lt;br /&gt;&lt;/div&gt;",
            "Bees",
        );
        reduces(
            "&amp;lt;p&amp;gt;Bees &amp;amp; hives&amp;lt;/p&amp;gt;",
            "Bees & hives",
        );
        // Mentioned, not used.
        reduces("Use &lt;p&gt; or &lt;br&gt;", "Use <p> or <br>");
        reduces("<p>&lt;b&gt;x&lt;/b&gt;</p>", "<b>x</b>");
    }

    /// CPU seconds of this thread, which other load on the machine does not affect.
    fn cpu_time() -> i64 {
        rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec
    }

    #[test]
    fn hostile_html_takes_linear_time() {
        let size = 1 << 20;
        let attributes: String = (0..size / 8).map(|n| format!(" a{n:06}")).collect();
        for (name, html) in [
            ("nested", "<div>".repeat(size / 5)),
            ("attributes", format!("<p{attributes}>x")),
            ("open tags", "<p ".repeat(size / 3)),
            ("open quotes", "<b a=\"".repeat(size / 6)),
            (
                "quoted tags",
                format!("{}<", "<b a=\"<b \" ".repeat(size / 11)),
            ),
            ("comments", "<!--".repeat(size / 4)),
            ("scripts", "<script>".repeat(size / 8)),
            ("ends", format!("<script>{}", "</".repeat(size / 2))),
            ("references", "&amp".repeat(size / 4)),
            ("decoded", "&amp;".repeat(size / 5)),
            (
                "longest",
                "&CounterClockwiseContourIntegra".repeat(size / 31),
            ),
            ("less", "<".repeat(size)),
            ("shortcodes", "[a ".repeat(size / 3)),
            ("assigned", "[a b=\"".repeat(size / 7)),
            ("closing", "[/a".repeat(size / 3)),
            (
                "prefixes",
                (0..size / 16)
                    .map(|n| format!("<x{n:06}:script>"))
                    .collect(),
            ),
            (
                "closed prefixes",
                (0..size / 32)
                    .map(|n| format!("</x{n:06}:svg>"))
                    .chain((0..size / 32).map(|n| format!("<x{n:06}:svg>")))
                    .collect(),
            ),
            ("escaped", "&lt;p&gt;".repeat(size / 9)),
            ("cut off", format!("<p>{}", "<b a=".repeat(size / 5))),
            ("letters", "&eacute".repeat(size / 7)),
            ("declarations", "<!doctype ".repeat(size / 10)),
        ] {
            let started = cpu_time();
            let text = plain_text(&html);
            let taken = cpu_time() - started;
            assert!(text.len() <= html.len() + 1, "{name}");
            // Far above linear time, far below quadratic time.
            assert!(taken < 5, "{name}: {taken} s");
        }
    }
}
