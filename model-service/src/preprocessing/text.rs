//! HTML to text.
//!
//! What is markup is decided tag by tag, by [`super::markup`]; html5ever's tokenizer then reads
//! the tags and decodes the character references. Nothing is nested on the stack and nothing is
//! read twice, so broken or deeply nested HTML costs no more than any other text of its size.

use std::borrow::Cow;
use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use super::elements::INLINE;
use super::markup;

/// The text of a title or text that may be HTML; plain text comes back as it is.
///
/// Tags of inline elements vanish, all others become a space; `<wbr>` and comments vanish;
/// scripts, styles, titles, templates and the like vanish with all they hold; character
/// references are decoded.
pub fn plain_text(input: &str) -> Cow<'_, str> {
    let Some(tame) = markup::tame(input) else {
        return Cow::Borrowed(input);
    };
    let sink = TextSink {
        text: RefCell::new(String::with_capacity(tame.len())),
    };
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    let queue = BufferQueue::default();
    queue.push_back(StrTendril::from(tame));
    // The sink never asks for a pause, so one call reads all of it.
    let _ = tokenizer.feed(&queue);
    tokenizer.end();
    Cow::Owned(tokenizer.sink.text.into_inner())
}

/// Collects what the tokenizer finds to be text.
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
                let name: &str = &tag.name;
                if name != "wbr" && INLINE.binary_search(&name).is_err() {
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
    use super::*;

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
        // Named in passing, they hold nothing.
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
        reduces("<p>open <b class=x", "open <b class=x");
        reduces("<p title=\"never closed>x</p>", "x");
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
            ("declarations", "<!doctype ".repeat(size / 10)),
        ] {
            let started = std::time::Instant::now();
            let text = plain_text(&html);
            assert!(text.len() <= html.len() + 1, "{name}");
            // Far above what linear time takes, far below what quadratic time does.
            assert!(
                started.elapsed().as_secs() < 5,
                "{name}: {:?}",
                started.elapsed()
            );
        }
    }
}
