//! Converts Markdown to the HTML that is sent as an item's text.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::templates::{without_admonitions, without_jsx, without_templates};
use super::text::folded;

/// Deepest nesting of indentation in MDX.
const MAX_DEPTH: usize = 8;

/// Rendered Markdown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rendered {
    /// HTML, without code blocks and formulas.
    pub(super) html: String,
    /// The text of the first top-level heading.
    pub(super) heading: Option<String>,
}

/// Renders the body of a file. MDX contains JavaScript, other Markdown contains templates.
pub(super) fn render(body: &str, is_mdx: bool) -> Rendered {
    let body = without_admonitions(body);
    let body = if is_mdx {
        without_jsx(&body)
    } else {
        without_templates(&body)
    };
    to_html(&body, is_mdx.then_some(MAX_DEPTH))
}

/// MDX has no indented code: what looks like it is Markdown, possibly nested.
fn to_html(body: &str, mdx: Option<usize>) -> Rendered {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_DEFINITION_LIST
        | Options::ENABLE_GFM
        | Options::ENABLE_MATH;
    let mut in_code = false;
    let mut indented: Option<String> = None;
    let mut heading: Option<String> = None;
    let mut in_heading = false;
    let events = Parser::new_ext(body, options).filter_map(|event| {
        match (&event, &mut indented) {
            (Event::Text(text), Some(inside)) => {
                inside.push_str(text);
                return None;
            }
            (Event::End(TagEnd::CodeBlock), Some(_)) => {
                let inside = indented.take()?;
                let deeper = mdx?.checked_sub(1)?;
                let inside = to_html(&inside, Some(deeper)).html;
                return Some(Event::Html(inside.into()));
            }
            _ => {}
        }
        match &event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) if mdx.is_some() => {
                indented = Some(String::new());
                return None;
            }
            Event::Start(Tag::CodeBlock(_)) => {
                in_code = true;
                return None;
            }
            Event::End(TagEnd::CodeBlock) => {
                in_code = false;
                return None;
            }
            _ if in_code => return None,
            Event::InlineMath(_) | Event::DisplayMath(_) => return Some(Event::SoftBreak),
            Event::Start(Tag::Heading {
                level: HeadingLevel::H1,
                ..
            }) => {
                in_heading = heading.is_none();
                if in_heading {
                    heading = Some(String::new());
                }
            }
            Event::End(TagEnd::Heading(HeadingLevel::H1)) => in_heading = false,
            Event::Text(text) | Event::Code(text) if in_heading => {
                if let Some(heading) = &mut heading {
                    heading.push_str(text);
                }
            }
            _ => {}
        }
        Some(event)
    });
    let mut rendered = String::with_capacity(body.len());
    html::push_html(&mut rendered, events);
    Rendered {
        html: rendered,
        heading: heading.as_deref().and_then(folded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kindred_domain::markup::plain_text;

    #[track_caller]
    fn reads(body: &str, is_mdx: bool, expected: &str) {
        let html = render(body, is_mdx).html;
        let text = plain_text(&html);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words.join(" "), expected, "{html}");
    }

    #[test]
    fn markdown_is_reduced_to_what_readers_read() {
        for (body, expected) in [
            (
                "# A *b*\n\nc [d](https://e.example \"f\") ![g](h.png)",
                "A b c d",
            ),
            (
                "a\n\n```rust\nlet x;\n```\n\n    indented\n\nb `c`",
                "a b c",
            ),
            ("| a | b |\n|---|---|\n| c | ~~d~~ |", "a b c d"),
            ("- [ ] a\n- [x] b\n  - c", "a b c"),
            (
                "a <b>c</b>\n\n<div class=\"x\">\nd\n</div>\n<!-- e -->",
                "a c d",
            ),
            ("a < b && c &amp; d", "a < b && c & d"),
            (
                "a $x^2$ b\n\n$$\ny\n$$\n\nit cost $5 and $10",
                "a b it cost $5 and $10",
            ),
            ("Term\n: meaning", "Term meaning"),
            ("a[^1]\n\n[^1]: note", "a1 1 note"),
            ("{{< note >}}a{{< /note >}}\n{: .x}", "a"),
            ("## A {#id}", "A"),
        ] {
            reads(body, false, expected);
        }
        let mdx = "import A from 'a'\n\n# T\n\n<A>\n    b **c**\n\n        d\n</A>\n";
        reads(mdx, true, "T b c d");
    }

    #[test]
    fn the_first_heading_may_be_the_title() {
        let heading = |body: &str| render(body, false).heading;
        assert_eq!(
            heading("## no\n\n# Night `trains` *return*\n\n# more"),
            Some("Night trains return".to_owned())
        );
        assert_eq!(heading("Title\n=====\n"), Some("Title".to_owned()));
        assert_eq!(heading("text"), None);
        assert_eq!(heading("# \n"), None);
    }
}
